package main

import (
	"fmt"
	"strings"
)

// office is a template of n resources, n a multiple of 10: of ten, two address rules, two public addresses, two load
// balancers that use them, two networks and two storage accounts, made by loops with nested expressions, references by
// id and dependencies between the loops.
func office(n int) string {
	loops := []string{
		loop("Microsoft.Network/networkSecurityGroups", "rules", n/5, ``, `"securityRules": [{"name": "ssh", "properties": {
			"priority": "[add(100, mod(copyIndex(), 900))]", "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
			"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "[string(add(1024, copyIndex()))]"}}]`),
		loop("Microsoft.Network/publicIPAddresses", "address", n/5, ``, `"publicIPAllocationMethod": "Static", "idleTimeoutInMinutes": "[add(4, mod(copyIndex(), 20))]"`),
		loop("Microsoft.Network/loadBalancers", "front", n/5, `"dependsOn": ["[resourceId('Microsoft.Network/publicIPAddresses', `+name("address")+`)]"],`,
			`"frontendIPConfigurations": [{"name": "public", "properties": {"publicIPAddress": {"id": "[resourceId('Microsoft.Network/publicIPAddresses', `+name("address")+`)]"}}}],
			"backendAddressPools": [{"name": "pool"}]`),
		loop("Microsoft.Network/virtualNetworks", "net", n/5, `"dependsOn": ["[resourceId('Microsoft.Network/networkSecurityGroups', `+name("rules")+`)]"],`,
			`"addressSpace": {"addressPrefixes": ["[variables('prefix')]"]}, "copy": [{"name": "subnets", "count": 2, "input": {
			"name": "[format('part-{0}', copyIndex('subnets'))]", "properties": {"addressPrefix": "[cidrSubnet(variables('prefix'), 24, copyIndex('subnets'))]",
			"networkSecurityGroup": {"id": "[resourceId('Microsoft.Network/networkSecurityGroups', `+name("rules")+`)]"}}}}]`),
		loop("Microsoft.Storage/storageAccounts", "store", n/5, `"kind": "StorageV2", "sku": {"name": "Standard_LRS"},`, `"minimumTlsVersion": "[if(equals(mod(copyIndex(), 2), 0), 'TLS1_2', 'TLS1_1')]"`),
	}
	return `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
	"parameters": {"team": {"type": "string", "defaultValue": "physics"}},
	"variables": {"prefix": "10.0.0.0/16", "tags": {"team": "[toUpper(parameters('team'))]", "made": "[uniqueString(resourceGroup().id)]"}},
	"resources": [` + strings.Join(loops, ",\n") + `],
	"outputs": {"last": {"type": "string", "value": "[reference(resourceId('Microsoft.Network/publicIPAddresses', 'address0000')).provisioningState]"}}}`
}

// name is the expression for the name of a loop's resource at the turn of the loop that it stands in.
func name(prefix string) string {
	return fmt.Sprintf("concat('%s', padLeft(string(copyIndex()), 4, '0'))", prefix)
}

func loop(resourceType, prefix string, count int, more, properties string) string {
	return fmt.Sprintf(`{"type": "%s", "apiVersion": "2021-04-01", "name": "[%s]", "location": "[resourceGroup().location]", %s
	"tags": "[union(variables('tags'), createObject('n', string(copyIndex())))]",
	"copy": {"name": "%s", "count": %d}, "properties": {%s}}`, resourceType, name(prefix), more, prefix, count, properties)
}
