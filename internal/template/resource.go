package template

import (
	"fmt"
	"strings"
)

// resourceError wraps a complaint about a resource's head.
func resourceError(n *Node, name string, err error) error {
	return explain(err, fmt.Sprintf("The template resource '%%s' at line '%d' and column '%d' is not valid: %%s", n.Pos.Line, n.Pos.Col), name)
}

// head works out what a resource is: its condition, type, name, id and explicit dependencies. Of one that is skipped only
// what can be worked out: what its name is made of may be there only when it is deployed.
func (x *expander) head(r *Resource, e *env) error {
	n := r.node
	if err := extensible(n); err != nil {
		return err
	}
	var err error
	if r.Skipped, err = e.conditionFalse(n.Get("condition")); err != nil {
		return err
	}
	r.Existing = n.Get("existing") != nil && n.Get("existing").Bool
	r.OnlyIfNew = n.At("@options", "onlyIfNotExists").Present()
	r.Nullable = n.At("@options", "nullIfNotFound").Present()
	r.loadRetries(n.At("@options", "retryOn"))
	if err = x.identity(r, e); r.Skipped {
		return nil
	}
	return err
}

// identity works out a resource's type, name, api-version and id, and what it depends on.
func (x *expander) identity(r *Resource, e *env) error {
	n := r.node
	resourceType, err := e.required(n, "type")
	if err != nil {
		return err
	}
	name, err := e.required(n, "name")
	if err != nil {
		return err
	}
	r.Type, r.Name = qualify(r.parent, resourceType, name)
	if v := n.Get("apiVersion"); v.Present() {
		if r.APIVersion, err = e.evalText(v, "api-version"); err != nil {
			return err
		}
	} else if !n.Get("apiProfile").Present() && !x.sc.doc.Get("apiProfile").Present() && !r.Existing {
		return validationError(n, "The template resource '%s' at line '%d' and column '%d' is missing the 'apiVersion' property. Please see https://aka.ms/arm-syntax-resources for usage details", name, n.Pos.Line, n.Pos.Col)
	}
	if r.ID, err = x.id(r, e); err != nil {
		return err
	}
	r.subject = fmt.Sprintf("resource '%s' at line '%d' and column '%d'", r.ID, n.Pos.Line, n.Pos.Col)
	return r.loadWishes(e)
}

// loadRetries reads the option retryOn: codes, and how often.
func (r *Resource) loadRetries(n *Node) {
	if !n.Present() || n.Kind != Array || len(n.Items) == 0 {
		return
	}
	for _, code := range n.Items[0].Items {
		r.RetryOn = append(r.RetryOn, code.Str())
	}
	if r.Retries = 1; len(n.Items) > 1 {
		r.Retries = int(min(max(n.Items[1].Value().Int(), 0), maxRetries))
	}
}

// maxRetries is more than anybody waits for.
const maxRetries = 100

// extensible refuses a resource of one of Bicep's extensions, which has no type of a resource provider.
func extensible(n *Node) error {
	for _, member := range []string{"extension", "import"} {
		if v := n.Get(member); v.Present() && !strings.EqualFold(v.Str(), "az") {
			return n.errorf(CodeExtensionUnsupported, "The template resource at line '%d' and column '%d' is of the type '%s' of the extension '%s'. lido deploys resources of resource providers only; leave the resources of extensions out of the template.",
				n.Pos.Line, n.Pos.Col, n.Get("type").Str(), v.Str())
		}
	}
	return nil
}

func (e *env) required(n *Node, what string) (string, error) {
	v := n.Get(what)
	if !v.Present() {
		return "", validationError(n, "The template resource at line '%d' and column '%d' is missing the '%s' property. Please see https://aka.ms/arm-syntax-resources for usage details", n.Pos.Line, n.Pos.Col, what)
	}
	return e.evalText(v, what)
}

// conditionFalse says that a condition is there and not fulfilled.
func (e *env) conditionFalse(n *Node) (bool, error) {
	if !n.Present() {
		return false, nil
	}
	v, err := e.evalNode(n)
	if err != nil {
		return false, err
	}
	if v.kind == String && (strings.EqualFold(v.s, "true") || strings.EqualFold(v.s, "false")) {
		return strings.EqualFold(v.s, "false"), nil
	}
	if v.kind != Bool {
		return false, validationError(n, "The condition at line '%d' and column '%d' must be a boolean, it is of type '%s'", n.Pos.Line, n.Pos.Col, v.kind)
	}
	return !v.True(), nil
}

// qualify makes a nested child's type and name whole.
func qualify(parent *Resource, resourceType, name string) (string, string) {
	if parent == nil {
		return resourceType, name
	}
	if space, _, ok := strings.Cut(resourceType, "/"); ok && strings.Contains(space, ".") {
		if strings.HasPrefix(strings.ToLower(resourceType), strings.ToLower(parent.Type)+"/") && !strings.Contains(name, "/") {
			return resourceType, parent.Name + "/" + name
		}
		return resourceType, name
	}
	return parent.Type + "/" + resourceType, parent.Name + "/" + name
}

// id makes the resource's id of its type, its name and where it goes.
func (x *expander) id(r *Resource, e *env) (string, error) {
	prefix, err := x.prefix(r, e)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(r.Type, groupType) {
		return x.groupID(r, prefix)
	}
	id, ok := resourceID(prefix, r.Type, strings.Split(r.Name, "/"))
	if !ok || strings.HasPrefix(r.Name, "/") || strings.HasSuffix(r.Name, "/") || strings.Contains(r.Name, "//") || r.Name == "" {
		n := r.node.Get("type")
		return "", validationError(n, "The template resource '%s' for type '%s' at line '%d' and column '%d' has incorrect segment lengths. A nested resource type must have identical number of segments as its resource name. A root resource type must have segment length one greater than its resource name. Please see https://aka.ms/arm-syntax-resources for usage details",
			r.Name, r.Type, n.Pos.Line, n.Pos.Col)
	}
	return id, nil
}

// groupType is the type of resource groups, as templates of subscriptions have it.
const groupType = "Microsoft.Resources/resourceGroups"

// groupID is the id of a resource group, which is not behind "/providers/".
func (x *expander) groupID(r *Resource, prefix string) (string, error) {
	n := r.node
	if strings.Count(prefix, "/") != 2 {
		return "", validationError(n, "The template resource '%s' at line '%d' and column '%d' is a resource group. Resource groups are made by deployments to a subscription: use 'az deployment sub create'", r.Name, n.Pos.Line, n.Pos.Col)
	}
	if strings.Contains(r.Name, "/") || r.Name == "" {
		return "", validationError(n, "The name '%s' of the resource group at line '%d' and column '%d' is not valid", r.Name, n.Pos.Line, n.Pos.Col)
	}
	return prefix + "/resourceGroups/" + r.Name, nil
}

// prefix is what stands before "/providers/" in the id.
func (x *expander) prefix(r *Resource, e *env) (string, error) {
	n := r.node
	if s := n.Get("scope"); s.Present() {
		v, err := e.evalText(s, "scope")
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(v, "/") {
			return strings.TrimRight(v, "/"), nil
		}
		base := x.sc.in.scopeID()
		if strings.HasPrefix(strings.ToLower(v), "microsoft.management/managementgroups/") {
			base = ""
		}
		if id, ok := relativeID(base, v); ok {
			return id, nil
		}
		return "", validationError(s, "The scope '%s' of the template resource '%s' is not an id", v, r.Name)
	}
	sub, group := x.sc.in.SubscriptionID, x.sc.in.ResourceGroupName
	var err error
	if s := n.Get("subscriptionId"); s.Present() {
		other, err := e.evalText(s, "subscriptionId")
		if err != nil {
			return "", err
		}
		if other != "" {
			sub, group = other, "" // to the subscription, unless a group is named
		}
	}
	if s := n.Get("resourceGroup"); s.Present() {
		if group, err = e.evalText(s, "resourceGroup"); err != nil {
			return "", err
		}
	}
	return scopeOf(sub, group), nil
}

// loadWishes reads dependsOn.
func (r *Resource) loadWishes(e *env) error {
	n := r.node.Get("dependsOn")
	if !n.Present() {
		return nil
	}
	v, err := e.evalNode(n)
	if err != nil {
		return err
	}
	if v.kind == String {
		v = ArrayValue([]Value{v})
	}
	if v.kind != Array {
		return validationError(n, "The 'dependsOn' at line '%d' and column '%d' must be an array, it is of type '%s'", n.Pos.Line, n.Pos.Col, v.kind)
	}
	for i, item := range v.arr {
		at := n
		if i < len(n.Items) {
			at = n.Items[i]
		}
		switch {
		case item.kind == String && item.s != "":
			r.wants = append(r.wants, wish{item.s, at})
		case item.kind != String && item.kind != Null:
			return validationError(at, "The entry of 'dependsOn' at line '%d' and column '%d' must be a string, it is of type '%s'", at.Pos.Line, at.Pos.Col, item.kind)
		}
	}
	return nil
}

// notBody are the members of a resource that the template language keeps for itself.
var notBody = map[string]bool{"type": true, "name": true, "apiversion": true, "apiprofile": true, "condition": true, "copy": true, "dependson": true,
	"resources": true, "comments": true, "scope": true, "existing": true, "metadata": true, "subscriptionid": true, "resourcegroup": true,
	"import": true, "asserts": true, "@options": true}

// evalBody works out what is sent to the resource's type.
func (r *Resource) evalBody(e *env) (Value, error) {
	var b objectBuilder
	nested := strings.EqualFold(r.Type, deploymentType)
	for _, m := range r.node.Members {
		if notBody[strings.ToLower(m.Key)] {
			continue
		}
		var v Value
		var err error
		if nested && strings.EqualFold(m.Key, "properties") && m.Val.Kind == Object {
			v, err = e.evalNested(m.Val)
		} else {
			v, err = e.evalNode(m.Val)
		}
		if err != nil {
			return Value{}, r.explain(err)
		}
		b.set(m.Key, v)
	}
	return b.value(), nil
}

// explain wraps a complaint that came up while the resource's body was worked out.
func (r *Resource) explain(err error) error {
	at := r.node
	switch e := err.(type) {
	case *Error:
		return e
	case *placed:
		at, err = e.at, e.err
	}
	return at.errorf(CodeInvalidTemplate, "Unable to process template language expressions for %s. '%s'", r.subject, err)
}
