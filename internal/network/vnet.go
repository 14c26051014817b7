package network

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// vnet is a virtual network as lido reads it.
type vnet struct {
	ID, UID    string `json:"-"`
	Properties struct {
		AddressSpace struct {
			AddressPrefixes []string `json:"addressPrefixes"`
		} `json:"addressSpace"`
		Subnets []subnet `json:"subnets"`
	} `json:"properties"`
}

type subnet struct {
	Name       string `json:"name"`
	Properties struct {
		AddressPrefix         string    `json:"addressPrefix"`
		AddressPrefixes       []string  `json:"addressPrefixes"`
		NetworkSecurityGroup  *ref      `json:"networkSecurityGroup"`
		DefaultOutboundAccess *arm.Bool `json:"defaultOutboundAccess"`
	} `json:"properties"`
}

func (v *vnet) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range v.Properties.AddressSpace.AddressPrefixes {
		if p, err := parsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (v *vnet) subnet(name string) *subnet {
	for i, s := range v.Properties.Subnets {
		if strings.EqualFold(s.Name, name) {
			return &v.Properties.Subnets[i]
		}
	}
	return nil
}

func (s *subnet) prefix() netip.Prefix {
	text := s.Properties.AddressPrefix
	if text == "" && len(s.Properties.AddressPrefixes) > 0 {
		text = s.Properties.AddressPrefixes[0]
	}
	p, _ := parsePrefix(text)
	return p
}

func (s *subnet) group() string {
	if s.Properties.NetworkSecurityGroup == nil {
		return ""
	}
	return s.Properties.NetworkSecurityGroup.ID
}

func (r *Room) vnetDocument() arm.Document {
	return arm.Document{Name: typeVNet, APIVersions: apiVersions, Admit: r.admitVNet, Merge: keepWhenAbsent("subnets"),
		Render: r.renderVNet, Removing: r.removingVNet}
}

// keepWhenAbsent makes a PUT that says nothing of a list of children keep those that are there.
func keepWhenAbsent(list string) func(stored, sent map[string]any) map[string]any {
	return func(stored, sent map[string]any) map[string]any {
		if items(props(sent), list) == nil && props(sent)[list] == nil && props(stored)[list] != nil {
			props(sent)[list] = props(stored)[list]
		}
		return sent
	}
}

func (r *Room) admitVNet(_ context.Context, a *arm.Admission) error {
	p := props(a.Body)
	if err := parts(p, "subnets"); err != nil {
		return err
	}
	for _, s := range items(p, "subnets") {
		for _, k := range []string{"ipConfigurations", "purpose"} {
			delete(props(s), k)
		}
		setDefault(props(s), "privateEndpointNetworkPolicies", "Disabled")
		setDefault(props(s), "privateLinkServiceNetworkPolicies", "Enabled")
		setDefault(props(s), "delegations", []any{})
	}
	setDefault(p, "enableDdosProtection", false)
	delete(p, "resourceGuid")
	delete(p, "provisioningError")
	var v vnet
	if err := arm.Convert(a.Body, &v); err != nil {
		return err
	}
	v.ID = a.ID.String()
	if err := checkVNet(&v); err != nil {
		return err
	}
	if err := r.checkSubnetRefs(a, &v); err != nil {
		return err
	}
	if a.Old == nil {
		return nil
	}
	return r.checkSubnetsKept(a, &v)
}

// checkVNet checks prefixes: well-formed, and subnets inside the space and apart from each other.
func checkVNet(v *vnet) error {
	if len(v.Properties.AddressSpace.AddressPrefixes) == 0 {
		return arm.BadRequest("InvalidRequestFormat", "properties.addressSpace.addressPrefixes",
			"The virtual network '%s' has no address space: 'properties.addressSpace.addressPrefixes' is empty.", nameOf(v.ID))
	}
	for i, s := range v.Properties.AddressSpace.AddressPrefixes {
		if err := checkPrefix(s, v.ID, fmt.Sprintf("properties.addressSpace.addressPrefixes[%d]", i)); err != nil {
			return err
		}
	}
	for i := range v.Properties.Subnets {
		if err := checkSubnet(v, i); err != nil {
			return err
		}
	}
	return nil
}

func checkPrefix(s, of, at string) error {
	p, err := parsePrefix(s)
	if err != nil {
		return arm.BadRequest("InvalidAddressPrefixFormat", at, "Address prefix %s of resource %s is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24 (%v).", s, of, err)
	}
	if !p.Addr().Is4() {
		return arm.BadRequest("AddressFamilyNotSupported", at, "Address prefix %s of resource %s is IPv6, which lido's networks do not carry. Leave it out.", s, of)
	}
	return nil
}

func checkSubnet(v *vnet, i int) error {
	s := &v.Properties.Subnets[i]
	at := fmt.Sprintf("properties.subnets[%d].properties.addressPrefix", i)
	id := v.ID + "/subnets/" + s.Name
	if len(s.Properties.AddressPrefixes) > 1 {
		return arm.BadRequest("MultipleAddressPrefixesNotSupported", at+"es", "Subnet %s has %d address prefixes; lido's subnets have one.", id, len(s.Properties.AddressPrefixes))
	}
	text := s.Properties.AddressPrefix
	if text == "" && len(s.Properties.AddressPrefixes) == 1 {
		text = s.Properties.AddressPrefixes[0]
	}
	if err := checkPrefix(text, id, at); err != nil {
		return err
	}
	p := s.prefix()
	if p.Bits() > 29 {
		return arm.BadRequest("NetcfgInvalidSubnet", at, "Subnet '%s' is not valid in virtual network '%s': a subnet is a /29 or larger, since five of its addresses are reserved.", s.Name, nameOf(v.ID))
	}
	if !within(p, v.prefixes()) {
		return arm.BadRequest("NetcfgInvalidSubnet", at, "Subnet '%s' is not valid in virtual network '%s': %v is not within its address space %v.", s.Name, nameOf(v.ID), p, v.prefixes())
	}
	for _, o := range v.Properties.Subnets[:i] {
		if o.prefix().Overlaps(p) {
			return arm.BadRequest("NetcfgSubnetRangesOverlap", at, "Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s'.", s.Name, nameOf(v.ID))
		}
	}
	return nil
}

func within(p netip.Prefix, space []netip.Prefix) bool {
	for _, s := range space {
		if s.Bits() <= p.Bits() && s.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// unsupportedOfSubnet are properties that would change what a network does and that lido does not do.
var unsupportedOfSubnet = []string{"routeTable", "natGateway"}

func (r *Room) checkSubnetRefs(a *arm.Admission, v *vnet) error {
	for i, s := range items(props(a.Body), "subnets") {
		at := fmt.Sprintf("properties.subnets[%d].properties.", i)
		for _, k := range unsupportedOfSubnet {
			if props(s)[k] != nil {
				return arm.BadRequest("SubnetFeatureNotSupported", at+k, "Subnet '%s' asks for '%s', which lido does not do. Leave it out; outbound access is by address translation unless defaultOutboundAccess is false.", text(s, "name"), k)
			}
		}
	}
	a.Refs = []string{}
	for i := range v.Properties.Subnets {
		id := v.Properties.Subnets[i].group()
		if id == "" {
			continue
		}
		if _, err := a.Tx.Get(id); err != nil {
			return notFoundRef(id, v.ID+"/subnets/"+v.Properties.Subnets[i].Name, fmt.Sprintf("properties.subnets[%d].properties.networkSecurityGroup", i))
		}
		a.Refs = append(a.Refs, id)
	}
	return nil
}

// checkSubnetsKept refuses to take away or renumber a subnet that is in use.
func (r *Room) checkSubnetsKept(a *arm.Admission, v *vnet) error {
	var old vnet
	if err := arm.Decode(a.Old.Desired, &old); err != nil {
		return err
	}
	for _, s := range old.Properties.Subnets {
		next := v.subnet(s.Name)
		if next != nil && next.prefix() == s.prefix() {
			continue
		}
		id := a.Old.ID + "/subnets/" + s.Name
		user, err := r.subnetUser(a.Tx, id)
		if err != nil {
			return err
		}
		if user == "" {
			continue
		}
		if next != nil {
			return arm.BadRequest("InUsePrefixCannotBeDeleted", "properties.subnets", "IpPrefix %v on subnet %s has active allocations and cannot be deleted.", s.prefix(), s.Name)
		}
		return subnetInUse(s.Name, user)
	}
	return nil
}

func subnetInUse(name, user string) error {
	return arm.BadRequest("InUseSubnetCannotBeDeleted", "properties.subnets",
		"Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.", name, user)
}

// subnetUser returns the id of something that uses a subnet, or "".
func (r *Room) subnetUser(tx *store.Tx, id string) (string, error) {
	taken, err := tx.ListKV(bucketSubnet + key(id))
	if err != nil {
		return "", err
	}
	for _, e := range taken {
		if e.Key != hintKey {
			return string(e.Value), nil
		}
	}
	return r.referrer(tx, id)
}

// referrer returns the id of a document that mentions id, or "".
func (r *Room) referrer(tx *store.Tx, id string) (string, error) {
	from, err := tx.Referrers(id)
	if err != nil {
		return "", err
	}
	for _, k := range from {
		if k == key(id) || strings.HasPrefix(k, key(id)+"/") {
			continue
		}
		if d, err := tx.Get(k); err == nil {
			return d.ID, nil
		}
	}
	return "", nil
}

func (r *Room) removingVNet(_ context.Context, tx *store.Tx, d *store.Doc) error {
	v, err := readVNet(d)
	if err != nil {
		return err
	}
	for _, s := range v.Properties.Subnets {
		id := d.ID + "/subnets/" + s.Name
		user, err := r.subnetUser(tx, id)
		if err != nil {
			return err
		}
		if user != "" {
			return subnetInUse(s.Name, user)
		}
		if err := tx.DeleteBucket(bucketSubnet + key(id)); err != nil {
			return err
		}
	}
	return tx.DeleteKV(bucketNumber, d.UID)
}

func readVNet(d *store.Doc) (*vnet, error) {
	v := &vnet{ID: d.ID, UID: d.UID}
	return v, arm.Decode(d.Desired, v)
}

func (r *Room) renderVNet(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	p := props(body)
	etag, _ := body["etag"].(string)
	p["resourceGuid"] = d.UID
	list := items(p, "subnets")
	for _, s := range list {
		child(s, d.ID, typeVNet, "subnets", etag)
		users, err := r.configurationsIn(tx, d.ID+"/subnets/"+text(s, "name"))
		if err != nil {
			return err
		}
		setRefs(props(s), "ipConfigurations", users)
	}
	setItems(p, "subnets", list)
	setDefault(p, "virtualNetworkPeerings", []any{})
	if t := r.loop.trouble(d.ID); t.err != nil {
		p["provisioningState"] = arm.Failed
		p["provisioningError"] = object{"code": "NetworkNotMade", "time": t.since.Format(time.RFC3339Nano),
			"message": fmt.Sprintf("The virtual network could not be made as wished on this host: %v. lido keeps trying.", t.err)}
	}
	return nil
}
