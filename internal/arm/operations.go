package arm

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/store"
)

// Operation is work that goes on after its request was answered. It is kept in the store, so it outlives a restart.
type Operation struct {
	ID         string    `json:"id"`
	Resource   string    `json:"resource"`             // id of what is worked on
	UID        string    `json:"uid"`                  // and its incarnation
	Generation int64     `json:"generation,omitempty"` // the wish that is carried out; 0 for actions
	Verb       string    `json:"verb"`                 // write, delete, or an action's name
	Status     string    `json:"status"`               // InProgress, Succeeded, Failed, Canceled
	Error      *Error    `json:"error,omitempty"`
	Result     any       `json:"result,omitempty"` // an action's answer
	Start      time.Time `json:"start"`
	End        time.Time `json:"end,omitzero"`
}

// The statuses of an operation.
const (
	InProgress = "InProgress"
	Succeeded  = "Succeeded"
	Failed     = "Failed"
	Canceled   = "Canceled"
)

const (
	bucketOps     = "operation"  // id -> Operation
	bucketOpenOps = "operation " // + resource key: id -> nothing, the open ones
	opsKept       = 24 * time.Hour
)

// Done tells whether the operation has ended.
func (o *Operation) Done() bool { return o.Status != InProgress }

// StartOperation records that work on a document begins.
func (s *Server) StartOperation(tx *store.Tx, d *store.Doc, verb string, generation int64) (*Operation, error) {
	op := &Operation{ID: uuid.NewString(), Resource: d.ID, UID: d.UID, Generation: generation, Verb: verb, Status: InProgress, Start: s.Now()}
	if err := tx.SetJSON(bucketOps, op.ID, op); err != nil {
		return nil, err
	}
	return op, tx.SetKV(bucketOpenOps+store.Key(d.ID), op.ID, []byte("open"))
}

// OpenOperations returns the unfinished operations on a resource.
func (s *Server) OpenOperations(tx *store.Tx, resource string) ([]*Operation, error) {
	entries, err := tx.ListKV(bucketOpenOps + store.Key(resource))
	if err != nil {
		return nil, err
	}
	var ops []*Operation
	for _, e := range entries {
		op := &Operation{}
		if err := tx.GetJSON(bucketOps, e.Key, op); err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// FinishOperation ends an operation with an error or with a result, which may be nil.
func (s *Server) FinishOperation(tx *store.Tx, op *Operation, result any, failure *Error) error {
	status := Succeeded
	if failure != nil {
		status = Failed
	}
	return s.endOperation(tx, op, status, result, failure)
}

// CancelOperation ends an operation that a client took back; why says so.
func (s *Server) CancelOperation(tx *store.Tx, op *Operation, why *Error) error {
	return s.endOperation(tx, op, Canceled, nil, why)
}

func (s *Server) endOperation(tx *store.Tx, op *Operation, status string, result any, failure *Error) error {
	op.End, op.Result, op.Status, op.Error = s.Now(), result, status, failure
	if err := tx.SetJSON(bucketOps, op.ID, op); err != nil {
		return err
	}
	tx.Touch(bucketOps+"/"+op.ID, bucketOps)
	return tx.DeleteKV(bucketOpenOps+store.Key(op.Resource), op.ID)
}

// SettleWrites ends the open writes of a document up to a generation: the wish was carried out, or failed.
func (s *Server) SettleWrites(tx *store.Tx, d *store.Doc, generation int64, failure *Error) error {
	ops, err := s.OpenOperations(tx, d.ID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if op.Verb != "write" || op.UID == d.UID && op.Generation > generation {
			continue
		}
		if err := s.FinishOperation(tx, op, nil, failure); err != nil {
			return err
		}
	}
	return nil
}

// Gone removes a document whose deletion was carried out and ends its operations: deletions well, others cancelled.
func (s *Server) Gone(tx *store.Tx, d *store.Doc) error {
	ops, err := s.OpenOperations(tx, d.ID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		var failure *Error
		if op.Verb != "delete" {
			failure = Conflict("OperationPreempted", "The resource was deleted while the operation was going on.")
		}
		if err := s.FinishOperation(tx, op, nil, failure); err != nil {
			return err
		}
	}
	if err := s.Box.Forget(tx, d.ID); err != nil {
		return err
	}
	return tx.Delete(d.ID)
}

// Wait returns an operation when it has ended, or ctx's error.
func (s *Server) Wait(ctx context.Context, opID string) (*Operation, error) {
	sub := s.Store.Subscribe(bucketOps)
	defer sub.Close()
	for {
		op, err := s.operation(ctx, opID)
		if err != nil || op.Done() {
			return op, err
		}
		select {
		case <-ctx.Done():
			return op, ctx.Err()
		case <-sub.C:
		}
	}
}

func (s *Server) operation(ctx context.Context, id string) (*Operation, error) {
	op := &Operation{}
	err := s.Store.View(ctx, func(tx *store.Tx) error { return tx.GetJSON(bucketOps, id, op) })
	return op, err
}

// Run forgets old operations, at the start and each hour, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.Store.Update(ctx, s.PruneOperations); err != nil && ctx.Err() == nil {
			s.Log.Error("forget old operations", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// PruneOperations forgets operations that ended a day ago.
func (s *Server) PruneOperations(tx *store.Tx) error {
	entries, err := tx.ListKV(bucketOps)
	if err != nil {
		return err
	}
	for _, e := range entries {
		op := &Operation{}
		if err := tx.GetJSON(bucketOps, e.Key, op); err != nil {
			return err
		}
		if op.Done() && s.Now().Sub(op.End) > opsKept {
			if err := tx.DeleteKV(bucketOps, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// headers adds to a response where the operation can be asked about: {sub}/providers/{NS}/locations/local/operations/{id}
// for its status, .../operationResults/{id} for its result.
func (o *Operation) headers(resp *Response, r *Request) {
	base := r.BaseURL + "/subscriptions/" + r.ID.Subscription() + "/providers/" + r.ID.Namespace + "/locations/local/"
	query := "?api-version=" + r.APIVersion
	resp.Header.Set("Retry-After", "1")
	if r.ID.Key() == r.ID.GroupID().Key() { // groups know only the Location form
		resp.Header.Set("Location", base+"operationResults/"+o.ID+query)
		return
	}
	resp.Header.Set("Azure-AsyncOperation", base+"operations/"+o.ID+query)
	if resp.Location {
		resp.Header.Set("Location", base+"operationResults/"+o.ID+query)
	}
}

// operationHandler returns the handler of the operation endpoints, which exist in every namespace.
func (s *Server) operationHandler(r *Request) (Handler, bool) {
	if len(r.ID.Types) != 2 || len(r.ID.Names) != 2 || r.Method != http.MethodGet || !strings.EqualFold(r.ID.Types[0], "locations") {
		return nil, false
	}
	switch strings.ToLower(r.ID.Types[1]) {
	case "operations":
		return s.operationStatus, true
	case "operationresults":
		return s.operationResult, true
	}
	return nil, false
}

func (s *Server) findOperation(ctx context.Context, r *Request) (*Operation, error) {
	op, err := s.operation(ctx, r.ID.Name())
	if errors.Is(err, store.ErrNotFound) {
		return nil, Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%s' is not known; operations are kept for a day after their end.", r.ID.Name())
	}
	if err != nil {
		return nil, err
	}
	if resource := ParsePath(op.Resource); !s.Access.Allowed(ctx, r.Caller, resource.Type()+"/read", resource) {
		return nil, forbidden(r, resource.Type()+"/read")
	}
	return op, nil
}

func (s *Server) operationStatus(ctx context.Context, r *Request) (*Response, error) {
	op, err := s.findOperation(ctx, r)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"id": r.ID.String(), "name": op.ID, "status": op.Status, "startTime": op.Start}
	resp := &Response{Status: http.StatusOK, Body: body, Header: http.Header{}}
	if !op.Done() {
		resp.Header.Set("Retry-After", "1")
		return resp, nil
	}
	body["endTime"] = op.End
	if op.Error != nil {
		body["error"] = op.Error
	}
	if op.Result != nil {
		body["properties"] = map[string]any{"output": op.Result}
	}
	return resp, nil
}

func (s *Server) operationResult(ctx context.Context, r *Request) (*Response, error) {
	op, err := s.findOperation(ctx, r)
	if err != nil {
		return nil, err
	}
	switch {
	case !op.Done():
		return &Response{Status: http.StatusAccepted, Header: http.Header{
			"Retry-After": {"1"}, "Location": {r.BaseURL + r.ID.String() + "?api-version=" + r.APIVersion}}}, nil
	case op.Error != nil:
		e := *op.Error
		if e.Status == 0 {
			e.Status = http.StatusConflict
		}
		return nil, &e
	case op.Result != nil:
		return OK(op.Result), nil
	}
	return &Response{Status: http.StatusOK}, nil
}
