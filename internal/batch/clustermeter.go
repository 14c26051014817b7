package batch

import (
	"context"
	"time"
)

// meter counts the use of a cluster's machines: an entry for each run of a machine, begun when it is seen first and
// ended when it is not there any more. What runs is in the cluster's status, so lido's own absence is counted: a node
// of the last status that runs no more ends at the machine's own time, or now if that is not known.
func (ctl *clusterControl) meter(ctx context.Context, d *clusterDoc, machines []Machine, now []nodeInfo) error {
	ledger := ctl.all.room.Ledger
	if ledger == nil {
		return nil
	}
	runs := map[string]bool{}
	for _, n := range now {
		if n.Machine != "" && !n.Started.IsZero() {
			runs[n.boot()] = true
			if err := ctl.record(ctx, d, n, time.Time{}); err != nil {
				return err
			}
		}
	}
	for _, n := range d.status.Nodes {
		if n.Machine == "" || n.Started.IsZero() || runs[n.boot()] {
			continue
		}
		if err := ctl.record(ctx, d, n, endOf(n, machines, ctl.all.room.Now())); err != nil {
			return err
		}
	}
	return nil
}

// endOf is when a node's machine stopped running.
func endOf(n nodeInfo, machines []Machine, now time.Time) time.Time {
	for _, m := range machines {
		if m.ID == n.Machine && m.Stopped.After(n.Started) && m.Stopped.Before(now) {
			return m.Stopped
		}
	}
	return now
}

// record writes an entry. One that was begun is not begun again by this process.
func (ctl *clusterControl) record(ctx context.Context, d *clusterDoc, n nodeInfo, end time.Time) error {
	key := n.boot()
	if end.IsZero() && ctl.metered[key] {
		return nil
	}
	e := Entry{Key: key, Kind: "node", Cluster: d.ID, Person: submitter(d.Doc), Size: d.wish.VMSize, Nodes: 1, Start: n.Started, End: end}
	if err := ctl.all.room.Ledger.Record(ctx, e); err != nil {
		return err
	}
	if end.IsZero() {
		ctl.metered[key] = true
	} else {
		delete(ctl.metered, key)
	}
	return nil
}
