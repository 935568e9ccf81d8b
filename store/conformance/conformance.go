// Package conformance is the suite that every implementation of lanfolk's store
// passes, so that what is built on one works on each.
package conformance

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// Store is what an implementation does. The comments of store.DB's methods are
// the contract.
type Store interface {
	lanfolk.Sink
	lanfolk.Journal
	store.Observations

	Snapshot(ctx context.Context) (lanfolk.Snapshot, error)
	Observations(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, error)
	AllObservations(ctx context.Context, f store.ObservationFilter) iter.Seq2[lanfolk.Observation, error]
	CountObservations(ctx context.Context) (int64, error)
	Secret(ctx context.Context, name string) ([]byte, error)
	PutSecret(ctx context.Context, name string, value []byte) error
	Close() error
}

// Opener opens the same database each time that it is called; the suite closes
// what it opens.
type Opener func() Store

// Run holds an implementation against the contract. fresh makes an empty
// database, which is gone when the test ends, and returns what opens it.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for name, test := range map[string]func(*testing.T, Opener){
		"an observation comes back as it was":               observationRoundTrip,
		"observations with one key are merged":              observationMerge,
		"merging agrees with Observation.Merge":             observationModel,
		"filters choose rows":                               observationFilters,
		"pages neither lose nor repeat a row":               observationPages,
		"names are kept byte for byte":                      observationBytes,
		"values beyond what a column holds are bounded":     observationBounds,
		"old observations are forgotten":                    observationRetention,
		"a MAC keeps its share, and the best of it":         observationShares,
		"MACs that passed by yield first":                   observationPassers,
		"pages go on where they ended":                      observationCursor,
		"a batch that is given up leaves nothing":           cancelled,
		"the inventory comes back as it was":                inventoryRoundTrip,
		"the inventory agrees with a model":                 inventoryModel,
		"what a person said needs no batch before it":       inventoryCommit,
		"an odd sighting doesn't spoil the batch":           inventoryOddities,
		"a snapshot holds whole batches":                    inventorySnapshot,
		"a secret is made once":                             secrets,
		"everything is there after closing and opening":     reopen,
		"readers and writers don't get in each other's way": together,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// opened opens a store that is closed when the test ends.
func opened(t *testing.T, open Opener) Store {
	t.Helper()
	s := open()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// tb is what the helpers need of *testing.T and *rapid.T.
type tb interface {
	Helper()
	Fatal(args ...any)
}

func noErr(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start is the time at which the tests' observations begin.
func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC) }
