package deploy

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// world answers the runtime functions of a template, through the same door and as the same caller as all else.
type world struct {
	*Room
	ctx context.Context // of the run: the template package, which is pure, passes none
	rec *record
}

// Reference reads a resource. Secrets in it stay the placeholders that any reader sees, but for the outputs of nested
// deployments: they are opened, and marked.
func (w *world) Reference(id, apiVersion string, full bool) (template.Value, error) {
	if id = strings.TrimSpace(id); !strings.HasPrefix(id, "/") {
		return template.Value{}, arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "The resource '%s' referenced is not an id and not defined in the template.", id)
	}
	rid := arm.ParsePath(id)
	resp, err := w.do(http.MethodGet, rid, apiVersion, nil)
	if e := (*arm.Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound {
		return template.Value{}, &notThere{e}
	}
	if err != nil {
		return template.Value{}, err
	}
	v := valueOf(resp.Body)
	if sameType(rid.Type(), TypeDeployment) {
		if v, err = w.withOutputs(rid, v); err != nil {
			return v, err
		}
	}
	if !full {
		return v.At("properties"), nil
	}
	return v, nil
}

// notThere is the error of a type that a resource is not there.
type notThere struct{ err *arm.Error }

func (e *notThere) Error() string { return e.err.Error() }

func (e *notThere) Unwrap() error { return e.err }

func (e *notThere) Is(target error) bool { return target == template.ErrNotThere }

// withOutputs is a deployment with the values of its secret outputs.
func (w *world) withOutputs(id arm.ID, v template.Value) (template.Value, error) {
	var outputs template.Value
	err := w.store.View(w.ctx, func(tx *store.Tx) error {
		d, err := tx.Get(id.String())
		if err != nil {
			return err
		}
		outputs, err = w.open(tx, d.ID, valueOf(statusOf(d).Outputs))
		return err
	})
	return v.With(outputs, "properties", "outputs"), err
}

// open is v with the placeholders of owner replaced by the secrets behind them.
func (w *world) open(tx *store.Tx, owner string, v template.Value) (template.Value, error) {
	var failed error
	out := v.MapLeaves(func(leaf template.Value) template.Value {
		if !strings.HasPrefix(leaf.Str(), secret.Prefix) {
			return leaf
		}
		clear, err := w.Server.Box.Unseal(tx, owner, leaf.Str())
		if errors.Is(err, secret.ErrUnknown) {
			return leaf
		}
		failed = errors.Join(failed, err)
		return valueOf(clear).Taint()
	})
	return out, failed
}

// secureOutputs is the action by which templates read the outputs of nested deployments that are declared as secure.
const secureOutputs = "listOutputsWithSecureValues"

// outputValues are the values of a deployment's outputs by their names.
func (w *world) outputValues(id, apiVersion string) (template.Value, error) {
	v, err := w.Reference(id, apiVersion, false)
	if err != nil {
		return v, err
	}
	values := template.ObjectOf()
	for _, name := range v.At("outputs").Keys() {
		values = values.With(v.At("outputs", name, "value"), name)
	}
	return values, nil
}

// List calls an action such as listKeys.
func (w *world) List(action, id, apiVersion string, body template.Value) (template.Value, error) {
	if strings.EqualFold(action, secureOutputs) && sameType(arm.ParsePath(id).Type(), TypeDeployment) {
		return w.outputValues(id, apiVersion)
	}
	var sent []byte
	if body.Kind() != template.Null {
		sent = body.AppendJSON(nil)
	}
	resp, err := w.do(http.MethodPost, arm.ParsePath(strings.TrimRight(id, "/")+"/"+action), apiVersion, sent)
	if err != nil {
		return template.Value{}, err
	}
	return valueOf(resp.Body), nil
}

// do sends a request, with the newest version that the type has if the template names none.
func (w *world) do(method string, id arm.ID, apiVersion string, body []byte) (*arm.Response, error) {
	if apiVersion == "" {
		apiVersion = w.rec.APIVersion
		if t := w.Server.Lookup(id.Type()); t != nil && len(t.APIVersions) > 0 {
			apiVersion = t.APIVersions[0]
		}
	}
	return w.Server.Do(w.ctx, &arm.Request{Method: method, ID: id, APIVersion: apiVersion, Caller: w.rec.Caller, BaseURL: w.rec.BaseURL,
		CorrelationID: w.rec.CorrelationID, Body: body, Query: map[string][]string{}})
}
