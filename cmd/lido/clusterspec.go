package main

import (
	"fmt"
	"strconv"
	"strings"
)

// clusterOptions are what a cluster is made of.
type clusterOptions struct {
	minimum, maximum int
	auto             bool // follow the jobs between minimum and maximum; else maximum is the number
	size, image      string
	priority         string
	slots            int
	user, key        string
	deallocation     string
}

// firstCluster is the cluster that is made when a job needs one.
func firstCluster() clusterOptions {
	return clusterOptions{minimum: 0, maximum: 4, auto: true, size: "Standard_F2s_v2", image: "dsvm", user: "lido", priority: "dedicated"}
}

// setNodes reads COUNT or MIN..MAX.
func (o *clusterOptions) setNodes(s string) error {
	low, high, auto := strings.Cut(s, "..")
	if !auto {
		high = low
	}
	a, errA := strconv.Atoi(low)
	b, errB := strconv.Atoi(high)
	if errA != nil || errB != nil || a < 0 || b < a {
		return fmt.Errorf("%q is no number of nodes: want a number like 4, or a range like 0..8", s)
	}
	o.minimum, o.maximum, o.auto = a, b, auto
	return nil
}

func (o *clusterOptions) scale() map[string]any {
	if o.auto {
		return map[string]any{"autoScale": map[string]any{"minimumNodeCount": o.minimum, "maximumNodeCount": o.maximum}}
	}
	manual := map[string]any{"targetNodeCount": o.maximum}
	if o.deallocation != "" {
		manual["nodeDeallocationOption"] = o.deallocation
	}
	return map[string]any{"manual": manual}
}

// body is the cluster as the API takes it.
func (o *clusterOptions) body() (map[string]any, error) {
	image, err := imageReference(o.image)
	if err != nil {
		return nil, err
	}
	key := o.key
	if key == "" {
		if key, err = ownKey(); err != nil {
			return nil, err
		}
	}
	p := map[string]any{
		"vmSize": o.size, "vmPriority": o.priority, "scaleSettings": o.scale(),
		"virtualMachineConfiguration": map[string]any{"imageReference": image},
		"userAccountSettings":         map[string]any{"adminUserName": o.user, "adminUserSshPublicKey": key},
	}
	if o.slots > 0 {
		p["slotsPerNode"] = o.slots
	}
	return map[string]any{"properties": p}, nil
}

// imageReference reads an image: one of lido's own by its recipe, an image's id, or publisher:offer:sku:version.
func imageReference(s string) (map[string]any, error) {
	if strings.HasPrefix(s, "/") {
		return map[string]any{"virtualMachineImageId": s}, nil
	}
	parts := strings.Split(s, ":")
	switch len(parts) {
	case 1:
		parts = []string{"lido", "machines", s, "latest"}
	case 4:
	default:
		return nil, fmt.Errorf("image %q: want one of lido's by name (dsvm, base) or publisher:offer:sku:version", s)
	}
	return map[string]any{"publisher": parts[0], "offer": parts[1], "sku": parts[2], "version": parts[3]}, nil
}
