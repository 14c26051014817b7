package arm

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

// Server routes requests to resource types. Register before serving.
type Server struct {
	Store  *store.Store
	Box    *secret.Box
	Access Access
	Log    *slog.Logger
	Now    func() time.Time
	// Subscription is the one that exists; empty means that any does.
	Subscription string

	types map[string]*Type // by lower-cased name
}

// New returns a server without types.
func New(st *store.Store, box *secret.Box, access Access, log *slog.Logger) *Server {
	s := &Server{Store: st, Box: box, Access: access, Log: log, Now: now, types: map[string]*Type{}}
	return s
}

// now is the time as documents keep it: an answer to a write shows the same as what is read later.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Register adds resource types. Two of one name are a mistake in the program.
func (s *Server) Register(types ...Type) {
	for _, t := range types {
		key := strings.ToLower(t.Name)
		if s.types[key] != nil {
			panic("arm: type registered twice: " + t.Name)
		}
		actions := map[string]Handler{}
		for k, h := range t.Actions {
			actions[strings.ToLower(k)] = h
		}
		t.Actions = actions
		s.types[key] = &t
	}
}

// Types returns the registered types ordered by name.
func (s *Server) Types() []*Type {
	return slices.SortedFunc(maps.Values(s.types), func(a, b *Type) int { return strings.Compare(a.Name, b.Name) })
}

// Lookup returns a registered type by its name in any case, or nil.
func (s *Server) Lookup(name string) *Type { return s.types[strings.ToLower(name)] }

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[A-Za-z0-9.-]+)?$`)

// Do authorizes a request and hands it to its type. The request's ID may be in any case.
func (s *Server) Do(ctx context.Context, r *Request) (*Response, error) {
	if h, ok := s.operationHandler(r); ok {
		return h(ctx, r)
	}
	h, action, err := s.route(r)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(r); err != nil {
		return nil, err
	}
	if !s.Access.Allowed(ctx, r.Caller, action, r.ID) {
		return nil, forbidden(r, action)
	}
	if err := s.CheckSubscription(r.ID); err != nil {
		return nil, err
	}
	if err := s.checkScope(ctx, r); err != nil {
		return nil, err
	}
	return h(ctx, r)
}

func forbidden(r *Request, action string) *Error {
	return Errorf(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. Ask an owner of the pool; if access was recently granted, sign in again.",
		r.Caller.Name, r.Caller.ObjectID, action, r.ID)
}

func checkVersion(r *Request) error {
	switch {
	case r.APIVersion == "":
		return BadRequest("MissingApiVersionParameter", "api-version", "The api-version query parameter (?api-version=) is required for all requests.")
	case !versionForm.MatchString(r.APIVersion):
		return BadRequest("InvalidApiVersionParameter", "api-version", "The api-version '%s' is invalid. It has the form YYYY-MM-DD or YYYY-MM-DD-preview.", r.APIVersion)
	}
	return nil
}

// route finds the handler and the action that the caller needs to be allowed, and puts the registered casing into r.ID.
func (s *Server) route(r *Request) (Handler, string, error) {
	if r.Method == http.MethodPost && r.ID.IsCollection() && s.Lookup(r.ID.Type()) == nil && len(r.ID.Types) > 1 {
		parent, action := r.ID, r.ID.Types[len(r.ID.Types)-1]
		parent.Types = parent.Types[:len(parent.Types)-1]
		if t := s.Lookup(parent.Type()); t != nil {
			if h := t.Actions[strings.ToLower(action)]; h != nil {
				r.ID, r.Action = canonical(parent, t), action
				return h, t.Name + "/" + action + "/action", nil
			}
		}
	}
	t := s.Lookup(r.ID.Type())
	if t == nil {
		return nil, "", s.unknownType(r)
	}
	r.ID = canonical(r.ID, t)
	h, verb := pick(t, r)
	if h == nil {
		return nil, "", Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method '%s' is not served for '%s'.", r.Method, r.ID)
	}
	return h, t.Name + "/" + verb, nil
}

func pick(t *Type, r *Request) (Handler, string) {
	if r.ID.IsCollection() {
		switch r.Method {
		case http.MethodGet:
			return t.List, "read"
		case http.MethodPost:
			return t.Post, "action"
		}
		return nil, ""
	}
	switch r.Method {
	case http.MethodGet:
		return t.Get, "read"
	case http.MethodHead:
		if t.Head == nil {
			return t.Get, "read"
		}
		return t.Head, "read"
	case http.MethodPut:
		return t.Put, "write"
	case http.MethodPatch:
		return t.Patch, "write"
	case http.MethodDelete:
		return t.Delete, "delete"
	}
	return nil, ""
}

// canonical gives an id's fixed segments the casing of the type's name and of its scope's well-known segments.
func canonical(id ID, t *Type) ID {
	parts := strings.Split(t.Name, "/")
	id.Namespace, id.Types = parts[0], parts[1:]
	if id.Scope != "" {
		scope := strings.Split(id.Scope, "/")
		for i, fixed := range []string{"", "subscriptions", "", "resourceGroups"} {
			if fixed != "" && i < len(scope) && strings.EqualFold(scope[i], fixed) {
				scope[i] = fixed
			}
		}
		id.Scope = strings.Join(scope, "/")
	}
	return id
}

func (s *Server) unknownType(r *Request) *Error {
	ns := strings.ToLower(r.ID.Namespace) + "/"
	for key := range s.types {
		if strings.HasPrefix(key, ns) {
			return Errorf(http.StatusNotFound, "InvalidResourceType",
				"The resource type '%s' could not be found in the namespace '%s' for api version '%s'. lido does not serve this type; 'az provider show -n %s' lists those that it serves.",
				strings.Join(r.ID.Types, "/"), r.ID.Namespace, r.APIVersion, r.ID.Namespace)
		}
	}
	return Errorf(http.StatusNotFound, "InvalidResourceNamespace",
		"The resource namespace '%s' is invalid: lido does not serve it. 'az provider list' shows the namespaces that it serves.", r.ID.Namespace)
}

// checkScope says in ARM's words that the group a request is about does not exist or is going away.
func (s *Server) checkScope(ctx context.Context, r *Request) error {
	group := r.ID.GroupID()
	if group.IsZero() || r.ID.Key() == group.Key() {
		return nil
	}
	return s.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(group.String())
		if err != nil {
			return orNotFound(err, group)
		}
		if d.Deleting && r.Method == http.MethodPut {
			return groupGoes(group)
		}
		return nil
	})
}

func groupGoes(group ID) *Error {
	return Conflict("ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", group.Name())
}
