// Package template is the Azure Resource Manager template language: it reads a deployment template and its parameters,
// evaluates the expressions in them, and expands them to a [Plan] of resources with ids, bodies and the order they need.
//
// The package is pure. It reads no clock, file or network and knows no resource type. What a template may ask of the
// world comes in with [Inputs] (the time, the resource group, the deployment, what providers serve) and, once resources
// exist, through a [Runtime] (reference and the list functions). The same inputs always give the same plan, so a
// deployment that was interrupted expands its template again instead of keeping the plan.
package template
