// Package database opens the database in which a daemon keeps what it knows, and
// looks after it while the daemon runs: a file whose name leads elsewhere suddenly,
// a server that doesn't answer. What is written and read is package store's.
package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/store"
)

const (
	// lookEvery is how often a database that couldn't be opened is tried again,
	// and one that is open is looked at.
	lookEvery = 3 * time.Second
	// patience is how long a server may take for an answer.
	patience = 5 * time.Second
)

var (
	// ErrNotOpen says that nobody has opened the database yet.
	ErrNotOpen = errors.New("the database isn't open")
	// ErrVanished says that the name of SQLite's file leads to another one, or none.
	ErrVanished = errors.New("the database's file was deleted, moved or replaced; put it back, or start anew")
)

// Database is the store, or the reason why there is none at present: a full
// disk, another process's lock or a server that is away. Its methods may be called
// at once, but for Open and Run.
type Database struct {
	// Back is called when it can be used again; nil does nothing. Set before Run.
	Back func()

	where string // a path, or a URL that may hold a password
	name  string // what people are shown of it
	opts  store.Options
	log   *slog.Logger
	file  *os.File // that of SQLite, locked, while db is open
	db    atomic.Pointer[store.DB]
	err   atomic.Pointer[error] // why it isn't open, or doesn't answer; nil if all is well, which it is only behind db
}

// New returns the database that a configuration names, for the node or hub of that
// name with that state folder. It isn't open yet. The error is about a URL that is none.
func New(c config.Store, node, state string, log *slog.Logger) (*Database, error) {
	d := &Database{where: c.PathIn(state), log: log, opts: store.Options{Log: log, BusyTimeout: time.Second}}
	d.name = d.where
	notYet := ErrNotOpen
	d.err.Store(&notYet)
	if c.Kind != config.Postgres {
		return d, nil
	}
	d.where, d.opts.Node, d.opts.PasswordFile = string(c.URL), node, c.PasswordFile
	u := store.PostgresURL{URL: d.where, PasswordFile: c.PasswordFile}
	var err error
	if d.name, err = u.Public(); err != nil {
		return nil, err
	}
	return d, nil
}

// Remote says whether the database is a server's.
func (d *Database) Remote() bool { return store.IsPostgres(d.where) }

// Name is what people may be shown of where it is.
func (d *Database) Name() string { return d.name }

// Open tries to open the database.
func (d *Database) Open(ctx context.Context) error {
	if d.Remote() {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx = limited
	}
	db, err := store.Open(ctx, d.where, d.opts)
	if err == nil && !d.Remote() {
		if d.file, err = daemon.LockFile(d.where); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		d.err.Store(&err)
		return err
	}
	d.db.Store(db)
	d.err.Store(nil)
	return nil
}

// MayPass says whether the reason why Open failed may pass by itself: of a server all
// may, of a file not that it is damaged or not ours.
func (d *Database) MayPass(err error) bool {
	return d.Remote() || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrReadOnly)
}

// OpenToRead opens the database beside, without a change to it: a disk too full to
// write may still be read.
func (d *Database) OpenToRead(ctx context.Context) (*store.DB, error) {
	o := d.opts
	o.ReadOnly = true
	return store.Open(ctx, d.where, o)
}

// Run opens the database as soon as that works, and looks at one that is open now
// and then, so that Health tells how it is even if nothing is to be written.
func (d *Database) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			switch {
			case d.db.Load() == nil:
				if d.Open(ctx) == nil {
					d.log.Info("the database is open; what was kept in memory is saved now")
					d.back()
				}
			case d.Remote():
				d.ask(ctx)
			default:
				d.look()
			}
		}
	}
}

func (d *Database) back() {
	if d.Back != nil {
		d.Back()
	}
}

// ask notes whether the server answers.
func (d *Database) ask(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := d.db.Load().Check(limited)
	before := d.err.Load()
	switch {
	case ctx.Err() != nil: // the daemon ends
	case err != nil:
		d.err.Store(&err)
		if before == nil {
			d.log.Warn("the database can't be used as it should", "err", err)
		}
	default:
		d.err.Store(nil)
		if before != nil {
			d.log.Info("the database is well again")
			d.back()
		}
	}
}

// look notes whether SQLite's file is still the one that its name leads to. What is
// written into another is lost when the daemon ends, so nothing is meanwhile.
func (d *Database) look() {
	before := d.err.Load()
	switch same := daemon.SameFile(d.file, d.where); {
	case !same && before == nil:
		err := fmt.Errorf("%s: %w", d.where, ErrVanished)
		d.err.Store(&err)
		d.db.Load().Suspend(err)
		d.log.Error("nothing is saved", "err", err)
	case same && before != nil:
		d.err.Store(nil)
		d.db.Load().Suspend(nil)
		d.log.Info("the database's file is back")
		d.back()
	}
}

// Health returns why the database can't be used at present, nil if it can.
func (d *Database) Health() error {
	if err := d.err.Load(); err != nil {
		return fmt.Errorf("database: %w", *err)
	}
	return nil
}

// Get returns the store, or an error that says why there is none. A server that didn't
// answer may answer now.
func (d *Database) Get() (*store.DB, error) {
	err := d.Health() // first: it is nil only once the store is there
	if db := d.db.Load(); db != nil && (err == nil || d.Remote()) {
		return db, nil
	}
	return nil, err
}

// Opened returns the store, however it is; nil before it was opened.
func (d *Database) Opened() *store.DB { return d.db.Load() }

// Close closes the store.
func (d *Database) Close() error {
	var err error
	if db := d.db.Load(); db != nil {
		err = db.Close()
	}
	if d.file != nil {
		err = errors.Join(err, d.file.Close()) // after the store: it would let go of SQLite's own locks, too
	}
	return err
}
