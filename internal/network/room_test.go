package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

type everybody struct{}

func (everybody) Authenticate(*http.Request) (arm.Caller, error) { return arm.Caller{Name: "ada"}, nil }

func (everybody) Allowed(context.Context, arm.Caller, string, arm.ID) bool { return true }

// planDoor keeps the plans that it is given.
type planDoor struct {
	mu    sync.Mutex
	plans map[string]frontdoor.Network
	host  frontdoor.Host

	broken string // namespace that can't be made
}

func (d *planDoor) Apply(_ context.Context, n frontdoor.Network) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n.Namespace == d.broken {
		return errors.New("broken")
	}
	d.plans[n.Namespace] = n
	return nil
}

func (d *planDoor) ApplyHost(_ context.Context, h frontdoor.Host) error {
	d.host = h
	return nil
}

func (d *planDoor) Remove(_ context.Context, namespace, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.plans, namespace)
	return nil
}

func (d *planDoor) Sweep(context.Context, []string) error   { return nil }
func (d *planDoor) Status(string) (frontdoor.Status, error) { return frontdoor.Status{}, nil }
func (d *planDoor) Taken(a netip.Addr) bool                 { return a == netip.MustParseAddr("10.254.0.1") }
func (d *planDoor) Namespace(n int) string                  { return "v" + string(rune('0'+n)) }
func (d *planDoor) Link(n int) string                       { return "t" + string(rune('0'+n)) }
func (d *planDoor) plan(ns string) frontdoor.Network        { return d.plans[ns] }

type fixture struct {
	testing.TB
	server *arm.Server
	room   *Room
	door   *planDoor
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "lido.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s := arm.New(st, box, everybody{}, slog.New(slog.DiscardHandler))
	f := &fixture{TB: t, server: s, door: &planDoor{plans: map[string]frontdoor.Network{}}}
	f.room = New(s, f.door, Options{Public: []netip.Prefix{netip.MustParsePrefix("10.254.0.0/29")},
		Publish: []Publish{{Listen: "127.0.0.1:2222", To: "pip:22"}}})
	s.Register(s.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	s.Register(f.room.Types()...)
	f.must("PUT", "/subscriptions/s/resourceGroups/g", `{"location":"local"}`, 201)
	return f
}

const net1 = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/"

func (f *fixture) call(method, path, body string) (int, object) {
	f.Helper()
	if !strings.HasPrefix(path, "/") {
		path = net1 + path
	}
	r := httptest.NewRequest(method, path+"?api-version=2022-05-01", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer x")
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, r)
	m := object{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			f.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
	}
	return w.Code, m
}

func (f *fixture) must(method, path, body string, want int) object {
	f.Helper()
	code, m := f.call(method, path, body)
	if code != want {
		f.Fatalf("%s %s: %d, want %d: %v", method, path, code, want, m)
	}
	return m
}

func (f *fixture) refused(method, path, body, code, target string) {
	f.Helper()
	status, m := f.call(method, path, body)
	e, _ := m["error"].(object)
	if status < 400 || status >= 500 || e["code"] != code || (target != "" && e["target"] != target) {
		f.Errorf("%s %s %s: %d %v, want %s at %s", method, path, body, status, m, code, target)
	}
}

func at(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			o, _ := v.(object)
			v = o[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

const pool = `{"location":"local","properties":{
 "frontendIPConfigurations":[{"name":"LoadBalancerFrontEnd","properties":{"publicIPAddress":{"id":"` + net1 + `publicIPAddresses/pip"}}}],
 "backendAddressPools":[{"name":"bepool"}],
 "loadBalancingRules":[{"name":"SSH","properties":{"frontendIPConfiguration":{"id":"` + net1 + `loadBalancers/lb/frontendIPConfigurations/loadBalancerFrontEnd"},
  "backendAddressPool":{"id":"` + net1 + `loadBalancers/lb/backendAddressPools/bepool"},"protocol":"Tcp","frontendPort":22,"backendPort":22,
  "loadDistribution":"SourceIP","idleTimeoutInMinutes":30,"probe":{"id":"` + net1 + `loadBalancers/lb/probes/sshprobe"}}}],
 "inboundNatPools":[{"name":"nat","properties":{"frontendIPConfiguration":{"id":"` + net1 + `loadBalancers/lb/frontendIPConfigurations/LoadBalancerFrontEnd"},
  "protocol":"tcp","frontendPortRangeStart":50000,"frontendPortRangeEnd":50003,"backendPort":22}}],
 "probes":[{"name":"sshprobe","properties":{"protocol":"Tcp","port":22,"intervalInSeconds":5,"numberOfProbes":2}}]}}`

func (f *fixture) pool() {
	f.Helper()
	f.must("PUT", "virtualNetworks/vnet", `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"machines","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`, 201)
	f.must("PUT", "publicIPAddresses/pip", `{"location":"local","properties":{"publicIPAllocationMethod":"Dynamic"}}`, 201)
	f.must("PUT", "loadBalancers/lb", pool, 201)
}

const set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/team"

func configs() []InterfaceConfig {
	var out []InterfaceConfig
	json.Unmarshal([]byte(`[{"name":"nic","properties":{"primary":"true","ipConfigurations":[{"name":"ip","properties":{
	 "subnet":{"id":"`+net1+`virtualNetworks/VNET/subnets/machines"},
	 "loadBalancerBackendAddressPools":[{"id":"`+net1+`loadBalancers/lb/backendAddressPools/bepool"}],
	 "loadBalancerInboundNatPools":[{"id":"`+net1+`loadBalancers/lb/inboundNatPools/nat"}]}}]}}]`), &out)
	return out
}

func (f *fixture) attach(number string) {
	f.Helper()
	err := f.room.store.Update(f.Context(), func(tx *store.Tx) error {
		if err := f.room.Check(tx, configs(), "p"); err != nil {
			return err
		}
		return f.room.Attach(tx, Owner{SetID: set, InstanceID: set + "/virtualMachines/" + number, InstanceUID: "u", ComputerName: "team00000" + number}, configs())
	})
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) round() {
	f.Helper()
	if err := f.room.loop.round(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func TestPool(t *testing.T) {
	f := newFixture(t)
	f.pool()
	if m := f.must("GET", "publicIPAddresses/pip", "", 200); at(m, "properties", "ipAddress") != "10.254.0.2" ||
		at(m, "properties", "ipConfiguration", "id") != net1+"loadBalancers/lb/frontendIPConfigurations/LoadBalancerFrontEnd" {
		t.Errorf("public address: %v", m)
	}
	f.attach("0")
	f.attach("2")
	f.attach("9")
	m := f.must("GET", "loadBalancers/lb", "", 200)
	p := m["properties"]
	if at(p, "inboundNatRules", 0, "properties", "backendIPConfiguration", "id") != set+"/virtualMachines/0/networkInterfaces/nic/ipConfigurations/ip" ||
		at(p, "inboundNatRules", 0, "properties", "frontendPort") != 50000.0 || at(p, "inboundNatRules", 1, "properties", "frontendPort") != 50002.0 ||
		at(p, "inboundNatRules", 2, "properties", "frontendPort") != 50001.0 {
		t.Errorf("NAT rules: %v", at(p, "inboundNatRules"))
	}
	if at(p, "backendAddressPools", 0, "properties", "loadBalancingRules", 0, "id") != net1+"loadBalancers/lb/loadBalancingRules/SSH" {
		t.Errorf("pool: %v", at(p, "backendAddressPools"))
	}
	// What was read can be written back and changes nothing.
	b, _ := json.Marshal(m)
	if back := f.must("PUT", "loadBalancers/lb", string(b), 200); back["etag"] != m["etag"] {
		t.Errorf("writing back what was read changed it:\n%v\n%v", m, back)
	}
	f.round()
	n := f.door.plan("v1")
	if len(n.Machines) != 3 || n.Machines[0].Addr.String() != "10.0.0.4" || len(n.Rules) != 1 || len(n.Pools[0].Backends) != 3 || len(n.NATRules) != 3 ||
		n.Rules[0].Pool != n.Pools[0].ID || n.Rules[0].Addr.String() != "10.254.0.2" || n.Rules[0].Distribution != frontdoor.SourceIP {
		t.Errorf("plan: %+v", n)
	}
	if len(f.door.host.Publish) != 1 || f.door.host.Publish[0].To.String() != "10.254.0.2:22" {
		t.Errorf("host: %+v", f.door.host)
	}
	f.inUse()
	f.leave()
}

func (f *fixture) inUse() {
	f.Helper()
	f.refused("DELETE", "virtualNetworks/vnet", "", "InUseSubnetCannotBeDeleted", "")
	f.refused("DELETE", "virtualNetworks/vnet/subnets/machines", "", "InUseSubnetCannotBeDeleted", "")
	f.refused("DELETE", "publicIPAddresses/pip", "", "PublicIPAddressCannotBeDeleted", "")
	f.refused("DELETE", "loadBalancers/lb", "", "LoadBalancerInUseByVirtualMachineScaleSet", "")
	f.refused("PUT", "loadBalancers/lb", strings.Replace(pool, `[{"name":"bepool"}]`, "[]", 1), "InvalidResourceReference", "properties.loadBalancingRules[0].properties.backendAddressPool")
	f.refused("PUT", "virtualNetworks/vnet", `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"machines","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`, "InUsePrefixCannotBeDeleted", "properties.subnets")
}

const natKey = "/subscriptions/s/resourcegroups/g/providers/microsoft.network/loadbalancers/lb/inboundnatpools/nat"

// leave takes all machines away and deletes everything; nothing may be left.
func (f *fixture) leave() {
	f.Helper()
	err := f.room.store.Update(f.Context(), func(tx *store.Tx) error {
		for _, n := range []string{"0", "2", "9"} {
			if err := f.room.Detach(tx, set+"/virtualMachines/"+n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.must("DELETE", "loadBalancers/lb", "", 200)
	if m := f.must("GET", "publicIPAddresses/pip", "", 200); at(m, "properties", "ipAddress") != nil {
		f.Errorf("a dynamic address stays without a front end: %v", m)
	}
	f.must("DELETE", "publicIPAddresses/pip", "", 200)
	f.must("DELETE", "virtualNetworks/vnet", "", 200)
	f.must("DELETE", "virtualNetworks/vnet", "", 204)
	f.round()
	if len(f.door.plans) != 0 {
		f.Errorf("networks left: %v", f.door.plans)
	}
	f.room.store.View(f.Context(), func(tx *store.Tx) error {
		for _, b := range []string{bucketPublic, bucketPublicOf, bucketLease, bucketAttachment, byInstance(natKey), byPort(natKey), bucketHome, bucketSubnet + key(net1+"virtualNetworks/vnet/subnets/machines")} {
			if left, _ := tx.ListKV(b); len(left) > 0 {
				f.Errorf("%s keeps %v", b, left)
			}
		}
		return nil
	})
}

func TestRefused(t *testing.T) {
	f := newFixture(t)
	vnet := func(space, subnets string) string {
		return `{"location":"local","properties":{"addressSpace":{"addressPrefixes":[` + space + `]},"subnets":[` + subnets + `]}}`
	}
	f.refused("PUT", "virtualNetworks/v", vnet(``, ``), "InvalidRequestFormat", "properties.addressSpace.addressPrefixes")
	f.refused("PUT", "virtualNetworks/v", vnet(`"10.0.0.0"`, ``), "InvalidAddressPrefixFormat", "properties.addressSpace.addressPrefixes[0]")
	f.refused("PUT", "virtualNetworks/v", vnet(`"10.0.0.1/16"`, ``), "InvalidAddressPrefixFormat", "")
	f.refused("PUT", "virtualNetworks/v", vnet(`"fd00::/64"`, ``), "AddressFamilyNotSupported", "")
	f.refused("PUT", "virtualNetworks/v", vnet(`"10.0.0.0/16"`, `{"name":"a","properties":{"addressPrefix":"10.1.0.0/24"}}`), "NetcfgInvalidSubnet", "properties.subnets[0].properties.addressPrefix")
	f.refused("PUT", "virtualNetworks/v", vnet(`"10.0.0.0/16"`, `{"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"b","properties":{"addressPrefix":"10.0.0.128/25"}}`), "NetcfgSubnetRangesOverlap", "properties.subnets[1].properties.addressPrefix")
	f.refused("PUT", "virtualNetworks/v", vnet(`"10.0.0.0/16"`, `{"name":"a","properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"`+net1+`networkSecurityGroups/no"}}}`), "InvalidResourceReference", "properties.subnets[0].properties.networkSecurityGroup")
	f.refused("PUT", "publicIPAddresses/p", `{"location":"local","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Dynamic"}}`, "PublicIPAddressWithStandardSkuMustUseStaticAllocation", "properties.publicIPAllocationMethod")
	f.refused("PUT", "publicIPAddresses/p", `{"location":"local","properties":{"dnsSettings":{"domainNameLabel":"-x"}}}`, "InvalidDomainNameLabel", "")
	f.refused("PUT", "loadBalancers/lb", pool, "InvalidResourceReference", "properties.frontendIPConfigurations[0].properties.publicIPAddress")
	rule := func(extra string) string {
		return `{"location":"local","properties":{"securityRules":[{"name":"r","properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourcePortRange":"*","destinationPortRange":"22","destinationAddressPrefix":"*",` + extra + `}}]}}`
	}
	f.refused("PUT", "networkSecurityGroups/n", rule(`"sourceAddressPrefix":"Storage"`), "SecurityRuleParameterContainsUnsupportedValue", "properties.securityRules[0].properties.sourceAddressPrefix")
	f.refused("PUT", "networkSecurityGroups/n", rule(`"sourceApplicationSecurityGroups":[{"id":"x"}]`), "SecurityRuleParameterContainsUnsupportedValue", "")
	f.must("PUT", "networkSecurityGroups/n", rule(`"sourceAddressPrefix":"*"`), 201)
	f.refused("PUT", "networkSecurityGroups/n/securityRules/other", `{"properties":{"priority":100,"direction":"Inbound","access":"Deny","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"*"}}`, "SecurityRuleConflict", "properties.securityRules[1].properties.priority")
}

func TestChildren(t *testing.T) {
	f := newFixture(t)
	f.pool()
	sub := f.must("PUT", "virtualNetworks/vnet/subnets/Second", `{"properties":{"addressPrefix":"10.0.1.0/24"}}`, 201)
	if sub["id"] != net1+"virtualNetworks/vnet/subnets/Second" || at(sub, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("subnet: %v", sub)
	}
	f.must("PUT", "virtualNetworks/vnet/subnets/second", `{"properties":{"addressPrefix":"10.0.2.0/24"}}`, 200)
	if m := f.must("GET", "virtualNetworks/vnet/subnets", "", 200); len(m["value"].([]any)) != 2 {
		t.Errorf("subnets: %v", m)
	}
	f.must("PUT", "virtualNetworks/vnet", `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`, 200) // says nothing of subnets
	f.must("DELETE", "virtualNetworks/vnet/subnets/SECOND", "", 200)
	f.must("DELETE", "virtualNetworks/vnet/subnets/second", "", 204)
	f.refused("GET", "virtualNetworks/vnet/subnets/second", "", "ResourceNotFound", "")
	f.attach("3")
	f.must("PUT", "loadBalancers/lb/inboundNatRules/NatRule", `{"properties":{"frontendIPConfiguration":{"id":"`+net1+`loadBalancers/lb/frontendIPConfigurations/LoadBalancerFrontEnd"},
	 "backendAddressPool":{"id":"`+net1+`loadBalancers/lb/backendAddressPools/bepool"},"protocol":"Tcp","frontendPortRangeStart":"60000","frontendPortRangeEnd":"60100","backendPort":22}}`, 201)
	m := f.must("GET", "loadBalancers/lb/backendAddressPools/bepool", "", 200)
	if at(m, "properties", "loadBalancerBackendAddresses", 0, "properties", "inboundNatRulesPortMapping", 0, "frontendPort") != 60003.0 {
		t.Errorf("port mapping: %v", m)
	}
	if m := f.must("GET", "networkSecurityGroups", "", 200); len(m["value"].([]any)) != 0 {
		t.Errorf("groups: %v", m)
	}
}

func TestInternal(t *testing.T) {
	f := newFixture(t)
	f.pool()
	front := func(extra string) string {
		return `{"location":"local","properties":{"frontendIPConfigurations":[{"name":"fe","properties":{"subnet":{"id":"` + net1 + `virtualNetworks/vnet/subnets/machines"}` + extra + `}}]}}`
	}
	f.refused("PUT", "loadBalancers/in", front(`,"privateIPAllocationMethod":"Static","privateIPAddress":"10.9.0.1"`), "PrivateIPAddressNotInSubnet", "properties.frontendIPConfigurations[0].properties.privateIPAddress")
	m := f.must("PUT", "loadBalancers/in", front(`,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.99"`), 201)
	if at(m, "properties", "frontendIPConfigurations", 0, "properties", "privateIPAddress") != "10.0.0.99" {
		t.Errorf("front end: %v", m)
	}
	f.refused("PUT", "loadBalancers/in2", front(`,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.99"`), "PrivateIPAddressInUse", "")
	f.round()
	n := f.door.plan("v1")
	if !slices.Contains(n.FrontEnds, frontdoor.FrontEnd{Addr: netip.MustParseAddr("10.0.0.99"), Internal: true}) {
		t.Errorf("plan: %+v", n.FrontEnds)
	}
	f.refused("DELETE", "virtualNetworks/vnet", "", "InUseSubnetCannotBeDeleted", "")
	f.must("DELETE", "loadBalancers/in", "", 200)
	f.must("DELETE", "virtualNetworks/vnet", "", 200)
}

// A network that can't be made keeps no machine of another from starting.
func TestOneBroken(t *testing.T) {
	f := newFixture(t)
	f.pool()
	f.must("PUT", "virtualNetworks/other", `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`, 201)
	f.door.broken = "v1" // "other" comes first by name
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.room.Run(ctx) }()
	f.attach("0")
	nic, err := f.room.NIC(ctx, set+"/virtualMachines/0")
	if err != nil || nic.Namespace != "v2" || nic.Addresses[0].String() != "10.0.0.4/24" || nic.Gateway.String() != "10.0.0.1" {
		t.Errorf("interface: %+v, %v", nic, err)
	}
	stop()
	<-ended
	p := props(f.must("GET", "virtualNetworks/other", "", 200))
	why, _ := p["provisioningError"].(object)
	if p["provisioningState"] != "Failed" || why["code"] != "NetworkNotMade" || !strings.Contains(fmt.Sprint(why["message"]), "broken") || why["time"] == "" {
		t.Errorf("the broken network shows %v, %v", p["provisioningState"], why)
	}
	if p := props(f.must("GET", "virtualNetworks/vnet", "", 200)); p["provisioningState"] != "Succeeded" {
		t.Errorf("the other network shows %v", p["provisioningState"])
	}
	f.door.broken = ""
	f.round()
	if p := props(f.must("GET", "virtualNetworks/other", "", 200)); p["provisioningState"] != "Succeeded" || p["provisioningError"] != nil {
		t.Errorf("the mended network shows %v", p)
	}
}

// A machine whose model changed keeps its address in the subnet, and leaves pools that it is no longer to be in.
func TestAttachAgain(t *testing.T) {
	f := newFixture(t)
	f.pool()
	f.attach("0")
	f.attach("0")
	fewer := configs()
	ip := fewer[0]["properties"].(object)["ipConfigurations"].([]any)[0].(object)
	delete(props(ip), "loadBalancerInboundNatPools")
	props(ip)["publicIPAddressConfiguration"] = object{"name": "own"}
	owner := Owner{SetID: set, InstanceID: set + "/virtualMachines/0", InstanceUID: "u", ComputerName: "team000000"}
	again := func(c []InterfaceConfig) {
		if err := f.room.store.Update(t.Context(), func(tx *store.Tx) error { return f.room.Attach(tx, owner, c) }); err != nil {
			t.Fatal(err)
		}
		f.round()
	}
	again(fewer)
	n := f.door.plan("v1")
	if len(n.Machines) != 1 || n.Machines[0].Addr.String() != "10.0.0.4" || len(n.NATRules) != 1 || n.NATRules[0].Addr.String() != "10.254.0.3" {
		t.Errorf("with an address of its own and without NAT pool: %+v", n)
	}
	again(configs())
	if n = f.door.plan("v1"); len(n.NATRules) != 1 || n.NATRules[0].Port != 50000 || n.Machines[0].Addr.String() != "10.0.0.4" {
		t.Errorf("as before: %+v", n)
	}
	f.leave()
}

// BenchmarkAttach is what one machine more costs in a set of so many.
func BenchmarkAttach(b *testing.B) {
	for _, machines := range []int{10, 100, 1000} {
		b.Run(strconv.Itoa(machines), func(b *testing.B) {
			f := newFixture(b)
			f.must("PUT", "virtualNetworks/vnet", `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"machines","properties":{"addressPrefix":"10.0.0.0/16"}}]}}`, 201)
			f.must("PUT", "publicIPAddresses/pip", `{"location":"local"}`, 201)
			f.must("PUT", "loadBalancers/lb", strings.Replace(pool, "50003", "59999", 1), 201)
			one := func(tx *store.Tx, i int) error {
				n := strconv.Itoa(i)
				return f.room.Attach(tx, Owner{SetID: set, InstanceID: set + "/virtualMachines/" + n, ComputerName: "team" + n}, configs())
			}
			err := f.room.store.Update(b.Context(), func(tx *store.Tx) error {
				for i := range machines {
					if err := one(tx, i); err != nil {
						return err
					}
				}
				b.ResetTimer()
				for i := range b.N {
					if err := one(tx, machines+i); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
