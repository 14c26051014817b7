package compute

import (
	"context"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// hidden makes a pseudo type: something to read below a resource or a location.
func hidden(name string, list, get arm.Handler) arm.Type {
	return arm.Type{Name: name, APIVersions: apiVersions, Hidden: true, List: list, Get: get}
}

// childTypes are what can be read below sets and instances.
func (r *Room) childTypes() []arm.Type {
	return []arm.Type{
		hidden(TypeSet+"/instanceView", r.setInstanceView, nil),
		hidden(TypeSet+"/skus", r.setSkus, nil),
		hidden(TypeSet+"/osUpgradeHistory", emptyList, nil),
		hidden(TypeSet+"/publicIPAddresses", r.publicAddresses, nil),
		hidden(TypeSet+"/networkInterfaces", r.networkInterfaces, nil),
		r.extensionType(),
		hidden(TypeInstance+"/instanceView", r.instanceView, nil),
		hidden(TypeInstance+"/extensions", r.instanceExtensions, r.instanceExtension),
		hidden(TypeInstance+"/networkInterfaces", r.networkInterfaces, r.networkInterface),
		hidden("Microsoft.Compute/locations/virtualMachineScaleSets", emptyList, nil),
	}
}

func emptyList(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page([]map[string]any{}), nil
}

func (r *Room) networkInterfaces(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	list, err := r.interfaces(ctx, req.ID.Parent())
	if err != nil {
		return nil, err
	}
	return arm.Page(list), nil
}

func (r *Room) networkInterface(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	list, err := r.interfaces(ctx, req.ID.Parent())
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if name, _ := n["name"].(string); strings.EqualFold(name, req.ID.Name()) {
			return arm.OK(n), nil
		}
	}
	return nil, arm.NotFound(req.ID)
}

// interfaces returns the network interfaces below a set or an instance.
func (r *Room) interfaces(ctx context.Context, of arm.ID) (list []map[string]any, err error) {
	instance := ""
	if len(of.Types) > 1 {
		instance = of.String()
	}
	err = r.Store.View(ctx, func(tx *store.Tx) error {
		if _, _, err := r.instanceDocs(ctx, tx, of); err != nil {
			return err
		}
		list, err = r.Network.Interfaces(tx, setOf(of).String(), instance)
		return err
	})
	return list, err
}

func (r *Room) publicAddresses(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var list []map[string]any
	set := setOf(req.ID)
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Get(set.String()); err != nil {
			return notFound(err, set)
		}
		var err error
		list, err = r.Network.PublicAddresses(tx, set.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.Page(list), nil
}

// setSkus lists the sizes that a set can be given.
func (r *Room) setSkus(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	set := setOf(req.ID)
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(set.String())
		return notFound(err, set)
	})
	if err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, s := range r.available() {
		out = append(out, map[string]any{"resourceType": TypeSet, "sku": map[string]any{"name": s.Name, "tier": "Standard"},
			"capacity": map[string]any{"minimum": 0, "maximum": maxCapacity, "defaultCapacity": 1, "scaleType": "Automatic"}})
	}
	return arm.Page(out), nil
}

// available are the sizes of which this host can give at least one.
func (r *Room) available() []Size {
	var out []Size
	for _, s := range r.Sizes.All() {
		if s.Memory() <= r.Memory {
			out = append(out, s)
		}
	}
	return out
}

// sizeTypes are the listings of sizes and of what is in use.
func (r *Room) sizeTypes() []arm.Type {
	return []arm.Type{
		hidden("Microsoft.Compute/locations/vmSizes", r.listSizes, nil),
		hidden("Microsoft.Compute/locations/usages", r.listUsages, nil),
		hidden("Microsoft.Compute/skus", r.listSkus, nil),
	}
}

func (r *Room) listSizes(context.Context, *arm.Request) (*arm.Response, error) {
	out := []map[string]any{}
	for _, s := range r.Sizes.All() {
		out = append(out, map[string]any{"name": s.Name, "numberOfCores": s.CPUs, "osDiskSizeInMB": 1047552,
			"resourceDiskSizeInMB": s.DiskMB, "memoryInMB": s.MemoryMB, "maxDataDiskCount": s.DataDisk})
	}
	return arm.Page(out), nil
}

func (r *Room) listSkus(_ context.Context, req *arm.Request) (*arm.Response, error) {
	out := []map[string]any{}
	for _, s := range r.Sizes.All() {
		out = append(out, skuDocument(s, s.Memory() > r.Memory))
	}
	return arm.Page(out), nil
}

func skuDocument(s Size, tooBig bool) map[string]any {
	capability := func(name, value string) map[string]any { return map[string]any{"name": name, "value": value} }
	restrictions := []any{}
	if tooBig {
		restrictions = append(restrictions, map[string]any{"type": "Location", "values": []string{"local"},
			"restrictionInfo": map[string]any{"locations": []string{"local"}}, "reasonCode": "NotAvailableForSubscription"})
	}
	short := strings.TrimPrefix(s.Name, "Standard_")
	return map[string]any{
		"resourceType": "virtualMachines", "name": s.Name, "tier": "Standard", "size": short, "family": s.Family, "locations": []string{"local"},
		"locationInfo": []any{map[string]any{"location": "local", "zones": []string{}, "zoneDetails": []any{}}},
		"capabilities": []any{capability("vCPUs", itoa(s.CPUs)), capability("MemoryGB", strings.TrimSuffix(gib(s.Memory()), " GiB")),
			capability("MaxDataDiskCount", itoa(s.DataDisk)), capability("HyperVGenerations", "V1,V2"), capability("PremiumIO", "True"),
			capability("GPUs", itoa(s.GPUs)), capability("AcceleratedNetworkingEnabled", "True"), capability("CpuArchitectureType", "x64")},
		"restrictions": restrictions,
	}
}

// listUsages shows what of this host is in use. Azure counts cores; what lido can run out of is memory.
func (r *Room) listUsages(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var sets, instances int
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		for _, c := range []struct {
			typ string
			n   *int
		}{{TypeSet, &sets}, {TypeInstance, &instances}} {
			docs, err := tx.List(store.Query{Type: c.typ})
			if err != nil {
				return err
			}
			*c.n = len(docs)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	used, limit := r.ledger.usage()
	usage := func(name, text, unit string, n, max int64) map[string]any {
		return map[string]any{"name": map[string]any{"value": name, "localizedValue": text}, "unit": unit, "currentValue": n, "limit": max}
	}
	return arm.Page([]map[string]any{
		usage("virtualMachineScaleSets", "Virtual Machine Scale Sets", "Count", int64(sets), 2500),
		usage("virtualMachines", "Virtual Machines", "Count", int64(instances), 25000),
		usage("memory", "Memory given to machines (MiB)", "Count", used>>20, limit>>20),
	}), nil
}

// imageTypes look images up. Their lists are bare arrays.
func (r *Room) imageTypes() []arm.Type {
	const base = "Microsoft.Compute/locations/publishers"
	const offers = base + "/artifacttypes/offers"
	return []arm.Type{
		hidden(base, r.imageList(func(n []string) []string { return r.Images.Publishers() }), nil),
		hidden(offers, r.imageList(func(n []string) []string { return r.Images.Offers(n[1]) }), nil),
		hidden(offers+"/skus", r.imageList(func(n []string) []string { return r.Images.SKUs(n[1], n[3]) }), nil),
		hidden(offers+"/skus/versions", r.imageList(func(n []string) []string { return r.Images.Versions(n[1], n[3], n[4]) }), r.imageVersion),
		hidden(base+"/artifacttypes/types", r.imageList(func([]string) []string { return nil }), nil),
	}
}

// imageList lists names below a path whose names so far are L, publisher, "vmimage", offer, sku.
func (r *Room) imageList(names func([]string) []string) arm.Handler {
	return func(_ context.Context, req *arm.Request) (*arm.Response, error) {
		out := []map[string]any{}
		location := req.ID.Names[0]
		for _, n := range names(req.ID.Names) {
			out = append(out, map[string]any{"name": n, "location": location, "id": req.ID.String() + "/" + n})
		}
		if req.Query.Get("$top") == "1" && len(out) > 1 {
			out = out[len(out)-1:]
		}
		return arm.OK(out), nil
	}
}

func (r *Room) imageVersion(_ context.Context, req *arm.Request) (*arm.Response, error) {
	n := req.ID.Names
	ref := ImageRef{Publisher: n[1], Offer: n[3], SKU: n[4], Version: n[5]}
	info, err := r.Images.Resolve(ref)
	if err != nil {
		return nil, arm.Errorf(http.StatusNotFound, "NotFound", "Artifact: VMImage was not found. %v.", err)
	}
	return arm.OK(map[string]any{
		"id": req.ID.String(), "name": info.Version, "location": n[0],
		"properties": map[string]any{
			"osDiskImage": map[string]any{"operatingSystem": "Linux"}, "dataDiskImages": []any{}, "hyperVGeneration": "V1", "architecture": "x64",
			"automaticOSUpgradeProperties": map[string]any{"automaticOSUpgradeSupported": false}, "features": []any{},
		},
	}), nil
}
