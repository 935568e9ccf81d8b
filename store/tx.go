package store

import (
	"context"
	"database/sql"
	"errors"
)

// inTx runs fn in one transaction that writes: all of it is committed and on
// the disk when inTx returns nil, and nothing of it otherwise.
func (d *DB) inTx(ctx context.Context, doing string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	if d.write == nil {
		return fail(doing, ErrReadOnly)
	}
	ctx, done := d.limit(ctx)
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fail(doing, done(err))
	}
	if err = d.begin(ctx, tx); err == nil {
		err = fn(ctx, tx)
	}
	if err != nil {
		// The database may have rolled back already, of which Rollback then complains.
		_ = tx.Rollback()
		return fail(doing, done(err))
	}
	return fail(doing, done(tx.Commit()))
}

// reading runs fn within the time that a look at the database may take.
func (d *DB) reading(ctx context.Context, doing string, fn func(ctx context.Context) error) error {
	ctx, done := d.limit(ctx)
	err := done(fn(ctx))
	if errors.Is(err, sql.ErrNoRows) {
		return err // no failure, but an answer
	}
	return fail(doing, err)
}
