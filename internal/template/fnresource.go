package template

import (
	"errors"
	"strings"
)

// resources enters the functions that make ids and those that read resources.
func (t table) resources() {
	t.special("resourceId", 2, -1, fnResourceID)
	t.special("subscriptionResourceId", 2, -1, fnSubscriptionResourceID)
	t.pure("tenantResourceId", "s s ...", func(a []Value) (Value, error) { return joinID("", "tenantResourceId", a) })
	t.pure("extensionResourceId", "s s s ...", func(a []Value) (Value, error) {
		return joinID(strings.TrimRight(a[0].s, "/"), "extensionResourceId", a[1:])
	})
	t.pure("managementGroupResourceId", "s s ...", fnManagementGroupResourceID)
	t.special("reference", 1, 3, fnReference)
	t.special("references", 1, 2, fnReferences)
	t.special("list*", 1, 4, fnList)
	t.special("providers", 1, 2, fnProviders)
	t.special("pickZones", 3, 5, fnPickZones)
	for _, name := range []string{"toLogicalZone", "toPhysicalZone"} {
		t.pure(name, "s s s", func([]Value) (Value, error) { return StringValue(""), nil })
		t.pure(name+"s", "s s a", func([]Value) (Value, error) { return ArrayValue(nil), nil })
	}
}

// idArgs evaluates arguments that must be strings. ok is false when one is not known yet.
func (e *env) idArgs(x *call) (args []Value, ok bool, err error) {
	args, err = e.evalArgs(x)
	if err != nil {
		return nil, false, err
	}
	for i, a := range args {
		if a.unknown {
			return args, false, nil
		}
		if a.kind != String && a.kind != Int {
			return nil, false, faultf("The template language function '%s' expects its parameter number %d to be of type 'String'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, a.kind)
		}
	}
	return args, true, nil
}

// typeArg finds the argument that is a resource type: the first with a slash, with as many names behind it as it has
// segments.
func typeArg(x *call, args []Value, most int) (int, error) {
	for i := 0; i <= most && i < len(args); i++ {
		if args[i].kind == String && strings.Contains(args[i].s, "/") && !strings.HasPrefix(args[i].s, "/") {
			return i, nil
		}
	}
	return 0, faultf("Unable to evaluate template language function '%s': the type of resource must be given as 'namespace/type', such as 'Microsoft.Network/virtualNetworks'. Please see https://aka.ms/arm-functions for usage details.", x.shown)
}

func fnResourceID(e *env, x *call) (Value, error) {
	args, ok, err := e.idArgs(x)
	if err != nil || !ok {
		return unknownFrom(args...), err
	}
	at, err := typeArg(x, args, 2)
	if err != nil {
		return Value{}, err
	}
	sub, group := e.sc.in.SubscriptionID, e.sc.in.ResourceGroupName
	switch at {
	case 1:
		group = args[0].s
	case 2:
		sub, group = args[0].s, args[1].s
	}
	return joinID(scopeOf(sub, group), x.shown, args[at:])
}

func fnSubscriptionResourceID(e *env, x *call) (Value, error) {
	args, ok, err := e.idArgs(x)
	if err != nil || !ok {
		return unknownFrom(args...), err
	}
	at, err := typeArg(x, args, 1)
	if err != nil {
		return Value{}, err
	}
	sub := e.sc.in.SubscriptionID
	if at == 1 {
		sub = args[0].s
	}
	return joinID("/subscriptions/"+sub, x.shown, args[at:])
}

func fnManagementGroupResourceID(a []Value) (Value, error) {
	if strings.Contains(a[0].s, "/") {
		return Value{}, faultf("the deployment is not at the scope of a management group; give the group's name first")
	}
	return joinID("/providers/Microsoft.Management/managementGroups/"+a[0].s, "managementGroupResourceId", a[1:])
}

// joinID puts an id together from what goes before the type, the type, and its names.
func joinID(prefix, fn string, typeAndNames []Value) (Value, error) {
	names := make([]string, 0, len(typeAndNames))
	secure := false
	for _, v := range typeAndNames[1:] {
		secure = secure || v.secure
		names = append(names, v.text())
	}
	id, ok := resourceID(prefix, typeAndNames[0].s, names)
	if !ok {
		return Value{}, faultf("Unable to evaluate template language function '%s': the type '%s' requires '%d' resource name argument(s), '%d' were provided. Please see https://aka.ms/arm-functions for usage details.",
			fn, typeAndNames[0].s, strings.Count(typeAndNames[0].s, "/"), len(names))
	}
	v := StringValue(id)
	v.secure = secure
	return v, nil
}

// resourceID interleaves a type's segments with the names. It fails when their numbers differ.
func resourceID(prefix, resourceType string, names []string) (string, bool) {
	segments := strings.Split(strings.Trim(resourceType, "/"), "/")
	if len(segments) != len(names)+1 {
		return "", false
	}
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteString("/providers/")
	b.WriteString(segments[0])
	for i, name := range names {
		b.WriteString("/")
		b.WriteString(segments[i+1])
		b.WriteString("/")
		b.WriteString(name)
	}
	return b.String(), true
}

// runtimeArgs evaluates the arguments of a function that needs resources, notes what it refers to, and says whether it
// can be answered now.
func (e *env) runtimeArgs(x *call, many bool) (args []Value, now bool, err error) {
	if e.noRuntime != "" {
		return nil, false, faultf("The template function '%s' is not expected at this location: %s. Please see https://aka.ms/arm-functions for usage details.", x.shown, e.noRuntime)
	}
	if args, err = e.evalArgs(x); err != nil {
		return nil, false, err
	}
	for i, a := range args[:min(len(args), 2)] {
		if a.kind != String && a.kind != Unknown {
			return nil, false, faultf("The template language function '%s' expects its parameter number %d to be of type 'String'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, a.kind)
		}
	}
	if args[0].kind == String && e.refs != nil {
		e.refs(refersTo{args[0].s, many})
	}
	return args, e.rt != nil && !ArrayValue(args).unknown, nil
}

func fnReference(e *env, x *call) (Value, error) {
	args, now, err := e.runtimeArgs(x, false)
	if err != nil {
		return Value{}, err
	}
	full := false
	if len(args) == 3 {
		if args[2].kind == Unknown || !strings.EqualFold(args[2].text(), "Full") {
			return Value{}, faultf("The template language function 'reference' takes 'Full' as its third parameter. Please see https://aka.ms/arm-functions for usage details.")
		}
		full = true
	}
	version := ""
	if len(args) > 1 {
		version = args[1].s
	}
	if err := e.sc.known(args[0], version); err != nil || !now {
		return UnknownValue(), err
	}
	id, own := e.sc.identify(args[0].s)
	if version == "" {
		version = own
	}
	v, err := e.rt.Reference(id, version, full)
	if err != nil && errors.Is(err, ErrNotThere) && e.sc.nullable(args[0].s) {
		return Value{}, nil
	}
	if full {
		v = described(v, id, version)
	}
	return v, err
}

// described is a whole resource with what the deployment knows of it, as 'Full' answers. Members of the resource itself stay
// what they are.
func described(v Value, id, apiVersion string) Value {
	if v.kind != Object {
		return v
	}
	parts := strings.Split(strings.Trim(id, "/"), "/")
	after := func(name string) Value {
		for i := 0; i+1 < len(parts); i += 2 {
			if strings.EqualFold(parts[i], name) {
				return StringValue(parts[i+1])
			}
		}
		return StringValue("")
	}
	typeAndName := id
	if i := strings.LastIndex(strings.ToLower(id), "/providers/"); i >= 0 {
		typeAndName = id[i+len("/providers/"):]
	}
	known := ObjectOf("apiVersion", StringValue(apiVersion), "referenceApiVersion", StringValue(apiVersion),
		"subscriptionId", after("subscriptions"), "resourceGroupName", after("resourceGroups"),
		"resourceId", StringValue(typeAndName), "scope", StringValue(""),
		"condition", BoolValue(true), "isConditionTrue", BoolValue(true), "isTemplateResource", BoolValue(false),
		"isAction", BoolValue(false), "provisioningOperation", StringValue("Read"))
	var b objectBuilder
	for i, key := range v.obj.keys {
		b.set(key, v.obj.vals[i])
	}
	for i, key := range known.obj.keys {
		if _, there := v.Get(key); !there {
			b.set(key, known.obj.vals[i])
		}
	}
	return b.value()
}

func fnReferences(e *env, x *call) (Value, error) {
	args, now, err := e.runtimeArgs(x, true)
	if err != nil || !now {
		return UnknownValue(), err
	}
	full := len(args) == 2 && strings.EqualFold(args[1].s, "Full")
	var items []Value
	for _, r := range e.sc.turns(args[0].s) {
		if r.Skipped {
			continue
		}
		v, err := e.rt.Reference(r.ID, r.APIVersion, full)
		if err != nil {
			return Value{}, err
		}
		if full {
			v = described(v, r.ID, r.APIVersion)
		}
		items = append(items, v)
	}
	return ArrayValue(items), nil
}

// fnList is every function whose name begins with list. What such an action answers is taken for a secret.
func fnList(e *env, x *call) (Value, error) {
	args, now, err := e.runtimeArgs(x, false)
	secret := UnknownValue()
	secret.secure = true
	if err != nil || !now {
		return secret, err
	}
	id, version := e.sc.identify(args[0].s)
	if len(args) > 1 && args[1].s != "" {
		version = args[1].s
	}
	var body Value
	if len(args) > 2 {
		body = args[2]
	}
	v, err := e.rt.List(x.shown, id, version, body)
	return v.taint(), err
}

func fnProviders(e *env, x *call) (Value, error) {
	args, ok, err := e.idArgs(x)
	if err != nil || !ok {
		return unknownFrom(args...), err
	}
	resourceType := ""
	if len(args) > 1 {
		resourceType = args[1].s
	}
	if e.sc.in.Provider != nil {
		if v, ok := e.sc.in.Provider(args[0].s, resourceType); ok {
			return v, nil
		}
	}
	return Value{}, faultf("The resource provider '%s' with resource type '%s' is not served here. Please see https://aka.ms/arm-functions for usage details.", args[0].s, resourceType)
}

// fnPickZones picks none: no location here has zones.
func fnPickZones(e *env, x *call) (Value, error) {
	if _, _, err := e.idArgs(x); err != nil {
		return Value{}, err
	}
	return ArrayValue(nil), nil
}
