package store

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/lanfolk/lanfolk"
)

// dialect is what databases of different kinds do not share. All else, and what
// rows mean, is written once.
type dialect interface {
	// statements returns the statements in its SQL.
	statements() *statements
	// begin makes a transaction, which is about to write, ready.
	begin(ctx context.Context, tx *sql.Tx) error
	// each runs a statement for every row of arguments, behind which come
	// those that all rows have in common. A row's first argument is its key.
	each(ctx context.Context, tx *sql.Tx, statement string, rows iter.Seq2[[]any, error], common ...any) error
	// oneEach returns rows of which no two have the same key, if each needs that.
	oneEach(rows []lanfolk.Observation) []lanfolk.Observation
	// snapshot says how a transaction sees one moment only.
	snapshot() *sql.TxOptions
	// limit bounds how long a call waits for the database, which may lie behind
	// a network. done tells of the error what that means.
	limit(ctx context.Context) (limited context.Context, done func(error) error)
	// step returns the context for a read that is one step into an index.
	step(ctx context.Context) context.Context
	// all reads every row that f asks for, the one heard last first.
	all(ctx context.Context, d *DB, f ObservationFilter) iter.Seq2[lanfolk.Observation, error]
	// forgetRows is how many rows go in one transaction, so that nobody else who
	// writes waits for long.
	forgetRows() int64
	// keepsReady says whether statements are kept ready on a connection. A server's
	// driver does that itself, where what stands between allows it.
	keepsReady() bool
	// giveBack gives space back to the disk that rows left that went.
	giveBack(ctx context.Context, d *DB) error
	// check looks for damage.
	check(ctx context.Context, d *DB) error
	// closing bounds how long Close waits for the connections' end; 0 is no bound.
	closing() time.Duration
}

// statements are those whose text is a dialect's own. See queries.go.
type statements struct {
	putObservation string
	named          string // a condition: the name, each time that it stands there
	unindexed      string // before a column that must not lead the planner to its index
	forgetBefore   string
	forgetOldest   string
	forgetOwned    string // $1 is the MAC, $2 how many
	size           string // bytes

	putDevice, forgetDevice, devices       string
	putSighting, forgetSighting, sightings string

	makeSecret, putSecret, secret string
}

// argsOf returns the arguments of a statement for each row.
func argsOf[T any](rows []T, args func(T) ([]any, error)) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for _, row := range rows {
			if !yield(args(row)) {
				return
			}
		}
	}
}
