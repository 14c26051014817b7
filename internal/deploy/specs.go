package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strings"

	"lido.dev/lido/internal/arm"
)

// Template specs are templates that are kept as resources: a spec has versions, each with a template and those that it
// links to.
const (
	typeSpec        = "Microsoft.Resources/templateSpecs"
	typeSpecVersion = typeSpec + "/versions"
)

var specVersions = []string{"2022-02-01", "2021-05-01", "2021-03-01-preview", "2019-06-01-preview"}

func (m *Room) specTypes() []arm.Type {
	spec := arm.Document{Name: typeSpec, APIVersions: specVersions}
	version := arm.Document{Name: typeSpecVersion, APIVersions: specVersions, Admit: admitSpecVersion}
	return []arm.Type{m.Server.Document(spec), m.Server.Document(version)}
}

// admitSpecVersion refuses what is no template.
func admitSpecVersion(_ context.Context, a *arm.Admission) error {
	var wish specVersion
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	if len(wish.main()) == 0 {
		return arm.BadRequest("InvalidTemplateSpecVersion", "properties.mainTemplate", "The version '%s' has no 'mainTemplate'.", a.ID.FullName())
	}
	for i, l := range wish.Properties.LinkedTemplates {
		if l.Path == "" || len(l.Template) == 0 {
			return arm.BadRequest("InvalidTemplateSpecVersion", "properties.linkedTemplates", "The linked template number %d of the version '%s' needs a 'path' and a 'template'.", i, a.ID.FullName())
		}
	}
	return nil
}

type specVersion struct {
	Properties struct {
		MainTemplate    json.RawMessage `json:"mainTemplate"`
		Template        json.RawMessage `json:"template"` // its name in the first version
		LinkedTemplates []struct {
			Path     string          `json:"path"`
			Template json.RawMessage `json:"template"`
		} `json:"linkedTemplates"`
	} `json:"properties"`
}

func (v *specVersion) main() json.RawMessage {
	if len(v.Properties.MainTemplate) > 0 {
		return v.Properties.MainTemplate
	}
	return v.Properties.Template
}

// fetchSpec reads the template that a link to a version of a spec means, as the caller.
func (m *Room) fetchSpec(ctx context.Context, caller arm.Caller, link *templateLink, property string) ([]byte, error) {
	id := arm.ParsePath(link.ID)
	wrong := func(format string, args ...any) error {
		return arm.BadRequest("InvalidTemplateSpec", "properties."+property+".id", format, args...)
	}
	if !sameType(id.Type(), typeSpecVersion) || id.IsCollection() {
		return nil, wrong("'%s' is not the id of a version of a template spec, which ends in '/templateSpecs/NAME/versions/VERSION'.", link.ID)
	}
	resp, err := m.Server.Do(ctx, &arm.Request{Method: http.MethodGet, ID: id, APIVersion: specVersions[0], Caller: caller, Query: map[string][]string{}})
	if e := (*arm.Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil, arm.Errorf(http.StatusNotFound, "TemplateSpecVersionNotFound", "The template spec version '%s' could not be found.", link.ID)
	}
	if err != nil {
		return nil, err
	}
	var v specVersion
	if err := arm.Convert(resp.Body, &v); err != nil {
		return nil, err
	}
	if link.RelativePath == "" {
		return v.main(), nil
	}
	for _, l := range v.Properties.LinkedTemplates {
		if cleanPath(l.Path) == cleanPath(link.RelativePath) {
			return l.Template, nil
		}
	}
	return nil, wrong("The template spec version '%s' has no linked template '%s'.", link.ID, link.RelativePath)
}

// cleanPath is a path in a spec in its one form.
func cleanPath(p string) string {
	return strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(p, `\`, "/")), "/")
}

// within makes a link with a relative path one into the same version of a spec as the template it stands in.
func (l *templateLink) within(base *templateLink) {
	dir := path.Dir(cleanPath(base.RelativePath))
	if base.RelativePath == "" {
		dir = ""
	}
	l.ID, l.RelativePath = base.ID, cleanPath(path.Join(dir, strings.ReplaceAll(l.RelativePath, `\`, "/")))
}
