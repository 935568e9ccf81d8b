package store

import (
	"context"
	"database/sql"

	"github.com/lanfolk/lanfolk"
)

// What stands here is for packages below this one, which keep tables of their own in
// the same database: their steps are in this package's migrations, and their SQL
// keeps to what all dialects accept.

// Write runs fn in one transaction: all of it is committed and on the disk when
// Write returns nil, and nothing of it otherwise. fn may run again where another
// transaction got in its way. doing says in an error what failed.
func (d *DB) Write(ctx context.Context, doing string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return d.inTx(ctx, doing, fn)
}

// Read runs fn, which queries and doesn't write, within the time that a look at the
// database may take. sql.ErrNoRows comes back as it is.
func (d *DB) Read(ctx context.Context, doing string, fn func(ctx context.Context, db *sql.DB) error) error {
	return d.reading(ctx, doing, func(ctx context.Context) error { return fn(ctx, d.read) })
}

// AddObservations is SaveObservations as a part of tx, which Write handed out.
func (d *DB) AddObservations(ctx context.Context, tx *sql.Tx, rows []lanfolk.Observation) error {
	return d.each(ctx, tx, d.sql.putObservation, argsOf(d.oneEach(rows), func(o lanfolk.Observation) ([]any, error) {
		return observationArgs(&o), nil
	}))
}
