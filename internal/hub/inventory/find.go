package inventory

import (
	"context"
	"io"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A Runner has gateways do things: a deliver.Dispatcher.
type Runner interface {
	Submit(ctx context.Context, r fleet.Request) ([]fleet.Command, error)
	Cancel(ctx context.Context, by, id string) (fleet.Command, error)
	Watch(ctx context.Context, ids ...string) <-chan fleet.Command
	Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error)
}

// Finder answers what is known of all gateways' networks, and asks them now: an
// api.Finder.
type Finder struct {
	Known  *Inventory
	Runner Runner                           // nil: only what is known
	By     func(ctx context.Context) string // who asks, for the record
}

// Find implements api.Finder.
func (f *Finder) Find(ctx context.Context, r find.Request, emit func(find.Answer)) error {
	return find.ErrNoAnswer
}

// Fingerprints is what all gateways heard: an api.Fingerprints. A filter's Gateway is a
// gateway's name or id; a row's is its name.
type Fingerprints struct {
	Known *Inventory
	DB    *store.DB
}

// Latest implements api.Fingerprints.
func (r Fingerprints) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	return r.DB.Latest(ctx, f)
}

// ObservationPage implements api.Fingerprints.
func (r Fingerprints) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	return r.DB.ObservationPage(ctx, f)
}
