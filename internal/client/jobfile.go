package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The words in a job file that stand for a storage account and its key.
const (
	accountWord = "<AZURE_BATCHAI_STORAGE_ACCOUNT>"
	keyWord     = "<AZURE_BATCHAI_STORAGE_KEY>"
)

type object = map[string]any

// Spec is a job as it will be sent.
type Spec struct {
	Properties object
}

// ParseSpec reads a job file as `az batchai job create -f` takes it. The words for a storage account are replaced by own.
func ParseSpec(data []byte, own func() (Account, error)) (*Spec, error) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	if strings.Contains(text, accountWord) || strings.Contains(text, keyWord) {
		a, err := own()
		if err != nil {
			return nil, err
		}
		text = strings.NewReplacer(accountWord, a.Name, keyWord, a.Key).Replace(text)
	}
	var file struct {
		Properties object `json:"properties"`
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if file.Properties == nil {
		return nil, fmt.Errorf(`it has no "properties": want {"properties": {"nodeCount": 1, "customToolkitSettings": {...}, ...}}`)
	}
	return &Spec{file.Properties}, nil
}

// Add appends to a list among the properties, by its path.
func (s *Spec) Add(value any, path ...string) {
	at := s.Properties
	for _, p := range path[:len(path)-1] {
		next, ok := at[p].(object)
		if !ok {
			next = object{}
			at[p] = next
		}
		at = next
	}
	last := path[len(path)-1]
	old, _ := at[last].([]any)
	at[last] = append(old, value)
}

// SetVariable gives a variable of a list (environmentVariables, secrets) a value, in place of the one that it has.
func (s *Spec) SetVariable(list, name, value string) {
	old, _ := s.Properties[list].([]any)
	s.Properties[list] = slices.DeleteFunc(old, func(v any) bool {
		o, _ := v.(object)
		return o["name"] == name
	})
	s.Add(object{"name": name, "value": value}, list)
}

func (s *Spec) volumes(kind string) []object {
	mounts, _ := s.Properties["mountVolumes"].(object)
	list, _ := mounts[kind].([]any)
	var out []object
	for _, v := range list {
		if o, ok := v.(object); ok {
			out = append(out, o)
		}
	}
	return out
}

// FillKeys gives the mounted shares and containers that have no key the one of their account. Shares of own that are not
// there are made.
func (s *Spec) FillKeys(ctx context.Context, c *Client, own func() (Account, error)) error {
	known := map[string]Account{}
	find := func(name string) (a Account, err error) {
		if a, ok := known[name]; ok {
			return a, nil
		}
		if a, err = own(); err != nil || !strings.EqualFold(a.Name, name) {
			a, err = c.FindAccount(ctx, name)
		}
		known[name] = a
		return a, err
	}
	for _, v := range append(s.volumes("azureFileShares"), s.volumes("azureBlobFileSystems")...) {
		if err := fillKey(v, find); err != nil {
			return err
		}
	}
	for _, v := range s.volumes("azureFileShares") {
		a, err := own()
		if err != nil {
			return err
		}
		name, share := splitShare(fmt.Sprint(v["azureFileUrl"]))
		if strings.EqualFold(name, a.Name) && share != "" {
			if err := c.EnsureShare(ctx, a, share); err != nil {
				return fmt.Errorf("share %s: %w", share, err)
			}
		}
	}
	return nil
}

func fillKey(v object, find func(string) (Account, error)) error {
	name, _ := v["accountName"].(string)
	if name == "" {
		link, _ := v["azureFileUrl"].(string)
		name, _ = splitShare(link)
	}
	if v["credentials"] != nil || name == "" {
		return nil
	}
	a, err := find(name)
	if err != nil {
		return err
	}
	v["accountName"] = a.Name
	v["credentials"] = object{"accountKey": a.Key}
	return nil
}

// splitShare takes account and share from https://ACCOUNT.file.SUFFIX/SHARE.
func splitShare(link string) (account, share string) {
	u, err := url.Parse(link)
	if err != nil {
		return "", ""
	}
	account, _, _ = strings.Cut(u.Host, ".")
	return account, strings.Trim(u.Path, "/")
}

// Submit sends a job under a name that no other has.
func (w Workspace) Submit(ctx context.Context, id string, s *Spec) (*Job, error) {
	if _, err := w.Client.Job(ctx, id); !NotFound(err) {
		if err == nil {
			err = fmt.Errorf("there is a job %s already: give another --name, or remove it by 'lido job rm'", segment(id, "jobs"))
		}
		return nil, err
	}
	if err := w.Client.Put(ctx, id, object{"properties": s.Properties}); err != nil {
		return nil, err
	}
	return w.Client.Job(ctx, id)
}
