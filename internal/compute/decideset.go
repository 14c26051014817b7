package compute

import (
	"cmp"
	"slices"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
)

// setView is all that the plan of a set depends on.
type setView struct {
	Deleting   bool
	Generation int64
	Settled    int64 // generation that was carried out
	Failed     bool  // it was carried out and failed
	Capacity   int
	Next       int
	Model      string // hash
	Automatic  bool   // instances follow the model by themselves
	ScaleIn    string // rule by which surplus instances are chosen; empty means the default
	Percent    int    // of the instances that may be upgraded at once; 0 means all
	Instances  []*instanceView
}

// setPlan is what is to change in a set's documents.
type setPlan struct {
	Create  []int           // numbers of new instances
	Surplus []*instanceView // have no use any more
	Keep    []*instanceView // have, after all
	Delete  []*instanceView // at once
	Upgrade []*instanceView // get the set's model
	Settle  bool            // the wish was carried out, as well as can be
	Gone    bool            // nothing is left of a set that was deleted
}

// decideSet plans the membership of a set.
func decideSet(v *setView) setPlan {
	var p setPlan
	if v.Deleting {
		p.Gone = len(v.Instances) == 0
		for _, i := range v.Instances {
			if !i.Deleting {
				p.Delete = append(p.Delete, i)
			}
		}
		return p
	}
	active, surplus, leaving := sortOut(v)
	switch missing := v.Capacity - len(active); {
	case missing > 0:
		back := min(missing, len(surplus))
		p.Keep = surplus[:back]
		for n := range missing - back {
			p.Create = append(p.Create, v.Next+n)
		}
	case missing < 0:
		p.Surplus = leastNeeded(active, -missing, v.ScaleIn)
	}
	if v.Automatic {
		p.Upgrade = upgrades(v, active, p.Surplus)
	}
	still := len(p.Create)+len(p.Keep)+len(p.Surplus)+len(p.Upgrade) == 0 && len(surplus)+leaving == 0
	p.Settle = still && !slices.ContainsFunc(active, func(i *instanceView) bool { return !isSettled(i) })
	return p
}

// upgrades returns the instances that get the set's model now. Where they are upgraded in turn, one that failed stops
// those that have not been.
func upgrades(v *setView, active, surplus []*instanceView) []*instanceView {
	var behind []*instanceView
	underWay := 0
	for _, i := range active {
		switch {
		case i.Wish.Model != v.Model && !slices.Contains(surplus, i):
			behind = append(behind, i)
		case i.Wish.Model != v.Model: // goes anyway
		case i.Status.ProvisioningState == arm.Failed && v.Percent > 0:
			return nil
		case !isSettled(i):
			underWay++
		}
	}
	if v.Percent == 0 {
		return behind
	}
	batch := max(1, len(active)*v.Percent/100)
	return behind[:min(len(behind), max(0, batch-underWay))]
}

// sortOut returns the instances that count, those that drain (the one that came back first is the busiest), and how
// many are being deleted.
func sortOut(v *setView) (active, surplus []*instanceView, leaving int) {
	for _, i := range v.Instances {
		switch {
		case i.Deleting:
			leaving++
		case !i.Wish.Surplus.IsZero():
			surplus = append(surplus, i)
		default:
			active = append(active, i)
		}
	}
	slices.SortStableFunc(surplus, func(a, b *instanceView) int { return cmp.Compare(b.Sessions, a.Sessions) })
	return active, surplus, leaving
}

// isSettled tells whether nothing more is to be expected of an instance for the set's present wish.
func isSettled(i *instanceView) bool {
	return i.Status.Settled >= i.Generation && i.Status.SetGeneration >= i.SetGeneration &&
		(i.Status.ProvisioningState == arm.Succeeded || i.Status.ProvisioningState == arm.Failed)
}

// leastNeeded picks n instances to give up: those that failed, then those that don't run, then as the rule says: the
// oldest, the newest, or by default the ones with the fewest sessions, the newest first among equals. Protected ones are
// not picked.
func leastNeeded(active []*instanceView, n int, rule string) []*instanceView {
	var may []*instanceView
	for _, i := range active {
		if i.Wish.Protection == nil || !bool(i.Wish.Protection.ScaleIn) {
			may = append(may, i)
		}
	}
	slices.SortStableFunc(may, func(a, b *instanceView) int {
		newest := cmp.Compare(b.Wish.Number, a.Wish.Number)
		byRule := cmp.Or(cmp.Compare(max(a.Sessions, 0), max(b.Sessions, 0)), newest)
		switch rule {
		case scaleInOldest:
			byRule = -newest
		case scaleInNewest:
			byRule = newest
		}
		return cmp.Or(cmp.Compare(need(a), need(b)), byRule)
	})
	return may[:min(n, len(may))]
}

func need(i *instanceView) int {
	switch {
	case i.Status.ProvisioningState == arm.Failed:
		return 0
	case i.Machine == nil || i.Machine.State != machine.Running:
		return 1
	}
	return 2
}

// drained tells whether a surplus instance may go now, and if not, when to look again.
func drained(v *instanceView, timeout time.Duration, now time.Time) (bool, time.Time) {
	end := v.Wish.Surplus.Add(timeout)
	idle := v.Sessions == 0 || v.Machine == nil || v.Machine.State != machine.Running
	if idle || !now.Before(end) {
		return true, now
	}
	return false, minTime(end, now.Add(drainLook))
}

// drainLook is how often the sessions of a draining instance are counted.
const drainLook = time.Second

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
