package deploy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// onError says which deployment runs again if this one fails: onErrorDeployment in requests and answers.
type onError struct {
	ProvisioningState string `json:"provisioningState,omitempty"` // of that run, when it was begun
	Type              string `json:"type"`
	DeploymentName    string `json:"deploymentName,omitempty"`
}

const (
	lastSuccessful     = "LastSuccessful"
	specificDeployment = "SpecificDeployment"
)

// readOnError reads what is to happen after a failure.
func readOnError(rec *record, n *template.Node) error {
	if !n.Present() {
		return nil
	}
	invalid := func(format string, args ...any) error {
		return arm.BadRequest("InvalidRequestContent", "properties.onErrorDeployment", "The request content was invalid: "+format, args...)
	}
	o := &onError{Type: n.Get("type").Str(), DeploymentName: n.Get("deploymentName").Str()}
	switch {
	case arm.ParsePath(rec.ID).Group() == "":
		return invalid("only deployments to a resource group can be rolled back.")
	case strings.EqualFold(o.Type, lastSuccessful) && o.DeploymentName == "":
		o.Type = lastSuccessful
	case strings.EqualFold(o.Type, specificDeployment) && o.DeploymentName != "":
		o.Type = specificDeployment
	default:
		return invalid("'onErrorDeployment' needs the type 'LastSuccessful', or the type 'SpecificDeployment' and the name of a deployment.")
	}
	rec.OnError = o
	return nil
}

// nestedMark marks the context of requests that a deployment sends, or would send: what they start is nested in it.
type nestedMark struct{}

func nestedContext(ctx context.Context, parent string) context.Context {
	return context.WithValue(ctx, nestedMark{}, parent)
}

// parentOf is the id of the deployment that sent a request, or "".
func parentOf(ctx context.Context) string {
	parent, _ := ctx.Value(nestedMark{}).(string)
	return parent
}

// errNoRollback is why an earlier deployment does not run again.
func errNoRollback(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusNotFound, "OnErrorDeploymentNotFound", format, args...)
}

// rollBackTo finds the deployment that is to run again after id failed.
func rollBackTo(tx *store.Tx, id arm.ID, o *onError) (*store.Doc, error) {
	if o.Type == specificDeployment {
		target := id
		target.Names = []string{o.DeploymentName}
		d, err := tx.Get(target.String())
		if errors.Is(err, store.ErrNotFound) {
			return nil, errNoRollback("The deployment '%s', which should run again after a failure, could not be found.", o.DeploymentName)
		}
		if err == nil && statusOf(d).ProvisioningState != arm.Succeeded {
			return nil, errNoRollback("The deployment '%s', which should run again after a failure, has not succeeded.", o.DeploymentName)
		}
		return d, err
	}
	docs, err := deploymentsTo(tx, id.Scope)
	var last *store.Doc
	var when time.Time
	for _, d := range docs {
		st := statusOf(d)
		if st.ProvisioningState == arm.Succeeded && st.Parent == "" && st.Started.After(when) && store.Key(d.ID) != id.Key() {
			last, when = d, st.Started
		}
	}
	if err == nil && last == nil {
		return nil, errNoRollback("No earlier deployment of the group has succeeded, so there is none to run again after a failure.")
	}
	return last, err
}

// rollBack runs an earlier deployment again, as it was but in complete mode, after this one failed. It notes in st how
// that began.
func (x *runner) rollBack(tx *store.Tx, d *store.Doc, st *status) error {
	o := *x.rec.OnError
	st.OnError = &o
	target, err := rollBackTo(tx, arm.ParsePath(d.ID), &o)
	if e := (*arm.Error)(nil); errors.As(err, &e) {
		o.ProvisioningState = arm.Failed
		st.Error.Details = append(st.Error.Details, e)
		return nil
	}
	if err != nil {
		return err
	}
	again := statusOf(target)
	rec, err := x.load(tx, again.Run)
	if err != nil {
		return err
	}
	rec.Mode, rec.OnError, rec.RollbackOf, rec.Caller, rec.CorrelationID = modeComplete, nil, d.ID, x.rec.Caller, x.rec.CorrelationID
	if err := x.forgetRun(tx, target); err != nil {
		return err
	}
	again.Mode, again.CorrelationID, again.Started, again.Ended, again.Outputs, again.Resources = modeComplete, rec.CorrelationID, x.now(), time.Time{}, nil, nil
	o.DeploymentName, o.ProvisioningState = arm.ParsePath(target.ID).Name(), stateRunning
	return x.startRun(tx, target, rec, again)
}

// rolledBack tells the failed deployment how the run went that it caused.
func (x *runner) rolledBack(tx *store.Tx, state string) error {
	d, err := tx.Get(x.rec.RollbackOf)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	st := statusOf(d)
	if st.OnError == nil {
		return nil
	}
	st.OnError.ProvisioningState = state
	return tx.SetStatus(d.ID, d.UID, st)
}
