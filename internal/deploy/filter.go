package deploy

import (
	"regexp"
	"strconv"
	"strings"

	"lido.dev/lido/internal/arm"
)

// condition is one comparison of a $filter.
type condition struct {
	field, op, value string // op: eq, ne, substringof
}

var (
	comparison = regexp.MustCompile(`(?i)^\s*\(?\s*([A-Za-z/.]+)\s+(eq|ne)\s+'((?:[^']|'')*)'\s*\)?\s*$`)
	substring  = regexp.MustCompile(`(?i)^\s*substringof\(\s*'((?:[^']|'')*)'\s*,\s*([A-Za-z/.]+)\s*\)\s*$`)
	startsWith = regexp.MustCompile(`(?i)^\s*startswith\(\s*([A-Za-z/.]+)\s*,\s*'((?:[^']|'')*)'\s*\)\s*$`)
	// quotedOrAnd finds where a filter can be cut: at an "and" that stands in no quotes.
	quotedOrAnd = regexp.MustCompile(`(?i)'(?:[^']|'')*'|\s+and\s+`)
)

// conjuncts cuts a filter into the comparisons that "and" joins.
func conjuncts(s string) []string {
	var parts []string
	from := 0
	for _, at := range quotedOrAnd.FindAllStringIndex(s, -1) {
		if s[at[0]] == '\'' {
			continue
		}
		parts, from = append(parts, s[from:at[0]]), at[1]
	}
	return append(parts, s[from:])
}

// parseFilter reads a $filter of comparisons joined by "and", which is what clients send to lists of resources.
func parseFilter(s string) ([]condition, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var all []condition
	for _, part := range conjuncts(s) {
		unquote := func(v string) string { return strings.ReplaceAll(v, "''", "'") }
		if f := comparison.FindStringSubmatch(part); f != nil {
			all = append(all, condition{strings.ToLower(f[1]), strings.ToLower(f[2]), unquote(f[3])})
		} else if f := substring.FindStringSubmatch(part); f != nil {
			all = append(all, condition{strings.ToLower(f[2]), "substringof", unquote(f[1])})
		} else if f := startsWith.FindStringSubmatch(part); f != nil {
			all = append(all, condition{strings.ToLower(f[1]), "startswith", unquote(f[2])})
		} else {
			return nil, arm.BadRequest("InvalidFilterInQueryString", "$filter", "Invalid $filter '%s' specified in the query string: lido reads comparisons such as name eq 'x', joined by 'and'.", s)
		}
	}
	return all, nil
}

func (c condition) holds(have string) bool {
	switch c.op {
	case "eq":
		return strings.EqualFold(have, c.value)
	case "ne":
		return !strings.EqualFold(have, c.value)
	case "startswith":
		return strings.HasPrefix(strings.ToLower(have), strings.ToLower(c.value))
	}
	return strings.Contains(strings.ToLower(have), strings.ToLower(c.value))
}

// matches holds a resource as it is shown against a filter.
func matches(conditions []condition, item map[string]any) bool {
	tag, tagGiven := "", false
	for _, c := range conditions {
		if c.field == "tagname" {
			tag, tagGiven = c.value, true
		}
	}
	tags, _ := item["tags"].(map[string]any)
	for _, c := range conditions {
		ok := false
		switch c.field {
		case "tagname":
			_, ok = tagOf(tags, c.value)
		case "tagvalue":
			if tagGiven {
				v, has := tagOf(tags, tag)
				ok = has && c.holds(v)
			}
		default:
			ok = c.holds(fieldOf(item, c.field))
		}
		if !ok {
			return false
		}
	}
	return true
}

func tagOf(tags map[string]any, name string) (string, bool) {
	for k, v := range tags {
		if strings.EqualFold(k, name) {
			s, _ := v.(string)
			return s, true
		}
	}
	return "", false
}

// fieldOf is a field that filters name.
func fieldOf(item map[string]any, field string) string {
	id, _ := item["id"].(string)
	switch field {
	case "resourcetype":
		s, _ := item["type"].(string)
		return s
	case "resourcegroup":
		return arm.ParsePath(id).Group()
	case "provisioningstate", "properties/provisioningstate":
		p, _ := item["properties"].(map[string]any)
		s, _ := p["provisioningState"].(string)
		return s
	case "plan/publisher", "plan/product", "plan/name":
		p, _ := item["plan"].(map[string]any)
		s, _ := p[strings.TrimPrefix(field, "plan/")].(string)
		return s
	}
	for k, v := range item {
		if strings.EqualFold(k, field) {
			s, _ := v.(string)
			return s
		}
	}
	return ""
}

// filtered applies the request's $filter and $top to a list.
func filtered(r *arm.Request, resp *arm.Response) (*arm.Response, error) {
	conditions, err := parseFilter(r.Query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	page, _ := resp.Body.(map[string]any)
	items, _ := page["value"].([]map[string]any)
	kept := []map[string]any{}
	for _, item := range items {
		if matches(conditions, item) {
			kept = append(kept, item)
		}
	}
	if top, err := strconv.Atoi(r.Query.Get("$top")); err == nil && top >= 0 && top < len(kept) {
		kept = kept[:top]
	}
	page["value"] = kept
	return resp, nil
}
