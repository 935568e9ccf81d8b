package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/store"
)

const (
	// snapshotPatience is how long the start waits for a server's inventory.
	snapshotPatience = 15 * time.Second
)

// inventoryDB is the node's database, or the reason why there is none at present, which
// must not keep the node from starting. It then goes on in memory until the database
// can be opened.
type inventoryDB struct {
	*database.Database
	copy *inventoryCopy // nil where the database is a file
	log  *slog.Logger
}

// openDatabase opens the database that the configuration names for a node, or leaves
// that for later where the reason may pass. A file that is damaged or not ours is
// an error at once; of a server all may pass, but not a URL that is none.
func openDatabase(ctx context.Context, c config.Store, node, state string, log *slog.Logger) (*inventoryDB, error) {
	at, err := database.New(c, node, state, log)
	if err != nil {
		return nil, err
	}
	d := &inventoryDB{Database: at, log: log}
	if d.Remote() {
		d.copy = openCopy(ctx, state, log)
	}
	if err := database.Node().Write(c, state); err != nil { // a full disk, say
		log.Warn("commands can't see where the database is", "err", err)
	}
	switch err := d.Open(ctx); {
	case err == nil:
		return d, nil
	case d.MayPass(err):
		log.Error("the database can't be opened; going on in memory", "err", err)
		return d, nil
	default:
		return nil, err
	}
}

// Close closes the store, and its copy.
func (d *inventoryDB) Close() error { return errors.Join(d.copy.close(), d.Database.Close()) }

// Snapshot returns what the last run saved. A disk too full to write may still
// be read, and of a server's there is a copy: so devices keep their ids. Where nothing
// can be read there is nothing, and the status tells why.
func (d *inventoryDB) Snapshot(ctx context.Context) (lanfolk.Snapshot, error) {
	db := d.Opened()
	switch {
	case d.Remote():
		if s, err := d.remoteSnapshot(ctx, db); err == nil {
			d.copy.renew(ctx, s)
			return s, nil
		}
		return d.copy.snapshot(ctx), nil
	case db != nil:
		return db.Snapshot(ctx)
	}
	db, err := d.OpenToRead(ctx)
	if err != nil {
		d.log.Warn("what the last run knew can't be read", "err", err)
		return lanfolk.Snapshot{}, nil
	}
	defer db.Close()
	return db.Snapshot(ctx)
}

func (d *inventoryDB) remoteSnapshot(ctx context.Context, db *store.DB) (lanfolk.Snapshot, error) {
	if db == nil {
		return lanfolk.Snapshot{}, database.ErrNotOpen
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
func (d *inventoryDB) Save(ctx context.Context, b lanfolk.Batch) error {
	db, err := d.Get()
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
func (d *inventoryDB) Commit(ctx context.Context, records []lanfolk.DeviceRecord) error {
	db, err := d.Get()
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
func (d *inventoryDB) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	db, err := d.Get()
	if err != nil {
		return err
	}
	return db.SaveObservations(ctx, rows)
}

// ForgetObservations implements store.Observations.
func (d *inventoryDB) ForgetObservations(ctx context.Context, now time.Time, keep store.Retention) (store.Forgotten, error) {
	db, err := d.Get()
	if err != nil {
		return store.Forgotten{}, err
	}
	return db.ForgetObservations(ctx, now, keep)
}

// Observation implements store.Observations.
func (d *inventoryDB) Observation(ctx context.Context, key lanfolk.ObservationKey) (lanfolk.Observation, bool, error) {
	db, err := d.Get()
	if err != nil {
		return lanfolk.Observation{}, false, err
	}
	return db.Observation(ctx, key)
}

// Latest implements store.Observations.
func (d *inventoryDB) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	db, err := d.Get()
	if err != nil {
		return lanfolk.Observation{}, false, err
	}
	return db.Latest(ctx, f)
}

// ObservationPage implements store.Observations.
func (d *inventoryDB) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	db, err := d.Get()
	if err != nil {
		return nil, store.Cursor{}, err
	}
	return db.ObservationPage(ctx, f)
}

// Secret returns a random key that survives a restart.
func (d *inventoryDB) Secret(ctx context.Context, name string) ([]byte, error) {
	db, err := d.Get()
	if err == nil {
		var value []byte
		if value, err = db.Secret(ctx, name); err == nil {
			d.copy.put(ctx, name, value)
			return value, nil
		}
	}
	if d.Remote() {
		return d.copy.secret(ctx, name, err)
	}
	return nil, err
}
