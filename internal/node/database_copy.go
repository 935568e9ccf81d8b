package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

const (
	// copyName is what the copy's file in the state folder is called.
	copyName = "inventory-copy.db"
	// copyPatience bounds a change of the copy.
	copyPatience = 5 * time.Second
)

// inventoryCopy is a SQLite file beside a database that is a server's. It holds
// what the server has taken of this node's inventory and secrets, so that a node
// that starts while the server is away knows its devices by their ids and by
// what people said. It is never more than a copy: the server's word stands. One that
// can't be changed goes, which is logged, and keeps nobody. A nil copy does
// nothing.
type inventoryCopy struct {
	path string
	log  *slog.Logger

	mu sync.Mutex
	db *store.DB // nil if there is none
}

// openCopy opens the copy that the last run left, or makes one.
func openCopy(ctx context.Context, state string, log *slog.Logger) *inventoryCopy {
	c := &inventoryCopy{path: filepath.Join(state, copyName), log: log}
	c.change(ctx, c.open)
	return c
}

func (c *inventoryCopy) open(ctx context.Context) error {
	o := store.Options{BusyTimeout: time.Second}
	db, err := store.Open(ctx, c.path, o)
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNewer) { // the server has the original
		if err = c.remove(); err == nil {
			db, err = store.Open(ctx, c.path, o)
		}
	}
	if err == nil {
		c.db = db
	}
	return err
}

// remove closes and removes the copy.
func (c *inventoryCopy) remove() error {
	if c.db != nil {
		_ = c.db.Close() // nothing of it is needed
		c.db = nil
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(c.path + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// change changes the copy. What the server has taken must come into it even
// if ctx ends meanwhile.
func (c *inventoryCopy) change(ctx context.Context, do func(context.Context) error) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyPatience)
	defer cancel()
	if err := do(limited); err != nil {
		c.log.Warn("there is no copy of the inventory in the state folder: if the database is away at the next start, nothing is known then",
			"err", errors.Join(err, c.remove()))
	}
}

// with calls do if there is a copy.
func (c *inventoryCopy) with(ctx context.Context, do func(context.Context) error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db != nil {
		c.change(ctx, do)
	}
}

// renew makes the copy anew of what the server holds.
func (c *inventoryCopy) renew(ctx context.Context, s lanfolk.Snapshot) {
	c.with(ctx, func(ctx context.Context) error {
		if err := c.remove(); err != nil {
			return err
		}
		if err := c.open(ctx); err != nil {
			return err
		}
		return c.db.Save(ctx, lanfolk.Batch{Devices: s.Devices, Sightings: s.Sightings})
	})
}

func (c *inventoryCopy) save(ctx context.Context, b lanfolk.Batch) {
	c.with(ctx, func(ctx context.Context) error { return c.db.Save(ctx, b) })
}

func (c *inventoryCopy) put(ctx context.Context, name string, value []byte) {
	c.with(ctx, func(ctx context.Context) error { return c.db.PutSecret(ctx, name, value) })
}

// snapshot returns what is in the copy, nothing if it can't be read.
func (c *inventoryCopy) snapshot(ctx context.Context) (s lanfolk.Snapshot) {
	c.with(ctx, func(ctx context.Context) (err error) {
		s, err = c.db.Snapshot(ctx)
		return err
	})
	return s
}

// secret returns what the server has given for name, or, if that was never, what
// does until it can be asked. err is why it can't, and returned where the copy
// doesn't help.
func (c *inventoryCopy) secret(ctx context.Context, name string, err error) (value []byte, _ error) {
	c.with(ctx, func(ctx context.Context) (fault error) {
		if value, fault = c.db.Secret(ctx, name); fault == nil {
			err = nil
		}
		return fault
	})
	return value, err
}

func (c *inventoryCopy) close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		return nil
	}
	return c.db.Close()
}
