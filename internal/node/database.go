package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/store"
)

const (
	// reopenEvery is how often a database that couldn't be opened is tried again,
	// and one behind a network is asked whether it answers.
	reopenEvery = 5 * time.Second
	// startPatience is how long the start waits for a server.
	startPatience    = 5 * time.Second
	snapshotPatience = 15 * time.Second
	checkPatience    = 5 * time.Second
)

var (
	errNotOpen  = errors.New("the database isn't open")
	errVanished = errors.New("the database's file was deleted, moved or replaced; put it back, or start the node anew")
)

// database is the store, or the reason why there is none at present: a full
// disk, another process's lock or a server that is away must not keep the node from
// starting. It then goes on in memory until the database can be opened.
type database struct {
	where string // a path, or a URL that may hold a password
	name  string // what people are shown of it
	opts  store.Options
	copy  *inventoryCopy // nil where the database is a file
	back  func()         // called when it can be used again; set before run
	log   *slog.Logger
	file  *os.File // that of SQLite, locked, while db is open
	db    atomic.Pointer[store.DB]
	err   atomic.Pointer[error] // why it isn't open, or doesn't answer; nil if all is well, which it is only behind db
}

// openDatabase opens the database that the configuration names for a node, or leaves
// that for later where the reason may pass. A file that is damaged or not ours is
// an error at once; of a server all may pass, but not a URL that is none.
func openDatabase(ctx context.Context, c config.Store, node, state string, log *slog.Logger) (*database, error) {
	d, err := newDatabase(ctx, c, node, state, log)
	if err != nil {
		return nil, err
	}
	if d.remote() {
		limited, cancel := context.WithTimeout(ctx, startPatience)
		defer cancel()
		ctx = limited
	}
	if err := keepPlace(c, state); err != nil { // a full disk, say
		log.Warn("commands can't see where the database is", "err", err)
	}
	err = d.open(ctx)
	switch {
	case err == nil:
		return d, nil
	case d.remote(), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrReadOnly):
		log.Error("the database can't be opened; going on in memory", "err", err)
		return d, nil
	}
	return nil, err
}

func newDatabase(ctx context.Context, c config.Store, node, state string, log *slog.Logger) (*database, error) {
	d := &database{where: c.PathIn(state), log: log, opts: store.Options{Log: log, BusyTimeout: time.Second}}
	d.name = d.where
	if c.Kind != config.Postgres {
		return d, nil
	}
	d.where, d.opts.Node, d.opts.PasswordFile = string(c.URL), node, c.PasswordFile
	u := store.PostgresURL{URL: d.where, PasswordFile: c.PasswordFile}
	name, err := u.Public()
	if err != nil {
		return nil, err
	}
	d.name, d.copy = name, openCopy(ctx, state, log)
	return d, nil
}

// remote says whether the database is a server's.
func (d *database) remote() bool { return d.copy != nil }

func (d *database) open(ctx context.Context) error {
	db, err := store.Open(ctx, d.where, d.opts)
	if err == nil && !d.remote() {
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

// run opens the database as soon as that works, and asks one behind a network now
// and then whether it answers, so that the status tells it even if nothing is to
// be written.
func (d *database) run(ctx context.Context) error {
	tick := time.NewTicker(reopenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			switch {
			case d.db.Load() == nil:
				if d.open(ctx) == nil {
					d.log.Info("the database is open; what was kept in memory is saved now")
					d.back()
				}
			case d.remote():
				d.ask(ctx)
			default:
				d.look()
			}
		}
	}
}

// ask notes whether the server answers.
func (d *database) ask(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	err := d.db.Load().Check(limited)
	before := d.err.Load()
	switch {
	case ctx.Err() != nil: // the node ends
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
// written into another is lost when the node ends, so nothing is meanwhile.
func (d *database) look() {
	before := d.err.Load()
	switch same := daemon.SameFile(d.file, d.where); {
	case !same && before == nil:
		err := fmt.Errorf("%s: %w", d.where, errVanished)
		d.err.Store(&err)
		d.log.Error("nothing is saved", "err", err)
	case same && before != nil:
		d.err.Store(nil)
		d.log.Info("the database's file is back")
		d.back()
	}
}

// health returns why the database can't be used at present, nil if it can.
func (d *database) health() error {
	if err := d.err.Load(); err != nil {
		return fmt.Errorf("node: database: %w", *err)
	}
	return nil
}

// get returns the store, or an error that says why there is none.
func (d *database) get() (*store.DB, error) {
	err := d.health() // first: it is nil only once the store is there
	if db := d.db.Load(); db != nil && (err == nil || d.remote()) {
		return db, nil
	}
	return nil, err
}

// Close closes the store.
func (d *database) Close() error {
	err := d.copy.close()
	if db := d.db.Load(); db != nil {
		err = errors.Join(err, db.Close())
	}
	if d.file != nil {
		err = errors.Join(err, d.file.Close()) // after the store: it would let go of SQLite's own locks, too
	}
	return err
}

// Snapshot returns what the last run saved. A disk too full to write may still
// be read, and of a server's there is a copy: so devices keep their ids. Where nothing
// can be read there is nothing, and the status tells why.
func (d *database) Snapshot(ctx context.Context) (lanfolk.Snapshot, error) {
	db := d.db.Load()
	switch {
	case d.remote():
		if s, err := d.remoteSnapshot(ctx, db); err == nil {
			d.copy.renew(ctx, s)
			return s, nil
		}
		return d.copy.snapshot(ctx), nil
	case db != nil:
		return db.Snapshot(ctx)
	}
	o := d.opts
	o.ReadOnly = true
	db, err := store.Open(ctx, d.where, o)
	if err != nil {
		d.log.Warn("what the last run knew can't be read", "err", err)
		return lanfolk.Snapshot{}, nil
	}
	defer db.Close()
	return db.Snapshot(ctx)
}

func (d *database) remoteSnapshot(ctx context.Context, db *store.DB) (lanfolk.Snapshot, error) {
	if db == nil {
		return lanfolk.Snapshot{}, errNotOpen
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	s, err := db.Snapshot(ctx)
	if err != nil {
		d.log.Warn("what the last run knew can't be read; its copy is used", "err", err)
	}
	return s, err
}

// Save implements lanfolk.Sink.
func (d *database) Save(ctx context.Context, b lanfolk.Batch) error {
	db, err := d.get()
	if err != nil {
		return err
	}
	if err := db.Save(ctx, b); err != nil {
		return err
	}
	d.copy.save(ctx, b)
	return nil
}

// Commit implements lanfolk.Journal.
func (d *database) Commit(ctx context.Context, records []lanfolk.DeviceRecord) error {
	db, err := d.get()
	if err != nil {
		return err
	}
	if err := db.Commit(ctx, records); err != nil {
		return err
	}
	d.copy.save(ctx, lanfolk.Batch{Devices: records})
	return nil
}

// SaveObservations implements store.Observations.
func (d *database) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	db, err := d.get()
	if err != nil {
		return err
	}
	return db.SaveObservations(ctx, rows)
}

// ForgetObservations implements store.Observations.
func (d *database) ForgetObservations(ctx context.Context, now time.Time, keep store.Retention) (store.Forgotten, error) {
	db, err := d.get()
	if err != nil {
		return store.Forgotten{}, err
	}
	return db.ForgetObservations(ctx, now, keep)
}

// Observation implements store.Observations.
func (d *database) Observation(ctx context.Context, key lanfolk.ObservationKey) (lanfolk.Observation, bool, error) {
	db, err := d.get()
	if err != nil {
		return lanfolk.Observation{}, false, err
	}
	return db.Observation(ctx, key)
}

// Latest implements store.Observations.
func (d *database) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	db, err := d.get()
	if err != nil {
		return lanfolk.Observation{}, false, err
	}
	return db.Latest(ctx, f)
}

// ObservationPage implements store.Observations.
func (d *database) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	db, err := d.get()
	if err != nil {
		return nil, store.Cursor{}, err
	}
	return db.ObservationPage(ctx, f)
}

// Secret returns a random key that survives a restart.
func (d *database) Secret(ctx context.Context, name string) ([]byte, error) {
	db, err := d.get()
	if err == nil {
		var value []byte
		if value, err = db.Secret(ctx, name); err == nil {
			d.copy.put(ctx, name, value)
			return value, nil
		}
	}
	if d.remote() {
		return d.copy.secret(ctx, name, err)
	}
	return nil, err
}
