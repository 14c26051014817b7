package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// publicIP is a public IP address as lido reads it.
type publicIP struct {
	Location string `json:"location"`
	SKU      struct {
		Name string `json:"name"`
	} `json:"sku"`
	Properties struct {
		AllocationMethod string `json:"publicIPAllocationMethod"`
		Version          string `json:"publicIPAddressVersion"`
		DNSSettings      *struct {
			Label string `json:"domainNameLabel"`
		} `json:"dnsSettings"`
		PublicIPPrefix *ref `json:"publicIPPrefix"`
	} `json:"properties"`
}

func (r *Room) pipDocument() arm.Document {
	return arm.Document{Name: typePIP, APIVersions: apiVersions, Admit: r.admitPIP, Render: r.renderPIP, Removing: r.removingPIP}
}

var labelRule = regexp.MustCompile(`^[a-z][a-z0-9-]{1,61}[a-z0-9]$`)

func (r *Room) admitPIP(_ context.Context, a *arm.Admission) error {
	p := props(a.Body)
	for _, k := range []string{"ipAddress", "ipConfiguration", "resourceGuid", "ipTags"} {
		delete(p, k)
	}
	if dns, ok := p["dnsSettings"].(object); ok {
		delete(dns, "fqdn")
	}
	sku, _ := a.Body["sku"].(object)
	if text(sku, "name") == "" {
		a.Body["sku"] = object{"name": "Basic", "tier": "Regional"}
	}
	standard := strings.EqualFold(text(sku, "name"), "Standard")
	setDefault(p, "publicIPAllocationMethod", map[bool]string{true: "Static", false: "Dynamic"}[standard])
	setDefault(p, "publicIPAddressVersion", "IPv4")
	setDefault(p, "idleTimeoutInMinutes", 4)
	var pip publicIP
	if err := arm.Convert(a.Body, &pip); err != nil {
		return err
	}
	if err := r.checkPIP(a, &pip, standard); err != nil {
		return err
	}
	if strings.EqualFold(pip.Properties.AllocationMethod, "Static") {
		_, err := r.allocatePublic(a.Tx, a.ID.String())
		return err
	}
	return nil
}

func (r *Room) checkPIP(a *arm.Admission, pip *publicIP, standard bool) error {
	method := pip.Properties.AllocationMethod
	switch {
	case !strings.EqualFold(method, "Static") && !strings.EqualFold(method, "Dynamic"):
		return arm.BadRequest("InvalidRequestFormat", "properties.publicIPAllocationMethod", "Cannot parse the request: '%s' is not an allocation method; it is Static or Dynamic.", method)
	case standard && !strings.EqualFold(method, "Static"):
		return arm.BadRequest("PublicIPAddressWithStandardSkuMustUseStaticAllocation", "properties.publicIPAllocationMethod", "Standard sku publicIp %s must have AllocationMethod set to Static.", a.ID)
	case !strings.EqualFold(pip.Properties.Version, "IPv4"):
		return arm.BadRequest("AddressFamilyNotSupported", "properties.publicIPAddressVersion", "Public IP address %s asks for %s, which lido's networks do not carry. Use IPv4.", a.ID, pip.Properties.Version)
	case pip.Properties.PublicIPPrefix != nil:
		return arm.BadRequest("PublicIPPrefixNotSupported", "properties.publicIPPrefix", "Public IP address %s asks for an address of a prefix; lido takes addresses from its configured ranges. Leave it out.", a.ID)
	}
	return r.checkLabel(a, pip)
}

// checkLabel checks a DNS label: well-formed, and nobody else's in the location.
func (r *Room) checkLabel(a *arm.Admission, pip *publicIP) error {
	if pip.Properties.DNSSettings == nil || pip.Properties.DNSSettings.Label == "" {
		return nil
	}
	label, at := pip.Properties.DNSSettings.Label, "properties.dnsSettings.domainNameLabel"
	if !labelRule.MatchString(label) {
		return arm.BadRequest("InvalidDomainNameLabel", at, "The domain name label %s is invalid. It must conform to the following regular expression: %s.", label, labelRule)
	}
	docs, err := a.Tx.List(store.Query{Type: typePIP})
	if err != nil {
		return err
	}
	for _, d := range docs {
		var other publicIP
		if key(d.ID) == a.ID.Key() || arm.Decode(d.Desired, &other) != nil || other.Properties.DNSSettings == nil {
			continue
		}
		if strings.EqualFold(other.Properties.DNSSettings.Label, label) && other.Location == pip.Location {
			return arm.BadRequest("DnsRecordInUse", at, "DNS record %s is already used by another public IP.", r.fqdn(label, pip.Location))
		}
	}
	return nil
}

func (r *Room) fqdn(label, location string) string {
	return label + "." + location + "." + r.opts.DNSSuffix
}

// allocatePublic gives a public IP address its address, or returns the one that it has.
func (r *Room) allocatePublic(tx *store.Tx, id string) (netip.Addr, error) {
	if a, err := publicOf(tx, id); err != nil || a.IsValid() {
		return a, err
	}
	a, err := r.freePublic(tx)
	if err != nil {
		return a, err
	}
	if err := tx.SetKV(bucketPublic, a.String(), []byte(id)); err != nil {
		return a, err
	}
	tx.Touch(key(id), typePIP)
	return a, tx.SetKV(bucketPublicOf, key(id), []byte(a.String()))
}

// publicOf is the address that a public IP address has; the zero Addr if it has none.
func publicOf(tx *store.Tx, id string) (netip.Addr, error) {
	v, err := tx.GetKV(bucketPublicOf, key(id))
	if errors.Is(err, store.ErrNotFound) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(string(v))
}

// PublicAddress returns the address of a public address's document; the zero one if it has none.
func (r *Room) PublicAddress(tx *store.Tx, id string) (netip.Addr, error) { return publicOf(tx, id) }

// freePublic finds an address in the configured ranges that neither this lido nor this host uses.
func (r *Room) freePublic(tx *store.Tx) (netip.Addr, error) {
	entries, err := tx.ListKV(bucketPublic)
	if err != nil {
		return netip.Addr{}, err
	}
	used := map[string]bool{}
	for _, e := range entries {
		used[e.Key] = true
	}
	for _, p := range r.opts.Public {
		for a := p.Masked().Addr(); p.Contains(a); a = a.Next() {
			if edge(a, p) || used[a.String()] || r.door.Taken(a) {
				continue
			}
			return a, nil
		}
	}
	return netip.Addr{}, arm.BadRequest("PublicIPCountLimitReached", "", "All public addresses of %v are in use. Delete a public IP address, or add a range under publicAddresses in lido's configuration.", r.opts.Public)
}

// edge tells whether an address is the first or last of a range that is large enough to have such.
func edge(a netip.Addr, p netip.Prefix) bool {
	return p.Bits() < 31 && (a == p.Masked().Addr() || !p.Contains(a.Next()))
}

// releasePublic takes an address back.
func releasePublic(tx *store.Tx, id string) error {
	a, err := publicOf(tx, id)
	if err != nil || !a.IsValid() {
		return err
	}
	if err := tx.DeleteKV(bucketPublic, a.String()); err != nil {
		return err
	}
	return tx.DeleteKV(bucketPublicOf, key(id))
}

func (r *Room) removingPIP(_ context.Context, tx *store.Tx, d *store.Doc) error {
	user, err := r.frontEndOf(tx, d.ID)
	if err != nil {
		return err
	}
	if user != "" {
		return arm.BadRequest("PublicIPAddressCannotBeDeleted", "", "Public IP address %s can not be deleted since it is still allocated to resource %s. In order to delete the public IP, disassociate/detach the Public IP address from the resource. To learn how to do this, see aka.ms/deletepublicip.", d.ID, user)
	}
	return releasePublic(tx, d.ID)
}

// frontEndOf returns the id of the front end that uses a public IP address, or "".
func (r *Room) frontEndOf(tx *store.Tx, pip string) (string, error) {
	user, err := r.referrer(tx, pip)
	if err != nil || user == "" {
		return user, err
	}
	d, err := tx.Get(user)
	if err != nil {
		return "", err
	}
	lb, err := readLB(d)
	if err != nil {
		return user, nil // not a load balancer: the document itself
	}
	for _, f := range lb.Properties.FrontEnds {
		if f.Properties.PublicIPAddress != nil && strings.EqualFold(f.Properties.PublicIPAddress.ID, pip) {
			return d.ID + "/frontendIPConfigurations/" + f.Name, nil
		}
	}
	return user, nil
}

func (r *Room) renderPIP(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	p := props(body)
	p["resourceGuid"] = d.UID
	p["ipTags"] = []any{}
	a, err := publicOf(tx, d.ID)
	if err != nil {
		return err
	}
	if a.IsValid() {
		p["ipAddress"] = a.String()
	}
	user, err := r.frontEndOf(tx, d.ID)
	if err != nil {
		return err
	}
	if user != "" {
		p["ipConfiguration"] = object{"id": user}
	}
	if dns, ok := p["dnsSettings"].(object); ok && text(dns, "domainNameLabel") != "" {
		dns["fqdn"] = r.fqdn(text(dns, "domainNameLabel"), fmt.Sprint(body["location"]))
	}
	return nil
}
