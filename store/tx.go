package store

import (
	"context"
	"database/sql"
)

// rowsBetweenLooks is after how many rows of a batch the context is looked at.
const rowsBetweenLooks = 256

// inTx runs fn in one transaction that writes: all of it is committed and on
// the disk when inTx returns nil, and nothing of it otherwise.
func (d *DB) inTx(ctx context.Context, doing string, fn func(tx *sql.Tx) error) error {
	if d.write == nil {
		return fail(doing, ErrReadOnly)
	}
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fail(doing, err)
	}
	if err := fn(tx); err != nil {
		// SQLite may have rolled back already, of which Rollback then complains.
		_ = tx.Rollback()
		return fail(doing, err)
	}
	return fail(doing, tx.Commit())
}

// each runs query once for every row, with the arguments that args makes of
// it. The statement itself is not told of ctx, which is looked at now and then
// instead: the driver starts a goroutine for each statement that may be
// cancelled.
func each[T any](ctx context.Context, tx *sql.Tx, query string, rows []T, args func(T) ([]any, error)) error {
	if len(rows) == 0 {
		return nil
	}
	s, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer s.Close()
	for i, row := range rows {
		if i%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		a, err := args(row)
		if err != nil {
			return err
		}
		if _, err := s.Exec(a...); err != nil {
			return err
		}
	}
	return nil
}
