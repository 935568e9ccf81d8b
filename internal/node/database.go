package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// reopenEvery is how often a database that couldn't be opened is tried again.
const reopenEvery = 10 * time.Second

// database is the store, or the reason why there is none at present: a full
// disk or another process's lock must not keep the node from starting. It then
// goes on in memory until the database can be opened.
type database struct {
	path string
	log  *slog.Logger
	db   atomic.Pointer[store.DB]
	err  atomic.Pointer[error] // why it isn't open
}

// openDatabase opens the database, or leaves that for later where the reason
// may pass. A file that is damaged or not ours is an error at once.
func openDatabase(ctx context.Context, path string, log *slog.Logger) (*database, error) {
	d := &database{path: path, log: log}
	err := d.open(ctx)
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrReadOnly):
		log.Error("the database can't be opened; going on in memory", "err", err)
		return d, nil
	}
	return nil, err
}

func (d *database) open(ctx context.Context) error {
	db, err := store.Open(ctx, d.path, store.Options{Log: d.log, BusyTimeout: time.Second})
	if err != nil {
		d.err.Store(&err)
		return err
	}
	d.db.Store(db)
	return nil
}

// run opens the database as soon as that works.
func (d *database) run(ctx context.Context) error {
	tick := time.NewTicker(reopenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if d.db.Load() == nil && d.open(ctx) == nil {
				d.log.Info("the database is open; what was kept in memory is saved now")
			}
		}
	}
}

// get returns the store, or an error that says why there is none.
func (d *database) get() (*store.DB, error) {
	if db := d.db.Load(); db != nil {
		return db, nil
	}
	return nil, fmt.Errorf("node: no database: %w", *d.err.Load())
}

// Close closes the store.
func (d *database) Close() error {
	if db := d.db.Load(); db != nil {
		return db.Close()
	}
	return nil
}

// Snapshot returns what the last run saved. A disk too full to write may still
// be read: so devices keep their ids. Where nothing can be read there is
// nothing, and the status tells why.
func (d *database) Snapshot(ctx context.Context) (lanfolk.Snapshot, error) {
	if db := d.db.Load(); db != nil {
		return db.Snapshot(ctx)
	}
	db, err := store.Open(ctx, d.path, store.Options{ReadOnly: true, BusyTimeout: time.Second})
	if err != nil {
		d.log.Warn("what the last run knew can't be read", "err", err)
		return lanfolk.Snapshot{}, nil
	}
	defer db.Close()
	return db.Snapshot(ctx)
}

// Save implements lanfolk.Sink.
func (d *database) Save(ctx context.Context, b lanfolk.Batch) error {
	db, err := d.get()
	if err != nil {
		return err
	}
	return db.Save(ctx, b)
}

// Commit implements lanfolk.Journal.
func (d *database) Commit(ctx context.Context, records []lanfolk.DeviceRecord) error {
	db, err := d.get()
	if err != nil {
		return err
	}
	return db.Commit(ctx, records)
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
func (d *database) ForgetObservations(ctx context.Context, now time.Time, keep store.Retention) (int64, error) {
	db, err := d.get()
	if err != nil {
		return 0, err
	}
	return db.ForgetObservations(ctx, now, keep)
}

// Observations returns rows, the one heard last first.
func (d *database) Observations(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, error) {
	db, err := d.get()
	if err != nil {
		return nil, err
	}
	return db.Observations(ctx, f)
}

// Secret returns a random key that survives a restart.
func (d *database) Secret(ctx context.Context, name string) ([]byte, error) {
	db, err := d.get()
	if err != nil {
		return nil, err
	}
	return db.Secret(ctx, name)
}
