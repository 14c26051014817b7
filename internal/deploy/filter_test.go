package deploy

import "testing"

func TestFilter(t *testing.T) {
	item := map[string]any{"name": "Net", "type": "Microsoft.Network/virtualNetworks", "location": "local", "id": "/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/Net",
		"tags": map[string]any{"team": "research and dev", "owner": "it's ada"}, "properties": map[string]any{"provisioningState": "Succeeded"}}
	for filter, want := range map[string]bool{
		"":                        true,
		"name eq 'net'":           true,
		"name ne 'net'":           false,
		"substringof('et', name)": true,
		"resourceType eq 'microsoft.network/virtualnetworks' and resourceGroup eq 'g'": true,
		"resourceType eq 'x' and resourceGroup eq 'g'":                                 false,
		"tagName eq 'team' and tagValue eq 'research and dev'":                         true,
		"tagName eq 'team' AND tagValue eq 'research or dev'":                          false,
		"tagname eq 'owner' and tagvalue eq 'it''s ada'":                               true,
		"tagname eq 'a and b' and tagvalue eq 'c'":                                     false,
	} {
		conditions, err := parseFilter(filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if got := matches(conditions, item); got != want {
			t.Errorf("%s: %v", filter, got)
		}
	}
	for _, bad := range []string{"name", "name eq net", "name eq 'a' or name eq 'b'", "name eq 'a' and", "name gt 'a'"} {
		if _, err := parseFilter(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
