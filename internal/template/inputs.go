package template

import (
	"errors"
	"time"
)

// Inputs are what a template may know of the world before anything is deployed.
type Inputs struct {
	Now  time.Time // utcNow
	Seed string    // newGuid: the same seed gives the same guids

	SubscriptionID    string // "" in a deployment to a tenant or a management group
	ResourceGroupName string // "" in a deployment to a subscription

	ResourceGroup Value // what resourceGroup() answers: id, name, location, tags, ...
	Subscription  Value // subscription(): id, subscriptionId, tenantId, displayName
	Tenant        Value // tenant()
	Deployment    Value // deployment(): name, properties
	Environment   Value // environment()
	Deployer      Value // deployer()

	// Provider answers providers(): for a name space and a type the object with resourceType, locations and
	// apiVersions (newest first); for a name space and "" all of it. False when there is no such thing.
	Provider func(namespace, resourceType string) (Value, bool)
}

// ErrNotThere is what a Runtime's error is, by errors.Is, if what was asked for is not there.
var ErrNotThere = errors.New("not there")

// Runtime answers the functions that need resources to exist. Its values carry their own Secure marks.
type Runtime interface {
	// Reference returns the properties of a resource, or with full the whole of it. apiVersion may be "".
	Reference(id, apiVersion string, full bool) (Value, error)
	// List calls an action of a resource, such as listKeys, with body, which may be null.
	List(action, id, apiVersion string, body Value) (Value, error)
}

// refersTo is one use of a runtime function: the id, name or symbolic name it was given.
type refersTo struct {
	name string
	many bool // all turns of a copy loop, as references() asks
}
