package compute

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/sim"
)

// TestStorm wishes for many things at once and one after the other, lets machines crash and lido end, and when it is
// quiet again finds what was wished for last: no machine too few or too many, and none that was replaced for nothing.
func TestStorm(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func storm(t *testing.T, rng *rand.Rand) {
	g := newFakeGuest()
	l := newLab(t, sim.Config{Exec: g.exec, CreateDelay: time.Millisecond, StartDelay: time.Millisecond, StopDelay: time.Millisecond, DeleteDelay: time.Millisecond}, nil)
	script := extensions(customExtension("first", `{"commandToExecute":"true"}`, `null`, ""))
	capacity := 5
	reimaged := false
	l.put(setPath, setBody(capacity, script))
	for range 60 {
		time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
		switch rng.IntN(8) {
		case 0, 1, 2:
			capacity = rng.IntN(9)
			l.put(setPath, fmt.Sprintf(`{"location":"local","sku":{"name":"Standard_D2s_v3","capacity":%d}}`, capacity))
		case 3:
			l.call("POST", setPath+"/restart", "")
		case 4:
			if rng.IntN(3) == 0 {
				reimaged = true
				l.call("POST", setPath+"/reimage", "")
			}
		case 5:
			if list := values(l.get(setPath + "/virtualMachines")); len(list) > 0 {
				one := list[rng.IntN(len(list))]["instanceId"].(string)
				l.call("POST", setPath+"/delete", `{"instanceIds":["`+one+`"]}`)
				capacity = int(at(l.get(setPath), "sku")["capacity"].(float64))
			}
		case 6:
			if infos, _ := l.engine.List(t.Context()); len(infos) > 0 {
				l.engine.(*sim.Engine).Crash(infos[rng.IntN(len(infos))].ID)
			}
		case 7:
			if rng.IntN(3) == 0 {
				l.close()
				l.open()
			}
		}
	}
	l.until("the set to settle", func() bool { return at(l.get(setPath), "properties")["provisioningState"] == arm.Succeeded })
	l.checkCalm(capacity, reimaged)
	_, _, h := l.call("DELETE", setPath, "")
	l.succeed(h)
	l.empty()
}

// checkCalm checks what holds when nothing is left to do.
func (l *lab) checkCalm(capacity int, reimaged bool) {
	l.t.Helper()
	list := values(l.get(setPath + "/virtualMachines?$expand=instanceView"))
	if len(list) != capacity {
		l.t.Errorf("%d instances, want %d", len(list), capacity)
	}
	for _, i := range list {
		if s := fmt.Sprint(at(i, "properties", "instanceView")["statuses"]); !strings.Contains(s, "PowerState/running") || !strings.Contains(s, "ProvisioningState/succeeded") {
			l.t.Errorf("instance %v: %s", i["instanceId"], s)
		}
	}
	infos, _ := l.engine.List(l.t.Context())
	if len(infos) != capacity {
		l.t.Errorf("%d machines, want %d", len(infos), capacity)
	}
	for _, m := range infos {
		if m.State != machine.Running || !reimaged && !strings.HasSuffix(m.ID, "-1") {
			l.t.Errorf("machine %s is %s", m.ID, m.State)
		}
	}
	if used, _ := l.room.ledger.usage(); used != int64(capacity)*8<<30 {
		l.t.Errorf("%d GiB are held for %d machines of 8", used>>30, capacity)
	}
}
