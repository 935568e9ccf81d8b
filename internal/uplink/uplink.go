package uplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
)

// A Feeder brings batches to the hub: a reverse.Client. Both methods wait for a
// connection, until ctx ends.
type Feeder interface {
	Feed(ctx context.Context, t reverse.Type, m reverse.Meta, data []byte) (*lanfolkpb.ProgressReply, error)
	Progress(ctx context.Context, t reverse.Type, epoch string) (*lanfolkpb.ProgressReply, error)
}

// A Registry is what the gateway knows: a lanfolk.Registry.
type Registry interface {
	Devices(f lanfolk.Filter) []*lanfolk.Device
	Services(f lanfolk.Filter) []*lanfolk.Service
	Explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, error)
	Reasons(ref string) ([]lanfolk.Conclusion, error)
	Watch(ctx context.Context, f lanfolk.Filter) <-chan lanfolk.Event
}

// Options say what goes up. Folder is needed; what is left out is off or at its
// default.
type Options struct {
	// Folder is where is kept what the hub has and what waits for it. It is made if
	// it isn't there. One process at a time may use it.
	Folder string
	// Registry is what goes up of the inventory; nil: nothing.
	Registry Registry
	// MaxItems bounds what the hub is told of at a time; a device counts for two, a
	// service for one. 0 is 180,000: a hub takes 200,000 as a rule.
	MaxItems int
	// SpoolBytes bounds what waits on the disk of passive monitoring; 0: nothing of it goes up.
	SpoolBytes int64
	Log        *slog.Logger // nil is silent
}

const (
	defaultItems = 180_000
	ledgerFile   = "inventory"
	spoolFolder  = "fingerprints"
)

// An Uplink brings to the hub what changes on the gateway. Open makes it.
type Uplink struct {
	inventory *inventory // nil: off
	rows      *rows      // nil: off
}

// Open takes up what an earlier run left in the folder.
func Open(o Options) (*Uplink, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.MaxItems = cmp.Or(o.MaxItems, defaultItems)
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	u := &Uplink{}
	var err error
	if o.Registry != nil {
		if u.inventory, err = openInventory(o, filepath.Join(o.Folder, ledgerFile)); err != nil {
			return nil, err
		}
	}
	if o.SpoolBytes > 0 {
		spool, err := openSpool(filepath.Join(o.Folder, spoolFolder), o.SpoolBytes)
		if err != nil {
			return nil, errors.Join(err, u.Close())
		}
		u.rows = &rows{spool: spool, log: o.Log}
	}
	return u, nil
}

// Run sends until ctx ends, and returns nil then. It may be called again.
func (u *Uplink) Run(ctx context.Context, hub Feeder) error {
	var feeds sync.WaitGroup
	if u.inventory != nil {
		feeds.Go(func() { u.inventory.run(ctx, hub) })
	}
	if u.rows != nil {
		feeds.Go(func() { u.rows.run(ctx, hub) })
	}
	feeds.Wait()
	<-ctx.Done()
	return nil
}

// Tee returns what a store.Recorder writes to instead of db: what db has taken goes
// up, too.
func (u *Uplink) Tee(db store.Observations) store.Observations {
	if u.rows == nil {
		return db
	}
	return tee{db, u.rows}
}

// Close ends the use of the folder. Run has returned before, and nothing uses the tee any
// more.
func (u *Uplink) Close() error {
	var err error
	if u.inventory != nil {
		err = u.inventory.ledger.close()
	}
	if u.rows != nil {
		err = errors.Join(err, u.rows.spool.close())
	}
	return err
}

// Status says how an Uplink is doing.
type Status struct {
	Inventory    InventoryStatus    `json:"inventory"`
	Fingerprints FingerprintsStatus `json:"fingerprints"`
}

// InventoryStatus is how the inventory's feed is doing.
type InventoryStatus struct {
	Enabled   bool      `json:"enabled"`
	Items     int       `json:"items"`           // that the hub has
	Waiting   int       `json:"waiting"`         // that may have changed since
	LeftOut   uint64    `json:"left_out"`        // for want of room, at present
	Batches   uint64    `json:"batches"`         // that the hub took
	Bytes     uint64    `json:"bytes"`           // in them
	Snapshots uint64    `json:"snapshots"`       // times that all was sent anew
	Synced    time.Time `json:"synced,omitzero"` // when the hub had all; zero: never in this run
	Error     string    `json:"error,omitempty"` // why the hub takes nothing at present
}

// FingerprintsStatus is how the feed of passive monitoring is doing.
type FingerprintsStatus struct {
	Enabled bool   `json:"enabled"`
	Waiting int    `json:"waiting"` // rows
	Bytes   int64  `json:"bytes"`   // on the disk
	Dropped uint64 `json:"dropped"` // rows for which the spool had no room
	Sent    uint64 `json:"sent"`    // rows that the hub took
	Batches uint64 `json:"batches"`
	Error   string `json:"error,omitempty"`
}

// Status returns how it is doing.
func (u *Uplink) Status() Status {
	var s Status
	if u.inventory != nil {
		s.Inventory = u.inventory.status()
	}
	if u.rows != nil {
		s.Fingerprints = u.rows.status()
	}
	return s
}
