package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

func (r *Room) lbDocument() arm.Document {
	return arm.Document{Name: typeLB, APIVersions: apiVersions, Admit: r.admitLB, Merge: keepWhenAbsent("inboundNatRules"),
		Render: r.renderLB, Removing: r.removingLB}
}

// computed are the properties of each list's entries that lido fills in.
var computed = map[string][]string{
	"frontendIPConfigurations": {"loadBalancingRules", "inboundNatRules", "inboundNatPools", "outboundRules"},
	"backendAddressPools":      {"backendIPConfigurations", "loadBalancingRules", "inboundNatRules", "outboundRules", "outboundRule", "loadBalancerBackendAddresses"},
	"probes":                   {"loadBalancingRules"},
	"inboundNatRules":          {"backendIPConfiguration"},
}

func (r *Room) admitLB(_ context.Context, a *arm.Admission) error {
	p := props(a.Body)
	delete(p, "resourceGuid")
	sku, _ := a.Body["sku"].(object)
	if text(sku, "name") == "" {
		a.Body["sku"] = object{"name": "Basic", "tier": "Regional"}
	}
	for _, list := range lbLists {
		if err := parts(p, list); err != nil {
			return err
		}
		for _, e := range items(p, list) {
			for _, k := range computed[list] {
				delete(props(e), k)
			}
		}
	}
	dropGenerated(p)
	lbDefaults(p)
	lb := &balancer{}
	if err := arm.Convert(a.Body, lb); err != nil {
		return err
	}
	lb.ID = a.ID.String()
	if a.Old != nil {
		lb.ID = a.Old.ID
	}
	if err := checkLB(lb); err != nil {
		return err
	}
	return r.settleLB(a, lb)
}

// dropGenerated removes the NAT rules that NAT pools made and clients send back.
func dropGenerated(p object) {
	pools := items(p, "inboundNatPools")
	var kept []object
	for _, e := range items(p, "inboundNatRules") {
		pool, _, ok := strings.Cut(text(e, "name"), ".")
		if !ok || find(pools, pool) == nil {
			kept = append(kept, e)
		}
	}
	setItems(p, "inboundNatRules", kept)
}

func lbDefaults(p object) {
	for _, e := range items(p, "frontendIPConfigurations") {
		setDefault(props(e), "privateIPAllocationMethod", "Dynamic")
	}
	for _, e := range items(p, "loadBalancingRules") {
		q := props(e)
		setDefault(q, "idleTimeoutInMinutes", 4)
		setDefault(q, "loadDistribution", "Default")
		setDefault(q, "enableFloatingIP", false)
		setDefault(q, "enableTcpReset", false)
		setDefault(q, "disableOutboundSnat", false)
	}
	for _, e := range items(p, "probes") {
		setDefault(props(e), "intervalInSeconds", 15)
		setDefault(props(e), "numberOfProbes", 2)
	}
	for _, list := range []string{"inboundNatRules", "inboundNatPools"} {
		for _, e := range items(p, list) {
			setDefault(props(e), "idleTimeoutInMinutes", 4)
			setDefault(props(e), "enableFloatingIP", false)
			setDefault(props(e), "enableTcpReset", false)
		}
	}
}

// checkLB checks what can be checked by looking at the load balancer alone.
func checkLB(lb *balancer) error {
	for i := range lb.Properties.FrontEnds {
		if err := checkFrontEnd(lb, i); err != nil {
			return err
		}
	}
	for i := range lb.Properties.Probes {
		if err := checkProbe(lb, i); err != nil {
			return err
		}
	}
	used := map[string]string{}
	for i := range lb.Properties.Rules {
		if err := checkRule(lb, i, used); err != nil {
			return err
		}
	}
	for i := range lb.Properties.NATRules {
		if err := checkNATRule(lb, i, used); err != nil {
			return err
		}
	}
	return checkRanges(lb, used)
}

func checkFrontEnd(lb *balancer, i int) error {
	f := lb.Properties.FrontEnds[i]
	at := fmt.Sprintf("properties.frontendIPConfigurations[%d].properties", i)
	id := lb.ID + "/frontendIPConfigurations/" + f.Name
	switch p := f.Properties; {
	case p.PublicIPPrefix != nil:
		return arm.BadRequest("PublicIPPrefixNotSupported", at+".publicIPPrefix", "Frontend %s asks for a public IP prefix; lido has public IP addresses only.", id)
	case p.PublicIPAddress != nil && p.Subnet != nil:
		return arm.BadRequest("LoadBalancerFrontendIPConfigurationHasBothPublicAndPrivate", at, "Frontend %s references both a public IP address and a subnet; it has one of them.", id)
	case p.PublicIPAddress == nil && p.Subnet == nil:
		return arm.BadRequest("LoadBalancerFrontendIPConfigurationWithoutAddress", at, "Frontend %s references neither a public IP address nor a subnet.", id)
	}
	return nil
}

func checkProbe(lb *balancer, i int) error {
	p := lb.Properties.Probes[i]
	at := fmt.Sprintf("properties.probes[%d].properties.", i)
	if err := checkPort(p.Properties.Port, lb.ID+"/probes/"+p.Name, at+"port"); err != nil {
		return err
	}
	switch strings.ToLower(p.Properties.Protocol) {
	case "tcp":
	case "http", "https":
		if p.Properties.Path == "" {
			return arm.BadRequest("ProbeRequestPathMissing", at+"requestPath", "Probe %s is of protocol %s and needs a requestPath.", p.Name, p.Properties.Protocol)
		}
	default:
		return arm.BadRequest("InvalidRequestFormat", at+"protocol", "Cannot parse the request: probe protocol '%s' is not one of Tcp, Http, Https.", p.Properties.Protocol)
	}
	if p.Properties.Interval < 1 || p.Properties.Number < 1 {
		return arm.BadRequest("InvalidRequestFormat", at+"intervalInSeconds", "Probe %s: intervalInSeconds and numberOfProbes are at least 1.", p.Name)
	}
	return nil
}

func checkPort(port arm.Int, id, at string) error {
	if port < 1 || port > 65535 {
		return arm.BadRequest("InvalidPortNumber", at, "The port %d of %s is not between 1 and 65535.", port, id)
	}
	return nil
}

func checkRule(lb *balancer, i int, used map[string]string) error {
	p := lb.Properties.Rules[i].Properties
	at := fmt.Sprintf("properties.loadBalancingRules[%d].properties.", i)
	id := lb.ID + "/loadBalancingRules/" + lb.Properties.Rules[i].Name
	if lb.frontEnd(refID(p.FrontEnd)) == nil {
		return notFoundRef(refID(p.FrontEnd), id, at+"frontendIPConfiguration")
	}
	if pool := lb.Properties.Rules[i].pool(); pool != "" && !lb.hasPool(pool) {
		return notFoundRef(pool, id, at+"backendAddressPool")
	}
	if p.Probe != nil && lb.probe(p.Probe.ID) == nil {
		return notFoundRef(p.Probe.ID, id, at+"probe")
	}
	if _, ok := distributionOf(p.Distribution); !ok {
		return arm.BadRequest("InvalidRequestFormat", at+"loadDistribution", "Cannot parse the request: '%s' is not one of Default, SourceIP, SourceIPProtocol.", p.Distribution)
	}
	if p.FloatingIP {
		return arm.BadRequest("FloatingIPNotSupported", at+"enableFloatingIP", "Rule %s asks for a floating IP (direct server return), which lido does not do. Set enableFloatingIP to false.", id)
	}
	if strings.EqualFold(p.Protocol, "All") {
		if p.FrontendPort != 0 || p.BackendPort != 0 {
			return arm.BadRequest("RulePortsMustBeZeroForProtocolAll", at+"frontendPort", "Rule %s is for all protocols; its frontendPort and backendPort are 0.", id)
		}
		return claim(used, p.FrontEnd.ID, "all", 0, id, at)
	}
	return errors.Join(checkBalanced(p.Protocol, p.FrontendPort, p.BackendPort, id, at), claim(used, p.FrontEnd.ID, p.Protocol, int(p.FrontendPort), id, at))
}

func checkBalanced(protocol string, front, back arm.Int, id, at string) error {
	if _, ok := balancedProtocol(protocol); !ok {
		return arm.BadRequest("InvalidRequestFormat", at+"protocol", "Cannot parse the request: protocol '%s' of %s is not one of Tcp, Udp, All.", protocol, id)
	}
	if err := checkPort(front, id, at+"frontendPort"); err != nil {
		return err
	}
	return checkPort(back, id, at+"backendPort")
}

// claim takes a port of a front end for a rule.
func claim(used map[string]string, front, protocol string, port int, id, at string) error {
	slot := strings.ToLower(fmt.Sprintf("%s %s %d", front, protocol, port))
	if other, taken := used[slot]; taken {
		return arm.BadRequest("RulesOfSameLoadBalancerTypeUseSameFrontendPortProtocolAndIPConfig", at+"frontendPort",
			"Load balancing rules %s and %s with the same frontend port %d, protocol %s and frontend IP configuration are not allowed.", nameOf(other), nameOf(id), port, protocol)
	}
	used[slot] = id
	return nil
}

func checkNATRule(lb *balancer, i int, used map[string]string) error {
	n := lb.Properties.NATRules[i]
	p := n.Properties
	at := fmt.Sprintf("properties.inboundNatRules[%d].properties.", i)
	id := lb.ID + "/inboundNatRules/" + n.Name
	if lb.frontEnd(refID(p.FrontEnd)) == nil {
		return notFoundRef(refID(p.FrontEnd), id, at+"frontendIPConfiguration")
	}
	if p.FloatingIP {
		return arm.BadRequest("FloatingIPNotSupported", at+"enableFloatingIP", "NAT rule %s asks for a floating IP (direct server return), which lido does not do. Set enableFloatingIP to false.", id)
	}
	if p.Pool != nil {
		if !lb.hasPool(p.Pool.ID) {
			return notFoundRef(p.Pool.ID, id, at+"backendAddressPool")
		}
		return nil // its range is checked with the others
	}
	return errors.Join(checkBalanced(p.Protocol, p.FrontendPort, p.BackendPort, id, at), claim(used, p.FrontEnd.ID, p.Protocol, int(p.FrontendPort), id, at))
}

func checkRanges(lb *balancer, used map[string]string) error {
	for _, r := range lb.ranges() {
		at := "properties.inboundNatPools"
		if r.rule {
			at = "properties.inboundNatRules"
		}
		if lb.frontEnd(r.frontEnd) == nil {
			return notFoundRef(r.frontEnd, r.key, at)
		}
		if r.first < 1 || r.last > 65535 || r.first > r.last {
			return arm.BadRequest("InvalidFrontendPortRange", at, "The front-end port range %d-%d of %s is not within 1 to 65535.", r.first, r.last, r.name)
		}
		if err := checkBalanced(r.protocolName, arm.Int(r.first), arm.Int(r.backendPort), r.name, at+"."); err != nil {
			return err
		}
		for port := r.first; port <= r.last; port++ {
			if err := claim(used, r.frontEnd, r.protocolName, port, lb.ID+"/"+r.name, at+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleLB resolves what a load balancer mentions outside of itself, allocates its addresses, and gives back those it
// no longer has.
func (r *Room) settleLB(a *arm.Admission, lb *balancer) error {
	var old balancer
	if a.Old != nil {
		if err := arm.Decode(a.Old.Desired, &old); err != nil {
			return err
		}
		old.ID = a.Old.ID
		if err := r.checkPartsKept(a.Tx, &old, lb); err != nil {
			return err
		}
		if err := dropRanges(a.Tx, &old, lb); err != nil {
			return err
		}
	}
	a.Refs = []string{}
	for i := range lb.Properties.FrontEnds {
		id, err := r.settleFrontEnd(a, lb, i)
		if err != nil {
			return err
		}
		a.Refs = append(a.Refs, id)
	}
	if err := r.releaseFrontEnds(a.Tx, &old, lb); err != nil {
		return err
	}
	return r.assignPorts(a.Tx, lb)
}

// dropRanges forgets the ports of NAT pools and rules that a new version does not have.
func dropRanges(tx *store.Tx, old, lb *balancer) error {
	kept := map[string]bool{}
	for _, g := range lb.ranges() {
		kept[g.key] = true
	}
	for _, g := range old.ranges() {
		if kept[g.key] {
			continue
		}
		if err := dropRange(tx, g.key); err != nil {
			return err
		}
	}
	return nil
}

// settleFrontEnd gives a front end its address and returns the id of what it takes it from.
func (r *Room) settleFrontEnd(a *arm.Admission, lb *balancer, i int) (string, error) {
	f := &lb.Properties.FrontEnds[i]
	at := fmt.Sprintf("properties.frontendIPConfigurations[%d].properties.", i)
	id := lb.ID + "/frontendIPConfigurations/" + f.Name
	if pip := f.Properties.PublicIPAddress; pip != nil {
		d, err := a.Tx.Get(pip.ID)
		if err != nil || !strings.EqualFold(d.Type, typePIP) {
			return "", notFoundRef(pip.ID, id, at+"publicIPAddress")
		}
		user, err := r.frontEndOf(a.Tx, pip.ID)
		if err != nil {
			return "", err
		}
		if user != "" && !strings.EqualFold(user, id) && (!strings.HasPrefix(key(user), key(lb.ID)+"/") || lb.frontEnd(user) != nil) {
			return "", arm.BadRequest("PublicIPAddressInUse", at+"publicIPAddress", "Resource %s is referencing public IP address %s that is already allocated to resource %s.", id, pip.ID, user)
		}
		_, err = r.allocatePublic(a.Tx, pip.ID)
		return pip.ID, err
	}
	return f.Properties.Subnet.ID, r.allocateInternal(a.Tx, f, id, at)
}

// allocateInternal gives an internal front end an address of its subnet, the wished-for one if it names one.
func (r *Room) allocateInternal(tx *store.Tx, f *frontEnd, id, at string) error {
	_, s, err := subnetByID(tx, f.Properties.Subnet.ID)
	if err != nil {
		return notFoundRef(f.Properties.Subnet.ID, id, at+"subnet")
	}
	have, err := leaseOf(tx, id)
	if err != nil {
		return err
	}
	var wish netip.Addr
	if f.Properties.PrivateIPAddress != "" && strings.EqualFold(f.Properties.Allocation, "Static") {
		if wish, err = netip.ParseAddr(f.Properties.PrivateIPAddress); err != nil || !usable(s.prefix(), wish) {
			return arm.BadRequest("PrivateIPAddressNotInSubnet", at+"privateIPAddress", "Private static IP address %s does not belong to the range of subnet prefix %v, or is one of its reserved addresses.", f.Properties.PrivateIPAddress, s.prefix())
		}
	}
	sameSubnet := key(have.Subnet) == key(f.Properties.Subnet.ID)
	if have.Addr.IsValid() && sameSubnet && (have.Addr == wish || !wish.IsValid()) {
		return nil
	}
	if err := endLease(tx, id); err != nil {
		return err
	}
	addr, err := takeAddress(tx, f.Properties.Subnet.ID, s.prefix(), wish, id, at+"privateIPAddress")
	if err != nil {
		return err
	}
	return tx.SetJSON(bucketLease, key(id), lease{Addr: addr, Subnet: f.Properties.Subnet.ID})
}

// releaseFrontEnds gives back the addresses of front ends that a new version does not have. A dynamic public IP
// address without a front end has no address, as in Azure.
func (r *Room) releaseFrontEnds(tx *store.Tx, old, lb *balancer) error {
	for i := range old.Properties.FrontEnds {
		f := &old.Properties.FrontEnds[i]
		id := old.ID + "/frontendIPConfigurations/" + f.Name
		next := lb.frontEnd(id)
		if pip := f.Properties.PublicIPAddress; pip != nil {
			if !usesPublic(lb, pip.ID) {
				if err := r.releaseIfDynamic(tx, pip.ID); err != nil {
					return err
				}
			}
			continue
		}
		if next == nil || next.Properties.Subnet == nil {
			if err := endLease(tx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func usesPublic(lb *balancer, id string) bool {
	for _, f := range lb.Properties.FrontEnds {
		if f.Properties.PublicIPAddress != nil && strings.EqualFold(f.Properties.PublicIPAddress.ID, id) {
			return true
		}
	}
	return false
}

func (r *Room) releaseIfDynamic(tx *store.Tx, id string) error {
	d, err := tx.Get(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var pip publicIP
	if err := arm.Decode(d.Desired, &pip); err != nil || !strings.EqualFold(pip.Properties.AllocationMethod, "Dynamic") {
		return err
	}
	tx.Touch(key(id), typePIP)
	return releasePublic(tx, id)
}

// checkPartsKept refuses to take away a pool that machines are in.
func (r *Room) checkPartsKept(tx *store.Tx, old, lb *balancer) error {
	var gone []string
	for _, p := range old.Properties.Pools {
		gone = append(gone, old.ID+"/backendAddressPools/"+p.Name)
	}
	for _, p := range old.Properties.NATPools {
		gone = append(gone, old.ID+"/inboundNatPools/"+p.Name)
	}
	for _, id := range gone {
		if lb.has(id) {
			continue
		}
		user, err := r.poolUser(tx, id)
		if err != nil {
			return err
		}
		if user != "" {
			return inUseBySet(id, user)
		}
	}
	return nil
}

func inUseBySet(id, user string) error {
	return arm.BadRequest("LoadBalancerInUseByVirtualMachineScaleSet", "", "Cannot remove %s since it is in use by %s. Take it out of that scale set's network profile first.", id, user)
}

func (r *Room) poolUser(tx *store.Tx, id string) (string, error) {
	user, err := r.referrer(tx, id)
	if err != nil || user != "" {
		return user, err
	}
	return attachedTo(tx, func(a *Attachment) bool { return a.inPool(id) })
}

func (r *Room) removingLB(_ context.Context, tx *store.Tx, d *store.Doc) error {
	lb, err := readLB(d)
	if err != nil {
		return err
	}
	user, err := r.poolUser(tx, d.ID)
	if err != nil {
		return err
	}
	if user != "" {
		return inUseBySet(d.ID, user)
	}
	for _, g := range lb.ranges() {
		if err := dropRange(tx, g.key); err != nil {
			return err
		}
	}
	if err := tx.DeleteKV(bucketHome, key(d.ID)); err != nil {
		return err
	}
	return r.releaseFrontEnds(tx, lb, &balancer{ID: d.ID})
}
