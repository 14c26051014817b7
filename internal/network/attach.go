package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Owner is the machine that interfaces belong to.
type Owner struct {
	SetID        string `json:"set"`      // id of its scale set
	InstanceID   string `json:"instance"` // its own id, ending in /virtualMachines/N
	InstanceUID  string `json:"uid"`
	ComputerName string `json:"computerName"`
}

// number is the instance's number in its set, or 0.
func (o Owner) number() int {
	n, _ := strconv.Atoi(nameOf(o.InstanceID))
	return n
}

// InterfaceConfig is an entry of networkInterfaceConfigurations, as JSON has it.
type InterfaceConfig = map[string]any

// Attachment is what a machine has of networks.
type Attachment struct {
	Owner      Owner       `json:"owner"`
	Interfaces []Interface `json:"interfaces"`
	Draining   bool        `json:"draining,omitempty"`
}

// Interface is one interface of a machine.
type Interface struct {
	Name    string            `json:"name"`
	Primary bool              `json:"primary"`
	MAC     string            `json:"mac"`
	Group   string            `json:"group,omitempty"` // id of its security group
	IPs     []IPConfiguration `json:"ips"`
}

// IPConfiguration is one address of an interface.
type IPConfiguration struct {
	Name     string     `json:"name"`
	Primary  bool       `json:"primary"`
	Subnet   string     `json:"subnet"` // id
	Addr     netip.Addr `json:"addr"`
	Pools    []string   `json:"pools,omitempty"`
	NATPools []string   `json:"natPools,omitempty"`
	Public   netip.Addr `json:"public,omitzero"` // an address of its own
	Label    string     `json:"label,omitempty"` // the name of the configuration of that address
}

func (a *Attachment) primary() *Interface {
	for i := range a.Interfaces {
		if a.Interfaces[i].Primary {
			return &a.Interfaces[i]
		}
	}
	if len(a.Interfaces) == 0 {
		return nil
	}
	return &a.Interfaces[0]
}

func (a *Attachment) usesGroup(id string) bool {
	for _, i := range a.Interfaces {
		if strings.EqualFold(i.Group, id) {
			return true
		}
	}
	return false
}

// inPool tells whether a machine is in a backend or NAT pool; id may also be of a whole load balancer.
func (a *Attachment) inPool(id string) bool {
	for _, i := range a.Interfaces {
		for _, ip := range i.IPs {
			for _, p := range append(append([]string{}, ip.Pools...), ip.NATPools...) {
				if strings.EqualFold(p, id) || strings.HasPrefix(key(p), key(id)+"/") {
					return true
				}
			}
		}
	}
	return false
}

func (a *Attachment) nicID(i *Interface) string {
	return a.Owner.InstanceID + "/networkInterfaces/" + i.Name
}

func (a *Attachment) configID(i *Interface, ip *IPConfiguration) string {
	return a.nicID(i) + "/ipConfigurations/" + ip.Name
}

// nicConfig is InterfaceConfig as lido reads it.
type nicConfig struct {
	Name       string `json:"name"`
	Properties struct {
		Primary              arm.Bool   `json:"primary"`
		NetworkSecurityGroup *ref       `json:"networkSecurityGroup"`
		IPConfigurations     []ipConfig `json:"ipConfigurations"`
	} `json:"properties"`
}

type ipConfig struct {
	Name       string `json:"name"`
	Properties struct {
		Primary  arm.Bool `json:"primary"`
		Version  string   `json:"privateIPAddressVersion"`
		Subnet   *ref     `json:"subnet"`
		Pools    []ref    `json:"loadBalancerBackendAddressPools"`
		NATPools []ref    `json:"loadBalancerInboundNatPools"`
		Public   *struct {
			Name       string `json:"name"`
			Properties struct {
				DNSSettings *struct {
					Label string `json:"domainNameLabel"`
				} `json:"dnsSettings"`
			} `json:"properties"`
		} `json:"publicIPAddressConfiguration"`
		ApplicationGateways []ref `json:"applicationGatewayBackendAddressPools"`
		SecurityGroups      []ref `json:"applicationSecurityGroups"`
	} `json:"properties"`
}

func readConfigs(configs []InterfaceConfig) ([]nicConfig, error) {
	var out []nicConfig
	err := arm.Convert(configs, &out)
	return out, err
}

// Check refuses interface configurations that mention what does not exist or what lido's networks do not do. at is the
// path of the list in the request.
func (r *Room) Check(tx *store.Tx, configs []InterfaceConfig, at string) error {
	nics, err := readConfigs(configs)
	if err != nil {
		return err
	}
	if len(nics) == 0 {
		return arm.BadRequest("InvalidParameter", at, "Required parameter '%s' is missing: a machine needs a network interface.", at)
	}
	if len(nics) > 1 {
		return arm.BadRequest("MultipleNetworkInterfacesNotSupported", at, "The model has %d network interfaces; lido's machines have one.", len(nics))
	}
	for i, n := range nics {
		nat := fmt.Sprintf("%s[%d]", at, i)
		if len(n.Properties.IPConfigurations) == 0 {
			return arm.BadRequest("InvalidParameter", nat+".properties.ipConfigurations", "Required parameter 'ipConfigurations' of network interface '%s' is missing.", n.Name)
		}
		if g := n.Properties.NetworkSecurityGroup; g != nil {
			if d, err := tx.Get(g.ID); err != nil || !strings.EqualFold(d.Type, typeGroup) {
				return notFoundRef(g.ID, n.Name, nat+".properties.networkSecurityGroup")
			}
		}
		for j, ip := range n.Properties.IPConfigurations {
			if err := r.checkIPConfig(tx, ip, fmt.Sprintf("%s.properties.ipConfigurations[%d].properties", nat, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Room) checkIPConfig(tx *store.Tx, ip ipConfig, at string) error {
	p := ip.Properties
	switch {
	case strings.EqualFold(p.Version, "IPv6"):
		return arm.BadRequest("AddressFamilyNotSupported", at+".privateIPAddressVersion", "IP configuration '%s' asks for IPv6, which lido's networks do not carry. Leave it out.", ip.Name)
	case len(p.ApplicationGateways) > 0:
		return arm.BadRequest("ApplicationGatewayNotSupported", at+".applicationGatewayBackendAddressPools", "IP configuration '%s' is to be in a pool of an application gateway, which lido does not have. Use a load balancer.", ip.Name)
	case len(p.SecurityGroups) > 0:
		return arm.BadRequest("ApplicationSecurityGroupNotSupported", at+".applicationSecurityGroups", "IP configuration '%s' is to be in an application security group; lido does not enforce those. Use address prefixes in a network security group.", ip.Name)
	case p.Subnet == nil:
		return arm.BadRequest("InvalidParameter", at+".subnet", "Required parameter 'subnet' of IP configuration '%s' is missing.", ip.Name)
	}
	if _, _, err := subnetByID(tx, p.Subnet.ID); err != nil {
		return notFoundRef(p.Subnet.ID, ip.Name, at+".subnet")
	}
	for i, pool := range append(append([]ref{}, p.Pools...), p.NATPools...) {
		lb, err := lbOf(tx, pool.ID)
		if err != nil || !lb.has(pool.ID) {
			return notFoundRef(pool.ID, ip.Name, fmt.Sprintf("%s.loadBalancerBackendAddressPools[%d]", at, i))
		}
		if err := rememberHome(tx, lb.ID, parentOf(p.Subnet.ID)); err != nil {
			return err
		}
	}
	return nil
}

// rememberHome notes which network a load balancer works in before it has machines, so that its address is answered
// from there. It is only noted once; machines that come decide.
func rememberHome(tx *store.Tx, lb, vnet string) error {
	if _, err := tx.GetKV(bucketHome, key(lb)); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := tx.SetKV(bucketHome, key(lb), []byte(key(vnet))); err != nil {
		return nil // checked within a transaction that only reads
	}
	tx.Touch(key(lb), typeLB)
	return nil
}

// lbOf returns the load balancer that a part's id lies in.
func lbOf(tx *store.Tx, part string) (*balancer, error) {
	d, err := tx.Get(parentOf(part))
	if err != nil {
		return nil, err
	}
	return readLB(d)
}

func attachmentOf(tx *store.Tx, instanceID string) (*Attachment, error) {
	a := &Attachment{}
	return a, tx.GetJSON(bucketAttachment, key(instanceID), a)
}

// Attach gives an instance its interfaces and addresses. One that has some keeps the addresses that are still wished
// for; if nothing else is wished for either, nothing is done.
func (r *Room) Attach(tx *store.Tx, owner Owner, configs []InterfaceConfig) error {
	old, err := attachmentOf(tx, owner.InstanceID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	nics, err := readConfigs(configs)
	if err != nil {
		return err
	}
	a := &Attachment{Owner: owner, Draining: old.Draining}
	for i, n := range nics {
		nic, err := r.makeInterface(tx, owner, n, old)
		if err != nil {
			return err
		}
		nic.Primary = nic.Primary || i == 0 && len(nics) == 1
		a.Interfaces = append(a.Interfaces, nic)
	}
	if reflect.DeepEqual(a, old) {
		return nil
	}
	if err := errors.Join(r.release(tx, old, a), r.left(tx, old)); err != nil {
		return err
	}
	if err := tx.SetJSON(bucketAttachment, key(owner.InstanceID), a); err != nil {
		return err
	}
	tx.Touch(key(owner.InstanceID), typeAttachment)
	return r.joined(tx, a)
}

// release gives back the addresses that old has and next, if there is one, has not.
func (r *Room) release(tx *store.Tx, old, next *Attachment) error {
	for i := range old.Interfaces {
		for _, ip := range old.Interfaces[i].IPs {
			kept := next.config(old.Interfaces[i].Name, ip.Name)
			if kept.Addr != ip.Addr || key(kept.Subnet) != key(ip.Subnet) {
				if err := tx.DeleteKV(bucketSubnet+key(ip.Subnet), ip.Addr.String()); err != nil {
					return err
				}
			}
			if ip.Public.IsValid() && kept.Public != ip.Public {
				if err := tx.DeleteKV(bucketPublic, ip.Public.String()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// config returns an IP configuration by its name and its interface's, or the zero one.
func (a *Attachment) config(nic, name string) IPConfiguration {
	for _, i := range a.Interfaces {
		for _, ip := range i.IPs {
			if i.Name == nic && ip.Name == name {
				return ip
			}
		}
	}
	return IPConfiguration{}
}

func (r *Room) makeInterface(tx *store.Tx, owner Owner, n nicConfig, old *Attachment) (Interface, error) {
	nic := Interface{Name: n.Name, Primary: bool(n.Properties.Primary), Group: refID(n.Properties.NetworkSecurityGroup)}
	for j, c := range n.Properties.IPConfigurations {
		ip, err := r.makeConfig(tx, owner, n.Name, c, old.config(n.Name, c.Name))
		if err != nil {
			return nic, err
		}
		ip.Primary = ip.Primary || j == 0
		if nic.MAC == "" {
			nic.MAC = macOf(ip.Addr)
		}
		nic.IPs = append(nic.IPs, ip)
	}
	return nic, nil
}

// makeConfig takes the addresses of an IP configuration, those that it had if they still fit.
func (r *Room) makeConfig(tx *store.Tx, owner Owner, nic string, c ipConfig, had IPConfiguration) (IPConfiguration, error) {
	p := c.Properties
	_, s, err := subnetByID(tx, refID(p.Subnet))
	if err != nil {
		return had, notFoundRef(refID(p.Subnet), owner.InstanceID, "")
	}
	ip := IPConfiguration{Name: c.Name, Primary: bool(p.Primary), Subnet: p.Subnet.ID, Pools: ids(p.Pools), NATPools: ids(p.NATPools)}
	if had.Addr.IsValid() && key(had.Subnet) == key(ip.Subnet) {
		ip.Addr = had.Addr
	} else if ip.Addr, err = takeAddress(tx, ip.Subnet, s.prefix(), netip.Addr{}, owner.InstanceID, ""); err != nil {
		return ip, err
	}
	if p.Public == nil {
		return ip, nil
	}
	ip.Label, ip.Public = p.Public.Name, had.Public
	if !ip.Public.IsValid() {
		ip.Public, err = r.ownAddress(tx, owner, nic, c.Name)
	}
	return ip, err
}

// ownAddress takes a public address for one machine alone.
func (r *Room) ownAddress(tx *store.Tx, owner Owner, nic, config string) (netip.Addr, error) {
	a, err := r.freePublic(tx)
	if err != nil {
		return a, err
	}
	return a, tx.SetKV(bucketPublic, a.String(), []byte(owner.InstanceID+"/networkInterfaces/"+nic+"/ipConfigurations/"+config))
}

func ids(refs []ref) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.ID)
	}
	return out
}

// macOf is a locally administered hardware address that follows from a machine's address.
func macOf(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("06:1d:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// Detach gives an instance's addresses back. Detaching what is not attached does nothing.
func (r *Room) Detach(tx *store.Tx, instanceID string) error {
	a, err := attachmentOf(tx, instanceID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.release(tx, a, &Attachment{}); err != nil {
		return err
	}
	if err := tx.DeleteKV(bucketAttachment, key(instanceID)); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.busy, key(instanceID))
	r.mu.Unlock()
	tx.Touch(key(instanceID), typeAttachment)
	return r.left(tx, a)
}

// Drain takes an instance out of its pools for new connections (true), or back in (false).
func (r *Room) Drain(ctx context.Context, instanceID string, draining bool) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		a, err := attachmentOf(tx, instanceID)
		if err != nil || a.Draining == draining {
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		}
		a.Draining = draining
		tx.Touch(key(instanceID), typeAttachment)
		return tx.SetJSON(bucketAttachment, key(instanceID), a)
	})
}

// Busy tells how many sessions an instance has, so that free slots go to the least busy.
func (r *Room) Busy(instanceID string, sessions int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[key(instanceID)] = sessions
}

// NIC returns the handle of an instance's interface for the engine, once the kernel is ready for it: when a round that
// knew of it has ended.
func (r *Room) NIC(ctx context.Context, instanceID string) (machine.NIC, error) {
	n, vnetID, err := r.nicOf(ctx, instanceID)
	if errors.Is(err, errUnnumbered) {
		if err := r.loop.settle(ctx, vnetID); err != nil {
			return n, err
		}
		n, vnetID, err = r.nicOf(ctx, instanceID)
	}
	if err != nil || r.loop.covers(instanceID, n) {
		return n, err
	}
	return n, r.loop.settle(ctx, vnetID)
}

// errUnnumbered says that a network is so new that no round has seen it.
var errUnnumbered = errors.New("the virtual network has no namespace yet")

func (r *Room) nicOf(ctx context.Context, instanceID string) (n machine.NIC, vnetID string, err error) {
	err = r.store.View(ctx, func(tx *store.Tx) error {
		a, err := attachmentOf(tx, instanceID)
		if err != nil {
			return fmt.Errorf("interface of %s: %w", instanceID, err)
		}
		nic := a.primary()
		if nic == nil || len(nic.IPs) == 0 {
			return fmt.Errorf("interface of %s: it has none", instanceID)
		}
		v, s, err := subnetByID(tx, nic.IPs[0].Subnet)
		if err != nil {
			return fmt.Errorf("subnet of %s: %w", instanceID, err)
		}
		vnetID = v.ID
		number, err := numberOf(tx, v.UID)
		if errors.Is(err, store.ErrNotFound) {
			return errUnnumbered
		}
		n = handle(nic, s, r.door.Namespace(number), zoneOf(v))
		return err
	})
	return n, vnetID, err
}

func handle(nic *Interface, s *subnet, namespace, zone string) machine.NIC {
	p := s.prefix()
	gateway := gatewayOf(p)
	n := machine.NIC{Namespace: namespace, Await: gatewayLink(s.Name), HostLink: linkOf(nic.IPs[0].Addr), MAC: nic.MAC,
		Gateway: gateway, DNS: []netip.Addr{gateway}, Search: []string{zone}}
	for _, ip := range nic.IPs {
		n.Addresses = append(n.Addresses, netip.PrefixFrom(ip.Addr, p.Bits()))
	}
	return n
}

// linkOf names the outer end of a machine's link by its address.
func linkOf(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("m%02x%02x%02x%02x", b[0], b[1], b[2], b[3])
}

// attachedTo returns the id of an instance whose attachment matches, or "".
func attachedTo(tx *store.Tx, match func(*Attachment) bool) (string, error) {
	all, err := attachments(tx)
	for _, a := range all {
		if match(a) {
			return a.Owner.InstanceID, err
		}
	}
	return "", err
}

func attachments(tx *store.Tx) ([]*Attachment, error) {
	entries, err := tx.ListKV(bucketAttachment)
	if err != nil {
		return nil, err
	}
	var out []*Attachment
	for _, e := range entries {
		a := &Attachment{}
		if err := json.Unmarshal(e.Value, a); err != nil {
			return nil, fmt.Errorf("interfaces of %s: %w", e.Key, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// PoolAddresses are the front-end addresses, public ones first, by which the pools of configurations are reached.
func (r *Room) PoolAddresses(tx *store.Tx, configs []InterfaceConfig) ([]netip.Addr, error) {
	nics, err := readConfigs(configs)
	if err != nil {
		return nil, err
	}
	var public, private []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, n := range nics {
		for _, ip := range n.Properties.IPConfigurations {
			for _, pool := range append(append([]ref{}, ip.Properties.Pools...), ip.Properties.NATPools...) {
				lb, err := lbOf(tx, pool.ID)
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					return nil, err
				}
				for i := range lb.Properties.FrontEnds {
					f := &lb.Properties.FrontEnds[i]
					a, err := frontAddr(tx, lb.ID, f)
					if err != nil {
						return nil, err
					}
					if !a.IsValid() || seen[a] {
						continue
					}
					seen[a] = true
					if f.Properties.PublicIPAddress != nil {
						public = append(public, a)
					} else {
						private = append(private, a)
					}
				}
			}
		}
	}
	return append(public, private...), nil
}
