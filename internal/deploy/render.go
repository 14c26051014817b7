package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

const timeForm = "2006-01-02T15:04:05.0000000Z07:00"

// render is a deployment as clients see it.
func render(d *store.Doc) map[string]any {
	st := statusOf(d)
	at := st.Started
	if !st.Ended.IsZero() {
		at = st.Ended
	}
	props := map[string]any{
		"templateHash": st.TemplateHash, "mode": st.Mode, "provisioningState": st.ProvisioningState, "timestamp": at.Format(timeForm),
		"duration": isoDuration(at.Sub(st.Started)), "correlationId": st.CorrelationID, "parameters": orEmpty(st.Parameters),
		"providers": orList(st.Providers), "dependencies": orList(st.Dependencies),
	}
	if st.Link != nil {
		props["templateLink"] = shownLink(st.Link)
	}
	if st.ParamsLink != nil {
		props["parametersLink"] = shownLink(st.ParamsLink)
	}
	if st.OnError != nil {
		props["onErrorDeployment"] = st.OnError
	}
	if st.Error != nil {
		props["error"] = st.Error
	}
	if st.ProvisioningState == arm.Succeeded {
		resources := []map[string]any{}
		for _, id := range st.Resources {
			resources = append(resources, map[string]any{"id": id})
		}
		props["outputs"], props["outputResources"] = shownOutputs(st.Outputs), resources
	}
	desired := map[string]any{}
	json.Unmarshal(d.Desired, &desired)
	body := map[string]any{"id": d.ID, "name": arm.ParsePath(d.ID).Name(), "type": TypeDeployment, "properties": props}
	if st.Location != "" {
		body["location"] = st.Location
	}
	if tags, ok := desired["tags"]; ok {
		body["tags"] = tags
	}
	return body
}

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}

func orList(v any) any {
	if v == nil {
		return []any{}
	}
	return v
}

// shownLink leaves out the query, which may be a signature.
func shownLink(l *templateLink) map[string]any {
	if l.ID != "" {
		return map[string]any{"id": l.ID}
	}
	out := map[string]any{"uri": withoutQuery(l.URI)}
	if l.ContentVersion != "" {
		out["contentVersion"] = l.ContentVersion
	}
	return out
}

// isoDuration writes a duration in ISO 8601.
func isoDuration(d time.Duration) string {
	s := "PT"
	if h := d / time.Hour; h > 0 {
		s += fmt.Sprintf("%dH", h)
		d -= h * time.Hour
	}
	if m := d / time.Minute; m > 0 {
		s += fmt.Sprintf("%dM", m)
		d -= m * time.Minute
	}
	return s + strings.TrimSuffix(fmt.Sprintf("%.3f", d.Seconds()), ".000") + "S"
}

// typeNames are the types as Azure shows them.
var typeNames = map[string]string{"string": "String", "securestring": "SecureString", "int": "Int", "bool": "Bool", "object": "Object",
	"secureobject": "SecureObject", "array": "Array"}

func isSecureType(t string) bool { return strings.HasPrefix(strings.ToLower(t), "secure") }

// shownParameters are the parameters with their values, secret ones without.
func shownParameters(plan *template.Plan) map[string]any {
	out := map[string]any{}
	for _, p := range plan.Parameters {
		shown := map[string]any{"type": typeNames[strings.ToLower(p.Type)]}
		if !p.Value.Secure() && !isSecureType(p.Type) {
			shown["value"] = plainOf(p.Value)
		}
		out[p.Name] = shown
	}
	return out
}

// shownOutputs leaves out the values of outputs that the template declares secure.
func shownOutputs(v any) any {
	outputs, _ := v.(map[string]any)
	shown := map[string]any{}
	for name, o := range outputs {
		m, _ := o.(map[string]any)
		if t, _ := m["type"].(string); isSecureType(t) {
			o = map[string]any{"type": t}
		}
		shown[name] = o
	}
	return shown
}

// shownProviders are the types that a deployment uses, by name space.
func (m *Room) shownProviders(plan *template.Plan) []map[string]any {
	var out []map[string]any
	at, seen := map[string]int{}, map[string]bool{}
	for _, r := range plan.Resources {
		ns, rest, _ := strings.Cut(r.Type, "/")
		if r.Skipped || r.Existing || seen[strings.ToLower(r.Type)] {
			continue
		}
		seen[strings.ToLower(r.Type)] = true
		i, ok := at[strings.ToLower(ns)]
		if !ok {
			i = len(out)
			at[strings.ToLower(ns)] = i
			out = append(out, map[string]any{"namespace": ns, "resourceTypes": []map[string]any{}})
		}
		location := r.Body.At("location").Str()
		if location == "" && len(m.Locations) > 0 {
			location = m.Locations[0]
		}
		types := out[i]["resourceTypes"].([]map[string]any)
		out[i]["resourceTypes"] = append(types, map[string]any{"resourceType": rest, "locations": []string{location}})
	}
	return out
}

// shownDependencies are the edges between resources.
func shownDependencies(plan *template.Plan) []map[string]any {
	out := []map[string]any{}
	for _, r := range plan.Resources {
		if len(r.DependsOn) == 0 || r.Skipped || r.Existing {
			continue
		}
		on := []map[string]any{}
		for _, d := range r.DependsOn {
			on = append(on, basic(d.ID, d.Type, d.Name))
		}
		e := basic(r.ID, r.Type, r.Name)
		e["dependsOn"] = on
		out = append(out, e)
	}
	return out
}

func basic(id, resourceType, name string) map[string]any {
	return map[string]any{"id": id, "resourceType": resourceType, "resourceName": name}
}
