package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// nanos is a time in the database, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// sum is a hash in the database, nothing for the zero hash.
func sum(h [32]byte) []byte {
	if h == [32]byte{} {
		return []byte{}
	}
	return h[:]
}

func toSum(b []byte) (h [32]byte) {
	copy(h[:], b)
	return h
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// labelsText is labels in the database.
func labelsText(labels map[string]string) string {
	if len(labels) == 0 {
		return "{}"
	}
	clean := make(map[string]string, len(labels))
	for k, v := range labels {
		clean[text.Encode(k)] = text.Encode(v)
	}
	b, err := json.Marshal(clean)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

func toLabels(s string) (map[string]string, error) {
	var kept map[string]string
	if err := json.Unmarshal([]byte(s), &kept); err != nil {
		return nil, fmt.Errorf("%w: labels: %w", store.ErrDamaged, err)
	}
	labels := make(map[string]string, len(kept))
	for k, v := range kept {
		labels[text.Decode(k)] = text.Decode(v)
	}
	return labels, nil
}

// next raises a counter by n and returns its new value. Until the transaction ends
// no other one raises it.
func next(ctx context.Context, tx *txn, counter string, n int) (value int64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE fleet_counter SET value = value + $1 WHERE name = $2 RETURNING value`, int64(n), counter).Scan(&value)
	return value, err
}

// changed runs a statement and returns how many rows it changed.
func changed(ctx context.Context, tx *txn, statement string, args ...any) (int64, error) {
	r, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// change runs a statement that changes a row, or rule if there is none.
func change(ctx context.Context, tx *txn, rule error, statement string, args ...any) error {
	n, err := changed(ctx, tx, statement, args...)
	if err == nil && n == 0 {
		return rule
	}
	return err
}

// insert adds rows, each of which has the same number of values, behind "INSERT INTO
// t (…) VALUES"; tail comes at the end. It returns how many were added.
func insert(ctx context.Context, tx *txn, head, tail string, rows [][]any) (added int64, err error) {
	const maxValues = 200 // SQLite looks for each among those before it: 10,000 commands took 21 s with 8000, 1.2 s so
	for len(rows) > 0 {
		width := len(rows[0])
		n := min(len(rows), maxValues/width)
		var s strings.Builder
		s.WriteString(head)
		args := make([]any, 0, n*width)
		for i, row := range rows[:n] {
			if i > 0 {
				s.WriteByte(',')
			}
			for j, value := range row {
				s.WriteByte(",("[truth(j == 0)])
				s.WriteByte('$')
				args = append(args, value)
				s.WriteString(strconv.Itoa(len(args)))
			}
			s.WriteByte(')')
		}
		s.WriteString(tail)
		do := tx.Tx.Tx.ExecContext
		if n == 1 || n == maxValues/width { // the others are too many to keep them ready
			do = tx.ExecContext
		}
		r, err := do(ctx, s.String(), args...)
		if err != nil {
			return added, err
		}
		k, err := r.RowsAffected()
		if err != nil {
			return added, err
		}
		added, rows = added+k, rows[n:]
	}
	return added, nil
}

// A scanner is a row of a result.
type scanner interface{ Scan(into ...any) error }

// querier is what answers a query: a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect returns what scan makes of each row.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, rows.Err()
}

// list is collect beside the writers.
func list[T any](ctx context.Context, db *store.DB, doing string, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	err = db.Read(ctx, doing, func(ctx context.Context, q *sql.DB) error {
		all, err = collect(ctx, q, scan, query, args...)
		return err
	})
	return all, err
}

// one is list for a row that must be there: ErrUnknown. The query is a step into an index.
func one[T any](ctx context.Context, db *store.DB, doing string, scan func(scanner) (T, error), query string, args ...any) (x T, err error) {
	err = db.Read(ctx, doing, func(ctx context.Context, _ *sql.DB) error {
		rows, err := db.Step(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		if !rows.Next() {
			if err = rows.Err(); err == nil {
				err = sql.ErrNoRows
			}
			return err
		}
		x, err = scan(rows)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return x, fmt.Errorf("fleet: %s: %w", doing, ErrUnknown)
	}
	return x, err
}

// unknown makes ErrUnknown of no row.
func unknown(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

// conditions gathers the WHERE of a query.
type conditions struct {
	text []string
	args []any
}

// add adds a condition, in which ? stands for value.
func (c *conditions) add(condition string, value any) {
	c.args = append(c.args, value)
	c.text = append(c.text, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(c.args))))
}

func (c *conditions) where() string {
	if len(c.text) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.text, " AND ")
}

// pageLimit bounds what one page holds.
func pageLimit(limit int) int {
	if limit <= 0 || limit > 1000 {
		return 100
	}
	return limit
}
