package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Account is a storage account with one of its keys.
type Account struct {
	ID   string
	Name string
	Key  string
	File string // URL of its file service, ending in a slash
}

type accountAnswer struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Endpoints struct {
			File string `json:"file"`
		} `json:"primaryEndpoints"`
	} `json:"properties"`
}

// EnsureAccount reads a storage account of a resource group, making it if it is not there.
func (c *Client) EnsureAccount(ctx context.Context, group, name string) (Account, error) {
	id := c.Group(group) + "/providers/Microsoft.Storage/storageAccounts/" + name
	var a accountAnswer
	err := c.call(ctx, http.MethodGet, id, nil, &a)
	if NotFound(err) {
		body := map[string]any{"location": location, "sku": map[string]any{"name": "Standard_LRS"}, "kind": "StorageV2", "properties": map[string]any{}}
		if err = c.Put(ctx, id, body); err == nil {
			err = c.call(ctx, http.MethodGet, id, nil, &a)
		}
	}
	if err != nil {
		return Account{}, fmt.Errorf("storage account %s: %w", name, err)
	}
	return c.withKey(ctx, a)
}

// FindAccount finds a storage account by its name, wherever it is.
func (c *Client) FindAccount(ctx context.Context, name string) (Account, error) {
	all, err := list[accountAnswer](ctx, c, http.MethodGet, c.subscription()+"/providers/Microsoft.Storage/storageAccounts")
	if err != nil {
		return Account{}, err
	}
	for _, a := range all {
		if strings.EqualFold(a.Name, name) {
			return c.withKey(ctx, a)
		}
	}
	return Account{}, fmt.Errorf("there is no storage account %q: give its key in the job file, or make it by 'az storage account create'", name)
}

func (c *Client) subscription() string { return "/subscriptions/" + c.session.Subscription }

func (c *Client) withKey(ctx context.Context, a accountAnswer) (Account, error) {
	var keys struct {
		Keys []struct{ Value string }
	}
	if err := c.call(ctx, http.MethodPost, a.ID+"/listKeys", nil, &keys); err != nil {
		return Account{}, fmt.Errorf("key of storage account %s: %w", a.Name, err)
	}
	if len(keys.Keys) == 0 {
		return Account{}, fmt.Errorf("storage account %s has no keys", a.Name)
	}
	return Account{ID: a.ID, Name: a.Name, Key: keys.Keys[0].Value, File: a.Properties.Endpoints.File}, nil
}

// EnsureShare makes a file share of an account, if it is not there.
func (c *Client) EnsureShare(ctx context.Context, a Account, share string) error {
	return c.ensure(ctx, a.ID+"/fileServices/default/shares/"+share, map[string]any{"properties": map[string]any{}})
}

// location is where what the client makes is said to be; lido has one.
const location = "local"

// ensure makes a resource, if it is not there.
func (c *Client) ensure(ctx context.Context, id string, body any) error {
	if err := c.call(ctx, http.MethodGet, id, nil, nil); !NotFound(err) {
		return err
	}
	return c.Put(ctx, id, body)
}

// Ensure makes the workspace and its resource group, and an experiment if one is named, if they are not there.
func (w Workspace) Ensure(ctx context.Context, experiment string) error {
	group, _, _ := strings.Cut(w.ID, "/providers/")
	if err := w.Client.ensure(ctx, group, map[string]any{"location": location}); err != nil {
		return fmt.Errorf("resource group: %w", err)
	}
	if err := w.Client.ensure(ctx, w.ID, map[string]any{"location": location}); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	if experiment == "" {
		return nil
	}
	if err := w.Client.ensure(ctx, w.ID+"/experiments/"+experiment, nil); err != nil {
		return fmt.Errorf("experiment: %w", err)
	}
	return nil
}
