package batch

import "time"

// used are the ledger's entries that come with the next status of a cluster: one for each run of a machine, begun when
// the run is in a status first and ended when it is in the last one and not in the next. So lido's own absence is counted:
// what ended meanwhile ended at the machine's own time, or now if that is not known.
func (ctl *clusterControl) used(d *clusterDoc, machines []Machine, next []nodeInfo) (entries []Entry) {
	begun, goesOn := runsOf(d.status.Nodes), runsOf(next)
	entry := Entry{Kind: "node", Cluster: d.ID, Person: submitter(d.Doc), Size: d.wish.VMSize, Nodes: 1}
	for key, n := range goesOn {
		if _, known := begun[key]; !known {
			entry.Key, entry.Start, entry.End = key, n.Started, time.Time{}
			entries = append(entries, entry)
		}
	}
	for key, n := range begun {
		if _, on := goesOn[key]; !on {
			entry.Key, entry.Start, entry.End = key, n.Started, endOf(n, machines, ctl.all.room.Now())
			entries = append(entries, entry)
		}
	}
	return entries
}

// runsOf are the nodes whose machines run, by nodeInfo.boot.
func runsOf(nodes []nodeInfo) map[string]nodeInfo {
	runs := map[string]nodeInfo{}
	for _, n := range nodes {
		if n.Machine != "" && !n.Started.IsZero() && !n.Lost {
			runs[n.boot()] = n
		}
	}
	return runs
}

// endOf is when a node's machine stopped running. It is not before its start, also if the clock was put back.
func endOf(n nodeInfo, machines []Machine, now time.Time) time.Time {
	for _, m := range machines {
		if m.ID == n.Machine && m.Stopped.After(n.Started) && m.Stopped.Before(now) {
			return m.Stopped
		}
	}
	if now.Before(n.Started) {
		return n.Started
	}
	return now
}
