package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/lanfolk/lanfolk"
)

// What stands here is for packages below this one, which keep tables of their own in
// the same database: their steps are in this package's migrations, and their SQL
// keeps to what all dialects accept.

// Write runs fn in one transaction: all of it is committed and on the disk when
// Write returns nil, and nothing of it otherwise. fn may run again where another
// transaction got in its way. doing says in an error what failed.
func (d *DB) Write(ctx context.Context, doing string, fn func(ctx context.Context, tx *Tx) error) error {
	var tx *Tx
	err := d.inTx(ctx, doing, func(ctx context.Context, t *sql.Tx) error {
		tx = &Tx{Tx: t, d: d}
		return fn(ctx, tx)
	})
	if err == nil {
		tx.remember(ctx)
	}
	return err
}

// A Tx is a transaction that keeps the statements ready which it is given as they are in
// the program; those whose text is made as it goes are for its sql.Tx.
type Tx struct {
	*sql.Tx
	d   *DB
	new []string
}

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	if s := t.ready(ctx, statement); s != nil { //nolint:sqlclosecheck // it ends with the transaction
		return s.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, statement, args...)
}

// QueryContext runs a statement that returns rows.
func (t *Tx) QueryContext(ctx context.Context, statement string, args ...any) (*sql.Rows, error) {
	if s := t.ready(ctx, statement); s != nil { //nolint:sqlclosecheck // it ends with the transaction
		return s.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, statement, args...)
}

// QueryRowContext runs a statement that returns a row.
func (t *Tx) QueryRowContext(ctx context.Context, statement string, args ...any) *sql.Row {
	if s := t.ready(ctx, statement); s != nil { //nolint:sqlclosecheck // it ends with the transaction
		return s.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, statement, args...)
}

// ready returns a statement that was made ready before; nil if it wasn't.
func (t *Tx) ready(ctx context.Context, statement string) *sql.Stmt {
	if !t.d.keepsReady() {
		return nil
	}
	s, room := t.d.written.find(statement)
	if s == nil {
		if room && !slices.Contains(t.new, statement) {
			t.new = append(t.new, statement)
		}
		return nil
	}
	return t.StmtContext(ctx, s)
}

// remember makes ready for the next transaction what was new in this one. It comes after
// it, as there is one connection that writes.
func (t *Tx) remember(ctx context.Context) {
	for _, statement := range t.new {
		// What can't be made ready works all the same.
		_, _ = t.d.written.prepare(ctx, t.d.write, statement) //nolint:sqlclosecheck // it ends with the database
	}
}

// Read runs fn, which queries and doesn't write, within the time that a look at the
// database may take. sql.ErrNoRows comes back as it is.
func (d *DB) Read(ctx context.Context, doing string, fn func(ctx context.Context, db *sql.DB) error) error {
	return d.reading(ctx, doing, func(ctx context.Context) error { return fn(ctx, d.read) })
}

// Step asks for rows beside the writers by a statement whose text is always the same, and
// which is a step into an index. It is called within Read.
func (d *DB) Step(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = d.step(ctx)
	if !d.keepsReady() {
		return d.read.QueryContext(ctx, query, args...)
	}
	return d.asked.query(ctx, d.read, query, args)
}

// AddObservations is SaveObservations as a part of tx, which Write handed out.
func (d *DB) AddObservations(ctx context.Context, tx *sql.Tx, rows []lanfolk.Observation) error {
	return d.each(ctx, tx, d.sql.putObservation, argsOf(d.oneEach(rows), func(o lanfolk.Observation) ([]any, error) {
		return observationArgs(&o), nil
	}))
}
