package batch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// clusterDoc is a cluster's document, read.
type clusterDoc struct {
	*store.Doc
	wish   cluster
	status clusterStatus
	keys   clusterKeys
}

func (ctl *clusterControl) read(ctx context.Context) (*clusterDoc, error) {
	r := ctl.all.room
	d := &clusterDoc{}
	err := r.Store.View(ctx, func(tx *store.Tx) (err error) {
		if d.Doc, err = tx.Get(ctl.id); err != nil {
			return err
		}
		d.wish, d.status, err = readCluster(r.Server, tx, d.Doc)
		return err
	})
	if err != nil || d.Deleting {
		return d, err
	}
	if ctl.uid != d.UID || ctl.keys.Private == "" {
		ctl.keys, err = r.clusterKeys(ctx, d.ID, d.UID)
	}
	d.keys = ctl.keys
	return d, err
}

// pass looks at the cluster, decides, and carries the decision out. again says when time alone may change something.
func (ctl *clusterControl) pass(ctx context.Context) (again time.Time, err error) {
	d, err := ctl.read(ctx)
	if err != nil {
		return again, err
	}
	if ctl.uid != d.UID { // another cluster of the same name
		ctl.uid, ctl.leaveFrom = d.UID, time.Time{}
		clear(ctl.offered)
		clear(ctl.told)
		clear(ctl.begun)
	}
	if d.Deleting {
		return ctl.remove(ctx, d)
	}
	machines, err := ctl.all.room.Fleet.Machines(ctx, d.ID)
	if err != nil {
		return again, err
	}
	v := ctl.view(d, machines)
	p := decideCluster(v)
	if err := ctl.carryOut(ctx, d, machines, &p); err != nil {
		return again, err
	}
	return p.Again, nil
}

// view gathers what the decision depends on.
func (ctl *clusterControl) view(d *clusterDoc, machines []Machine) *clusterView {
	c := ctl.all
	v := &clusterView{Now: c.room.Now(), Since: c.began, Wish: &d.wish, New: d.status.Settled < d.Generation, Status: &d.status, Machines: machines,
		Agents: map[string]agentView{}, Setups: map[string]setupView{}, Offered: ctl.offered, Told: ctl.told,
		Load: c.room.jobs.load(ctl.key), IdleAfter: c.room.IdleAfter}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctl.low = d.wish.VMPriority == priorityLow
	v.Short = ctl.low && c.anyShort()
	here := map[string]bool{}
	maps.DeleteFunc(ctl.evict, func(name string, _ Problem) bool {
		return !slices.ContainsFunc(machines, func(m Machine) bool { return m.Name == name })
	})
	v.Evict = maps.Clone(ctl.evict)
	for _, m := range machines {
		if m.ID == "" {
			continue
		}
		here[m.ID], c.home[m.ID] = true, ctl.key
		if a, ok := c.agents[m.ID]; ok {
			v.Agents[m.ID] = a
		}
		boot := nodeInfo{Machine: m.ID, Started: m.Started}.boot()
		v.Setups[boot] = ctl.setupOf(d, m, boot)
	}
	for m, key := range c.home {
		if key == ctl.key && !here[m] {
			c.forgetMachine(m)
		}
	}
	return v
}

// boot names one run of a node's machine.
func (n nodeInfo) boot() string {
	return n.Machine + "@" + strconv.FormatInt(n.Started.UnixMilli(), 10)
}

// carryOut does what was decided. Each step may be done again: if it ends in the middle, the next pass decides anew.
func (ctl *clusterControl) carryOut(ctx context.Context, d *clusterDoc, machines []Machine, p *clusterPlan) error {
	r := ctl.all.room
	for _, l := range p.Down {
		r.Log.Info("batch: a node is taken away", "cluster", d.ID, "node", l.Name, "why", l.Why.Message)
		ctl.all.room.jobs.nodeDown(ctl.key, l.Name, l.Why)
		delete(ctl.offered, l.Name)
		delete(ctl.told, l.Name)
	}
	if len(p.Drop) > 0 {
		if err := r.Fleet.Drop(ctx, d.ID, p.Drop); err != nil {
			return err
		}
		ctl.evicted(p.Drop)
	}
	failure := ctl.apply(ctx, d, p)
	for _, n := range p.Setup {
		ctl.beginSetup(ctx, d, n)
	}
	if err := ctl.writeStatus(ctx, d, p, ctl.used(d, machines, p.Status.Nodes), failure); err != nil {
		return err
	}
	ctl.shortOf(p.Status.Nodes)
	for _, n := range p.Up {
		ctl.all.room.jobs.nodeUp(ctl.key, n, max(int(d.wish.SlotsPerNode), 1))
		ctl.offered[n.Name] = n.Instance
		delete(ctl.told, n.Name)
		ctl.endSetup(d, n)
	}
	for _, name := range p.Leave {
		ctl.told[name] = true
		ctl.all.room.jobs.nodeLeaving(ctl.key, name, p.Option)
		ctl.wakeUp()
	}
	return failure
}

// apply asks for the machines. An error is shown to people; it is returned, so that it is tried again.
func (ctl *clusterControl) apply(ctx context.Context, d *clusterDoc, p *clusterPlan) error {
	err := ctl.all.room.Fleet.Apply(ctx, FleetSpec{Cluster: d.ID, Count: p.Count, Size: d.wish.VMSize, Image: d.wish.VM.Image, User: d.wish.User,
		Subnet: d.wish.Subnet.id(), LowPriority: d.wish.VMPriority == priorityLow})
	if err == nil || ctx.Err() != nil {
		return err
	}
	problem := Problem{Code: "AllocationFailed", Message: "The cluster's machines cannot be asked for: lido's log has the reason."}
	if e := (*arm.Error)(nil); errors.As(err, &e) {
		problem = Problem{Code: e.Code, Message: fmt.Sprintf("The cluster's machines cannot be asked for: %s", e.Message)}
	}
	p.Status.Errors = append(p.Status.Errors, problem)
	return fmt.Errorf("ask for machines: %w", err)
}

func (r *ref) id() string {
	if r == nil {
		return ""
	}
	return r.ID
}

// writeStatus records the decision and ends the writes that wait for it: a cluster counts as provisioned when its
// machines were asked for, and its nodes prepare later.
func (ctl *clusterControl) writeStatus(ctx context.Context, d *clusterDoc, p *clusterPlan, used []Entry, failure error) error {
	st := p.Status
	var refusal *arm.Error
	if e := (*arm.Error)(nil); errors.As(failure, &e) && e.Status < http.StatusInternalServerError {
		refusal = e
	}
	st.Settled, st.ProvisioningState, st.Error = d.Generation, arm.Succeeded, nil
	if refusal != nil {
		st.ProvisioningState, st.Error = arm.Failed, refusal
	}
	for i := range st.Nodes { // which nodes have jobs is not written: it changes with each job
		if st.Nodes[i].State == nodeRunning {
			st.Nodes[i].State = nodeIdle
		}
	}
	if reflect.DeepEqual(st, d.status) { // then no machine began or ended, either
		return nil
	}
	return ctl.all.room.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Get(d.ID)
		if err != nil || now.UID != d.UID {
			return errors.Join(err, gone(now, d))
		}
		ctl.all.room.writeEntries(tx, used)
		if err := tx.SetStatus(d.ID, d.UID, st); err != nil {
			return err
		}
		return ctl.all.room.Server.SettleWrites(tx, now, d.Generation, refusal)
	})
}

func gone(now *store.Doc, d *clusterDoc) error {
	if now != nil && now.UID != d.UID {
		return store.ErrNotFound
	}
	return nil
}

// remove ends a cluster that was deleted: its jobs, its machines, and then its document.
func (ctl *clusterControl) remove(ctx context.Context, d *clusterDoc) (again time.Time, err error) {
	r := ctl.all.room
	now := r.Now()
	soon := now.Add(200 * time.Millisecond)
	if ctl.leaveFrom.IsZero() {
		ctl.leaveFrom = now
		ctl.shortOf(nil)
		for _, name := range slices.Sorted(maps.Keys(ctl.offered)) {
			ctl.all.room.jobs.nodeLeaving(ctl.key, name, leaveTerminate)
		}
	}
	if busy := ctl.all.room.jobs.load(ctl.key).Busy; len(busy) > 0 && now.Sub(ctl.leaveFrom) < leaveLimit {
		return soon, nil
	}
	for _, name := range slices.Sorted(maps.Keys(ctl.offered)) {
		ctl.all.room.jobs.nodeDown(ctl.key, name, Problem{Code: "ClusterDeleted", Message: "The cluster was deleted."})
		delete(ctl.offered, name)
	}
	done, err := r.Fleet.Remove(ctx, d.ID)
	if err != nil {
		return again, err
	}
	machines, err := r.Fleet.Machines(ctx, d.ID)
	if err != nil {
		return again, err
	}
	used := ctl.used(d, machines, nil)
	if !done {
		return soon, ctl.showRemoving(ctx, d, used)
	}
	err = r.Store.Update(ctx, func(tx *store.Tx) error {
		r.writeEntries(tx, used)
		if err := tx.DeleteKV(bucketClusterKeys, d.UID); err != nil {
			return err
		}
		return r.Server.Gone(tx, d.Doc)
	})
	if err == nil {
		err = store.ErrNotFound
	}
	return again, err
}

// showRemoving writes down that nodes whose use was counted to its end are no more.
func (ctl *clusterControl) showRemoving(ctx context.Context, d *clusterDoc, used []Entry) error {
	st := d.status
	st.Nodes, st.Target = nil, 0
	if st.Allocation != "resizing" {
		st.Allocation, st.AllocationSince = "resizing", ctl.all.room.Now()
	}
	return ctl.all.room.Store.Update(ctx, func(tx *store.Tx) error {
		ctl.all.room.writeEntries(tx, used)
		return tx.SetStatus(d.ID, d.UID, st)
	})
}
