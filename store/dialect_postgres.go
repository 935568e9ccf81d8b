package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
)

// postgresDialect is the dialect of a server to which several nodes may write.
type postgresDialect struct {
	patience time.Duration // for a lock that another session holds
	// What this node's connections are called, and a pattern for those of every
	// process that claims to be this node; "" for no claim.
	self, claims string
}

func (postgresDialect) statements() *statements { return postgresStatements() }

// begin bounds the wait for locks, for this transaction alone: behind a pooler
// the next one may be another program's.
func (p postgresDialect) begin(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, sqlPostgresPatience, strconv.FormatInt(p.patience.Milliseconds(), 10))
	return err
}

// rowsStatement bounds the rows, and so the bytes, of one statement.
const rowsStatement = 5000

// each runs the statement with thousands of rows at once. They are in order of
// their keys: two nodes that write the same rows then wait for each other
// instead of a deadlock. Of two rows with one key the later counts.
func (postgresDialect) each(ctx context.Context, tx *sql.Tx, statement string, rows iter.Seq2[[]any, error], common ...any) error {
	var all [][]any
	for row, err := range rows {
		if err != nil {
			return err
		}
		all = append(all, row)
	}
	slices.SortStableFunc(all, func(a, b []any) int { return compareKeys(a[0], b[0]) })
	n := 0
	for i, row := range all {
		if i+1 == len(all) || compareKeys(row[0], all[i+1][0]) != 0 {
			all[n] = row
			n++
		}
	}
	for part := range slices.Chunk(all[:n], rowsStatement) {
		if _, err := tx.ExecContext(ctx, statement, append(columns(part), common...)...); err != nil {
			return err
		}
	}
	return nil
}

// compareKeys compares two keys of one column.
func compareKeys(a, b any) int {
	if x, ok := a.([]byte); ok {
		return bytes.Compare(x, b.([]byte))
	}
	return strings.Compare(a.(string), b.(string))
}

// columns turns rows, of which there is one at least, into an array a column.
func columns(rows [][]any) []any {
	out := make([]any, len(rows[0]))
	for i, first := range rows[0] {
		switch first.(type) {
		case string:
			out[i] = column[string](rows, i)
		case int64:
			out[i] = column[int64](rows, i)
		case []byte:
			out[i] = column[[]byte](rows, i)
		default:
			panic(fmt.Sprintf("store: no array of %T", first)) // a new kind of argument
		}
	}
	return out
}

func column[T any](rows [][]any, i int) []T {
	c := make([]T, len(rows))
	for n, row := range rows {
		c[n] = row[i].(T)
	}
	return c
}

// oneEach merges what has one key: a statement can't change a row twice.
func (postgresDialect) oneEach(rows []lanfolk.Observation) []lanfolk.Observation {
	at := make(map[lanfolk.ObservationKey]int, len(rows))
	merged := make([]lanfolk.Observation, 0, len(rows))
	for _, o := range rows {
		if i, ok := at[o.ObservationKey]; ok {
			merged[i].Merge(o)
			continue
		}
		at[o.ObservationKey] = len(merged)
		merged = append(merged, o)
	}
	return merged
}

func (postgresDialect) snapshot() *sql.TxOptions {
	return &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
}

func (postgresDialect) step(ctx context.Context) context.Context { return ctx }

// postgresLimit is how long a call may take. A host that has vanished would
// otherwise be waited for until TCP gives up.
const postgresLimit = 30 * time.Second

func (postgresDialect) limit(ctx context.Context) (context.Context, func(error) error) {
	limited, cancel := context.WithTimeout(ctx, postgresLimit)
	return limited, func(err error) error {
		late := limited.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && late {
			return fmt.Errorf("%w within %v", ErrAway, postgresLimit)
		}
		return err
	}
}

func (postgresDialect) forgetRows() int64 { return 20_000 }

// closing is short: nothing waits to be written, and a server that doesn't answer isn't
// waited for.
func (postgresDialect) closing() time.Duration { return 2 * time.Second }

func (postgresDialect) keepsReady() bool { return false }

// giveBack leaves it to the server, which uses the space again.
func (postgresDialect) giveBack(context.Context, *DB) error { return nil }

// check also sees two nodes of one name, which a copied configuration makes: each would
// overwrite the other's inventory.
func (p postgresDialect) check(ctx context.Context, d *DB) error {
	return d.reading(ctx, "check", func(ctx context.Context) error {
		var others int
		err := d.read.QueryRowContext(ctx, sqlPostgresOthers, p.claims, p.self).Scan(&others)
		if err == nil && p.claims != "" && others > 0 {
			return fmt.Errorf("%w: give each node a name of its own", ErrTaken)
		}
		return err
	})
}

// all reads a few rows as a page. For more the server sorts them once, behind
// a cursor: with no index in order of time each page would cost a look at all.
func (postgresDialect) all(ctx context.Context, d *DB, f ObservationFilter) iter.Seq2[lanfolk.Observation, error] {
	if 0 < f.Limit && f.Limit <= pageRows {
		return d.pages(ctx, f)
	}
	return func(yield func(lanfolk.Observation, error) bool) {
		if err := d.walk(ctx, f, func(o lanfolk.Observation) bool { return yield(o, nil) }); err != nil {
			yield(lanfolk.Observation{}, fail("read observations", err))
		}
	}
}

// walkLimit is how long the next rows may take. Before the first of them all are
// sorted.
const walkLimit = 5 * time.Minute

// walk calls yield for every row that f asks for, until it returns false.
func (d *DB) walk(ctx context.Context, f ObservationFilter, yield func(lanfolk.Observation) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := fmt.Errorf("%w within %v", ErrAway, walkLimit)
	watch := time.AfterFunc(walkLimit, func() { cancel(late) })
	defer watch.Stop()
	err := d.walkBeside(ctx, watch, f, yield)
	if err != nil && errors.Is(context.Cause(ctx), late) {
		return late
	}
	return err
}

// walkBeside does it, and lets watch run only while the server is waited for.
func (d *DB) walkBeside(ctx context.Context, watch *time.Timer, f ObservationFilter, yield func(lanfolk.Observation) bool) error {
	tx, err := d.read.BeginTx(ctx, d.snapshot())
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it changed nothing
	query, args := d.sql.observations(f, cmp.Or(f.Limit, math.MaxInt))
	if _, err := tx.ExecContext(ctx, sqlPostgresCursor+query, args...); err != nil {
		return err
	}
	for {
		watch.Reset(walkLimit)
		rows, err := tx.QueryContext(ctx, sqlPostgresFetch)
		if err != nil {
			return err
		}
		page, err := scanObservations(rows)
		if err != nil || len(page) == 0 {
			return err
		}
		watch.Stop()
		for _, x := range page {
			if !yield(x.Observation) {
				return nil
			}
		}
	}
}
