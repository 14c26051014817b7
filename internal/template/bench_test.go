package template

import (
	"fmt"
	"testing"
)

// benchTemplate has n resources: half made by loops, each with nested expressions, mentions and dependencies.
func benchTemplate(n int) string {
	loops := ""
	for i := range 10 {
		if i > 0 {
			loops += ","
		}
		loops += res("Microsoft.Network/publicIPAddresses", fmt.Sprintf("[format('pip-%d-{0}', padLeft(string(copyIndex()), 3, '0'))]", i), fmt.Sprintf(
			`, "copy": {"name": "pips%d", "count": %d}, "location": "[variables('location')]", "properties": {"idle": "[add(4, mod(copyIndex(), 20))]"}`, i, n/20))
		loops += "," + res("Microsoft.Network/networkInterfaces", fmt.Sprintf("[format('nic-%d-{0}', padLeft(string(copyIndex()), 3, '0'))]", i), fmt.Sprintf(
			`, "copy": {"name": "nics%d", "count": %d}, "location": "[variables('location')]",
			"dependsOn": ["[resourceId('Microsoft.Network/publicIPAddresses', format('pip-%d-{0}', padLeft(string(copyIndex()), 3, '0')))]"],
			"tags": "[union(variables('tags'), createObject('n', string(copyIndex())))]",
			"properties": {"ipConfigurations": [{"name": "ip", "properties": {"publicIPAddress": {"id": "[resourceId('Microsoft.Network/publicIPAddresses', format('pip-%d-{0}', padLeft(string(copyIndex()), 3, '0')))]"},
				"name": "[if(equals(mod(copyIndex(), 2), 0), toUpper(concat(variables('prefix'), uniqueString(resourceGroup().id, string(copyIndex())))), 'odd')]"}}]}`, i, n/20, i, i))
	}
	return header(`"variables": {"location": "[resourceGroup().location]", "prefix": "team", "tags": {"a": "b"}}, "resources": [` + loops + `]`)
}

// BenchmarkExpand reads and expands templates of growing size.
func BenchmarkExpand(b *testing.B) {
	for _, n := range []int{20, 80, 200, 400, 800} {
		text := []byte(benchTemplate(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				doc, err := Read(text)
				if err != nil {
					b.Fatal(err)
				}
				p, err := Expand(doc, nil, testInputs())
				if err != nil || len(p.Resources) != n {
					b.Fatal(err)
				}
			}
		})
	}
}
