package template

import (
	"strings"
	"testing"
)

// poolTemplate has the traps of the pool's template: the scale set names neither the network it is in nor all that it
// needs, variables are read in another case, and a secret ends up in a public setting.
const poolTemplate = `{
  // a comment
  "$schema": "http://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "name": {"type": "string", "maxLength": 9},
    "count": {"type": "int", "maxValue": 100},
    "password": {"type": "securestring"},
    "key": {"type": "secureString"},
  },
  "variables": {
    "location": "[resourceGroup().location]",
    "pipID": "[resourceId('Microsoft.Network/publicIPAddresses', concat(parameters('name'), 'pip'))]",
    "vnetID": "[resourceId('Microsoft.Network/virtualNetworks', concat(parameters('name'), '-vnet'))]",
    "subnetRef": "[concat(variables('vnetId'), '/subnets/', 'inner')]",
    "image": {"offer": "linux"},
    "imageReference": "[variables('image')]",
  },
  "resources": [
    {"type": "Microsoft.Compute/virtualMachineScaleSets", "apiVersion": "2017-03-30", "name": "[parameters('name')]",
     "location": "[variables('location')]", "dependsOn": ["[concat('microsoft.network/loadbalancers/', parameters('name'), 'LB')]"],
     "sku": {"capacity": "[parameters('count')]"},
     "properties": {
       "imageReference": "[variables('imageReference')]",
       "osProfile": {"adminPassword": "[parameters('password')]", "adminUsername": "me"},
       "subnet": {"id": "[variables('subnetRef')]"},
       "commandToExecute": "[concat('bash mount.sh ', parameters('key'), ' share')]"}},
    {"type": "Microsoft.Network/loadBalancers", "apiVersion": "2017-06-01", "name": "[concat(parameters('name'), 'lb')]",
     "properties": {"frontendIPConfigurations": [{"properties": {"publicIPAddress": {"id": "[variables('pipID')]"}}}]}},
    {"type": "Microsoft.Network/publicIPAddresses", "apiVersion": "2017-04-01", "name": "[concat(parameters('name'), 'pip')]", "properties": {}},
    {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2017-06-01", "name": "[concat(parameters('name'), '-vnet')]", "properties": {"subnets": []}},
  ]
}`

const poolParameters = `{"name": {"value": "team"}, "count": {"value": 2}, "password": {"value": "pass-word"}, "key": {"value": "k=="}}`

func names(list []*Resource) string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.Name
	}
	return strings.Join(out, " ")
}

func TestPool(t *testing.T) {
	p := mustExpand(t, poolTemplate, poolParameters)
	if got := names(p.Resources); got != "team teamlb teampip team-vnet" {
		t.Fatalf("resources: %s", got)
	}
	set, lb := p.Resources[0], p.Resources[1]
	if want := testGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/team"; set.ID != want {
		t.Errorf("id %s, want %s", set.ID, want)
	}
	if got := names(set.DependsOn); got != "teamlb team-vnet" {
		t.Errorf("the scale set depends on %q", got)
	}
	if got := names(lb.DependsOn); got != "teampip" {
		t.Errorf("the load balancer depends on %q", got)
	}
	var secret []string
	set.Body.Walk(func(path string, leaf Value) {
		if leaf.Secure() {
			secret = append(secret, path)
		}
	})
	if got := strings.Join(secret, " "); got != "properties.osProfile.adminPassword properties.commandToExecute" {
		t.Errorf("secret leaves: %s", got)
	}
	if got := set.Body.At("properties", "commandToExecute").Str(); got != "bash mount.sh k== share" {
		t.Errorf("command: %s", got)
	}
	if got := set.Body.At("sku", "capacity").Int(); got != 2 {
		t.Errorf("capacity: %d", got)
	}
}
