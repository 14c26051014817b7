// Package arm is the Azure Resource Manager protocol: ids, errors, api versions, asynchronous operations, etags, the
// routing of requests to resource types, and the furniture that most types share (Document). It knows no resource
// type by name except subscriptions and resource groups, which every id passes through.
//
// Behaviour follows Microsoft's "Resource provider contract" and what the az CLI and the Azure SDKs were seen to need;
// where it differs, docs/arm-divergences.md says so.
package arm

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"lido.dev/lido/internal/store"
)

// Caller is who a request comes from.
type Caller struct {
	Name     string `json:"name"`     // user principal name, or a service principal's application id
	ObjectID string `json:"objectId"` // in the directory
	TenantID string `json:"tenantId"`
}

// Access decides who a request comes from and what they may do.
type Access interface {
	// Authenticate returns the caller; its error is shown to clients as 401, so it should be an *Error.
	Authenticate(r *http.Request) (Caller, error)
	// Allowed tells whether the caller may do an action, e.g. "Microsoft.Compute/virtualMachineScaleSets/write", on id.
	Allowed(ctx context.Context, c Caller, action string, id ID) bool
}

// Request is one call to a resource type, over HTTP or in process.
type Request struct {
	Method      string
	ID          ID // fixed segments in the registered casing, names as sent
	Action      string
	APIVersion  string // as sent
	Query       url.Values
	IfMatch     string
	IfNoneMatch string
	Prefer      string // RFC 7240: what the client would like
	Caller      Caller
	Body        []byte
	// Secrets are paths (a.b[0].c) of values in Body that derive from a secret; documents seal them.
	Secrets []string
	BaseURL string // scheme and host that the client used, for absolute links
	// CorrelationID joins what belongs together, e.g. all calls of a deployment.
	CorrelationID string
}

// Response is a handler's answer.
type Response struct {
	Status    int // 0 means 200
	Body      any // encoded as JSON; nil means no body
	Header    http.Header
	Operation *Operation // set if the work goes on: the answer carries where to ask
	// Location asks for a Location header beside Azure-AsyncOperation, for operations whose result is fetched there.
	Location bool
}

// Handler serves one kind of request of one type.
type Handler func(ctx context.Context, r *Request) (*Response, error)

// Type is a resource type, or a pseudo type such as locations/vmSizes. Handlers that are nil answer 405.
type Type struct {
	Name                          string   // in Azure's casing, e.g. "Microsoft.Compute/virtualMachineScaleSets"
	APIVersions                   []string // newest first; shown by the providers list
	Hidden                        bool     // not a resource type of its own: left out of the providers list
	Get, Put, Patch, Delete, Head Handler
	List                          Handler            // GET on the collection, in any scope
	Post                          Handler            // POST on the path of the collection
	Actions                       map[string]Handler // POST on a resource; keys in any case

	// Rehearse does what Put does, shows the document as it would be stored, and takes it all back. nil where a type
	// cannot.
	Rehearse func(ctx context.Context, r *Request, see func(*store.Tx, *store.Doc) error) error
}

// Door is the way into lido's resources, the same for HTTP and for a deployment.
type Door interface {
	Do(ctx context.Context, r *Request) (*Response, error)
}

// OK is a 200 with a body.
func OK(body any) *Response { return &Response{Status: http.StatusOK, Body: body} }

// Page is a list as ARM returns it.
func Page[T any](items []T) *Response {
	if items == nil {
		items = []T{}
	}
	return OK(map[string]any{"value": items, "nextLink": nil})
}

// BodyMap decodes a request's body as a JSON object. An empty body is an empty object.
func (r *Request) BodyMap() (map[string]any, error) {
	m := map[string]any{}
	if len(r.Body) == 0 {
		return m, nil
	}
	if err := Decode(r.Body, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, invalidContent("", "the content is null where an object is expected")
	}
	return m, nil
}

// Decode decodes a request's body into v with errors that name the property's path.
func (r *Request) Decode(v any) error {
	if len(r.Body) == 0 {
		return nil
	}
	return Decode(r.Body, v)
}

// Convert turns a decoded JSON value into a typed one, with errors that name the property's path.
func Convert(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return Decode(b, to)
}
