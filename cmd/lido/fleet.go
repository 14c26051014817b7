package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/network"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// fleet makes the machines of batch clusters: a scale set behind a load balancer, in a resource group for each cluster
// that people can look at.
type fleet struct {
	arm     *arm.Server
	compute *compute.Room
	network *network.Room
	engine  machine.Engine
	log     *slog.Logger

	mu   sync.Mutex
	made map[string]string // cluster's key → hash of what was asked for last, but for the count
}

func newFleet(m *rooms) *fleet {
	return &fleet{arm: m.arm, compute: m.compute, network: m.network, engine: m.engine, log: m.log, made: map[string]string{}}
}

// The resources in a cluster's group, with the api versions that they are asked for by.
const (
	fleetNetwork  = "network"
	fleetAddress  = "address"
	fleetBalancer = "logins"
	fleetSet      = "nodes"
	fleetSubnet   = "nodes"
	fleetNATPool  = "ssh"

	networkVersion = "2022-07-01"
	computeVersion = "2022-11-01"
	groupVersion   = "2021-04-01"
)

// group returns the id of a cluster's resource group.
func (f *fleet) group(cluster string) arm.ID {
	id := arm.ParsePath(cluster)
	return arm.GroupID(id.Subscription(), fleetGroup(id))
}

// fleetGroup names a cluster's resource group. Where the parts do not tell clusters apart, a hash does.
func fleetGroup(cluster arm.ID) string {
	name := "batchai-" + cluster.Group() + "-" + strings.Join(cluster.Names, "-")
	if len(name) <= 90 && !strings.Contains(cluster.Group()+cluster.Names[0], "-") {
		return name
	}
	sum := sha256.Sum256([]byte(cluster.Key()))
	return name[:min(len(name), 81)] + "-" + hex.EncodeToString(sum[:4])
}

func (f *fleet) in(cluster, typ, name string) arm.ID {
	g := f.group(cluster)
	return arm.ResourceID(g.Subscription(), g.Group(), typ, name)
}

func (f *fleet) set(cluster string) arm.ID { return f.in(cluster, compute.TypeSet, fleetSet) }

// put asks for a resource and does not wait until it is there.
func (f *fleet) put(ctx context.Context, id arm.ID, version string, body any) error {
	return f.do(ctx, &arm.Request{Method: http.MethodPut, ID: id, APIVersion: version}, body)
}

func (f *fleet) do(ctx context.Context, r *arm.Request, body any) error {
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r.Body = b
	}
	r.Caller, r.Query = systemCaller, map[string][]string{}
	_, err := f.arm.Do(ctx, r)
	return err
}

// Apply asks for a cluster's machines. What was asked for before is not asked for again.
func (f *fleet) Apply(ctx context.Context, s batch.FleetSpec) error {
	hash := fleetHash(s)
	f.mu.Lock()
	same := f.made[store.Key(s.Cluster)] == hash
	f.mu.Unlock()
	capacity, err := f.capacity(ctx, s.Cluster)
	if err == nil && same && capacity == s.Count {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || !same {
		if err := f.makeGroup(ctx, s); err != nil {
			return err
		}
	}
	if err := f.put(ctx, f.set(s.Cluster), computeVersion, f.setBody(s)); err != nil {
		return err
	}
	f.mu.Lock()
	f.made[store.Key(s.Cluster)] = hash
	f.mu.Unlock()
	return nil
}

// fleetHash tells two wishes apart, but for their counts.
func fleetHash(s batch.FleetSpec) string {
	s.Count = 0
	b, _ := json.Marshal(s)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// capacity is how many machines were asked for.
func (f *fleet) capacity(ctx context.Context, cluster string) (n int, err error) {
	err = f.arm.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(f.set(cluster).String())
		if err != nil {
			return err
		}
		var set struct{ SKU struct{ Capacity arm.Int } }
		err = arm.Decode(d.Desired, &set)
		n = int(set.SKU.Capacity)
		return err
	})
	return n, err
}

// makeGroup makes the group and all in it that the scale set needs.
func (f *fleet) makeGroup(ctx context.Context, s batch.FleetSpec) error {
	if err := f.ownGroup(ctx, s.Cluster); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	type object = map[string]any
	cluster := arm.ParsePath(s.Cluster)
	tags := object{"batchai-cluster": cluster.Name(), "batchai-workspace": cluster.Names[0]}
	if err := f.put(ctx, f.group(s.Cluster), groupVersion, object{"location": "local", "managedBy": s.Cluster, "tags": tags}); err != nil {
		return err
	}
	if s.Subnet == "" {
		err := f.put(ctx, f.in(s.Cluster, "Microsoft.Network/virtualNetworks", fleetNetwork), networkVersion, object{"location": "local", "properties": object{
			"addressSpace": object{"addressPrefixes": []string{"10.0.0.0/16"}},
			"subnets":      []object{{"name": fleetSubnet, "properties": object{"addressPrefix": "10.0.0.0/20"}}},
		}})
		if err != nil {
			return err
		}
	}
	address := f.in(s.Cluster, "Microsoft.Network/publicIPAddresses", fleetAddress)
	if err := f.put(ctx, address, networkVersion, object{"location": "local", "properties": object{"publicIPAllocationMethod": "Static"}}); err != nil {
		return err
	}
	balancer := f.in(s.Cluster, "Microsoft.Network/loadBalancers", fleetBalancer)
	front := balancer.String() + "/frontendIPConfigurations/public"
	return f.put(ctx, balancer, networkVersion, object{"location": "local", "properties": object{
		"frontendIPConfigurations": []object{{"name": "public", "properties": object{"publicIPAddress": object{"id": address.String()}}}},
		"inboundNatPools": []object{{"name": fleetNATPool, "properties": object{"frontendIPConfiguration": object{"id": front}, "protocol": "tcp",
			"frontendPortRangeStart": 50000, "frontendPortRangeEnd": 51999, "backendPort": 22}}},
	}})
}

// ownGroup refuses a group that somebody else made, and returns store.ErrNotFound if there is none.
func (f *fleet) ownGroup(ctx context.Context, cluster string) error {
	return f.arm.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(f.group(cluster).String())
		if err != nil {
			return err
		}
		var g struct{ ManagedBy string }
		if err := arm.Decode(d.Desired, &g); err != nil {
			return err
		}
		if store.Key(g.ManagedBy) != store.Key(cluster) {
			return arm.Conflict("ResourceGroupInUse", "The resource group '%s', which the machines of the cluster '%s' belong in, is there and is not the cluster's. Delete it or give the cluster another name.",
				arm.ParsePath(d.ID).Name(), arm.ParsePath(cluster).Name())
		}
		return nil
	})
}

// setBody is the scale set of a cluster's machines.
func (f *fleet) setBody(s batch.FleetSpec) map[string]any {
	type object = map[string]any
	name := arm.ParsePath(s.Cluster).Name()
	subnet := s.Subnet
	if subnet == "" {
		subnet = f.in(s.Cluster, "Microsoft.Network/virtualNetworks", fleetNetwork).String() + "/subnets/" + fleetSubnet
	}
	balancer := f.in(s.Cluster, "Microsoft.Network/loadBalancers", fleetBalancer).String()
	os := object{"computerNamePrefix": fleetPrefix(name), "adminUsername": s.User.Name, "customData": base64.StdEncoding.EncodeToString([]byte(agentScript))}
	linux := object{"disablePasswordAuthentication": s.User.Password == ""}
	if s.User.Password != "" {
		os["adminPassword"] = s.User.Password
	}
	if s.User.Key != "" {
		linux["ssh"] = object{"publicKeys": []object{{"path": "/home/" + s.User.Name + "/.ssh/authorized_keys", "keyData": s.User.Key}}}
	}
	os["linuxConfiguration"] = linux
	image := object{"publisher": s.Image.Publisher, "offer": s.Image.Offer, "sku": s.Image.SKU, "version": cmp.Or(string(s.Image.Version), "latest")}
	if s.Image.ID != "" {
		image = object{"id": s.Image.ID}
	}
	priority := "Regular"
	if s.LowPriority {
		priority = "Low"
	}
	return object{"location": "local", "sku": object{"name": s.Size, "capacity": s.Count}, "properties": object{
		"overprovision": false, "singlePlacementGroup": false, "upgradePolicy": object{"mode": "Manual"},
		"virtualMachineProfile": object{
			"priority": priority, "osProfile": os, "storageProfile": object{"imageReference": image},
			"networkProfile": object{"networkInterfaceConfigurations": []object{{"name": "eth0", "properties": object{"primary": true,
				"ipConfigurations": []object{{"name": "node", "properties": object{"subnet": object{"id": subnet},
					"loadBalancerInboundNatPools": []object{{"id": balancer + "/inboundNatPools/" + fleetNATPool}}}}}}}}},
		}}}
}

// fleetPrefix makes a prefix of host names from a cluster's name.
func fleetPrefix(name string) string {
	p := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if p = strings.Trim(p[:min(len(p), 40)], "-"); p == "" {
		p = "node"
	}
	return p + "-"
}

// agentScript installs the agent in a machine at its first boot.
const agentScript = `#!/bin/sh
# Makes this machine a node of a batch cluster: lido's agent runs its tasks.
cat > /etc/systemd/system/lido-node.service <<'END'
` + node.Unit + `
END
systemctl daemon-reload
systemctl enable lido-node.service
systemctl start --no-block lido-node.service
`

// Drop removes machines at once. Those that are not there any more are passed over.
func (f *fleet) Drop(ctx context.Context, cluster string, names []string) error {
	states, err := f.states(ctx, cluster)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, name := range names {
		gone[name] = true
	}
	var numbers []string
	for _, s := range states {
		if gone[s.Computer] && s.State != "deleting" {
			numbers = append(numbers, arm.ParsePath(s.InstanceID).Name())
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	r := &arm.Request{Method: http.MethodPost, ID: arm.ParsePath(f.set(cluster).String() + "/delete"), APIVersion: computeVersion}
	return f.do(ctx, r, map[string]any{"instanceIds": numbers})
}

func (f *fleet) states(ctx context.Context, cluster string) ([]compute.MachineState, error) {
	return f.compute.MachinesOf(ctx, f.set(cluster).String())
}

// Remove deletes a cluster's group with all in it.
func (f *fleet) Remove(ctx context.Context, cluster string) (done bool, err error) {
	f.mu.Lock()
	delete(f.made, store.Key(cluster))
	f.mu.Unlock()
	err = f.ownGroup(ctx, cluster)
	var foreign *arm.Error
	if errors.Is(err, store.ErrNotFound) || errors.As(err, &foreign) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	err = f.do(ctx, &arm.Request{Method: http.MethodDelete, ID: f.group(cluster), APIVersion: groupVersion}, nil)
	if err != nil {
		return false, fmt.Errorf("remove the machines of %s: %w", cluster, err)
	}
	return false, nil
}

// Machines lists a cluster's machines with the address and port by which ssh reaches each.
func (f *fleet) Machines(ctx context.Context, cluster string) ([]batch.Machine, error) {
	states, err := f.states(ctx, cluster)
	if err != nil || len(states) == 0 {
		return nil, err
	}
	login, ports, err := f.logins(ctx, cluster)
	if err != nil {
		return nil, err
	}
	out := make([]batch.Machine, len(states))
	for i, s := range states {
		out[i] = batch.Machine{Name: s.Computer, ID: s.Machine, Address: s.Address, Login: login, Port: ports[store.Key(s.InstanceID)],
			State: fleetState(s.State), Reason: s.Reason, Started: s.Since, Stopped: s.Stopped}
	}
	return out, nil
}

// logins returns the public address of a cluster and the ports that lead to its instances.
func (f *fleet) logins(ctx context.Context, cluster string) (address string, ports map[string]int, err error) {
	err = f.arm.Store.View(ctx, func(tx *store.Tx) error {
		a, err := f.network.PublicAddress(tx, f.in(cluster, "Microsoft.Network/publicIPAddresses", fleetAddress).String())
		if err != nil {
			return err
		}
		if a.IsValid() {
			address = a.String()
		}
		ports, err = f.network.NATPorts(tx, f.in(cluster, "Microsoft.Network/loadBalancers", fleetBalancer).String()+"/inboundNatPools/"+fleetNATPool)
		return err
	})
	return address, ports, err
}

// fleetState is an instance's state in the words of batch.Machine.
func fleetState(s string) string {
	switch s {
	case "running", "failed", "creating":
		return s
	case "starting":
		return "creating"
	case "deleting", "draining":
		return "deleting"
	}
	return "stopped"
}

// Watch tells of all clusters that were asked about whenever an instance or a machine changes.
func (f *fleet) Watch(ctx context.Context, notify func(cluster string)) error {
	sub := f.arm.Store.Subscribe(compute.TypeInstance)
	defer sub.Close()
	ended := make(chan error, 1)
	go func() { ended <- f.engine.Watch(ctx, func(string) { sub.Wake() }) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-sub.C:
			for _, c := range f.clusters() {
				notify(c)
			}
		}
	}
}

func (f *fleet) clusters() (keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.made {
		keys = append(keys, key)
	}
	return keys
}
