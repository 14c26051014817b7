package runc

import (
	"fmt"
	"time"

	"lido.dev/lido/internal/machine"
)

// RestartPolicy says how crashes and failed starts are answered.
type RestartPolicy struct {
	Tries  int           // starts in a row that may fail before the machine is Failed; 0 means 3
	Stable time.Duration // how long a boot must last to count as one that did not fail; 0 means 20 s
	Delay  time.Duration // before the second try, doubled for each further one; 0 means 250 ms
}

func (p *RestartPolicy) fillDefaults() {
	if p.Tries == 0 {
		p.Tries = 3
	}
	if p.Stable == 0 {
		p.Stable = 20 * time.Second
	}
	if p.Delay == 0 {
		p.Delay = 250 * time.Millisecond
	}
}

func (p RestartPolicy) delay(failures int) time.Duration {
	if failures < 1 {
		return 0
	}
	return p.Delay << min(failures-1, 6)
}

// How the kernel tells of reboot(2) called in a pid namespace: its init dies of one of these signals, and conmon notes
// 128 and the signal.
const (
	exitReboot   = 128 + 1 // SIGHUP
	exitPoweroff = 128 + 2 // SIGINT
)

// ending is what is known of the end of a boot.
type ending struct {
	Code   int
	Known  bool          // false when nobody was there to note it
	Lasted time.Duration // from the start of init
}

// next is what follows. State is empty when the machine is to be booted again.
type next struct {
	State    machine.State
	Reason   string
	Delay    time.Duration
	Failures int
	Crash    bool
}

// afterEnd decides what follows the end of a machine's init.
func (p RestartPolicy) afterEnd(end ending, want machine.State, failures int) next {
	switch {
	case want != machine.Running:
		return next{State: machine.Stopped}
	case end.Known && end.Code == exitPoweroff:
		return next{State: machine.Stopped, Reason: "The machine powered itself off."}
	case end.Known && end.Code == exitReboot:
		return next{}
	}
	if end.Lasted >= p.Stable {
		failures = 0
	}
	failures++
	if failures >= p.Tries {
		return next{State: machine.Failed, Failures: failures, Crash: true,
			Reason: fmt.Sprintf("The machine's init ended %d times in a row soon after its start (%s).", failures, end)}
	}
	return next{Delay: p.delay(failures), Failures: failures, Crash: true}
}

// afterFailedStart decides what follows a start that did not get as far as init.
func (p RestartPolicy) afterFailedStart(failures int) next {
	if failures >= p.Tries {
		return next{State: machine.Failed, Failures: failures}
	}
	return next{Delay: p.delay(failures), Failures: failures}
}

// String describes the ending to a person.
func (end ending) String() string {
	switch {
	case !end.Known:
		return "its exit was not seen"
	case end.Code > 128:
		return fmt.Sprintf("killed by signal %d", end.Code-128)
	default:
		return fmt.Sprintf("exit code %d", end.Code)
	}
}
