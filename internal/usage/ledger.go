// Package usage is the ledger of the batch pool: spans in which nodes and jobs were used, and what they add up to. It is
// what costs are computed from later.
//
// A span has a key, and writing the same key again replaces it, so whoever meters may write as often as it likes. Spans
// are kept by the month in which they ended, those that last yet apart, so a question about last week does not
// read the years before.
package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/store"
)

// The buckets. placesBucket tells in which of the others a key's entry is.
const (
	placesBucket = "usage places"
	openBucket   = "usage open"
	monthPrefix  = "usage "
	metaBucket   = "usage months"
	metaKey      = "range"
)

// Ledger keeps entries in the store. It is a batch.Ledger.
type Ledger struct {
	store *store.Store
}

// New returns the ledger of a store.
func New(st *store.Store) *Ledger { return &Ledger{st} }

// months are the first and the last month that hold entries.
type months struct {
	First string `json:"first"`
	Last  string `json:"last"`
}

// Write writes an entry; an earlier one with the same key is replaced.
func (l *Ledger) Write(tx *store.Tx, e batch.Entry) error {
	if err := check(e); err != nil {
		return err
	}
	to := bucketOf(e)
	if err := move(tx, e.Key, to); err != nil {
		return err
	}
	return tx.SetJSON(to, e.Key, e)
}

func check(e batch.Entry) error {
	switch {
	case e.Key == "":
		return errors.New("usage: an entry without a key would be counted twice")
	case e.Kind != KindNode && e.Kind != KindJob:
		return fmt.Errorf("usage: entry %s has kind %q: want %s or %s", e.Key, e.Kind, KindNode, KindJob)
	case e.Start.IsZero():
		return fmt.Errorf("usage: entry %s has no start", e.Key)
	case !e.End.IsZero() && e.End.Before(e.Start):
		return fmt.Errorf("usage: entry %s ends %s, before its start %s", e.Key, e.End.Format(time.RFC3339), e.Start.Format(time.RFC3339))
	}
	return nil
}

// move notes that a key's entry is in a bucket from now on, and removes it from where it was.
func move(tx *store.Tx, key, to string) error {
	from, err := tx.GetKV(placesBucket, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case string(from) == to:
		return nil
	default:
		if err := tx.DeleteKV(string(from), key); err != nil {
			return err
		}
	}
	if to != openBucket {
		if err := widen(tx, to[len(monthPrefix):]); err != nil {
			return err
		}
	}
	return tx.SetKV(placesBucket, key, []byte(to))
}

// widen has the range of months hold one more.
func widen(tx *store.Tx, month string) error {
	m, err := monthsOf(tx)
	if err != nil || (m.First != "" && m.First <= month && month <= m.Last) {
		return err
	}
	if m.First == "" {
		m = months{month, month}
	}
	return tx.SetJSON(metaBucket, metaKey, months{min(m.First, month), max(m.Last, month)})
}

func monthsOf(tx *store.Tx) (m months, err error) {
	if err = tx.GetJSON(metaBucket, metaKey, &m); errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return m, err
}

const monthForm = "2006-01"

func bucketOf(e batch.Entry) string {
	if e.End.IsZero() {
		return openBucket
	}
	return monthPrefix + e.End.UTC().Format(monthForm)
}

// Query chooses entries. Zero values choose all.
type Query struct {
	From, To time.Time // entries that overlap with [From, To)
	Kind     string
	Cluster  string // resource id
	Person   string
}

// Entries returns the entries that a query chooses, by their start. Those that last yet have no end.
func (l *Ledger) Entries(ctx context.Context, q Query) ([]batch.Entry, error) {
	var found []batch.Entry
	err := l.store.View(ctx, func(tx *store.Tx) error {
		m, err := monthsOf(tx)
		if err != nil {
			return err
		}
		for _, bucket := range append(m.since(q.From), openBucket) {
			rows, err := tx.ListKV(bucket)
			if err != nil {
				return err
			}
			for _, r := range rows {
				var e batch.Entry
				if err := json.Unmarshal(r.Value, &e); err != nil {
					return fmt.Errorf("usage: entry %s: %w", r.Key, err)
				}
				if q.chooses(e) {
					found = append(found, e)
				}
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b batch.Entry) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Key, b.Key))
	})
	return found, err
}

// since are the buckets of the months from a time on.
func (m months) since(from time.Time) []string {
	if m.First == "" {
		return nil
	}
	first := max(m.First, from.UTC().Format(monthForm))
	at, err := time.Parse(monthForm, first)
	var buckets []string
	for ; err == nil; at = at.AddDate(0, 1, 0) {
		name := at.Format(monthForm)
		if name > m.Last {
			break
		}
		buckets = append(buckets, monthPrefix+name)
	}
	return buckets
}

func (q Query) chooses(e batch.Entry) bool {
	return (q.To.IsZero() || e.Start.Before(q.To)) &&
		(e.End.IsZero() || e.End.After(q.From) || (e.End.Equal(e.Start) && e.End.Equal(q.From))) &&
		(q.Kind == "" || e.Kind == q.Kind) &&
		(q.Cluster == "" || store.Key(e.Cluster) == store.Key(q.Cluster)) &&
		(q.Person == "" || e.Person == q.Person)
}
