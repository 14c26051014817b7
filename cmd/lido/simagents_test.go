package main

import (
	"strconv"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/node"
)

// TestSimAgentObeysInOrder: what is stopped before it runs never runs, whether the order to run came before or comes late,
// as with real agents.
func TestSimAgentObeysInOrder(t *testing.T) {
	hub := node.NewHub(nil)
	defer hub.Close()
	events := make(chan node.Event, 1000)
	hub.Listen(func(e node.Event) { events <- e })
	startSimAgent(t.Context(), hub, machine.Info{ID: "m"})
	if e := <-events; e.Hello == nil {
		t.Fatalf("heard %+v before Hello", e)
	}
	stopped := map[string]node.Report{}
	for i := range 100 {
		early, late := strconv.Itoa(i), "late"+strconv.Itoa(i)
		for _, o := range []node.Order{{Run: &node.Task{ID: early, Command: "sleep 600"}}, {Stop: early}, {Stop: late}, {Run: &node.Task{ID: late, Command: "sleep 600"}}} {
			if err := hub.Send("m", o); err != nil {
				t.Fatal(err)
			}
		}
	}
	for timeout := time.After(20 * time.Second); len(stopped) < 200; {
		select {
		case e := <-events:
			if e.Report.State == node.Ended {
				stopped[e.Report.ID] = *e.Report
			}
		case <-timeout:
			t.Fatalf("%d of 200 tasks were stopped", len(stopped))
		}
	}
	for id, r := range stopped {
		if r.Stopped != node.StopAsked {
			t.Errorf("%s ended by %q", id, r.Stopped)
		}
	}
}
