package conformance

import (
	"crypto/ed25519"
	"encoding/json"
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
	same(t, must[uint64](t)(fleet.Verify(ctx, h.Audit, seals...)), uint64(6))
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
		_, err := fleet.VerifyAudit(each(forged), forgedHead, seals[len(seals)-1])
		if err == nil {
			t.Fatalf("%s: nothing is seen", name)
		}
		wantErr(t, err, fleet.ErrTampered)
	}
	// A seal of before is good still, and the entries' end too.
	same(t, must[uint64](t)(fleet.VerifyAudit(each(entries), head, seals[1])), uint64(6))
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

func auditTogether(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	const writers, times = 8, 20
	errs := make(chan error)
	for range writers {
		go func() {
			var err error
			for range times {
				if _, e := h.Audit.Append(ctx, fleet.Entry{Time: at(0)}, fleet.Entry{Time: at(1)}); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for range writers {
		_, err := fleet.Verify(ctx, h.Audit) // while others append
		noErr(t, err)
		noErr(t, <-errs)
	}
	same(t, must[uint64](t)(fleet.Verify(ctx, h.Audit)), uint64(2*writers*times))
}
