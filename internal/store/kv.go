package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Entry is one value of a bucket.
type Entry struct {
	Key   string
	Value []byte
}

// GetKV returns a value, or ErrNotFound.
func (t *Tx) GetKV(bucket, key string) ([]byte, error) {
	var v []byte
	err := t.queryRow(getKV, bucket, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: get %s/%s: %w", bucket, key, err)
	}
	return v, nil
}

// SetKV writes a value.
func (t *Tx) SetKV(bucket, key string, value []byte) error {
	if value == nil {
		value = []byte{} // NULL is not a value
	}
	err := t.exec(putKV, bucket, key, value)
	if err != nil {
		return fmt.Errorf("store: set %s/%s: %w", bucket, key, err)
	}
	return nil
}

// DeleteKV removes a value, if it is there.
func (t *Tx) DeleteKV(bucket, key string) error {
	if err := t.exec(`DELETE FROM kv WHERE bucket = ? AND key = ?`, bucket, key); err != nil {
		return fmt.Errorf("store: delete %s/%s: %w", bucket, key, err)
	}
	return nil
}

// ListKV returns the values of a bucket in the order of their keys.
func (t *Tx) ListKV(bucket string) ([]Entry, error) {
	rows, err := t.query(`SELECT key, value FROM kv WHERE bucket = ? ORDER BY key`, bucket)
	if err != nil {
		return nil, fmt.Errorf("store: list %s: %w", bucket, err)
	}
	defer rows.Close()
	var out []Entry
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.Key, &e.Value); err != nil {
			return nil, fmt.Errorf("store: list %s: %w", bucket, err)
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// DeleteBucket removes all values of a bucket.
func (t *Tx) DeleteBucket(bucket string) error {
	if err := t.exec(`DELETE FROM kv WHERE bucket = ?`, bucket); err != nil {
		return fmt.Errorf("store: delete %s: %w", bucket, err)
	}
	return nil
}

// GetJSON reads a value into v, or returns ErrNotFound.
func (t *Tx) GetJSON(bucket, key string, v any) error {
	b, err := t.GetKV(bucket, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("store: get %s/%s: %w", bucket, key, err)
	}
	return nil
}

// SetJSON writes v as JSON.
func (t *Tx) SetJSON(bucket, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("store: set %s/%s: %w", bucket, key, err)
	}
	return t.SetKV(bucket, key, b)
}
