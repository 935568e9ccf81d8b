package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Options are what may be chosen for a database. The zero value is good.
type Options struct {
	// ReadOnly opens a database that exists already, without a change to it.
	// Another process may write to it meanwhile.
	ReadOnly bool
	// BusyTimeout is how long a call waits for another process that holds the
	// database, or what it wants to write to. Default 5 s.
	BusyTimeout time.Duration
	// MaxBytes bounds the size of a SQLite file; what would make it larger fails
	// with ErrFull. 0 is no bound.
	MaxBytes int64
	// Node names the node whose inventory and secrets are read and written, where
	// several share a PostgreSQL database. A SQLite file is one node's.
	Node string
	// PasswordFile holds the password for PostgreSQL; see PostgresURL.
	PasswordFile string
	// Log hears of migrations. Default: silent.
	Log *slog.Logger
}

const defaultBusyTimeout = 5 * time.Second

// DB is an open database. Its methods may be called from any goroutine; one
// writes at a time, and readers never wait for it.
type DB struct {
	dialect
	sql   *statements
	path  string  // what errors and the status call it
	scope []any   // behind the arguments of what is a node's own
	write *sql.DB // nil if the database is read-only
	read  *sql.DB
	ready prepared // of this package

	// Of packages below this one: what reads, and what writes.
	asked, written prepared

	suspended atomic.Pointer[error] // see Suspend
}

func newDB(kind dialect, path string, read *sql.DB, scope ...any) *DB {
	return &DB{dialect: kind, sql: kind.statements(), path: path, scope: scope, read: read}
}

// Open opens a database, makes its tables if there are none, and brings them up
// to date. where is the path of a SQLite file, whose folder must exist, or the URL
// of a PostgreSQL database (see PostgresURL). What is damaged, belongs to
// another program, or was made by a newer lanfolk is refused with an error
// that says what to do, and is left as it is.
func Open(ctx context.Context, where string, o Options) (*DB, error) {
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if IsPostgres(where) {
		return openPostgres(ctx, PostgresURL{URL: where, PasswordFile: o.PasswordFile}, o)
	}
	return openFile(ctx, where, o)
}

// Path returns where the database is: an absolute path, or a URL without the
// password that it may hold.
func (d *DB) Path() string { return d.path }

// Close waits for calls that are under way and closes the database.
func (d *DB) Close() error {
	closed := make(chan error, 1)
	go func() {
		var errs []error
		for _, pool := range []*sql.DB{d.read, d.write} { // the writer last: it empties the -wal file
			if pool != nil {
				errs = append(errs, pool.Close())
			}
		}
		closed <- fail("close", errors.Join(errs...))
	}()
	var late <-chan time.Time
	if limit := d.closing(); limit > 0 {
		late = time.After(limit)
	}
	select {
	case err := <-closed:
		return err
	case <-late:
		return nil
	}
}

// Check reads a whole SQLite database and returns an error that is ErrDamaged if
// something in it is broken. It takes seconds where there are millions of rows. A
// PostgreSQL database is only asked whether it answers: its server looks after it.
func (d *DB) Check(ctx context.Context) error { return d.check(ctx, d) }
