package arm

import (
	"encoding/json"
	"strconv"
	"strings"
)

func (h *documents) check(a *Admission) error {
	name := a.ID.Name()
	if a.Old == nil && !h.NameRule.MatchString(name) {
		return BadRequest("InvalidResourceName", "name", "Resource name '%s' is invalid. Names have 1 to 90 letters, digits, and '-', '_', '.', '(', ')', or as the type '%s' restricts them further (%s).", name, h.Name, h.NameRule)
	}
	if p, ok := a.Body["properties"]; ok && p != nil {
		if _, ok := p.(map[string]any); !ok {
			return BadRequest("InvalidRequestContent", "properties", "The request content was invalid: 'properties' is not an object.")
		}
	}
	if err := checkTags(a.Body["tags"]); err != nil || h.NoLocation {
		return err
	}
	return checkLocation(a)
}

// checkTags checks that tags are an object of strings, within Azure's limits. Numbers and booleans become strings.
func checkTags(v any) error {
	if v == nil {
		return nil
	}
	tags, ok := v.(map[string]any)
	if !ok {
		return invalidContent("tags", "the value of 'tags' is not an object")
	}
	if len(tags) > 50 {
		return BadRequest("InvalidTags", "tags", "The resource has %d tags; it can have 50.", len(tags))
	}
	for name, value := range tags {
		text, ok := tagText(value)
		if ok {
			tags[name] = text
		}
		switch {
		case !ok && value != nil:
			return invalidContent("tags."+name, "the value of 'tags."+name+"' is not a string")
		case name == "" || len(name) > 512 || len(text) > 256:
			return BadRequest("InvalidTagNameOrValue", "tags", "The tag '%.40s' is invalid: names have 1 to 512 characters, values at most 256.", name)
		}
	}
	return nil
}

func tagText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func checkLocation(a *Admission) error {
	loc, isString := a.Body["location"].(string)
	if a.Body["location"] != nil && !isString {
		return BadRequest("InvalidRequestContent", "location", "The request content was invalid: 'location' is not a string.")
	}
	if loc == "" {
		return BadRequest("LocationRequired", "location", "The location property is required for this definition.")
	}
	a.Body["location"] = NormalLocation(loc)
	if a.Old == nil {
		return nil
	}
	var old struct{ Location string }
	json.Unmarshal(a.Old.Desired, &old)
	if old.Location != a.Body["location"] {
		return Conflict("InvalidResourceLocation", "The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.", a.ID.Name(), old.Location, loc).At("location")
	}
	return nil
}

// NormalLocation returns a location's name as Azure keeps it: "West Europe" is "westeurope".
func NormalLocation(loc string) string { return strings.ToLower(strings.ReplaceAll(loc, " ", "")) }
