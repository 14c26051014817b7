package batch

import (
	"context"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// noLimit is shown as the limit of what lido does not limit.
const noLimit = 1 << 31

// usages counts clusters and the vCPUs that their nodes have, by priority and family of sizes.
func (r *Room) usages(ctx context.Context, _ *arm.Request) (*arm.Response, error) {
	clusters, cpus := 0, map[string]int{"Total Cluster Dedicated Regional vCPUs": 0, "Total Cluster LowPriority Regional vCPUs": 0}
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeCluster})
		if err != nil {
			return err
		}
		clusters = len(docs)
		for _, d := range docs {
			if err := r.addUsage(d, cpus); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := []map[string]any{usage("Clusters", clusters)}
	var names []string
	for name := range cpus {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { // totals first
		if at, bt := strings.HasPrefix(a, "Total"), strings.HasPrefix(b, "Total"); at != bt {
			return map[bool]int{true: -1, false: 1}[at]
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		list = append(list, usage(name, cpus[name]))
	}
	return arm.Page(list), nil
}

func usage(name string, n int) map[string]any {
	return map[string]any{"unit": "Count", "currentValue": n, "limit": noLimit - 1,
		"name": map[string]any{"value": name, "localizedValue": strings.Replace(name, "LowPriority", "Low Priority", 1)}}
}

func (r *Room) addUsage(d *store.Doc, cpus map[string]int) error {
	var wish struct{ Properties cluster }
	var st clusterStatus
	if err := first(arm.Decode(d.Desired, &wish), arm.Decode(d.Status, &st)); err != nil {
		return err
	}
	size := Size{CPUs: 1}
	if r.Size != nil {
		size, _ = r.Size(wish.Properties.VMSize)
	}
	kind := "Dedicated"
	if wish.Properties.VMPriority == "lowpriority" {
		kind = "LowPriority"
	}
	n := size.CPUs * len(st.Nodes)
	cpus["Total Cluster "+kind+" Regional vCPUs"] += n
	if size.Family != "" {
		cpus[size.Family+" Cluster "+kind+" vCPUs"] += n
	}
	return nil
}

// listOperations lists what can be done, for those who write roles.
func listOperations(context.Context, *arm.Request) (*arm.Response, error) {
	var all []map[string]any
	add := func(typ, what string, verbs ...string) {
		for _, v := range verbs {
			all = append(all, map[string]any{"name": typ + "/" + v, "display": map[string]any{
				"provider": "Microsoft Batch AI", "resource": what, "operation": v, "description": v + " " + what},
				"origin": "user,system", "properties": map[string]any{}})
		}
	}
	add(TypeWorkspace, "workspace", "read", "write", "delete")
	add(TypeCluster, "cluster", "read", "write", "delete", "listRemoteLoginInformation/action")
	add(TypeFileServer, "file server", "read", "write", "delete")
	add(TypeExperiment, "experiment", "read", "write", "delete")
	add(TypeJob, "job", "read", "write", "delete", "terminate/action", "listOutputFiles/action", "listRemoteLoginInformation/action")
	return arm.Page(all), nil
}
