package fleet

import (
	"context"

	"github.com/lanfolk/lanfolk"
)

// Kind is what a feed carries.
type Kind string

// The kinds of feeds.
const (
	Inventory    Kind = "inventory"    // changes of the gateway's devices and services
	Fingerprints Kind = "fingerprints" // rows of passive monitoring
)

// A Mark is how far a gateway's feed has come.
type Mark struct {
	Epoch string // "" if nothing ever came
	Next  uint64 // the number of the batch that is wanted
}

// An Item is one entry of a gateway's inventory.
type Item struct {
	Gateway string
	Key     string // unique in the gateway
	Doc     []byte // what it says, opaque here; nil: it went
	// Position rises with each change of any item.
	Position uint64
	Epoch    string // of the feed, when it came last
}

// A Batch is what a gateway sends in one piece.
type Batch struct {
	Gateway string
	Kind    Kind
	Epoch   string
	Seq     uint64 // 0, 1, 2, … in each epoch
	// Snapshot is true in batch 0 of an Inventory's epoch: what it says, and the
	// batches after it up to the Complete one, is all that there is.
	Snapshot bool
	// Complete is true in the batch that ends a snapshot. What was there from
	// earlier epochs and was not said again goes then, and not before.
	Complete bool
	Items    []Item // of an Inventory; what is not Key and Doc is set by Take
	// Observations, of Fingerprints, are added to the rows of package store, under
	// the gateway's id whatever they say themselves.
	Observations []lanfolk.Observation
}

// Feed keeps what gateways send of their own accord. A batch and its mark are
// committed together: none counts twice, however often it comes.
type Feed interface {
	// Mark returns how far a feed has come; the zero Mark if nothing ever came.
	Mark(ctx context.Context, gateway string, kind Kind) (Mark, error)
	// Take keeps a batch and returns the feed's new mark, with whether the batch
	// was new. One that came before changes nothing and is no error. ErrGap if
	// batches before it are missing: mark says which one is wanted. ErrEpoch if
	// the epoch isn't the mark's, unless Seq is 0: a feed of Inventory begins
	// anew only with a snapshot.
	Take(ctx context.Context, b Batch) (mark Mark, fresh bool, err error)
	// Changes returns items whose position is above after, in its order, at most
	// limit: what is in the inventory now, and, as items with no Doc, what went.
	// Read from 0 until none comes, it is the whole inventory; from the last
	// position on, what changed since.
	Changes(ctx context.Context, after uint64, limit int) ([]Item, error)
	// Item returns one; ErrUnknown if it isn't there, or went.
	Item(ctx context.Context, gateway, key string) (Item, error)
	// Forget drops a gateway's items and marks. The items show as gone.
	Forget(ctx context.Context, gateway string) error
	// Compact drops what went at or before a position: nobody will ask for changes
	// after an earlier one, but for 0.
	Compact(ctx context.Context, position uint64) error
}
