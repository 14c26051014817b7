package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// hash tells texts apart; Azure's templateHash is a number in decimal, and so is this.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	n := uint64(0)
	for _, b := range sum[:8] {
		n = n<<8 | uint64(b)
	}
	return strconv.FormatUint(n, 10)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// valueOf is plain data as a template's value.
func valueOf(v any) template.Value {
	b, err := json.Marshal(v)
	if err != nil {
		return template.Value{}
	}
	var out template.Value
	out.UnmarshalJSON(b)
	return out
}

// plainOf is a template's value as decoded JSON.
func plainOf(v template.Value) any {
	var out any
	json.Unmarshal(v.AppendJSON(nil), &out)
	return out
}

// newRecord reads the request for a deployment. The body is read as leniently as Azure reads it, for az splices the
// template's file into it as it is.
func (m *Room) newRecord(ctx context.Context, r *arm.Request, coming groups) (*record, error) {
	if r.ID.Subscription() == "" {
		return nil, arm.BadRequest("DeploymentScopeNotSupported", "", "lido deploys to resource groups and to its subscription; the scope of '%s' is neither: there are no management groups here, and the tenant holds nothing. Use 'az deployment group create' or 'az deployment sub create'.", r.ID)
	}
	if err := checkName(r.ID.Name()); err != nil {
		return nil, err
	}
	body, err := template.Read(r.Body)
	if err != nil {
		return nil, fromTemplate(err)
	}
	for _, p := range r.Secrets {
		body.MarkSecure(p)
	}
	props := body.Get("properties")
	if props == nil || props.Kind != template.Object {
		return nil, arm.BadRequest("InvalidRequestContent", "properties", "The request content was invalid: the deployment has no 'properties'.")
	}
	rec := &record{ID: r.ID.String(), Caller: r.Caller, BaseURL: r.BaseURL, Subscription: r.ID.Subscription(), CorrelationID: r.CorrelationID,
		APIVersion: r.APIVersion, Now: m.now(), Seed: uuid.NewString(), Parent: parentOf(ctx)}
	if tags := body.Get("tags"); tags.Present() && tags.Kind == template.Object {
		rec.Tags = tags.Value().AppendJSON(nil)
	}
	if rec.Mode, err = modeOf(props.Get("mode")); err != nil {
		return nil, err
	}
	if err := readOnError(rec, props.Get("onErrorDeployment")); err != nil {
		return nil, err
	}
	if err := m.readTemplate(ctx, rec, props, r.Body); err != nil {
		return nil, err
	}
	if err := m.readParameters(ctx, rec, props, r.Body); err != nil {
		return nil, err
	}
	if r.ID.Group() == "" {
		return rec, rec.toSubscription(r.ID, body)
	}
	return rec, m.readGroup(ctx, rec, coming)
}

// groups are resource groups that a deployment around this one will have made by the time that this one runs: by their ids
// in lower case, what resourceGroup() will answer.
type groups map[string]json.RawMessage

// toSubscription reads what only deployments to a subscription have: a location, where Azure keeps them.
func (rec *record) toSubscription(id arm.ID, body *template.Node) error {
	if rec.Location = arm.NormalLocation(body.Get("location").Str()); rec.Location == "" {
		return arm.BadRequest("InvalidDeployment", "location", "The 'location' property must be specified for '%s'. Please see https://aka.ms/deploy-to-subscription for usage details.", id.Name())
	}
	if rec.Mode == modeComplete {
		return arm.BadRequest("InvalidRequestContent", "properties.mode", "The request content was invalid: deployments to a subscription know the mode 'Incremental' only.")
	}
	return nil
}

// deploymentName is Azure's rule for names of deployments.
var deploymentName = regexp.MustCompile(`^[-\w._()]{1,64}$`)

func checkName(name string) error {
	if !deploymentName.MatchString(name) {
		return arm.BadRequest("InvalidDeploymentName", "name", "The deployment name '%s' is invalid. It has 1 to 64 letters, digits, hyphens, underscores, dots and parentheses.", name)
	}
	return nil
}

// maxSize is Azure's limit on templates and on parameters.
const maxSize = 4 << 20

func checkSize(what string, size int) error {
	if size > maxSize {
		return arm.BadRequest("JobSizeExceeded", "properties."+what, "The %s has %d bytes. The limit is %d bytes (4 MB). Split the template, or make it smaller by loops and linked templates.", what, size, maxSize)
	}
	return nil
}

func modeOf(n *template.Node) (string, error) {
	for _, mode := range []string{modeIncremental, modeComplete} {
		if strings.EqualFold(n.Str(), mode) {
			return mode, nil
		}
	}
	if !n.Present() {
		return modeIncremental, nil
	}
	return "", arm.BadRequest("InvalidRequestContent", "properties.mode", "The request content was invalid: the deployment mode '%s' is neither 'Incremental' nor 'Complete'.", n.Str())
}

// readTemplate takes the template from the request, or fetches what it links to.
func (m *Room) readTemplate(ctx context.Context, rec *record, props *template.Node, body []byte) error {
	inline, link := props.Get("template"), props.Get("templateLink")
	if inline.Present() == link.Present() {
		return arm.BadRequest("InvalidRequestContent", "properties.template", "The request content was invalid: exactly one of the properties 'template' and 'templateLink' must be given.")
	}
	if inline.Present() {
		rec.Template, rec.TemplateSecrets = inline.Source(body), inline.Value().SecurePaths()
		return checkSize("template", len(rec.Template))
	}
	rec.Link = linkOf(link)
	text, err := m.fetch(ctx, rec.Caller, rec.Link, "templateLink")
	rec.Template = string(text)
	if err != nil {
		return err
	}
	if err := checkSize("template", len(text)); err != nil {
		return err
	}
	return checkContentVersion("templateLink", rec.Link, text)
}

// checkContentVersion holds a document that was linked to against the version that the link asks for.
func checkContentVersion(property string, link *templateLink, text []byte) error {
	if link.ContentVersion == "" {
		return nil
	}
	doc, err := template.Read(text)
	if err != nil {
		return fromTemplate(err)
	}
	if got := doc.Get("contentVersion").Str(); got != link.ContentVersion {
		return arm.BadRequest("InvalidContentLink", "properties."+property+".contentVersion", "The content version '%s' of '%s' is not the '%s' that the link asks for.", got, withoutQuery(link.URI), link.ContentVersion)
	}
	return nil
}

func linkOf(n *template.Node) *templateLink {
	return &templateLink{URI: n.Get("uri").Str(), RelativePath: n.Get("relativePath").Str(), QueryString: n.Get("queryString").Str(),
		ContentVersion: n.Get("contentVersion").Str(), ID: n.Get("id").Str()}
}

// fetch gets what a link leads to.
func (m *Room) fetch(ctx context.Context, caller arm.Caller, link *templateLink, property string) ([]byte, error) {
	switch {
	case link.ID != "":
		return m.fetchSpec(ctx, caller, link, property)
	case link.URI == "" && link.RelativePath != "":
		return nil, arm.BadRequest("InvalidTemplate", "properties."+property+".relativePath", "Deployment template validation failed: 'A relative path is only possible in a template that was itself linked by a URI.'.")
	case m.Fetcher == nil:
		return nil, arm.BadRequest("InvalidContentLink", "properties."+property, "Unable to download deployment content from '%s': lido was started without a way to fetch.", link.URI)
	}
	address := link.URI
	if link.QueryString != "" && !strings.Contains(address, "?") {
		address += "?" + strings.TrimPrefix(link.QueryString, "?")
	}
	text, err := m.Fetcher.Fetch(ctx, address)
	if err != nil {
		return nil, arm.BadRequest("InvalidContentLink", "properties."+property+".uri", "Unable to download deployment content from '%s'. %v", withoutQuery(link.URI), err)
	}
	return text, nil
}

func withoutQuery(s string) string {
	before, _, _ := strings.Cut(s, "?")
	return before
}

// absolute makes a link with a relative path absolute by the link of the template it stands in.
func (l *templateLink) absolute(base *templateLink) error {
	if l.URI != "" || l.ID != "" || l.RelativePath == "" || base == nil {
		return nil
	}
	if base.ID != "" {
		l.within(base)
		return nil
	}
	b, err := url.Parse(base.URI)
	if err != nil {
		return err
	}
	rel, err := url.Parse(l.RelativePath)
	if err != nil {
		return err
	}
	u := b.ResolveReference(rel)
	if u.RawQuery == "" {
		u.RawQuery = b.RawQuery
	}
	l.URI, l.RelativePath = u.String(), ""
	if l.QueryString == "" {
		l.QueryString = base.QueryString
	}
	return nil
}

// readParameters takes the parameters from the request, or fetches what it links to.
func (m *Room) readParameters(ctx context.Context, rec *record, props *template.Node, body []byte) error {
	given := props.Get("parameters")
	rec.Parameters = "{}"
	if link := props.Get("parametersLink"); link.Present() {
		rec.ParamsLink = linkOf(link)
		text, err := m.fetch(ctx, rec.Caller, rec.ParamsLink, "parametersLink")
		if err != nil {
			return err
		}
		doc, err := template.Read(text)
		if err != nil {
			return fromTemplate(err)
		}
		if err := checkContentVersion("parametersLink", rec.ParamsLink, text); err != nil {
			return err
		}
		given, body = doc.Get("parameters"), text
	}
	if !given.Present() {
		return nil
	}
	if whole := given.Get("parameters"); whole != nil && whole.Kind == template.Object && given.Get("$schema") != nil {
		given = whole // a parameter file as it is
	}
	if given.Kind != template.Object {
		return arm.BadRequest("InvalidRequestContent", "properties.parameters", "The request content was invalid: 'parameters' is not an object.")
	}
	rec.Parameters, rec.ParameterSecrets = given.Source(body), given.Value().SecurePaths()
	return checkSize("parameters", len(rec.Parameters))
}

// readGroup notes what the template may read of its resource group.
func (m *Room) readGroup(ctx context.Context, rec *record, coming groups) error {
	group := arm.ParsePath(rec.ID).GroupID()
	return m.store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(group.String())
		if errors.Is(err, store.ErrNotFound) {
			if rec.Group = coming[group.Key()]; rec.Group != nil {
				return nil
			}
			return arm.NotFound(group)
		}
		if err != nil {
			return err
		}
		body, err := m.Server.Rendered(ctx, tx, d, m.groupDocument())
		if err != nil {
			return err
		}
		if body["tags"] == nil {
			body["tags"] = map[string]any{}
		}
		rec.Group, err = json.Marshal(body)
		return err
	})
}

// fromTemplate turns an error of the template package into ARM's.
func fromTemplate(err error) error {
	var e *template.Error
	if !errors.As(err, &e) {
		return err
	}
	out := arm.Errorf(http.StatusBadRequest, e.Code, "%s", e.Message)
	if e.Pos.Line > 0 {
		out.AdditionalInfo = []arm.AdditionalInfo{{Type: "TemplateViolation", Info: map[string]any{"lineNumber": e.Pos.Line, "linePosition": e.Pos.Col, "path": e.Path}}}
	}
	return out
}
