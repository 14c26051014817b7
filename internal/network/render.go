package network

import (
	"context"
	"fmt"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// renderLB adds ids, back references, addresses and the NAT rules that NAT pools make.
func (r *Room) renderLB(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	p := props(body)
	p["resourceGuid"] = d.UID
	lb, err := readLB(d)
	if err != nil {
		return err
	}
	all, err := attachments(tx)
	if err != nil {
		return err
	}
	view := &lbView{lb: lb, tx: tx, all: all, etag: fmt.Sprint(body["etag"])}
	rules := items(p, "inboundNatRules")
	if err := view.ruleTargets(&rules); err != nil {
		return err
	}
	setItems(p, "inboundNatRules", rules)
	for _, list := range lbLists {
		entries := items(p, list)
		for _, e := range entries {
			child(e, d.ID, typeLB, list, view.etag)
			if err := view.finish(list, e, rules); err != nil {
				return err
			}
		}
		setItems(p, list, entries)
	}
	return nil
}

// lbView is a load balancer being shown.
type lbView struct {
	lb   *balancer
	tx   *store.Tx
	all  []*Attachment
	etag string
}

// ruleTargets adds a NAT rule for each machine of each NAT pool.
func (v *lbView) ruleTargets(rules *[]object) error {
	for _, g := range v.lb.ranges() {
		if g.rule {
			continue
		}
		ports, err := portsOf(v.tx, g.key)
		if err != nil {
			return err
		}
		for _, a := range v.all {
			port, ok := ports[key(a.Owner.InstanceID)]
			nic, ip := a.member(g.members)
			if !ok || ip == nil {
				continue
			}
			*rules = append(*rules, object{"name": g.name + "." + nameOf(a.Owner.InstanceID), "properties": object{
				"frontendIPConfiguration": object{"id": g.frontEnd}, "backendIPConfiguration": object{"id": a.configID(nic, ip)},
				"protocol": g.protocolName, "frontendPort": port, "backendPort": g.backendPort, "idleTimeoutInMinutes": g.idleMinutes,
				"enableFloatingIP": false, "enableTcpReset": false,
			}})
		}
	}
	return nil
}

func (v *lbView) finish(list string, e object, natRules []object) error {
	p, id := props(e), fmt.Sprint(e["id"])
	switch list {
	case "frontendIPConfigurations":
		return v.finishFrontEnd(p, id, natRules)
	case "backendAddressPools":
		return v.finishPool(p, id)
	case "probes":
		setRefs(p, "loadBalancingRules", v.rulesWhere(func(r *lbRule) bool { return strings.EqualFold(refID(r.Properties.Probe), id) }))
	}
	return nil
}

func (v *lbView) finishFrontEnd(p object, id string, natRules []object) error {
	setRefs(p, "loadBalancingRules", v.rulesWhere(func(r *lbRule) bool { return strings.EqualFold(refID(r.Properties.FrontEnd), id) }))
	var nat, pools []string
	for _, n := range natRules {
		fe, _ := props(n)["frontendIPConfiguration"].(object)
		if strings.EqualFold(text(fe, "id"), id) {
			nat = append(nat, v.lb.ID+"/inboundNatRules/"+text(n, "name"))
		}
	}
	for _, n := range v.lb.Properties.NATPools {
		if strings.EqualFold(refID(n.Properties.FrontEnd), id) {
			pools = append(pools, v.lb.ID+"/inboundNatPools/"+n.Name)
		}
	}
	setRefs(p, "inboundNatRules", nat)
	setRefs(p, "inboundNatPools", pools)
	setRefs(p, "outboundRules", v.outboundWhere(func(o *outbound) bool { return containsFold(ids(o.Properties.FrontEnds), id) }))
	f := v.lb.frontEnd(id)
	if f == nil || f.Properties.PublicIPAddress != nil {
		return nil
	}
	a, err := frontAddr(v.tx, v.lb.ID, f)
	if err == nil && a.IsValid() {
		p["privateIPAddress"] = a.String()
		p["privateIPAddressVersion"] = "IPv4"
	}
	return err
}

func (v *lbView) rulesWhere(match func(*lbRule) bool) []string {
	var out []string
	for i := range v.lb.Properties.Rules {
		if r := &v.lb.Properties.Rules[i]; match(r) {
			out = append(out, v.lb.ID+"/loadBalancingRules/"+r.Name)
		}
	}
	return out
}

func (v *lbView) outboundWhere(match func(*outbound) bool) []string {
	var out []string
	for i := range v.lb.Properties.Outbound {
		if o := &v.lb.Properties.Outbound[i]; match(o) {
			out = append(out, v.lb.ID+"/outboundRules/"+o.Name)
		}
	}
	return out
}

func (v *lbView) finishPool(p object, id string) error {
	setRefs(p, "loadBalancingRules", v.rulesWhere(func(r *lbRule) bool { return strings.EqualFold(r.pool(), id) }))
	setRefs(p, "outboundRules", v.outboundWhere(func(o *outbound) bool { return strings.EqualFold(refID(o.Properties.Pool), id) }))
	var members, nat []string
	var addresses []any
	for _, g := range v.lb.ranges() {
		if g.rule && g.members == key(id) {
			nat = append(nat, v.lb.ID+"/inboundNatRules/"+g.name)
		}
	}
	for _, a := range v.all {
		nic, ip := a.member(id)
		if ip == nil {
			continue
		}
		config := a.configID(nic, ip)
		members = append(members, config)
		mapping, err := v.mapping(a, id)
		if err != nil {
			return err
		}
		addresses = append(addresses, object{"name": nameOf(a.Owner.InstanceID), "properties": object{
			"networkInterfaceIPConfiguration": object{"id": config}, "inboundNatRulesPortMapping": mapping}})
	}
	setRefs(p, "backendIPConfigurations", members)
	setRefs(p, "inboundNatRules", nat)
	if len(addresses) > 0 {
		p["loadBalancerBackendAddresses"] = addresses
	}
	return nil
}

// mapping lists the ports that NAT rules of a pool give a machine.
func (v *lbView) mapping(a *Attachment, pool string) ([]any, error) {
	out := []any{}
	for _, g := range v.lb.ranges() {
		if !g.rule || g.members != key(pool) {
			continue
		}
		ports, err := portsOf(v.tx, g.key)
		if err != nil {
			return nil, err
		}
		if port, ok := ports[key(a.Owner.InstanceID)]; ok {
			out = append(out, object{"inboundNatRuleName": g.name, "protocol": g.protocolName, "frontendPort": port, "backendPort": g.backendPort})
		}
	}
	return out, nil
}

// configurationsIn lists the IP configurations that have an address of a subnet.
func (r *Room) configurationsIn(tx *store.Tx, subnetID string) ([]string, error) {
	entries, err := tx.ListKV(bucketSubnet + key(subnetID))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.Key == hintKey {
			continue
		}
		a, err := attachmentOf(tx, string(e.Value))
		if err != nil {
			out = append(out, string(e.Value)) // an internal front end
			continue
		}
		for i := range a.Interfaces {
			for j := range a.Interfaces[i].IPs {
				if ip := &a.Interfaces[i].IPs[j]; ip.Addr.String() == e.Key {
					out = append(out, a.configID(&a.Interfaces[i], ip))
				}
			}
		}
	}
	return out, nil
}

// Interfaces are the documents of the interfaces of a scale set's machines, or of one machine if instanceID is given.
func (r *Room) Interfaces(tx *store.Tx, setID, instanceID string) ([]map[string]any, error) {
	var out []map[string]any
	err := r.eachOf(tx, setID, instanceID, func(a *Attachment) {
		for i := range a.Interfaces {
			out = append(out, interfaceBody(tx, a, &a.Interfaces[i]))
		}
	})
	return out, err
}

func (r *Room) eachOf(tx *store.Tx, setID, instanceID string, f func(*Attachment)) error {
	if instanceID != "" {
		a, err := attachmentOf(tx, instanceID)
		if err == nil {
			f(a)
		}
		return nil
	}
	all, err := attachments(tx)
	for _, a := range all {
		if strings.EqualFold(a.Owner.SetID, setID) {
			f(a)
		}
	}
	return err
}

func interfaceBody(tx *store.Tx, a *Attachment, nic *Interface) object {
	id := a.nicID(nic)
	p := object{"provisioningState": arm.Succeeded, "primary": nic.Primary, "macAddress": strings.ToUpper(strings.ReplaceAll(nic.MAC, ":", "-")),
		"virtualMachine": object{"id": a.Owner.InstanceID}, "enableAcceleratedNetworking": false, "enableIPForwarding": false,
		"dnsSettings": object{"dnsServers": []any{}, "appliedDnsServers": []any{}}, "resourceGuid": a.Owner.InstanceUID}
	if nic.Group != "" {
		p["networkSecurityGroup"] = object{"id": nic.Group}
	}
	var configs []any
	for i := range nic.IPs {
		configs = append(configs, configBody(tx, a, nic, &nic.IPs[i]))
	}
	p["ipConfigurations"] = configs
	return object{"name": nic.Name, "id": id, "etag": `W/"` + a.Owner.InstanceUID + `"`, "properties": p}
}

func configBody(tx *store.Tx, a *Attachment, nic *Interface, ip *IPConfiguration) object {
	id := a.configID(nic, ip)
	p := object{"provisioningState": arm.Succeeded, "privateIPAddress": ip.Addr.String(), "privateIPAllocationMethod": "Dynamic",
		"privateIPAddressVersion": "IPv4", "primary": ip.Primary, "subnet": object{"id": ip.Subnet}}
	if len(ip.Pools) > 0 {
		p["loadBalancerBackendAddressPools"] = refsTo(ip.Pools)
	}
	if rules := natRulesOf(tx, a, ip); len(rules) > 0 {
		p["loadBalancerInboundNatRules"] = refsTo(rules)
	}
	if ip.Public.IsValid() {
		p["publicIPAddress"] = object{"id": id + "/publicIPAddresses/" + ip.Label}
	}
	return object{"name": ip.Name, "id": id, "etag": `W/"` + a.Owner.InstanceUID + `"`, "properties": p}
}

// natRulesOf lists the NAT rules that lead to an IP configuration by way of NAT pools.
func natRulesOf(tx *store.Tx, a *Attachment, ip *IPConfiguration) []string {
	var out []string
	for _, pool := range ip.NATPools {
		if _, err := tx.GetKV(byInstance(key(pool)), key(a.Owner.InstanceID)); err == nil {
			out = append(out, parentOf(pool)+"/inboundNatRules/"+nameOf(pool)+"."+nameOf(a.Owner.InstanceID))
		}
	}
	return out
}

// PublicAddresses are the documents of the public addresses that a scale set's machines have of their own.
func (r *Room) PublicAddresses(tx *store.Tx, setID string) ([]map[string]any, error) {
	var out []map[string]any
	err := r.eachOf(tx, setID, "", func(a *Attachment) {
		for i := range a.Interfaces {
			for j := range a.Interfaces[i].IPs {
				ip := &a.Interfaces[i].IPs[j]
				if !ip.Public.IsValid() {
					continue
				}
				config := a.configID(&a.Interfaces[i], ip)
				out = append(out, object{"name": ip.Label, "id": config + "/publicIPAddresses/" + ip.Label, "etag": `W/"` + a.Owner.InstanceUID + `"`,
					"properties": object{"provisioningState": arm.Succeeded, "ipAddress": ip.Public.String(), "publicIPAddressVersion": "IPv4",
						"publicIPAllocationMethod": "Dynamic", "idleTimeoutInMinutes": 4, "ipConfiguration": object{"id": config}}})
			}
		}
	})
	return out, err
}
