// Package store keeps lido's resources: JSON documents under their lower-cased ARM id, and small key-value buckets for
// what is not a resource. It is SQLite, embedded.
//
//	docs    key (lower-cased id) | id | uid | type | api_version | generation | etag | desired | status | deleting | created | changed
//	refs    from_key -> to_key       who mentions whom; for "in use" errors and the order of deletion
//	kv      bucket, key -> value     operations, sealed secrets, identity, counters, allocations
//
// A document has two halves. Desired is what a client wished for; its changes count Generation and make the Etag.
// Status is what lido found or did; writing it moves neither. A document that is deleted and created again is another
// incarnation and has another UID, and a status written for the old one is refused.
//
// One transaction writes at a time; readers don't wait. A transaction that returned is on the disk.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver; pure Go, so lido stays one static binary
)

// Errors of the store.
var (
	ErrNotFound = errors.New("not found")
	ErrStale    = errors.New("the document is of another incarnation")
	ErrFull     = errors.New("the disk that lido keeps its state on has no room left")
)

// Store is an open database. It is safe for concurrent use.
type Store struct {
	write *database // one connection: SQLite has one writer
	read  *database

	waiting atomic.Int32 // Updates that want the turn
	turn    sync.Mutex   // one Update runs at a time
	batch   *batch       // that it may join; guarded by turn

	mu   sync.Mutex
	subs map[*Subscription]struct{}
}

const schema = `
CREATE TABLE IF NOT EXISTS docs (
  key TEXT PRIMARY KEY, id TEXT NOT NULL, uid TEXT NOT NULL, type TEXT NOT NULL, api_version TEXT NOT NULL,
  generation INTEGER NOT NULL, etag TEXT NOT NULL, desired BLOB NOT NULL, status BLOB NOT NULL,
  deleting INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, changed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS docs_type ON docs (type, key);
CREATE TABLE IF NOT EXISTS refs (from_key TEXT NOT NULL, to_key TEXT NOT NULL, PRIMARY KEY (from_key, to_key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_to ON refs (to_key);
CREATE TABLE IF NOT EXISTS kv (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
`

// schemaVersion counts changes that an older lido must not meet.
const schemaVersion = 1

// Open opens the database file, making it if it is missing.
func Open(path string) (*Store, error) {
	s, err := connect(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func connect(path string) (*Store, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock="
	write, err := sql.Open("sqlite", dsn+"immediate")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	if err := makeTables(write); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read, err := sql.Open("sqlite", dsn+"deferred&_pragma=query_only(1)"+mapped)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers) // opening one anew costs more than most reads
	s := &Store{write: &database{DB: write}, read: &database{DB: read}, subs: map[*Subscription]struct{}{}}
	if err := errors.Join(s.write.prepare(), s.read.prepare()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// mapped lets readers look into the file's pages instead of copying them: lists take a third of the time.
const mapped = "&_pragma=mmap_size(67108864)"

// readers is how many read at once; more wait.
const readers = 8

// makeTables makes the tables, or refuses a database of a newer lido.
func makeTables(db *sql.DB) error {
	var version int
	if err := db.QueryRow(`PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("it was written by a newer lido (schema %d, this one knows %d): start that one", version, schemaVersion)
	}
	_, err := db.Exec(schema + fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
	return err
}

// Close closes the database.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close())
}

// View runs fn in a read transaction: fn sees one moment.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer tx.Rollback()
	return fn(&Tx{tx: tx, db: s.read})
}
