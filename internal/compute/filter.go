package compute

import (
	"regexp"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
)

// instanceFilter is the $filter of a list of instances: all its conditions hold.
type instanceFilter []instanceCondition

// instanceCondition is one of the two comparisons that Azure knows: with a code of the instance view, or whether the set's
// present model is applied.
type instanceCondition struct {
	code string // what a code in the instance view begins with; "" means latestModelApplied
	want bool
}

var (
	filterCode  = regexp.MustCompile(`(?i)^startswith\(\s*instanceView/statuses/code\s*,\s*'([^']+)'\s*\)\s+eq\s+(true|false)$`)
	filterModel = regexp.MustCompile(`(?i)^properties/latestModelApplied\s+eq\s+(true|false)$`)
	filterAnd   = regexp.MustCompile(`(?i)\s+and\s+`)
)

func parseInstanceFilter(s string) (instanceFilter, error) {
	var out instanceFilter
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for _, part := range filterAnd.Split(strings.TrimSpace(s), -1) {
		if m := filterCode.FindStringSubmatch(part); m != nil {
			out = append(out, instanceCondition{code: strings.ToLower(m[1]), want: strings.EqualFold(m[2], "true")})
		} else if m := filterModel.FindStringSubmatch(part); m != nil {
			out = append(out, instanceCondition{want: strings.EqualFold(m[1], "true")})
		} else {
			return nil, arm.BadRequest("InvalidFilterInQueryString", "$filter", "Invalid $filter '%s' specified in the query string. Instances are filtered by startswith(instanceView/statuses/code, 'PowerState/running') eq true, or properties/latestModelApplied eq false, joined by 'and'.", s)
		}
	}
	return out, nil
}

func (f instanceFilter) needsView() bool {
	return slices.ContainsFunc(f, func(c instanceCondition) bool { return c.code != "" })
}

// passes holds an instance's properties, with its view if needsView, against the filter.
func (f instanceFilter) passes(props map[string]any) bool {
	return !slices.ContainsFunc(f, func(c instanceCondition) bool { return c.of(props) != c.want })
}

func (c instanceCondition) of(props map[string]any) bool {
	if c.code == "" {
		return props["latestModelApplied"] == true
	}
	statuses, _ := at(props, "instanceView")["statuses"].([]viewStatus)
	return slices.ContainsFunc(statuses, func(s viewStatus) bool { return strings.HasPrefix(strings.ToLower(s.Code), c.code) })
}
