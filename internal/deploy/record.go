package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// The store's buckets, all by the run's id.
const (
	bucketInputs = "deployment-inputs" // sealed record
	bucketOpen   = "deployment-open"   // the deployment's id, while the run is not at its end
	bucketTasks  = "deployment-tasks " // + run's id: resource's lower-cased id -> task
)

// record is all that a run was given. It is kept sealed, whole: template and parameters may hold secrets anywhere.
type record struct {
	ID            string        `json:"id"` // the deployment's
	Caller        arm.Caller    `json:"caller"`
	BaseURL       string        `json:"baseURL"`
	Subscription  string        `json:"subscription"`
	CorrelationID string        `json:"correlationId"`
	APIVersion    string        `json:"apiVersion"`
	Now           time.Time     `json:"now"`
	Seed          string        `json:"seed"`
	Mode          string        `json:"mode"`
	Template      string        `json:"template"`
	Parameters    string        `json:"parameters"`
	Link          *templateLink `json:"templateLink,omitempty"`
	ParamsLink    *templateLink `json:"parametersLink,omitempty"`
	// Secrets are paths of secrets in Template and in Parameters that came from a deployment around this one.
	TemplateSecrets  []string `json:"templateSecrets,omitempty"`
	ParameterSecrets []string `json:"parameterSecrets,omitempty"`

	Group    json.RawMessage `json:"group"`              // what resourceGroup() answers; empty in a deployment to a subscription
	Location string          `json:"location,omitempty"` // of a deployment to a subscription

	Tags       json.RawMessage `json:"tags,omitempty"` // of the deployment itself
	OnError    *onError        `json:"onErrorDeployment,omitempty"`
	Parent     string          `json:"parent,omitempty"`     // id of the deployment that sent this one
	RollbackOf string          `json:"rollbackOf,omitempty"` // id of the deployment whose failure made this one run again
}

// templateLink says where a template is.
type templateLink struct {
	URI            string `json:"uri,omitempty"`
	RelativePath   string `json:"relativePath,omitempty"`
	QueryString    string `json:"queryString,omitempty"`
	ContentVersion string `json:"contentVersion,omitempty"`
	ID             string `json:"id,omitempty"`
}

// status is what is shown of a deployment; the status half of its document. It holds no secrets.
type status struct {
	arm.Status
	Run           string        `json:"run"`
	Body          string        `json:"body"` // hash of the request
	CorrelationID string        `json:"correlationId"`
	Mode          string        `json:"mode"`
	Location      string        `json:"location,omitempty"`
	OnError       *onError      `json:"onErrorDeployment,omitempty"`
	Parent        string        `json:"parent,omitempty"`
	Link          *templateLink `json:"templateLink,omitempty"`
	ParamsLink    *templateLink `json:"parametersLink,omitempty"`
	TemplateHash  string        `json:"templateHash"`
	Started       time.Time     `json:"started"`
	Ended         time.Time     `json:"ended,omitzero"`
	Parameters    any           `json:"parameters,omitempty"`
	Outputs       any           `json:"outputs,omitempty"`
	Providers     any           `json:"providers,omitempty"`
	Dependencies  any           `json:"dependencies,omitempty"`
	Resources     []string      `json:"resources,omitempty"`
}

// The modes of a deployment.
const (
	modeIncremental = "Incremental"
	modeComplete    = "Complete"
)

// The states of a deployment that are not an operation's.
const (
	stateAccepted = "Accepted"
	stateRunning  = "Running"
)

func (s *status) active() bool {
	return s.ProvisioningState == stateAccepted || s.ProvisioningState == stateRunning
}

func statusOf(d *store.Doc) *status {
	st := &status{}
	json.Unmarshal(d.Status, st)
	return st
}

// save seals the record of a run.
func (m *Room) save(tx *store.Tx, run string, rec *record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("deployment %s: %w", rec.ID, err)
	}
	return tx.SetKV(bucketInputs, run, m.Server.Box.SealBytes(b, bucketInputs+run))
}

func (m *Room) load(tx *store.Tx, run string) (*record, error) {
	sealed, err := tx.GetKV(bucketInputs, run)
	if err != nil {
		return nil, err
	}
	b, err := m.Server.Box.OpenBytes(sealed, bucketInputs+run)
	if err != nil {
		return nil, fmt.Errorf("inputs of a deployment: %w", err)
	}
	rec := &record{}
	return rec, json.Unmarshal(b, rec)
}

// startRun has Run carry a record out as the next run of a deployment. st is the deployment's status from now on.
func (m *Room) startRun(tx *store.Tx, d *store.Doc, rec *record, st *status) error {
	st.Run, st.ProvisioningState = uuid.NewString(), stateAccepted
	if err := m.save(tx, st.Run, rec); err != nil {
		return err
	}
	if err := tx.SetKV(bucketOpen, st.Run, []byte(d.ID)); err != nil {
		return err
	}
	return tx.SetStatus(d.ID, d.UID, st)
}

// forgetRun removes what belongs to a deployment's last run, the secrets in its outputs included.
func (m *Room) forgetRun(tx *store.Tx, d *store.Doc) error {
	run := statusOf(d).Run
	for _, bucket := range []string{bucketInputs, bucketOpen} {
		if err := tx.DeleteKV(bucket, run); err != nil {
			return err
		}
	}
	if err := tx.DeleteBucket(bucketTasks + run); err != nil {
		return err
	}
	return m.Server.Box.Forget(tx, d.ID)
}

// expanded reads a record's documents again and expands the template.
func (m *Room) expanded(rec *record) (*template.Plan, error) {
	doc, err := template.Read([]byte(rec.Template))
	if err != nil {
		return nil, err
	}
	for _, p := range rec.TemplateSecrets {
		doc.MarkSecure(p)
	}
	params, err := template.Read([]byte(rec.Parameters))
	if err != nil {
		return nil, err
	}
	for _, p := range rec.ParameterSecrets {
		params.MarkSecure(p)
	}
	return template.Expand(doc, params, m.inputs(rec, doc))
}

// inputs are what the template may know beside its parameters.
func (m *Room) inputs(rec *record, doc *template.Node) template.Inputs {
	s := template.StringValue
	id := arm.ParsePath(rec.ID)
	var group template.Value
	if len(rec.Group) > 0 {
		group.UnmarshalJSON(rec.Group)
	}
	tmpl := template.ObjectOf("$schema", doc.Get("$schema").Value(), "contentVersion", doc.Get("contentVersion").Value())
	props := []any{"template", tmpl, "templateHash", s(hash(rec.Template)), "parameters", template.ObjectOf(), "mode", s(rec.Mode), "provisioningState", s(stateAccepted)}
	if rec.Link != nil {
		props = append(props, "templateLink", valueOf(rec.Link))
	}
	deployment := []any{"name", s(id.Name()), "properties", template.ObjectOf(props...)}
	if rec.Location != "" {
		deployment = append(deployment, "location", s(rec.Location))
	}
	return template.Inputs{
		Now: rec.Now, Seed: rec.Seed, SubscriptionID: id.Subscription(), ResourceGroupName: id.Group(),
		ResourceGroup: group,
		Subscription: template.ObjectOf("id", s("/subscriptions/"+id.Subscription()), "subscriptionId", s(id.Subscription()),
			"tenantId", s(m.Tenant), "displayName", s(m.Name)),
		Tenant:      template.ObjectOf("id", s("/tenants/"+m.Tenant), "tenantId", s(m.Tenant), "displayName", s(m.Name), "countryCode", s("")),
		Deployment:  template.ObjectOf(deployment...),
		Deployer:    template.ObjectOf("objectId", s(rec.Caller.ObjectID), "tenantId", s(m.Tenant), "userPrincipalName", s(rec.Caller.Name)),
		Environment: m.environment(rec.BaseURL),
		Provider:    m.providerValue(id.Subscription()),
	}
}

// document reads a deployment's document.
func (m *Room) document(ctx context.Context, id arm.ID) (d *store.Doc, err error) {
	err = m.store.View(ctx, func(tx *store.Tx) error {
		d, err = tx.Get(id.String())
		return deploymentNotFound(err, id)
	})
	return d, err
}
