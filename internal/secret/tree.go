package secret

import (
	"errors"
	"fmt"
	"strings"

	"lido.dev/lido/internal/store"
)

// Conceal replaces the secret leaves of a decoded JSON document by placeholders, in place. paths name them in the form
// a.b[*].c (names in any case and with dots in them, too; [*] is every element); what they lead to is sealed whole,
// objects too. Placeholders that owner already has are left; others are an error that names their path.
func (b *Box) Conceal(tx *store.Tx, owner string, doc map[string]any, paths []string) error {
	for _, p := range paths {
		if _, err := b.conceal(tx, owner, doc, "."+p); err != nil {
			return err
		}
	}
	return b.checkForeign(tx, owner, doc, "")
}

// conceal seals what lies at a path below v and returns what is to stand in v's place.
func (b *Box) conceal(tx *store.Tx, owner string, v any, path string) (any, error) {
	if path == "" {
		return b.concealLeaf(tx, owner, v)
	}
	var err error
	follow(v, path, func(child any, rest string) any {
		n, e := b.conceal(tx, owner, child, rest)
		if e != nil {
			err = e
			return child
		}
		return n
	})
	return v, err
}

// follow takes the steps of a path that v allows: ".name" in an object, "[0]" or "[*]" in a list. It puts in the
// child's place what next returns for it. A name may have dots in it, so a path may go on in several children.
func follow(v any, path string, next func(child any, rest string) any) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if rest, ok := cutName(path, k); ok {
				v[k] = next(child, rest)
			}
		}
	case []any:
		for i, child := range v {
			for _, step := range []string{"[*]", fmt.Sprintf("[%d]", i)} {
				if rest, ok := strings.CutPrefix(path, step); ok {
					v[i] = next(child, rest)
				}
			}
		}
	}
}

// cutName takes ".name" in any case off a path, if a step ends there.
func cutName(path, name string) (string, bool) {
	if len(path) <= len(name) || path[0] != '.' || !strings.EqualFold(path[1:1+len(name)], name) {
		return "", false
	}
	rest := path[1+len(name):]
	return rest, rest == "" || rest[0] == '.' || rest[0] == '['
}

func (b *Box) concealLeaf(tx *store.Tx, owner string, v any) (any, error) {
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

// Hide removes the leaves at paths from a decoded JSON document, in place: for values that are never returned. The
// paths are as Conceal takes them.
func Hide(doc map[string]any, paths []string) {
	for _, p := range paths {
		hide(doc, "."+p)
	}
}

func hide(v any, path string) {
	if m, ok := v.(map[string]any); ok {
		for k := range m {
			if rest, ok := cutName(path, k); ok && rest == "" {
				delete(m, k)
			}
		}
	}
	follow(v, path, func(child any, rest string) any {
		hide(child, rest)
		return child
	})
}
