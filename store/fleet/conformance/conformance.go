// Package conformance is the suite that a hub's storage passes on every database, so
// that what is built on one works on each.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A Hub is storage that is open.
type Hub struct {
	*fleet.Fleet
	// Observations reads the rows of passive monitoring.
	Observations func(ctx context.Context) ([]lanfolk.Observation, error)
	Close        func() error
}

// Opener opens the same storage each time that it is called; the suite closes what
// it opens.
type Opener func(o fleet.Options) Hub

// Run holds storage against the contract. fresh makes an empty one, which is gone
// when the test ends, and returns what opens it.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for name, test := range map[string]func(*testing.T, Opener){
		"a command goes from state to state":            commandLife,
		"a command and the audit say the same":          commandRecord,
		"of writers of one command one is first":        commandModel,
		"commands come in pages and are forgotten":      commandPages,
		"a gateway's record is kept":                    gatewayRecord,
		"a gateway listens at one place":                sessionLife,
		"a late end never hides a new session":          sessionModel,
		"a hub that starts anew ends its sessions":      sessionLease,
		"a feed takes each batch once":                  feedModel,
		"an inventory begins anew with a snapshot":      feedSnapshot,
		"fingerprints become rows of their gateway":     feedRows,
		"a token is for one key":                        tokens,
		"what is revoked stays so":                      revocations,
		"a result comes in chunks":                      blobChunks,
		"a result goes on where it broke off":           blobResume,
		"a result is read while it comes":               blobParts,
		"results keep to their quota":                   blobQuota,
		"old results go":                                blobSweep,
		"the audit shows what was done to it":           auditChain,
		"the audit can be cut and is verified still":    auditCut,
		"many append to the audit at once, at two hubs": auditTogether,
		"users sign in and have tokens and grants":      accounts,
		"odd text comes back as it was":                 oddText,
		"everything is there after closing and opening": reopen,
		"a call that nobody waits for changes nothing":  cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// opened opens storage that is closed when the test ends.
func opened(t *testing.T, open Opener, o fleet.Options) Hub {
	t.Helper()
	h := open(o)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// tb is what the helpers need of *testing.T and *rapid.T.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func noErr(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](t tb) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		noErr(t, err)
		return x
	}
}

func wantErr(t tb, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func same(t tb, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

// at is the time at which the tests begin, and some seconds.
func at(seconds int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// commandID returns the n-th id.
func commandID(n int) string { return fmt.Sprintf("01JN%022d", n) }

func reopen(t *testing.T, open Opener) {
	ctx := t.Context()
	h := open(fleet.Options{})
	g := must[fleet.Gateway](t)(h.Sessions.Enrol(ctx, fleet.Gateway{ID: "g1", Name: "one", Enrolled: at(0), Key: [32]byte{1}}))
	noErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(1), Gateway: "g1", Line: "status", Created: at(0)}))
	head := must[fleet.Head](t)(h.Audit.Append(ctx, fleet.Entry{Who: "ann", What: "run"}))
	noErr(t, h.Close())
	h = opened(t, open, fleet.Options{})
	same(t, must[fleet.Standing](t)(h.Sessions.Gateway(ctx, "g1", at(1))).Gateway, g)
	same(t, must[fleet.Command](t)(h.Commands.Command(ctx, commandID(1))).State, fleet.Queued)
	same(t, must[fleet.Head](t)(h.Audit.Head(ctx)), head)
}

func cancelled(t *testing.T, open Opener) {
	h := opened(t, open, fleet.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(1), Gateway: "g1"}), context.Canceled)
	same(t, len(must[[]fleet.Command](t)(h.Commands.Outstanding(t.Context(), ""))), 0)
}

func oddText(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	const odd = "a\x00b\xff\uf741 ü'\"\n"
	noErr(t, h.Commands.Create(ctx, nil, fleet.Command{ID: commandID(1), Gateway: odd, Line: odd, By: odd}))
	c := must[fleet.Command](t)(h.Commands.Command(ctx, commandID(1)))
	same(t, []string{c.Gateway, c.Line, c.By}, []string{odd, odd, odd})
	_, err := h.Sessions.Enrol(ctx, fleet.Gateway{ID: "g1", Name: odd, Labels: map[string]string{odd: odd}})
	noErr(t, err)
	noErr(t, h.Sessions.SetLabels(ctx, "g1", map[string]string{odd: odd}))
	g := must[fleet.Standing](t)(h.Sessions.Gateway(ctx, "g1", at(0)))
	same(t, g.Labels, map[string]string{odd: odd})
	same(t, g.Name, odd)
	must[fleet.Head](t)(h.Audit.Append(ctx, fleet.Entry{Who: odd, What: odd, Gateway: odd, Ref: odd, Detail: odd, Outcome: odd}))
	e := must[[]fleet.Entry](t)(h.Audit.Entries(ctx, fleet.AuditFilter{Gateway: odd, Who: odd, Ref: odd}))
	same(t, []string{e[0].Detail, e[0].Outcome}, []string{odd, odd})
	verified(t, h)
	_, _, err = h.Feed.Take(ctx, fleet.Batch{Gateway: odd, Kind: fleet.Inventory, Epoch: odd, Snapshot: true, Items: []fleet.Item{{Key: odd, Doc: []byte(odd)}}})
	noErr(t, err)
	i := must[[]fleet.Item](t)(h.Feed.Changes(ctx, 0, 10))
	same(t, i, []fleet.Item{{Gateway: odd, Key: odd, Doc: []byte(odd), Position: i[0].Position, Epoch: odd}})
}
