package rig

import (
	"context"
	"net/http"
)

// FirstPort is the pool address's port that leads to port 22 of the pool's first machine; the next machine has the next.
const FirstPort = 50000

type object = map[string]any

// MakeNetwork makes what a pool stands on: a virtual network with room for a thousand machines, a public address, and
// a load balancer that shares port 22 among the machines and has a port for each. It returns the address.
func (l *Lido) MakeNetwork(ctx context.Context) (address string, err error) {
	subnets := []object{{"name": "machines", "properties": object{"addressPrefix": "10.0.0.0/20"}}}
	balancer := l.ID("Microsoft.Network/loadBalancers/bench")
	front := object{"id": balancer + "/frontendIPConfigurations/public"}
	for _, r := range []struct {
		path       string
		properties object
	}{
		{"Microsoft.Network/virtualNetworks/bench", object{"addressSpace": object{"addressPrefixes": []string{"10.0.0.0/16"}}, "subnets": subnets}},
		{"Microsoft.Network/publicIPAddresses/bench", object{"publicIPAllocationMethod": "Static"}},
		{"Microsoft.Network/loadBalancers/bench", object{
			"frontendIPConfigurations": []object{{"name": "public", "properties": object{
				"publicIPAddress": object{"id": l.ID("Microsoft.Network/publicIPAddresses/bench")}}}},
			"backendAddressPools": []object{{"name": "machines"}},
			"inboundNatPools": []object{{"name": "each", "properties": object{"frontendIPConfiguration": front, "protocol": "Tcp",
				"frontendPortRangeStart": FirstPort, "frontendPortRangeEnd": FirstPort + 1999, "backendPort": 22}}},
			"loadBalancingRules": []object{{"name": "ssh", "properties": object{"frontendIPConfiguration": front, "protocol": "Tcp",
				"frontendPort": 22, "backendPort": 22, "backendAddressPool": object{"id": balancer + "/backendAddressPools/machines"}}}},
		}},
	} {
		if err := l.Put(ctx, l.ID(r.path), object{"location": "local", "properties": r.properties}); err != nil {
			return "", err
		}
	}
	var ip struct {
		Properties struct{ IPAddress string }
	}
	err = l.Do(ctx, http.MethodGet, l.ID("Microsoft.Network/publicIPAddresses/bench"), nil, &ip)
	return ip.Properties.IPAddress, err
}

// Pool returns the body of a scale set of machines with the image "base" on the network that MakeNetwork made.
func (l *Lido) Pool(machines int) any {
	balancer := l.ID("Microsoft.Network/loadBalancers/bench")
	return object{
		"location": "local",
		"sku":      object{"name": "Standard_F1s", "capacity": machines},
		"properties": object{
			"overprovision": false,
			"upgradePolicy": object{"mode": "Manual"},
			"virtualMachineProfile": object{
				"storageProfile": object{"imageReference": object{"publisher": "lido", "offer": "machines", "sku": "base", "version": "latest"}},
				"osProfile":      object{"computerNamePrefix": "bench", "adminUsername": "bench", "adminPassword": "Bench-4711-bench"},
				"networkProfile": object{"networkInterfaceConfigurations": []object{{"name": "nic", "properties": object{
					"primary": true, "ipConfigurations": []object{{"name": "ip", "properties": object{
						"subnet":                          object{"id": l.ID("Microsoft.Network/virtualNetworks/bench/subnets/machines")},
						"loadBalancerBackendAddressPools": []object{{"id": balancer + "/backendAddressPools/machines"}},
						"loadBalancerInboundNatPools":     []object{{"id": balancer + "/inboundNatPools/each"}},
					}}}}}}},
			},
		},
	}
}
