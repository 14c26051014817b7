package store

import "database/sql"

// database is a pool of connections that know some statements.
type database struct {
	*sql.DB
	prepared map[string]*sql.Stmt
}

// What is asked most. SQLite takes longer to read these statements than to carry them out.
const (
	getDoc    = `SELECT ` + docColumns + ` FROM docs WHERE key = ?`
	putDoc    = `INSERT OR REPLACE INTO docs (key, ` + docColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`
	putStatus = `UPDATE docs SET status = ? WHERE key = ?`
	dropRefs  = `DELETE FROM refs WHERE from_key = ?`
	getKV     = `SELECT value FROM kv WHERE bucket = ? AND key = ?`
	putKV     = `INSERT OR REPLACE INTO kv (bucket, key, value) VALUES (?,?,?)`
	savepoint = `SAVEPOINT one`
	release   = `RELEASE one`
	undo      = `ROLLBACK TO one`
)

// prepare has them prepared: each connection does so when it is first asked one. That cannot wait for a transaction, which
// holds a connection while it would want another.
func (d *database) prepare() error {
	d.prepared = map[string]*sql.Stmt{}
	for _, q := range []string{getDoc, putDoc, putStatus, dropRefs, getKV, putKV, savepoint, release, undo} {
		s, err := d.Prepare(q)
		if err != nil {
			return err
		}
		d.prepared[q] = s
	}
	return nil
}

func (t *Tx) query(q string, args ...any) (*sql.Rows, error) {
	if s := t.db.prepared[q]; s != nil {
		return t.tx.Stmt(s).Query(args...)
	}
	return t.tx.Query(q, args...)
}

func (t *Tx) queryRow(q string, args ...any) *sql.Row {
	if s := t.db.prepared[q]; s != nil {
		return t.tx.Stmt(s).QueryRow(args...)
	}
	return t.tx.QueryRow(q, args...)
}

func (t *Tx) exec(q string, args ...any) error {
	var err error
	if s := t.db.prepared[q]; s != nil {
		_, err = t.tx.Stmt(s).Exec(args...)
	} else {
		_, err = t.tx.Exec(q, args...)
	}
	return err
}
