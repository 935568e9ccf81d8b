package conformance

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func auditChain(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	_, key, err := ed25519.GenerateKey(nil)
	noErr(t, err)
	var seals []fleet.Seal
	for i := range 6 {
		head := must[fleet.Head](t)(h.Audit.Append(ctx, fleet.Entry{
			Time: at(i), Who: "ann", What: "run", Gateway: []string{"g1", "g2"}[i%2], Ref: commandID(i / 2), Detail: []string{"status", "get \xff\x00"}[i/3], Outcome: []string{"", "ok"}[i%2],
		}))
		same(t, []any{head.Seq, head.Time}, []any{uint64(i + 1), at(i)})
		sealed := must[[]byte](t)(json.Marshal(head.Sign(key)))
		seals = append(seals, must[fleet.Seal](t)(fleet.ParseSeal(sealed, key.Public().(ed25519.PublicKey))))
	}
	same(t, verified(t, h, seals...), uint64(6))
	seqs := func(f fleet.AuditFilter) (all []uint64) {
		for _, e := range must[[]fleet.Entry](t)(h.Audit.Entries(ctx, f)) {
			all = append(all, e.Seq)
		}
		return all
	}
	same(t, seqs(fleet.AuditFilter{}), []uint64{6, 5, 4, 3, 2, 1})
	same(t, seqs(fleet.AuditFilter{Gateway: "g1", Before: 5}), []uint64{3, 1})
	same(t, seqs(fleet.AuditFilter{Ref: commandID(1), Who: "ann", What: "run", Limit: 1}), []uint64{4})
	same(t, len(seqs(fleet.AuditFilter{What: "grant"})), 0)

	var entries []fleet.Entry
	for e, err := range h.Audit.All(ctx) {
		noErr(t, err)
		entries = append(entries, e)
	}
	for _, e := range entries {
		written := must[[]byte](t)(json.Marshal(e.Written()))
		var read fleet.WrittenEntry
		noErr(t, json.Unmarshal(written, &read))
		same(t, must[fleet.Entry](t)(read.Entry()), e)
	}
	head := must[fleet.Head](t)(h.Audit.Head(ctx))
	end := func(e []fleet.Entry) fleet.Head { // as who cuts the tail would leave it
		if len(e) == 0 {
			return fleet.Head{}
		}
		return fleet.Head{Seq: e[len(e)-1].Seq, Hash: e[len(e)-1].Hash}
	}
	for name, tamper := range map[string]func(e []fleet.Entry) ([]fleet.Entry, fleet.Head){
		"changed": func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { e[2].Who = "eve"; return e, head },
		"moved text": func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) {
			e[2].Who, e[2].What = "an", "nrun"
			return e, head
		},
		"removed":          func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return slices.Delete(e, 2, 3), head },
		"the first":        func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return e[1:], head },
		"reordered":        func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { e[2], e[3] = e[3], e[2]; return e, head },
		"inserted":         func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return slices.Insert(e, 2, e[2]), head },
		"appended":         func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return append(e, fleet.Entry{Seq: 7}), head },
		"cut":              func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return e[:4], head },
		"cut with its end": func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return e[:4], end(e[:4]) },
		"emptied":          func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { return nil, fleet.Head{} },
		"another's":        func(e []fleet.Entry) ([]fleet.Entry, fleet.Head) { e[5].Hash[0]++; return e, end(e) },
	} {
		forged, forgedHead := tamper(slices.Clone(entries))
		_, err := fleet.VerifyAudit(fleet.Checkpoint{}, each(forged), forgedHead, seals[len(seals)-1])
		if err == nil {
			t.Fatalf("%s: nothing is seen", name)
		}
		wantErr(t, err, fleet.ErrTampered)
	}
	// A seal of before is good still, and the entries' end too.
	same(t, must[uint64](t)(fleet.VerifyAudit(fleet.Checkpoint{}, each(entries), head, seals[1])), uint64(6))
	forged := seals[5]
	forged.Seq = 4
	_, err = fleet.ParseSeal(must[[]byte](t)(json.Marshal(forged)), nil)
	wantErr(t, err, fleet.ErrTampered)
	_, other, err := ed25519.GenerateKey(nil)
	noErr(t, err)
	_, err = fleet.ParseSeal(must[[]byte](t)(json.Marshal(head.Sign(other))), key.Public().(ed25519.PublicKey))
	wantErr(t, err, fleet.ErrTampered)
}

func each(entries []fleet.Entry) iter.Seq2[fleet.Entry, error] {
	return func(yield func(fleet.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// auditTogether has two hubs write to one audit, by itself and with commands.
func auditTogether(t *testing.T, open Opener) {
	hubs, ctx := []Hub{opened(t, open, fleet.Options{}), opened(t, open, fleet.Options{})}, t.Context()
	const writers, times = 8, 20
	errs := make(chan error)
	for w := range writers {
		go func() {
			h := hubs[w%len(hubs)]
			var err error
			for n := range times {
				_, e := h.Audit.Append(ctx, fleet.Entry{Time: at(0)}, fleet.Entry{Time: at(1)})
				made := fleet.Command{ID: commandID(w*times + n), Gateway: "g1"}
				err = errors.Join(err, e, h.Commands.Create(ctx, []fleet.Entry{{Ref: made.ID}}, made))
			}
			errs <- err
		}()
	}
	for w := range writers {
		verified(t, hubs[w%len(hubs)]) // while others append
		noErr(t, <-errs)
	}
	for _, h := range hubs {
		same(t, verified(t, h), uint64(3*writers*times))
	}
}

// verified returns the number of the last entry of an audit that is right.
func verified(t *testing.T, h Hub, seals ...fleet.Seal) uint64 {
	t.Helper()
	last, _, err := fleet.Verify(t.Context(), h.Audit, seals...)
	noErr(t, err)
	return last
}

// letting returns what signs a cut.
func letting(key ed25519.PrivateKey) func(fleet.Checkpoint, []fleet.Head) (fleet.Checkpoint, fleet.Entry, error) {
	return func(start fleet.Checkpoint, gone []fleet.Head) (fleet.Checkpoint, fleet.Entry, error) {
		last := gone[len(gone)-1]
		return last.Checkpoint(key), fleet.Entry{Time: at(1000), What: "audit.cut", Detail: fmt.Sprint(len(gone))}, start.Check(key.Public().(ed25519.PublicKey))
	}
}

// auditCut lets old entries go, and verifies what is left.
func auditCut(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	public, key, err := ed25519.GenerateKey(nil)
	noErr(t, err)
	var seals []fleet.Seal
	for i := range 20 {
		head := must[fleet.Head](t)(h.Audit.Append(ctx, fleet.Entry{Time: at(i), What: "run", Detail: fmt.Sprint(i + 1)}))
		seals = append(seals, head.Sign(key))
	}
	cut := func(before, limit, want int) {
		t.Helper()
		same(t, must[int](t)(h.Audit.Cut(ctx, at(before), limit, letting(key))), want)
	}
	kept := func() (seqs []uint64) {
		t.Helper()
		for e, err := range h.Audit.All(ctx) {
			noErr(t, err)
			seqs = append(seqs, e.Seq)
		}
		return seqs
	}
	same(t, must[fleet.Checkpoint](t)(h.Audit.Start(ctx)), fleet.Checkpoint{})
	cut(0, 100, 0) // none is that old, and nothing is said
	same(t, verified(t, h, seals...), uint64(20))
	cut(3, 100, 3)
	same(t, kept()[:2], []uint64{4, 5})
	start := must[fleet.Checkpoint](t)(h.Audit.Start(ctx))
	same(t, []any{start.Seq, start.Hash}, []any{uint64(3), seals[2].Hash})
	noErr(t, start.Check(public))
	same(t, verified(t, h, seals...), uint64(21)) // all heads from before are good still
	cut(17, 4, 4)
	cut(17, 4, 4)
	same(t, verified(t, h, seals...), uint64(23))
	cut(17, 100, 6)
	cut(17, 100, 0)
	same(t, kept(), []uint64{18, 19, 20, 21, 22, 23, 24})
	// A head that was cut off itself is missed, the one before the first too.
	other := fleet.Head{Seq: 17, Hash: [32]byte{1}}
	_, _, err = fleet.Verify(ctx, h.Audit, other.Sign(key))
	wantErr(t, err, fleet.ErrTampered)

	// An old entry between young ones stays.
	must[fleet.Head](t)(h.Audit.Append(ctx, fleet.Entry{Time: at(5)}, fleet.Entry{Time: at(2000)}))
	cut(999, 100, 3)
	same(t, kept()[0], uint64(21))
	// The last one stays.
	cut(9999, 100, 6)
	same(t, kept(), []uint64{27, 28})
	cut(9999, 100, 1)
	same(t, kept(), []uint64{28, 29})

	// What stands for entries proves nothing where another key signed it, a head stands
	// there, or it is another one.
	entries, head := []fleet.Entry{}, must[fleet.Head](t)(h.Audit.Head(ctx))
	for e, err := range h.Audit.All(ctx) {
		noErr(t, err)
		entries = append(entries, e)
	}
	start = must[fleet.Checkpoint](t)(h.Audit.Start(ctx))
	same(t, must[uint64](t)(fleet.VerifyAudit(start, each(entries), head, seals...)), head.Seq)
	_, another, err := ed25519.GenerateKey(nil)
	noErr(t, err)
	before := fleet.Head{Seq: entries[0].Seq}
	for name, forged := range map[string]fleet.Checkpoint{
		"none":              {},
		"a head as one":     fleet.Checkpoint(firstHead(entries).Sign(key)),
		"another key's":     firstHead(entries).Checkpoint(another),
		"another one":       before.Checkpoint(key),
		"without signature": {Seq: start.Seq, Hash: start.Hash, Time: start.Time, Key: start.Key},
		"without key":       {Seq: start.Seq, Hash: start.Hash, Time: start.Time},
	} {
		_, err := fleet.VerifyAudit(forged, each(entries[1:]), head, head.Sign(key))
		if !errors.Is(err, fleet.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	same(t, must[uint64](t)(fleet.VerifyAudit(firstHead(entries).Checkpoint(key), each(entries[1:]), head, head.Sign(key))), head.Seq)

	// Who can't sign can't cut, and neither goes on from what somebody else signed.
	no := errors.New("no key")
	var gone []fleet.Head
	_, err = h.Audit.Cut(ctx, at(9999), 100, func(_ fleet.Checkpoint, all []fleet.Head) (fleet.Checkpoint, fleet.Entry, error) {
		gone = all
		return fleet.Checkpoint{}, fleet.Entry{}, no
	})
	wantErr(t, err, no)
	same(t, gone, []fleet.Head{firstHead(entries)})
	_, err = h.Audit.Cut(ctx, at(9999), 100, letting(another))
	wantErr(t, err, fleet.ErrTampered)
	same(t, kept(), []uint64{28, 29})

	// While others append and cut, it can be verified.
	done := make(chan error)
	go func() {
		var err error
		for range 30 {
			_, e := h.Audit.Append(ctx, fleet.Entry{Time: at(1)}, fleet.Entry{Time: at(2)})
			_, e2 := h.Audit.Cut(ctx, at(9999), 3, letting(key))
			err = errors.Join(err, e, e2)
		}
		done <- err
	}()
	for running := true; running; {
		select {
		case err := <-done:
			noErr(t, err)
			running = false
		default:
			verified(t, h, seals...)
		}
	}
}

// firstHead is the head that an audit had with its first entry.
func firstHead(all []fleet.Entry) fleet.Head {
	return fleet.Head{Seq: all[0].Seq, Hash: all[0].Hash, Time: all[0].Time}
}
