package compute

import (
	"slices"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
)

// The decisions of this room: pure functions from what is wished for and what is there to what is to be done next.

// Bounds of the reconciler's patience.
const (
	attemptsToFail = 3 // failed attempts until an instance is called failed; later ones go on more slowly
	repairsToFail  = 3 // machines replaced until an instance is called failed
	firstRetry     = time.Second
	lastRetry      = 5 * time.Minute
	reviveAfter    = 10 * time.Minute // a machine that fails again sooner than this is replaced
)

// instanceView is all that the next step of an instance depends on.
type instanceView struct {
	Key        string // of its document
	ID         string
	UID        string
	Generation int64
	Deleting   bool
	Wish       wish
	Status     status

	Machine *machine.Info // the machine of Wish.Serial, if it exists
	Others  []string      // ids of other machines that this instance had

	SetGeneration int64
	Extensions    []extension // of its model, in the order to run them in
	MachineHash   string      // of its model
	FreedAt       time.Time   // when memory was last given back on this host
	Sessions      int         // counted inside; -1 is unknown
}

// stepKind says what is done to an instance.
type stepKind int

// The steps, most urgent first.
const (
	stepNone    stepKind = iota
	stepWait             // nothing before a time
	stepDelete           // remove its machines, addresses and document
	stepDrain            // let no new connections in, then have it deleted when it is idle or the time is over
	stepUndrain          // take it back among those that get connections
	stepRevive           // start a machine again that failed: what it stumbled over may be gone
	stepReplace          // wish for another machine: this one cannot become what is wished for
	stepTidy             // delete machines of earlier serials
	stepLaunch           // make its machine and start it
	stepStop             // shut its machine down
	stepRestart          // shut it down and start it
	stepExtend           // run the next extension, or go on watching it
	stepSettle           // all is as wished: say so
)

func (k stepKind) String() string {
	return [...]string{"none", "wait", "delete", "drain", "undrain", "revive", "replace", "tidy", "launch", "stop", "restart", "extend", "settle"}[k]
}

// step is the next thing to do to an instance.
type step struct {
	kind  stepKind
	until time.Time // of a wait
	why   string    // of a replacement
}

// nextStep decides what is done next to an instance.
func nextStep(v *instanceView, now time.Time) step {
	switch {
	case v.Deleting:
		return step{kind: stepDelete}
	case !v.Wish.Surplus.IsZero():
		return step{kind: stepDrain}
	case v.Status.Draining:
		return step{kind: stepUndrain}
	case mayRetry(v, now):
		return nextWork(v, now)
	case v.Status.RetryAt.IsZero():
		return step{}
	}
	return step{kind: stepWait, until: v.Status.RetryAt}
}

// mayRetry tells whether an instance that failed before may be worked on now.
func mayRetry(v *instanceView, now time.Time) bool {
	s := &v.Status
	switch {
	case s.Attempts == 0:
		return true
	case s.SetGeneration < v.SetGeneration || s.Settled < v.Generation && s.Attempts >= attemptsToFail:
		return true // somebody wished for something new since
	case s.Error != nil && s.Error.Code == codeAllocation && v.FreedAt.After(s.FailedAt):
		return true
	}
	return !s.RetryAt.IsZero() && !now.Before(s.RetryAt)
}

// nextWork decides among the steps that lead to the wished-for machine.
func nextWork(v *instanceView, now time.Time) step {
	w, s, m := &v.Wish, &v.Status, v.Machine
	made := s.Serial == w.Serial // its machine was made, whether or not it is still there
	switch {
	case len(v.Others) > 0:
		return step{kind: stepTidy}
	case made && s.Built != v.MachineHash:
		return step{kind: stepReplace, why: "its model changed"}
	case made && m == nil:
		return step{kind: stepReplace, why: "its machine is gone"}
	case made && m.State == machine.Failed && w.Power == PowerOn && now.Sub(s.RevivedAt) > reviveAfter:
		return step{kind: stepRevive}
	case made && m.State == machine.Failed && w.Power == PowerOn && s.Repairs < repairsToFail:
		return step{kind: stepReplace, why: "its machine failed: " + m.Reason}
	case w.Power != PowerOn:
		return nextPowerDown(v)
	case !made || s.Starts < w.Starts && m.State != machine.Running:
		return step{kind: stepLaunch}
	case s.Restarts < w.Restarts:
		return step{kind: stepRestart}
	case m.State == machine.Running && pendingExtension(v) != nil:
		return step{kind: stepExtend}
	}
	return settled(v)
}

func nextPowerDown(v *instanceView) step {
	switch {
	case v.Machine != nil && v.Machine.State == machine.Running:
		return step{kind: stepStop}
	case v.Status.Power != v.Wish.Power:
		return step{kind: stepStop} // it is down already; note how
	}
	return settled(v)
}

// settled is the step when the machine is as wished for: to say so, if it was not said yet.
func settled(v *instanceView) step {
	s, w := &v.Status, &v.Wish
	state := arm.Succeeded
	if outcome(v) != nil {
		state = arm.Failed
	}
	behind := w.Power == PowerOn && (s.Starts < w.Starts || s.Restarts < w.Restarts)
	if behind || s.Settled < v.Generation || s.SetGeneration < v.SetGeneration || s.ProvisioningState != state || s.Attempts > 0 {
		return step{kind: stepSettle}
	}
	return step{}
}

// outcome is what an instance with nothing left to do has come to: nil if all is well.
func outcome(v *instanceView) *arm.Error {
	if m := v.Machine; m != nil && m.State == machine.Failed && v.Wish.Power == PowerOn {
		return arm.Conflict(codeMachineFailed, "The machine could not be kept running: %s. Look at its boot log, then reimage or delete the instance.", m.Reason)
	}
	if e := failedExtension(v); e != nil {
		return arm.Conflict(codeExtension, "VM has reported a failure when processing extension '%s'. Error message: \"%s\".", e.Name, e.Message)
	}
	return nil
}

// pendingExtension returns the extension that is to be run, or watched, next. One that failed holds up those that wait
// for it; it is run again when its wish changes, or when the set is wished for again.
func pendingExtension(v *instanceView) *extension {
	for i := range v.Extensions {
		e := &v.Extensions[i]
		st := v.Status.extension(e.Name)
		switch {
		case blocked(v, e):
			continue
		case st == nil, st.Hash != e.hash, st.State == extRunning:
			return e
		case st.State == extFailed && v.Status.SetGeneration < v.SetGeneration:
			return e
		}
	}
	return nil
}

// blocked tells whether an extension waits for one that failed.
func blocked(v *instanceView, e *extension) bool {
	for _, name := range e.Properties.After {
		if st := v.Status.extension(name); st != nil && st.State == extFailed && v.Status.SetGeneration >= v.SetGeneration {
			return true
		}
	}
	return false
}

// failedExtension returns the first extension that failed and counts.
func failedExtension(v *instanceView) *extensionStatus {
	for _, e := range v.Extensions {
		if st := v.Status.extension(e.Name); st != nil && st.State == extFailed && !bool(e.Properties.SuppressFailures) {
			return st
		}
	}
	return nil
}

func (s *status) extension(name string) *extensionStatus {
	for i := range s.Extensions {
		if s.Extensions[i].Name == name {
			return &s.Extensions[i]
		}
	}
	return nil
}

// inOrder sorts extensions so that each comes after those that it names in provisionAfterExtensions. Names that don't
// exist are ignored here; a circle is an error.
func inOrder(list []extension) ([]extension, bool) {
	var out []extension
	placed := map[string]bool{}
	exists := map[string]bool{}
	for _, e := range list {
		exists[e.Name] = true
	}
	for len(out) < len(list) {
		before := len(out)
		for _, e := range list {
			ready := !placed[e.Name] && !slices.ContainsFunc(e.Properties.After, func(a string) bool { return exists[a] && !placed[a] })
			if ready {
				out, placed[e.Name] = append(out, e), true
			}
		}
		if len(out) == before {
			return nil, false
		}
	}
	return out, true
}

// backoff returns when to try again after so many failures in a row.
func backoff(attempts int, now time.Time) time.Time {
	d := firstRetry
	for i := 1; i < attempts && d < lastRetry; i++ {
		d *= 3
	}
	return now.Add(min(d, lastRetry))
}
