package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/store"
)

// group is a network security group as lido reads it.
type group struct {
	ID         string `json:"-"`
	Properties struct {
		SecurityRules []securityRule `json:"securityRules"`
	} `json:"properties"`
}

type securityRule struct {
	Name       string `json:"name"`
	Properties struct {
		Protocol                             string       `json:"protocol"`
		Access                               string       `json:"access"`
		Direction                            string       `json:"direction"`
		Priority                             arm.Int      `json:"priority"`
		SourceAddressPrefix                  string       `json:"sourceAddressPrefix"`
		SourceAddressPrefixes                []string     `json:"sourceAddressPrefixes"`
		DestinationAddressPrefix             string       `json:"destinationAddressPrefix"`
		DestinationAddressPrefixes           []string     `json:"destinationAddressPrefixes"`
		SourcePortRange                      arm.String   `json:"sourcePortRange"`
		SourcePortRanges                     []arm.String `json:"sourcePortRanges"`
		DestinationPortRange                 arm.String   `json:"destinationPortRange"`
		DestinationPortRanges                []arm.String `json:"destinationPortRanges"`
		SourceApplicationSecurityGroups      []ref        `json:"sourceApplicationSecurityGroups"`
		DestinationApplicationSecurityGroups []ref        `json:"destinationApplicationSecurityGroups"`
	} `json:"properties"`
}

func (r *Room) groupDocument() arm.Document {
	return arm.Document{Name: typeGroup, APIVersions: apiVersions, Admit: r.admitGroup, Merge: keepWhenAbsent("securityRules"),
		Render: r.renderGroup, Removing: r.removingGroup}
}

func (r *Room) admitGroup(_ context.Context, a *arm.Admission) error {
	p := props(a.Body)
	for _, k := range []string{"defaultSecurityRules", "networkInterfaces", "subnets", "resourceGuid", "flowLogs"} {
		delete(p, k)
	}
	if err := parts(p, "securityRules"); err != nil {
		return err
	}
	var g group
	if err := arm.Convert(a.Body, &g); err != nil {
		return err
	}
	g.ID = a.ID.String()
	_, err := compile(&g)
	return err
}

func readGroup(d *store.Doc) (*group, error) {
	g := &group{ID: d.ID}
	return g, arm.Decode(d.Desired, g)
}

// compile turns a group's rules and Azure's default ones into the front door's. What can't be enforced is an error.
func compile(g *group) (frontdoor.Group, error) {
	out := frontdoor.Group{ID: key(g.ID)}
	taken := map[string]string{}
	for i, s := range append(g.Properties.SecurityRules, defaultRules()...) {
		at := fmt.Sprintf("properties.securityRules[%d].properties", i)
		rule, err := compileRule(s)
		if err != nil {
			var e *arm.Error
			if errors.As(err, &e) {
				e.Target = at + "." + e.Target
				e.Message = fmt.Sprintf("Security rule '%s' of %s: %s", s.Name, g.ID, e.Message)
			}
			return out, err
		}
		if i < len(g.Properties.SecurityRules) {
			slot := fmt.Sprint(rule.Outbound, rule.Priority)
			if other, dup := taken[slot]; dup {
				return out, arm.BadRequest("SecurityRuleConflict", at+".priority", "Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction.", s.Name, other)
			}
			taken[slot] = s.Name
			if rule.Priority < 100 || rule.Priority > 4096 {
				return out, arm.BadRequest("SecurityRuleInvalidPriority", at+".priority", "Security rule '%s' has priority %d; it must be between 100 and 4096.", s.Name, rule.Priority)
			}
		}
		out.Rules = append(out.Rules, rule)
	}
	return out, nil
}

func compileRule(s securityRule) (frontdoor.SecurityRule, error) {
	p := s.Properties
	out := frontdoor.SecurityRule{Name: s.Name, Priority: int(p.Priority)}
	if len(p.SourceApplicationSecurityGroups)+len(p.DestinationApplicationSecurityGroups) > 0 {
		return out, unenforceable("sourceApplicationSecurityGroups", "lido does not enforce application security groups; use address prefixes")
	}
	var err [8]error
	out.Outbound, err[0] = oneOf(p.Direction, "direction", "Inbound", "Outbound")
	out.Deny, err[1] = oneOf(p.Access, "access", "Allow", "Deny")
	out.Protocol, err[2] = protocolOf(p.Protocol)
	out.Sources, err[3] = peersOf("sourceAddressPrefix", p.SourceAddressPrefix, p.SourceAddressPrefixes)
	out.Destinations, err[4] = peersOf("destinationAddressPrefix", p.DestinationAddressPrefix, p.DestinationAddressPrefixes)
	out.SourcePorts, err[5] = rangesOf("sourcePortRange", p.SourcePortRange, p.SourcePortRanges)
	out.DestinationPorts, err[6] = rangesOf("destinationPortRange", p.DestinationPortRange, p.DestinationPortRanges)
	for _, e := range err {
		if e != nil {
			return out, e
		}
	}
	return out, nil
}

func unenforceable(target, why string) error {
	return arm.BadRequest("SecurityRuleParameterContainsUnsupportedValue", target, "%s.", why)
}

// oneOf tells whether a value is the second of two words.
func oneOf(value, target, first, second string) (bool, error) {
	switch {
	case strings.EqualFold(value, first):
		return false, nil
	case strings.EqualFold(value, second):
		return true, nil
	}
	return false, arm.BadRequest("InvalidRequestFormat", target, "'%s' is '%s'; it is %s or %s.", target, value, first, second)
}

func protocolOf(s string) (frontdoor.Protocol, error) {
	switch strings.ToLower(s) {
	case "*":
		return frontdoor.Any, nil
	case "tcp":
		return frontdoor.TCP, nil
	case "udp":
		return frontdoor.UDP, nil
	case "icmp":
		return frontdoor.ICMP, nil
	case "esp":
		return frontdoor.ESP, nil
	case "ah":
		return frontdoor.AH, nil
	}
	return 0, arm.BadRequest("SecurityRuleInvalidProtocol", "protocol", "the protocol is '%s'; it is Tcp, Udp, Icmp, Esp, Ah or *.", s)
}

func peersOf(target, one string, many []string) ([]frontdoor.Peer, error) {
	if one != "" {
		many = append([]string{one}, many...)
	}
	if len(many) == 0 {
		return nil, arm.BadRequest("SecurityRuleAddressPrefixMissing", target, "'%s' or '%ses' is required.", target, target)
	}
	var out []frontdoor.Peer
	for _, s := range many {
		p, err := peerOf(target, s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func peerOf(target, s string) (frontdoor.Peer, error) {
	switch strings.ToLower(s) {
	case "*", "any", "0.0.0.0/0":
		return frontdoor.Peer{Tag: frontdoor.Everywhere}, nil
	case "virtualnetwork":
		return frontdoor.Peer{Tag: frontdoor.VirtualNetwork}, nil
	case "internet":
		return frontdoor.Peer{Tag: frontdoor.Internet}, nil
	case "azureloadbalancer":
		return frontdoor.Peer{Tag: frontdoor.LoadBalancer}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return frontdoor.Peer{Prefix: netip.PrefixFrom(a, 32)}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4() {
		return frontdoor.Peer{Prefix: p.Masked()}, nil
	}
	return frontdoor.Peer{}, unenforceable(target, fmt.Sprintf("'%s' is neither an IPv4 prefix nor one of the service tags that lido enforces (VirtualNetwork, Internet, AzureLoadBalancer, *)", s))
}

func rangesOf(target string, one arm.String, many []arm.String) ([]frontdoor.PortRange, error) {
	if one != "" {
		many = append([]arm.String{one}, many...)
	}
	if len(many) == 0 {
		return nil, arm.BadRequest("SecurityRulePortRangeMissing", target, "'%s' or '%ss' is required.", target, target)
	}
	var out []frontdoor.PortRange
	for _, s := range many {
		r, ok := rangeOf(string(s))
		if !ok {
			return nil, arm.BadRequest("SecurityRuleInvalidPortRange", target, "'%s' is not a port range: it is *, a port from 0 to 65535, or FIRST-LAST.", s)
		}
		out = append(out, r)
	}
	return out, nil
}

func rangeOf(s string) (frontdoor.PortRange, bool) {
	if s == "*" {
		return frontdoor.PortRange{First: 0, Last: 65535}, true
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	return frontdoor.PortRange{First: uint16(a), Last: uint16(b)}, err1 == nil && err2 == nil && a <= b
}

// defaultRules are those that Azure adds to every group.
func defaultRules() []securityRule {
	return []securityRule{
		defaultRule("AllowVnetInBound", "Inbound", "Allow", 65000, "VirtualNetwork", "VirtualNetwork"),
		defaultRule("AllowAzureLoadBalancerInBound", "Inbound", "Allow", 65001, "AzureLoadBalancer", "*"),
		defaultRule("DenyAllInBound", "Inbound", "Deny", 65500, "*", "*"),
		defaultRule("AllowVnetOutBound", "Outbound", "Allow", 65000, "VirtualNetwork", "VirtualNetwork"),
		defaultRule("AllowInternetOutBound", "Outbound", "Allow", 65001, "*", "Internet"),
		defaultRule("DenyAllOutBound", "Outbound", "Deny", 65500, "*", "*"),
	}
}

func defaultRule(name, direction, access string, priority arm.Int, from, to string) securityRule {
	s := securityRule{Name: name}
	p := &s.Properties
	p.Protocol, p.Access, p.Direction, p.Priority = "*", access, direction, priority
	p.SourceAddressPrefix, p.DestinationAddressPrefix, p.SourcePortRange, p.DestinationPortRange = from, to, "*", "*"
	return s
}

func (r *Room) renderGroup(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	p := props(body)
	etag, _ := body["etag"].(string)
	p["resourceGuid"] = d.UID
	rules := items(p, "securityRules")
	for _, s := range rules {
		q := props(s)
		for _, k := range []string{"sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes", "destinationAddressPrefixes"} {
			setDefault(q, k, []any{})
		}
		child(s, d.ID, typeGroup, "securityRules", etag)
	}
	setItems(p, "securityRules", rules)
	var defaults []object
	for _, s := range defaultRules() {
		e := object{}
		if err := arm.Convert(s, &e); err != nil {
			return err
		}
		for k, v := range props(e) {
			if v == nil {
				delete(props(e), k)
			}
		}
		child(e, d.ID, typeGroup, "defaultSecurityRules", etag)
		defaults = append(defaults, e)
	}
	setItems(p, "defaultSecurityRules", defaults)
	return r.renderGroupUsers(tx, d, p)
}

func (r *Room) renderGroupUsers(tx *store.Tx, d *store.Doc, p object) error {
	subnets, err := groupSubnets(tx, d.ID)
	if err != nil {
		return err
	}
	setRefs(p, "subnets", subnets)
	return nil
}

// groupSubnets lists the subnets that a group applies to.
func groupSubnets(tx *store.Tx, id string) ([]string, error) {
	from, err := tx.Referrers(id)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range from {
		d, err := tx.Get(k)
		if err != nil || !strings.EqualFold(d.Type, typeVNet) {
			continue
		}
		v, err := readVNet(d)
		if err != nil {
			return nil, err
		}
		for _, s := range v.Properties.Subnets {
			if strings.EqualFold(s.group(), id) {
				out = append(out, d.ID+"/subnets/"+s.Name)
			}
		}
	}
	return out, nil
}

func (r *Room) removingGroup(_ context.Context, tx *store.Tx, d *store.Doc) error {
	user, err := r.referrer(tx, d.ID)
	if err != nil {
		return err
	}
	if subnets, err := groupSubnets(tx, d.ID); err == nil && len(subnets) > 0 {
		user = subnets[0]
	}
	if user == "" {
		if user, err = attachedTo(tx, func(a *Attachment) bool { return a.usesGroup(d.ID) }); err != nil {
			return err
		}
	}
	if user != "" {
		return arm.BadRequest("InUseNetworkSecurityGroupCannotBeDeleted", "", "Network security group %s cannot be deleted because it is in use by the following resources: %s. In order to delete the Network security group, remove the association with the resource(s).", d.ID, user)
	}
	return nil
}
