package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Doc is a resource. Its parts are explained at the package.
type Doc struct {
	ID         string // as first written; its lower-cased form is the key
	UID        string // of this incarnation
	Type       string // lower-cased, e.g. "microsoft.compute/virtualmachinescalesets"
	APIVersion string // that the desired half was last written with
	Generation int64
	Etag       string // without quotes
	Desired    json.RawMessage
	Status     json.RawMessage
	Deleting   bool // somebody wished it gone; its reconciler ends it
	CreatedAt  time.Time
	ChangedAt  time.Time // of the desired half
}

// Key returns the form of an id that documents are kept under.
func Key(id string) string { return strings.ToLower(id) }

// Tx is a transaction; it is only valid inside the function it was given to.
type Tx struct {
	tx       *sql.Tx
	db       *database
	writable bool
	changed  []Change
}

const docColumns = `id, uid, type, api_version, generation, etag, desired, status, deleting, created, changed`

func scanDoc(row interface{ Scan(...any) error }) (*Doc, error) {
	d := &Doc{}
	var created, changed int64
	err := row.Scan(&d.ID, &d.UID, &d.Type, &d.APIVersion, &d.Generation, &d.Etag, (*[]byte)(&d.Desired), (*[]byte)(&d.Status), &d.Deleting, &created, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: read document: %w", err)
	}
	d.CreatedAt, d.ChangedAt = time.UnixMicro(created).UTC(), time.UnixMicro(changed).UTC()
	return d, nil
}

// Get returns the document of an id, in any case, or ErrNotFound.
func (t *Tx) Get(id string) (*Doc, error) {
	return scanDoc(t.queryRow(getDoc, Key(id)))
}

// Query selects documents. Empty fields select all.
type Query struct {
	Under string // only documents whose id lies below this id
	Type  string // only this type, in any case
	After string // only documents whose key comes after this one
	Limit int    // at most so many
}

// List returns the selected documents in the order of their keys.
func (t *Tx) List(q Query) ([]*Doc, error) {
	where, args := []string{"1=1"}, []any{}
	if q.Type != "" {
		where, args = append(where, "type = ?"), append(args, strings.ToLower(q.Type))
	}
	if q.Under != "" {
		lo := Key(strings.TrimSuffix(q.Under, "/")) + "/"
		where, args = append(where, "key >= ? AND key < ?"), append(args, lo, lo[:len(lo)-1]+"0") // "0" follows "/"
	}
	limit := ""
	if q.After != "" {
		where, args = append(where, "key > ?"), append(args, Key(q.After))
	}
	if q.Limit > 0 {
		limit, args = " LIMIT ?", append(args, q.Limit)
	}
	rows, err := t.query(`SELECT `+docColumns+` FROM docs WHERE `+strings.Join(where, " AND ")+` ORDER BY key`+limit, args...)
	if err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	defer rows.Close()
	var docs []*Doc
	for rows.Next() {
		d, err := scanDoc(rows)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, rows.Err()
}

// Version tells which wish a document holds.
type Version struct {
	ID, UID    string
	Generation int64
}

// Versions returns what all documents of a type are at, in the order of their keys: what a reconciler needs to find out
// which ones to look at, for a small part of what List costs.
func (t *Tx) Versions(typ string) ([]Version, error) {
	rows, err := t.query(`SELECT id, uid, generation FROM docs WHERE type = ? ORDER BY key`, strings.ToLower(typ))
	if err != nil {
		return nil, fmt.Errorf("store: versions: %w", err)
	}
	defer rows.Close()
	var out []Version
	for rows.Next() {
		var v Version
		if err := rows.Scan(&v.ID, &v.UID, &v.Generation); err != nil {
			return nil, fmt.Errorf("store: versions: %w", err)
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// Put writes the desired half of a document and fills in the rest: a new one gets a UID and the given Status, an
// existing one keeps its ID, UID, Status and creation time, and counts up its Generation if Desired changed.
func (t *Tx) Put(d *Doc, now time.Time) error {
	if d.Desired == nil {
		d.Desired = json.RawMessage("{}")
	}
	old, err := t.Get(d.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		d.UID, d.Generation, d.CreatedAt, d.ChangedAt = uuid.NewString(), 1, now, now
		d.Etag = uuid.NewString()
		if d.Status == nil {
			d.Status = json.RawMessage("{}")
		}
	case err != nil:
		return err
	default:
		d.ID, d.UID, d.Status, d.CreatedAt, d.ChangedAt = old.ID, old.UID, old.Status, old.CreatedAt, old.ChangedAt
		d.Generation, d.Etag = old.Generation, old.Etag
		if string(old.Desired) != string(d.Desired) || old.Deleting != d.Deleting {
			d.Generation, d.Etag, d.ChangedAt = old.Generation+1, uuid.NewString(), now
		}
	}
	d.Type = strings.ToLower(d.Type)
	err = t.exec(putDoc,
		Key(d.ID), d.ID, d.UID, d.Type, d.APIVersion, d.Generation, d.Etag, []byte(d.Desired), []byte(d.Status), d.Deleting, d.CreatedAt.UnixMicro(), d.ChangedAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("store: put %s: %w", d.ID, err)
	}
	t.note(d.ID, d.Type)
	return nil
}

// Renew counts up a stored document's generation without a change, so that its wish is carried out again.
func (t *Tx) Renew(d *Doc, now time.Time) error {
	d.Generation, d.Etag, d.ChangedAt = d.Generation+1, uuid.NewString(), now
	err := t.exec(`UPDATE docs SET generation = ?, etag = ?, changed = ? WHERE key = ?`, d.Generation, d.Etag, now.UnixMicro(), Key(d.ID))
	if err != nil {
		return fmt.Errorf("store: renew %s: %w", d.ID, err)
	}
	t.note(d.ID, d.Type)
	return nil
}

// SetStatus writes the status half of the incarnation uid, or returns ErrStale or ErrNotFound. An equal status
// changes nothing and wakes nobody.
func (t *Tx) SetStatus(id, uid string, status any) error {
	b, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("store: status of %s: %w", id, err)
	}
	old, err := t.Get(id)
	if err != nil {
		return err
	}
	if old.UID != uid {
		return ErrStale
	}
	if string(old.Status) == string(b) {
		return nil
	}
	if err := t.exec(putStatus, b, Key(id)); err != nil {
		return fmt.Errorf("store: status of %s: %w", id, err)
	}
	t.note(id, old.Type)
	return nil
}

// MarkDeleting records the wish that the document goes away. It returns the document, or ErrNotFound.
func (t *Tx) MarkDeleting(id string, now time.Time) (*Doc, error) {
	d, err := t.Get(id)
	if err != nil || d.Deleting {
		return d, err
	}
	d.Deleting = true
	return d, t.Put(d, now)
}

// Delete removes a document and the references it makes. Deleting what is not there does nothing.
func (t *Tx) Delete(id string) error {
	d, err := t.Get(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, q := range []string{`DELETE FROM docs WHERE key = ?`, dropRefs} {
		if err := t.exec(q, Key(id)); err != nil {
			return fmt.Errorf("store: delete %s: %w", id, err)
		}
	}
	t.note(d.ID, d.Type)
	return nil
}

// SetRefs records which ids a document mentions, in place of those recorded before.
func (t *Tx) SetRefs(from string, to []string) error {
	if err := t.exec(dropRefs, Key(from)); err != nil {
		return fmt.Errorf("store: references of %s: %w", from, err)
	}
	for _, id := range to {
		if err := t.exec(`INSERT OR IGNORE INTO refs (from_key, to_key) VALUES (?, ?)`, Key(from), Key(id)); err != nil {
			return fmt.Errorf("store: references of %s: %w", from, err)
		}
	}
	return nil
}

// Referrers returns the keys of documents that mention the id or something below it.
func (t *Tx) Referrers(id string) ([]string, error) {
	lo := Key(id) + "/"
	return t.strings(`SELECT DISTINCT from_key FROM refs WHERE to_key = ? OR (to_key >= ? AND to_key < ?) ORDER BY from_key`, Key(id), lo, Key(id)+"0")
}

// Refs returns the keys that a document mentions.
func (t *Tx) Refs(id string) ([]string, error) {
	return t.strings(`SELECT to_key FROM refs WHERE from_key = ? ORDER BY to_key`, Key(id))
}

func (t *Tx) strings(query string, args ...any) ([]string, error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func (t *Tx) note(id, typ string) {
	t.changed = append(t.changed, Change{Key: Key(id), Type: typ})
}

// Touch announces a change of something that is not a document to the subscribers of a type.
func (t *Tx) Touch(key, typ string) { t.note(key, typ) }
