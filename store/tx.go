package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// inTx runs fn in one transaction that writes: all of it is committed and on
// the disk when inTx returns nil, and nothing of it otherwise. fn may run again
// where another transaction got in its way.
func (d *DB) inTx(ctx context.Context, doing string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	if d.write == nil {
		return fail(doing, ErrReadOnly)
	}
	if why := d.suspended.Load(); why != nil {
		return fail(doing, *why)
	}
	ctx, done := d.limit(ctx)
	var err error
	for range conflictTries {
		if err = d.try(ctx, fn); !conflicted(err) {
			break
		}
	}
	return fail(doing, done(err))
}

// Suspend has all that would write fail with ErrSuspended and why, until it is called
// with nil: for a database into which it is of no use to write, since its file has lost
// its name, say. What is under way goes on.
func (d *DB) Suspend(why error) {
	if why == nil {
		d.suspended.Store(nil)
		return
	}
	why = fmt.Errorf("%w: %w", ErrSuspended, why)
	d.suspended.Store(&why)
}

// conflictTries is how often a transaction is tried that another's got in the way of.
const conflictTries = 5

func (d *DB) try(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = d.begin(ctx, tx); err == nil {
		err = fn(ctx, tx)
	}
	if err != nil {
		// The database may have rolled back already, of which Rollback then complains.
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
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
