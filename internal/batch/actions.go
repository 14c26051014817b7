package batch

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// terminate records the wish that a job ends. The job's runner carries it out; the operation ends with the job.
func (r *Room) terminate(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	resp := &arm.Response{Status: http.StatusAccepted, Location: true}
	err := r.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := getDoc(tx, req.ID)
		if err != nil {
			return err
		}
		var st jobStatus
		if err := arm.Decode(d.Status, &st); err != nil {
			return err
		}
		if st.ended() {
			resp.Status, resp.Location = http.StatusOK, false
			return nil
		}
		if t, err := terminationOf(tx, d); err != nil {
			return err
		} else if t == nil {
			err := tx.SetJSON(bucketTerminate, store.Key(d.ID), termination{UID: d.UID, At: r.Now(), By: req.Caller.Name})
			if err != nil {
				return err
			}
		}
		tx.Touch(d.ID, strings.ToLower(TypeJob))
		resp.Operation, err = r.Server.StartOperation(tx, d, "terminate", 0)
		return err
	})
	r.wakeSweep()
	return resp, err
}

func getDoc(tx *store.Tx, id arm.ID) (*store.Doc, error) {
	d, err := tx.Get(id.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.NotFound(id)
	}
	return d, err
}

// login is how ssh reaches a node from outside.
type login struct {
	Node    string `json:"nodeId"`
	Address string `json:"ipAddress"`
	Port    int    `json:"port"`
}

func (r *Room) clusterLogins(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var logins []login
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := getDoc(tx, req.ID)
		if err != nil {
			return err
		}
		logins, err = loginsOf(d, nil)
		return err
	})
	return arm.Page(logins), err
}

// loginsOf returns the ways into a cluster's nodes, of the wanted ones if any are named.
func loginsOf(d *store.Doc, wanted map[string]bool) ([]login, error) {
	var st clusterStatus
	if err := arm.Decode(d.Status, &st); err != nil {
		return nil, err
	}
	var logins []login
	for _, n := range st.Nodes {
		if n.Login != "" && (wanted == nil || wanted[n.Name]) {
			logins = append(logins, login{n.Name, n.Login, n.Port})
		}
	}
	return logins, nil
}

// jobLogins lists the nodes that a job runs on, or ran on while they are still there.
func (r *Room) jobLogins(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var logins []login
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := getDoc(tx, req.ID)
		if err != nil {
			return err
		}
		var st jobStatus
		var wish struct{ Properties struct{ Cluster ref } }
		if err := errors.Join(arm.Decode(d.Status, &st), arm.Decode(d.Desired, &wish)); err != nil {
			return err
		}
		c, err := tx.Get(wish.Properties.Cluster.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		wanted := map[string]bool{}
		for _, n := range st.Nodes {
			wanted[n.Node] = true
		}
		logins, err = loginsOf(c, wanted)
		return err
	})
	return arm.Page(logins), err
}

// waiting makes a GET with "Prefer: wait=N" (RFC 7240) answer when the job's state has changed, or after N seconds. With
// "seen=STATE" the change is one from that state, which the client knows.
func (r *Room) waiting(get arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		wait, seen := preferredWait(req.Prefer)
		if wait == 0 {
			return get(ctx, req)
		}
		ctx, cancel := context.WithTimeout(ctx, wait+time.Minute)
		defer cancel()
		sub := r.Store.SubscribeDoc(req.ID.Key())
		defer sub.Close()
		timeout := time.After(wait)
		for {
			resp, err := get(ctx, req)
			if err != nil {
				return nil, err
			}
			state := stateShown(resp)
			if seen == "" {
				seen = state
			}
			if state != seen || state == stateSucceeded || state == stateFailed {
				return resp, nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-timeout:
				return resp, nil
			case <-sub.C:
			}
		}
	}
}

// maxWait bounds how long a client can let its GET wait.
const maxWait = 5 * time.Minute

func preferredWait(prefer string) (wait time.Duration, seen string) {
	for part := range strings.SplitSeq(prefer, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.ToLower(part)), "=")
		switch name {
		case "wait":
			seconds, _ := strconv.Atoi(value)
			wait = min(time.Duration(min(max(0, seconds), 3600))*time.Second, maxWait)
		case "seen":
			seen = value
		}
	}
	return wait, seen
}

func stateShown(resp *arm.Response) string {
	body, _ := resp.Body.(map[string]any)
	state, _ := properties(body)["executionState"].(string)
	return state
}
