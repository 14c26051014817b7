package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"lido.dev/lido/bench/rig"
	"lido.dev/lido/internal/client"
)

// lido is a lido of its own with a cluster of eight machines.
type lido struct {
	*rig.Lido
	work    client.Workspace
	cluster string
	count   int   // jobs so far
	agents  []int // processes of the nodes' agents
}

const senders = 8

type object = map[string]any

func startLido(ctx context.Context, o options, slots int) (peer, error) {
	base, err := rig.Image(ctx, o.images, "base")
	if err != nil {
		return nil, err
	}
	l, err := rig.Start(ctx, rig.Options{Bin: o.bin, Image: &base})
	if err != nil {
		return nil, err
	}
	p := &lido{Lido: l}
	others := agents(nil)
	if err := p.makeCluster(ctx, slots); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	p.agents = agents(others)
	return p, nil
}

// makeCluster makes nodes that share a drive for the jobs' output.
func (p *lido) makeCluster(ctx context.Context, slots int) error {
	c, err := p.Client(ctx)
	if err != nil {
		return err
	}
	p.work = c.Workspace("bench", "bench")
	if err := p.work.Ensure(ctx, "jobs"); err != nil {
		return err
	}
	a, err := c.EnsureAccount(ctx, "bench", "lidobench")
	if err != nil {
		return err
	}
	if err := c.EnsureShare(ctx, a, "out"); err != nil {
		return err
	}
	p.cluster = p.work.ClusterID("bench")
	share := object{"accountName": a.Name, "azureFileUrl": a.File + "out", "credentials": object{"accountKey": a.Key}, "relativeMountPath": "out"}
	err = c.Put(ctx, p.cluster, object{"properties": object{
		"vmSize": "Standard_F1s", "slotsPerNode": slots,
		"scaleSettings":               object{"manual": object{"targetNodeCount": nodes}},
		"virtualMachineConfiguration": object{"imageReference": object{"publisher": "lido", "offer": "machines", "sku": "base", "version": "latest"}},
		"userAccountSettings":         object{"adminUserName": "bench", "adminUserPassword": "Bench-4711-bench"},
		"nodeSetup":                   object{"mountVolumes": object{"azureFileShares": []object{share}}},
	}})
	if err != nil {
		return err
	}
	return p.awaitNodes(ctx)
}

func (p *lido) awaitNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		c, err := p.work.Client.Cluster(ctx, p.cluster)
		if err != nil {
			return fmt.Errorf("wait for nodes: %w", err)
		}
		if c.Properties.Counts.Idle == nodes {
			return nil
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for nodes: %w: %+v %+v", err, c.Properties.Counts, c.Properties.Errors)
		}
	}
}

// submit makes the next job. A job is a request of its own, as from az or an SDK.
func (p *lido) submit(ctx context.Context, number int) (id string, err error) {
	id = p.work.JobID("jobs", fmt.Sprintf("job%d", number))
	return id, p.work.Client.Put(ctx, id, object{"properties": object{
		"cluster": object{"id": p.cluster}, "nodeCount": 1, "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/out",
		"customToolkitSettings": object{"commandLine": "true"},
	}})
}

func (p *lido) await(ctx context.Context, id string) error {
	var j *client.Job
	var err error
	for j == nil || !j.Ended() {
		if j, err = p.work.Client.AwaitJob(ctx, id, j); err != nil {
			return err
		}
	}
	if j.Properties.State != "succeeded" {
		return fmt.Errorf("job %s failed: %+v", j.Name, j.Properties.Info.Errors)
	}
	return nil
}

// burst submits jobs by some senders, each of which then asks after all that it sent.
func (p *lido) burst(ctx context.Context, n int) error {
	first := p.count
	p.count += n
	errs := make([]error, senders)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			var sent []string
			for i := s; i < n; i += senders {
				id, err := p.submit(ctx, first+i)
				if err != nil {
					errs[s] = err
					return
				}
				sent = append(sent, id)
			}
			for _, id := range sent {
				if err := p.await(ctx, id); err != nil {
					errs[s] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *lido) one(ctx context.Context) error {
	p.count++
	id, err := p.submit(ctx, p.count-1)
	if err != nil {
		return err
	}
	return p.await(ctx, id)
}

func (p *lido) close() error { return p.Close() }
