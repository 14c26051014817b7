package secret

import (
	"errors"
	"fmt"
	"strings"

	"lido.dev/lido/internal/store"
)

// Conceal replaces the secret leaves of a decoded JSON document by placeholders, in place. paths name them in the form
// a.b[*].c (names in any case; [*] is every element); what they lead to is sealed whole, objects too. Placeholders
// that owner already has are left; others are an error that names their path.
func (b *Box) Conceal(tx *store.Tx, owner string, doc map[string]any, paths []string) error {
	for _, p := range paths {
		steps := strings.Split(strings.ReplaceAll(p, "[", ".["), ".")
		if _, err := b.conceal(tx, owner, doc, steps, ""); err != nil {
			return err
		}
	}
	return b.checkForeign(tx, owner, doc, "")
}

func (b *Box) conceal(tx *store.Tx, owner string, v any, steps []string, at string) (any, error) {
	if len(steps) == 0 {
		return b.concealLeaf(tx, owner, v, at)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if !strings.EqualFold(k, steps[0]) {
				continue
			}
			n, err := b.conceal(tx, owner, child, steps[1:], at+"."+k)
			if err != nil {
				return nil, err
			}
			v[k] = n
		}
	case []any:
		for i, child := range v {
			if steps[0] != "[*]" && steps[0] != fmt.Sprintf("[%d]", i) {
				continue
			}
			n, err := b.conceal(tx, owner, child, steps[1:], fmt.Sprintf("%s[%d]", at, i))
			if err != nil {
				return nil, err
			}
			v[i] = n
		}
	}
	return v, nil
}

func (b *Box) concealLeaf(tx *store.Tx, owner string, v any, at string) (any, error) {
	if v == nil {
		return nil, nil
	}
	if s, ok := v.(string); ok && (s == "" || strings.HasPrefix(s, Prefix)) {
		return s, nil // checked by checkForeign
	}
	return b.Seal(tx, owner, v)
}

func (b *Box) checkForeign(tx *store.Tx, owner string, v any, at string) error {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, Prefix) {
			return nil
		}
		if _, err := tx.GetKV(bucket(owner), v); errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w at %s: give the value itself", ErrUnknown, strings.TrimPrefix(at, "."))
		} else if err != nil {
			return err
		}
	case map[string]any:
		for k, child := range v {
			if err := b.checkForeign(tx, owner, child, at+"."+k); err != nil {
				return err
			}
		}
	case []any:
		for i, child := range v {
			if err := b.checkForeign(tx, owner, child, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reveal returns a copy of a decoded JSON value with owner's placeholders replaced by the values behind them.
func (b *Box) Reveal(tx *store.Tx, owner string, v any) (any, error) {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, Prefix) {
			return b.Unseal(tx, owner, v)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, child := range v {
			n, err := b.Reveal(tx, owner, child)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			out[k] = n
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			n, err := b.Reveal(tx, owner, child)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out[i] = n
		}
		return out, nil
	}
	return v, nil
}

// Hide removes the leaves at paths from a decoded JSON document, in place: for values that are never returned.
func Hide(doc map[string]any, paths []string) {
	for _, p := range paths {
		hide(doc, strings.Split(strings.ReplaceAll(p, "[", ".["), "."))
	}
}

func hide(v any, steps []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if !strings.EqualFold(k, steps[0]) {
				continue
			}
			if len(steps) == 1 {
				delete(v, k)
			} else {
				hide(child, steps[1:])
			}
		}
	case []any:
		for _, child := range v {
			hide(child, steps[1:])
		}
	}
}
