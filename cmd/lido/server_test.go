package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A request that is under way when the server stops is answered; one that waits for long does not hold it up.
func TestAnswerLast(t *testing.T) {
	began := make(chan bool, 2)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- true
		if r.URL.Path == "/long" {
			<-r.Context().Done()
			return
		}
		time.Sleep(100 * time.Millisecond)
		io.WriteString(w, "done")
	}))
	defer ts.Close()
	answers := map[string]chan string{"/short": make(chan string, 1), "/long": make(chan string, 1)}
	for path, answer := range answers {
		go func() {
			resp, err := http.Get(ts.URL + path)
			if err != nil {
				answer <- "cut"
				return
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			answer <- string(b)
		}()
	}
	<-began
	<-began
	start := time.Now()
	(&server{servers: []*http.Server{ts.Config}}).answerLast()
	if took := time.Since(start); took < lastAnswers || took > 10*lastAnswers {
		t.Errorf("stopping took %v", took)
	}
	if got := <-answers["/short"]; got != "done" {
		t.Errorf("the short request: %s", got)
	}
	if got := <-answers["/long"]; got != "cut" {
		t.Errorf("the long request: %s", got)
	}
}
