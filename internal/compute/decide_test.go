package compute

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// healthy is an instance with nothing left to do.
func healthy() *instanceView {
	v := &instanceView{Key: "k", UID: "0123456789abcdef0123", Generation: 1, SetGeneration: 1, MachineHash: "m",
		Wish:    wish{Power: PowerOn, Starts: 1, Serial: 1},
		Machine: &machine.Info{State: machine.Running}}
	v.Status = status{Serial: 1, Built: "m", Starts: 1, Power: PowerOn, SetGeneration: 1}
	v.Status.Settled, v.Status.ProvisioningState = 1, arm.Succeeded
	return v
}

func ext(name, hash string, after ...string) extension {
	return extension{Name: name, hash: hash, Properties: extensionProperties{After: after}}
}

func TestNextStep(t *testing.T) {
	failed := func(v *instanceView) {
		v.Status.ProvisioningState, v.Status.Attempts, v.Status.Error = arm.Failed, 3, arm.Conflict(codeInternal, "no")
		v.Status.FailedAt, v.Status.RetryAt = noon, noon.Add(time.Minute)
	}
	for name, c := range map[string]struct {
		change func(v *instanceView)
		want   stepKind
	}{
		"nothing to do":              {func(v *instanceView) {}, stepNone},
		"new":                        {func(v *instanceView) { v.Status, v.Machine = status{}, nil }, stepLaunch},
		"launched, not written down": {func(v *instanceView) { v.Status = status{} }, stepLaunch},
		"created, not started":       {func(v *instanceView) { v.Status = status{}; v.Machine.State = machine.Created }, stepLaunch},
		"deleted":                    {func(v *instanceView) { v.Deleting = true; failed(v) }, stepDelete},
		"surplus":                    {func(v *instanceView) { v.Wish.Surplus = noon; failed(v) }, stepDrain},
		"wanted again":               {func(v *instanceView) { v.Status.Draining = true }, stepUndrain},
		"an old machine":             {func(v *instanceView) { v.Others = []string{"x"} }, stepTidy},
		"reimaged":                   {func(v *instanceView) { v.Wish.Serial = 2; v.Machine = nil }, stepLaunch},
		"another model":              {func(v *instanceView) { v.MachineHash = "n" }, stepReplace},
		"machine lost":               {func(v *instanceView) { v.Machine = nil }, stepReplace},
		"machine failed":             {func(v *instanceView) { v.Machine.State = machine.Failed }, stepRevive},
		"machine failed again":       {func(v *instanceView) { v.Machine.State = machine.Failed; v.Status.RevivedAt = noon }, stepReplace},
		"machine failed for good": {func(v *instanceView) {
			v.Machine.State = machine.Failed
			v.Status.Repairs, v.Status.RevivedAt = repairsToFail, noon
		}, stepSettle},
		"powered off by itself": {func(v *instanceView) { v.Machine.State = machine.Stopped }, stepNone},
		"to be stopped":         {func(v *instanceView) { v.Wish.Power = PowerOff }, stepStop},
		"to be deallocated":     {func(v *instanceView) { v.Wish.Power = PowerDeallocated; v.Machine.State = machine.Stopped }, stepStop},
		"deallocated": {func(v *instanceView) {
			v.Wish.Power, v.Status.Power = PowerDeallocated, PowerDeallocated
			v.Machine.State = machine.Stopped
		}, stepNone},
		"to be started":      {func(v *instanceView) { v.Wish.Starts = 2; v.Machine.State = machine.Stopped }, stepLaunch},
		"started, but runs":  {func(v *instanceView) { v.Wish.Starts = 2 }, stepSettle},
		"to be restarted":    {func(v *instanceView) { v.Wish.Restarts = 1 }, stepRestart},
		"has an extension":   {func(v *instanceView) { v.Extensions = []extension{ext("a", "1")} }, stepExtend},
		"extension, but off": {func(v *instanceView) { v.Extensions = []extension{ext("a", "1")}; v.Machine.State = machine.Stopped }, stepNone},
		"extension changed": {func(v *instanceView) {
			v.Extensions = []extension{ext("a", "2")}
			v.Status.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extSucceeded}}
		}, stepExtend},
		"extension under way": {func(v *instanceView) {
			v.Extensions = []extension{ext("a", "1")}
			v.Status.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extRunning}}
		}, stepExtend},
		"extension failed": {func(v *instanceView) {
			v.Extensions = []extension{ext("a", "1")}
			v.Status.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extFailed}}
		}, stepSettle},
		"extension failed, set wished again": {func(v *instanceView) {
			v.SetGeneration = 2
			v.Extensions = []extension{ext("a", "1")}
			v.Status.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extFailed}}
		}, stepExtend},
		"waits for a failed extension": {func(v *instanceView) {
			v.Extensions = []extension{ext("a", "1"), ext("b", "1", "a")}
			v.Status.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extFailed}}
		}, stepSettle},
		"failed a moment ago":     {func(v *instanceView) { failed(v); v.Status = withoutMachine(v) }, stepWait},
		"failed a while ago":      {func(v *instanceView) { failed(v); v.Status = withoutMachine(v); v.Status.RetryAt = noon }, stepLaunch},
		"failed, set wished anew": {func(v *instanceView) { failed(v); v.Status = withoutMachine(v); v.SetGeneration = 2 }, stepLaunch},
		"no memory":               {func(v *instanceView) { failed(v); v.Status = withoutMachine(v); v.Status.Error.Code = codeAllocation }, stepWait},
		"memory was freed": {func(v *instanceView) {
			failed(v)
			v.Status = withoutMachine(v)
			v.Status.Error.Code, v.FreedAt = codeAllocation, noon.Add(time.Second)
		}, stepLaunch},
		"the set changed": {func(v *instanceView) { v.SetGeneration = 2 }, stepSettle},
	} {
		v := healthy()
		c.change(v)
		if got := nextStep(v, noon).kind; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func withoutMachine(v *instanceView) status {
	s := v.Status
	s.Serial, s.Built, s.Starts = 0, "", 0
	v.Machine = nil
	return s
}

func TestInOrder(t *testing.T) {
	names := func(l []extension) (out []string) {
		for _, e := range l {
			out = append(out, e.Name)
		}
		return out
	}
	got, ok := inOrder([]extension{ext("c", "", "b"), ext("a", ""), ext("b", "", "a", "elsewhere")})
	if want := []string{"a", "b", "c"}; !ok || !slices.Equal(names(got), want) {
		t.Errorf("order %v", names(got))
	}
	if _, ok := inOrder([]extension{ext("a", "", "b"), ext("b", "", "a")}); ok {
		t.Error("a circle is not seen")
	}
}

func TestLeastNeeded(t *testing.T) {
	make := func(n, sessions int, change func(*instanceView)) *instanceView {
		v := healthy()
		v.Wish.Number, v.Sessions = n, sessions
		if change != nil {
			change(v)
		}
		return v
	}
	all := []*instanceView{
		make(0, 0, nil), make(1, 2, nil), make(2, 0, nil), make(3, 1, nil),
		make(4, 0, func(v *instanceView) { v.Status.ProvisioningState = arm.Failed }),
		make(5, 0, func(v *instanceView) { v.Machine.State = machine.Stopped }),
		make(6, 0, func(v *instanceView) { v.Wish.Protection = &protection{ScaleIn: true} }),
	}
	for rule, want := range map[string][]int{
		"": {4, 5, 2, 0, 3, 1}, scaleInDefault: {4, 5, 2, 0, 3, 1}, scaleInOldest: {4, 5, 0, 1, 2, 3}, scaleInNewest: {4, 5, 3, 2, 1, 0},
	} {
		var got []int
		for _, v := range leastNeeded(all, 7, rule) {
			got = append(got, v.Wish.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: taken in the order %v, want %v", rule, got, want)
		}
	}
}

func TestRollingUpgrade(t *testing.T) {
	v := &setView{Generation: 1, Settled: 1, Capacity: 10, Model: "new", Automatic: true, Percent: 20}
	for n := range 10 {
		i := healthy()
		i.Wish.Number, i.Wish.Model = n, "old"
		v.Instances = append(v.Instances, i)
	}
	upgraded := 0
	for range 5 {
		p := decideSet(v)
		if len(p.Upgrade) != 2 || p.Settle {
			t.Fatalf("%d at once, settle %v", len(p.Upgrade), p.Settle)
		}
		for _, i := range p.Upgrade {
			i.Wish.Model, i.Generation = "new", 2
			upgraded++
		}
		if p := decideSet(v); len(p.Upgrade) > 0 || p.Settle {
			t.Fatalf("%d more while two are under way, settle %v", len(p.Upgrade), p.Settle)
		}
		for _, i := range v.Instances {
			i.Status.Settled = i.Generation
		}
	}
	if p := decideSet(v); upgraded != 10 || !p.Settle {
		t.Errorf("%d upgraded, settle %v", upgraded, p.Settle)
	}
	v.Model = "newer"
	decideSet(v).Upgrade[0].Wish.Model = "newer"
	v.Instances[0].Status.ProvisioningState = arm.Failed
	if p := decideSet(v); len(p.Upgrade) > 0 || !p.Settle {
		t.Errorf("one failed, and %d go on, settle %v", len(p.Upgrade), p.Settle)
	}
}

func TestDrained(t *testing.T) {
	v := healthy()
	v.Wish.Surplus, v.Sessions = noon, 1
	if done, look := drained(v, time.Minute, noon); done || look != noon.Add(drainLook) {
		t.Errorf("with a session: %v %v", done, look)
	}
	if done, _ := drained(v, time.Minute, noon.Add(time.Minute)); !done {
		t.Error("the time is over")
	}
	v.Sessions = -1
	if done, _ := drained(v, time.Minute, noon); done {
		t.Error("it is not known to be idle")
	}
	v.Sessions = 0
	if done, _ := drained(v, time.Minute, noon); !done {
		t.Error("it is idle")
	}
}

// drawInstance draws any instance at all, possible or not.
func drawInstance(t *rapid.T, n int) *instanceView {
	b := func(name string) bool { return rapid.Bool().Draw(t, name) }
	v := healthy()
	v.Wish.Number, v.Key = n, fmt.Sprint(n)
	v.Deleting = b("deleting")
	if b("surplus") {
		v.Wish.Surplus = noon
	}
	if b("protected") {
		v.Wish.Protection = &protection{ScaleIn: true}
	}
	v.Generation, v.SetGeneration = int64(rapid.IntRange(1, 2).Draw(t, "generation")), int64(rapid.IntRange(1, 2).Draw(t, "set generation"))
	v.Status.Serial = rapid.IntRange(0, 1).Draw(t, "serial")
	v.Status.ProvisioningState = rapid.SampledFrom([]string{"", arm.Succeeded, arm.Failed}).Draw(t, "state")
	v.Status.Attempts = rapid.IntRange(0, 4).Draw(t, "attempts")
	if v.Status.Attempts > 0 {
		v.Status.RetryAt = noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "retry")) * time.Minute)
	}
	v.Wish.Power = rapid.SampledFrom([]Power{PowerOn, PowerOff, PowerDeallocated}).Draw(t, "power")
	v.Sessions = rapid.IntRange(-1, 3).Draw(t, "sessions")
	if state := rapid.SampledFrom([]machine.State{"", machine.Created, machine.Running, machine.Stopped, machine.Failed}).Draw(t, "machine"); state == "" {
		v.Machine = nil
	} else {
		v.Machine = &machine.Info{State: state}
	}
	if b("extension") {
		v.Extensions = []extension{ext("a", "1")}
	}
	if b("other") {
		v.Others = []string{"x"}
	}
	return v
}

func TestNeverInSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &setView{Capacity: rapid.IntRange(0, 8).Draw(t, "capacity"), Next: 20, Model: "m", Deleting: rapid.IntRange(0, 9).Draw(t, "deleting") == 0, Automatic: rapid.Bool().Draw(t, "automatic")}
		for n := range rapid.IntRange(0, 10).Draw(t, "instances") {
			v.Instances = append(v.Instances, drawInstance(t, n))
		}
		p := decideSet(v)
		active, surplus, _ := sortOut(v)
		after := len(active) + len(p.Create) + len(p.Keep) - len(p.Surplus)
		protected := 0
		for _, i := range active {
			if i.Wish.Protection != nil {
				protected++
			}
		}
		switch {
		case v.Deleting && len(p.Create)+len(p.Keep)+len(p.Surplus)+len(p.Upgrade) > 0:
			t.Fatal("a set that is deleted is never changed otherwise")
		case v.Deleting:
			return
		case after < v.Capacity:
			t.Fatal("never fewer than wished for")
		case after > max(v.Capacity, protected):
			t.Fatal("never more than wished for, but for protected ones")
		case len(p.Create) > 0 && len(p.Surplus) > 0:
			t.Fatal("never grown and shrunk at once")
		case len(p.Create) > 0 && len(p.Keep) < len(surplus):
			t.Fatal("never made while one that drains could be kept")
		case len(p.Delete) > 0 || p.Gone:
			t.Fatal("never deleted without draining")
		}
		for _, i := range p.Surplus {
			if i.Wish.Protection != nil {
				t.Fatal("never a protected one")
			}
		}
		for _, n := range p.Create {
			if n < v.Next {
				t.Fatal("never a number again")
			}
		}
		for _, i := range v.Instances {
			if p.Settle && (i.Deleting || !i.Wish.Surplus.IsZero() || !isSettled(i)) {
				t.Fatal("never settled while something is to come")
			}
		}
	})
}

func TestNeverInInstances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawInstance(t, 0)
		st := nextStep(v, noon)
		running := v.Machine != nil && v.Machine.State == machine.Running
		switch st.kind {
		case stepLaunch:
			if v.Wish.Power != PowerOn || v.Deleting || !v.Wish.Surplus.IsZero() || len(v.Others) > 0 {
				t.Fatal("never started against the wish, nor beside an older machine")
			}
		case stepExtend:
			if !running || v.Wish.Power != PowerOn {
				t.Fatal("an extension never runs without its machine")
			}
		case stepReplace:
			if running && v.Status.Built == v.MachineHash {
				t.Fatal("a good machine is never replaced")
			}
		case stepWait:
			if !st.until.After(noon) {
				t.Fatal("never waits for the past")
			}
		case stepNone:
			if v.Deleting || !v.Wish.Surplus.IsZero() {
				t.Fatal("never left lying")
			}
		}
	})
}

// TestSettlesForGood follows the steps as if each went well: they end, and nothing is left to do.
func TestSettlesForGood(t *testing.T) {
	room := &Room{Config: Config{Now: func() time.Time { return noon }}}
	rapid.Check(t, func(t *rapid.T) {
		v := drawInstance(t, 0)
		v.Deleting, v.Wish.Surplus = false, time.Time{}
		for range 12 {
			switch nextStep(v, noon).kind {
			case stepNone:
				if v.Status.Settled < v.Generation {
					t.Fatal("at rest, but not settled")
				}
				return
			case stepWait:
				return
			default:
				pretend(room, v)
			}
		}
		t.Fatalf("steps without end: %v, %+v", nextStep(v, noon).kind, v.Status)
	})
}

// pretend changes a view as the next step would.
func pretend(room *Room, v *instanceView) {
	s := &v.Status
	switch nextStep(v, noon).kind {
	case stepTidy:
		v.Others = nil
	case stepRevive:
		s.RevivedAt = noon
		s.well()
	case stepReplace:
		if v.Machine != nil && v.Machine.State == machine.Failed {
			s.Repairs++
		}
		v.Wish.Serial++
		v.Generation++
		v.Machine = nil
	case stepLaunch:
		s.Serial, s.Built, s.Starts, s.Restarts, s.Power = v.Wish.Serial, v.MachineHash, v.Wish.Starts, v.Wish.Restarts, PowerOn
		s.well()
		v.Machine = &machine.Info{State: machine.Running}
	case stepStop:
		s.Power = v.Wish.Power
		s.well()
		if v.Machine != nil {
			v.Machine.State = machine.Stopped
		}
	case stepRestart:
		s.Restarts, s.Starts = v.Wish.Restarts, v.Wish.Starts
		v.Machine.State = machine.Running
		s.well()
	case stepExtend:
		s.Extensions = []extensionStatus{{Name: "a", Hash: "1", State: extSucceeded}}
	case stepSettle:
		room.settleStatus(s, v)
	}
}
