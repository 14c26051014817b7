package compute

import (
	"encoding/json"
	"errors"
	"fmt"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// bucketModels + set key: hash -> model as stored, secrets sealed for the set.
const bucketModels = "compute model "

// rawModel is the part of a set's document that its instances are made from, kept as it was sent.
type rawModel struct {
	Location json.RawMessage `json:"location,omitempty"`
	Sku      rawSku          `json:"sku"`
	Plan     json.RawMessage `json:"plan,omitempty"`
	Profile  json.RawMessage `json:"profile,omitempty"`
}

type rawSku struct {
	Name string `json:"name,omitempty"`
	Tier string `json:"tier,omitempty"`
}

// modelOf cuts the model out of a set's desired half.
func modelOf(desired []byte) ([]byte, error) {
	var d struct {
		Location   json.RawMessage `json:"location"`
		Sku        rawSku          `json:"sku"`
		Plan       json.RawMessage `json:"plan"`
		Properties struct {
			Profile json.RawMessage `json:"virtualMachineProfile"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(desired, &d); err != nil {
		return nil, err
	}
	return json.Marshal(rawModel{d.Location, d.Sku, d.Plan, d.Properties.Profile})
}

func modelHash(desired []byte) (string, error) {
	raw, err := modelOf(desired)
	if err != nil {
		return "", err
	}
	return hashOf(json.RawMessage(raw)), nil
}

// keepModel stores the present model of a set and returns its hash.
func keepModel(tx *store.Tx, d *store.Doc) (string, error) {
	raw, err := modelOf(d.Desired)
	if err != nil {
		return "", err
	}
	hash := hashOf(json.RawMessage(raw))
	if _, err := tx.GetKV(bucketModels+store.Key(d.ID), hash); err == nil {
		return hash, nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	return hash, tx.SetKV(bucketModels+store.Key(d.ID), hash, raw)
}

// rawModelOf returns a stored model as a decoded JSON object.
func rawModelOf(tx *store.Tx, setID, hash string) (map[string]any, error) {
	m := map[string]any{}
	return m, tx.GetJSON(bucketModels+store.Key(setID), hash, &m)
}

// loadModel returns a stored model, with its secrets as placeholders.
func loadModel(tx *store.Tx, setID, hash string) (*Model, error) {
	raw, err := tx.GetKV(bucketModels+store.Key(setID), hash)
	if err != nil {
		return nil, fmt.Errorf("model %s of %s: %w", hash, setID, err)
	}
	m := &Model{}
	if err := arm.Decode(raw, m); err != nil {
		return nil, fmt.Errorf("model %s of %s: %w", hash, setID, err)
	}
	m.machineHash = hashOf([]any{m.Sku.Name, m.Profile.Storage.Image, m.Profile.Network.Interfaces})
	m.extensions, _ = inOrder(m.Profile.Extensions.List)
	for i := range m.extensions {
		m.extensions[i].hash = hashOf(m.extensions[i])
	}
	return m, nil
}

// model returns a model of the controller's set, from memory if it was read before.
func (c *controller) model(tx *store.Tx, hash string) (*Model, error) {
	c.mu.Lock()
	m := c.models[hash]
	c.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m, err := loadModel(tx, c.id, hash)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.models[hash] = m
	c.mu.Unlock()
	return m, nil
}

// openModel returns a model with its secrets in clear, and those secrets.
func (r *Room) openModel(tx *store.Tx, setID, hash string) (*Model, []string, error) {
	raw, err := rawModelOf(tx, setID, hash)
	if err != nil {
		return nil, nil, err
	}
	clear, err := r.Server.Box.Reveal(tx, setID, raw)
	if err != nil {
		return nil, nil, err
	}
	m := &Model{}
	if err := arm.Convert(clear, m); err != nil {
		return nil, nil, err
	}
	return m, secretsIn(raw, clear), nil
}

// pruneModels forgets models that no instance is made from.
func pruneModels(tx *store.Tx, setID string, used map[string]bool) error {
	entries, err := tx.ListKV(bucketModels + store.Key(setID))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if used[e.Key] {
			continue
		}
		if err := tx.DeleteKV(bucketModels+store.Key(setID), e.Key); err != nil {
			return err
		}
	}
	return nil
}
