package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/lanfolk/lanfolk"
)

// sqliteDialect is the dialect of a file that one process writes to.
type sqliteDialect struct{}

func (sqliteDialect) statements() *statements { return sqliteStatements() }

func (sqliteDialect) begin(context.Context, *sql.Tx) error { return nil }

// rowsBetweenLooks is after how many rows of a batch the context is looked at.
const rowsBetweenLooks = 256

// each runs the statement once for every row. The statement itself is not told
// of ctx, which is looked at now and then instead: the driver starts a goroutine
// for each statement that may be cancelled.
func (sqliteDialect) each(ctx context.Context, tx *sql.Tx, statement string, rows iter.Seq2[[]any, error], common ...any) error {
	s, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer s.Close()
	return execEach(ctx, s, rows, common)
}

func execEach(ctx context.Context, s *sql.Stmt, rows iter.Seq2[[]any, error], common []any) error {
	i := 0
	for args, err := range rows {
		if err != nil {
			return err
		}
		if i++; i%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := s.Exec(append(args, common...)...); err != nil {
			return err
		}
	}
	return nil
}

func (sqliteDialect) oneEach(rows []lanfolk.Observation) []lanfolk.Observation { return rows }

func (sqliteDialect) snapshot() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

// limit sets no bound: what is in a file of this host comes or fails.
func (sqliteDialect) limit(ctx context.Context) (context.Context, func(error) error) {
	return ctx, func(err error) error { return err }
}

// step leaves out what watches a context meanwhile, in goroutines of database/sql and of the
// driver: it takes longer than the step. No reader waits for a writer.
func (sqliteDialect) step(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// all reads page by page, so that no snapshot keeps the -wal file from being
// emptied for long.
func (sqliteDialect) all(ctx context.Context, d *DB, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	return d.pages(ctx, f)
}

func (sqliteDialect) forgetRows() int64 { return 500 }

func (sqliteDialect) closing() time.Duration { return 0 }

func (sqliteDialect) keepsReady() bool { return true }

// keptFreePages is how many empty pages stay in the file to be used again: 4 MiB.
const keptFreePages = 4 << 20 / pageBytes

// giveBack shortens the file by pages that are empty, but for some. A file that was
// made without auto_vacuum keeps them all, and uses them again.
func (sqliteDialect) giveBack(ctx context.Context, d *DB) error {
	var free int64
	if err := d.read.QueryRowContext(ctx, "SELECT freelist_count FROM pragma_freelist_count").Scan(&free); err != nil {
		return fail("give space back", err)
	}
	for ; free > keptFreePages; free -= keptFreePages {
		// In steps, so that nobody else who writes waits for long.
		if _, err := d.write.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", min(free-keptFreePages, keptFreePages))); err != nil {
			return fail("give space back", err)
		}
	}
	return nil
}

func (sqliteDialect) check(ctx context.Context, d *DB) error {
	var verdict string
	if err := d.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fail("check", err)
	}
	if verdict != "ok" {
		return openError(d.path, fmt.Errorf("%w: %s", ErrDamaged, verdict))
	}
	return nil
}
