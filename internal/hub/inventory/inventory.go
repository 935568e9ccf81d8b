package inventory

import (
	"context"
	"errors"
	"log/slog"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Words keep what people say at the hub of gateways' devices: a store.DB.
type Words interface {
	Snapshot(ctx context.Context) (lanfolk.Snapshot, error)
	Commit(ctx context.Context, records []lanfolk.DeviceRecord) error
	Save(ctx context.Context, b lanfolk.Batch) error
}

// Options say what an Inventory works with. Feed and Words are needed.
type Options struct {
	Feed   fleet.Feed
	Words  Words
	Limits Limits
	Log    *slog.Logger // nil is silent
}

// Limits bound what is kept. Of each, 0 is the default.
type Limits struct {
	Items int   // of one gateway; 200,000. A device is two, a service one.
	Bytes int64 // of one gateway's items; 256 MiB
	All   int   // items of all gateways; 10,000,000
}

// Inventory is what all gateways know: reverse.Feeds, api.Inventory and api.Counts.
type Inventory struct {
	o Options
}

// Open takes up what the gateways told before.
func Open(ctx context.Context, o Options) (*Inventory, error) { return &Inventory{o: o}, nil }

// Run keeps house until ctx ends, and returns nil then.
func (i *Inventory) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Gateway says how a gateway stands: its name, whether it is online, and whether it is
// revoked, which hides its devices. It is called at the start for each, and when one changes.
func (i *Inventory) Gateway(s fleet.Standing) {}

// Forget drops all that a gateway told, for good.
func (i *Inventory) Forget(ctx context.Context, gateway string) error {
	return i.o.Feed.Forget(ctx, gateway)
}

var errSkeleton = errors.New("inventory: not yet")

// Take implements reverse.Feeds.
func (i *Inventory) Take(ctx context.Context, p reverse.Peer, t reverse.Type, m reverse.Meta, data []byte) error {
	return errSkeleton
}

// Progress implements reverse.Feeds.
func (i *Inventory) Progress(ctx context.Context, p reverse.Peer, t reverse.Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	return nil, errSkeleton
}
