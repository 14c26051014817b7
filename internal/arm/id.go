package arm

import (
	"regexp"
	"strings"
)

// ID is a parsed ARM resource id or collection path.
//
// Everything is a chain of type/name pairs behind a scope: /subscriptions/S/resourceGroups/G is type
// Microsoft.Resources/subscriptions/resourceGroups with names [S G]; .../providers/NS/a/A/b/B is type NS/a/b with
// names [A B] in the scope before "/providers/". A collection has one type more than names.
type ID struct {
	Scope     string // what comes before the last /providers/NS; "" at the root
	Namespace string // "Microsoft.Resources" for root chains
	Types     []string
	Names     []string

	provided bool // written with /providers/NS though NS is Microsoft.Resources, as deployments of the tenant are
}

// RootNamespace is the namespace of everything that is not behind /providers/.
const RootNamespace = "Microsoft.Resources"

// The root types.
const (
	TypeSubscription  = RootNamespace + "/subscriptions"
	TypeResourceGroup = RootNamespace + "/subscriptions/resourceGroups"
)

// ParsePath parses a URL path or an id. It does no validation of names: any path has one reading.
func ParsePath(path string) ID {
	var segs []string
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			segs = append(segs, s)
		}
	}
	at := lastProviders(segs)
	id := ID{Namespace: RootNamespace}
	rest := segs
	if at >= 0 {
		if at > 0 {
			id.Scope = "/" + strings.Join(segs[:at], "/")
		}
		id.Namespace, rest = segs[at+1], segs[at+2:]
		id.provided = true
	}
	for i, s := range rest {
		if i%2 == 0 {
			id.Types = append(id.Types, s)
		} else {
			id.Names = append(id.Names, s)
		}
	}
	return id
}

// lastProviders finds the last "providers" segment that begins a resource's namespace, or -1. It stands where a type
// would, so a resource or group may be named so. /subscriptions/S/providers and /subscriptions/S/providers/NS[/register]
// are about providers themselves.
func lastProviders(segs []string) int {
	last := -1
	for i := 0; i+2 < len(segs); {
		if !strings.EqualFold(segs[i], "providers") {
			i += 2
			continue
		}
		if verb := strings.ToLower(segs[i+2]); len(segs) == i+3 && (verb == "register" || verb == "unregister") {
			break
		}
		last = i
		i += 2 // the namespace stands where a name would
	}
	return last
}

// IsCollection tells whether the id names a collection rather than a resource.
func (id ID) IsCollection() bool { return len(id.Types) > len(id.Names) }

// IsZero tells whether the id names nothing.
func (id ID) IsZero() bool { return len(id.Types) == 0 }

// Type returns the full type, e.g. Microsoft.Compute/virtualMachineScaleSets/virtualMachines.
func (id ID) Type() string { return id.Namespace + "/" + strings.Join(id.Types, "/") }

// Name returns the last name.
func (id ID) Name() string {
	if len(id.Names) == 0 {
		return ""
	}
	return id.Names[len(id.Names)-1]
}

// FullName returns the names joined by "/", as ARM shows a child's name.
func (id ID) FullName() string { return strings.Join(id.Names, "/") }

// String returns the id, or the collection's path.
func (id ID) String() string {
	var b strings.Builder
	b.WriteString(id.Scope)
	if id.provided || id.Scope != "" || !strings.EqualFold(id.Namespace, RootNamespace) {
		b.WriteString("/providers/" + id.Namespace)
	}
	for i, t := range id.Types {
		b.WriteString("/" + t)
		if i < len(id.Names) {
			b.WriteString("/" + id.Names[i])
		}
	}
	return b.String()
}

// Key returns the lower-cased id, which is how resources are told apart.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Parent returns the id one level up: a child's parent, a resource's scope, a group's subscription.
func (id ID) Parent() ID {
	switch {
	case id.IsCollection() && len(id.Types) > 1:
		id.Types = id.Types[:len(id.Types)-1]
		return id
	case !id.IsCollection() && len(id.Types) > 1:
		id.Types, id.Names = id.Types[:len(id.Types)-1], id.Names[:len(id.Names)-1]
		return id
	}
	return ParsePath(id.Scope)
}

// Child returns the id of a resource below this one.
func (id ID) Child(typ, name string) ID {
	id.Types = append(append([]string{}, id.Types...), typ)
	id.Names = append(append([]string{}, id.Names...), name)
	return id
}

// Subscription returns the subscription's id (a GUID), or "".
func (id ID) Subscription() string { return id.rootName("subscriptions", 0) }

// Group returns the resource group's name, or "".
func (id ID) Group() string { return id.rootName("resourcegroups", 2) }

func (id ID) rootName(typ string, at int) string {
	segs := strings.Split(strings.Trim(id.String(), "/"), "/")
	if len(segs) > at+1 && strings.EqualFold(segs[at], typ) {
		return segs[at+1]
	}
	return ""
}

// GroupID returns the id of the resource group that the id lies in; the zero ID if in none.
func (id ID) GroupID() ID {
	if id.Group() == "" {
		return ID{}
	}
	return GroupID(id.Subscription(), id.Group())
}

// GroupID returns a resource group's id.
func GroupID(subscription, group string) ID {
	return ID{Namespace: RootNamespace, Types: []string{"subscriptions", "resourceGroups"}, Names: []string{subscription, group}}
}

// ResourceID returns the id of a resource in a group. typ is a full type; names are as many as the type has parts.
func ResourceID(subscription, group, typ string, names ...string) ID {
	ns, rest, _ := strings.Cut(typ, "/")
	return ID{Scope: GroupID(subscription, group).String(), Namespace: ns, Types: strings.Split(rest, "/"), Names: names}
}

// nameRule is what most of Azure's types ask of a name; types with stricter rules say so (Type.Name).
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._()-]{0,88}[A-Za-z0-9_()-]$|^[A-Za-z0-9]$`)
