package conformance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func gatewayRecord(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	s := h.Sessions
	g := fleet.Gateway{ID: "g1", Name: "cellar", Key: [32]byte{1}, Enrolled: at(0)}
	same(t, must[fleet.Gateway](t)(s.Enrol(ctx, g)), g)
	noErr(t, s.SetLabels(ctx, "g1", map[string]string{"site": "north", "kind": "lab"}))
	noErr(t, s.Rename(ctx, "g1", "attic"))
	// Joining again keeps the identity, and what people said.
	again := must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: "g1", Key: [32]byte{2}, Enrolled: at(9)}))
	g.Key, g.Name, g.Labels = [32]byte{2}, "attic", map[string]string{"site": "north", "kind": "lab"}
	same(t, again, g)
	_, err := s.GatewayOf(ctx, [32]byte{1}, at(0))
	wantErr(t, err, fleet.ErrUnknown)
	same(t, must[fleet.Standing](t)(s.GatewayOf(ctx, [32]byte{2}, at(0))).ID, "g1")
	_, err = s.GatewayOf(ctx, [32]byte{}, at(0))
	wantErr(t, err, fleet.ErrUnknown)
	_, err = s.Enrol(ctx, fleet.Gateway{ID: "insecure/x"})
	wantErr(t, err, fleet.ErrInvalid)
	wantErr(t, s.SetLabels(ctx, "g9", nil), fleet.ErrUnknown)
	wantErr(t, s.Rename(ctx, "g9", ""), fleet.ErrUnknown)

	for i := 2; i < 5; i++ {
		must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: fmt.Sprintf("g%d", i)}))
	}
	noErr(t, s.SetLabels(ctx, "g4", map[string]string{"site": "north"}))
	ids := func(f fleet.GatewayFilter) (ids []string) {
		for _, g := range must[[]fleet.Standing](t)(s.Gateways(ctx, f, at(0))) {
			ids = append(ids, g.ID)
		}
		return ids
	}
	same(t, ids(fleet.GatewayFilter{}), []string{"g1", "g2", "g3", "g4"})
	same(t, ids(fleet.GatewayFilter{After: "g1", Limit: 2}), []string{"g2", "g3"})
	same(t, ids(fleet.GatewayFilter{Selector: map[string]string{"site": "north"}, After: "g1", Limit: 2}), []string{"g4"})
	same(t, ids(fleet.GatewayFilter{ID: "g3"}), []string{"g3"})

	noErr(t, s.MarkRevoked(ctx, "g1", at(5)))
	noErr(t, s.MarkRevoked(ctx, "g1", at(6)))
	same(t, must[fleet.Standing](t)(s.Gateway(ctx, "g1", at(7))).Revoked, at(5))
	_, err = s.Enrol(ctx, fleet.Gateway{ID: "g1", Key: [32]byte{3}})
	wantErr(t, err, fleet.ErrFenced)
	_, err = s.GatewayOf(ctx, [32]byte{2}, at(7))
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, s.Forget(ctx, "g1"))
	_, err = s.Gateway(ctx, "g1", at(7))
	wantErr(t, err, fleet.ErrUnknown)
}

func sessionLife(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	s := h.Sessions
	run := must[uint64](t)(s.Attend(ctx, "h1", at(0), at(30)))
	begin := fleet.Session{Gateway: "g1", Hub: "h1", Run: run, Address: "192.0.2.1:5", Version: "1.2", Since: at(1)}
	_, _, err := s.Begin(ctx, begin)
	wantErr(t, err, fleet.ErrUnknown)
	must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: "g1"}))
	first, replaced, err := s.Begin(ctx, begin)
	noErr(t, err)
	same(t, replaced, fleet.Session{})
	g := must[fleet.Standing](t)(s.Gateway(ctx, "g1", at(2)))
	same(t, g.Session, first)
	same(t, []any{g.Online, g.Address, g.Version, g.LastSeen}, []any{true, "192.0.2.1:5", "1.2", at(1)})

	begin.Address, begin.Since = "192.0.2.2:6", at(3)
	second, replaced, err := s.Begin(ctx, begin)
	noErr(t, err)
	same(t, replaced, first)
	if second.Epoch <= first.Epoch {
		t.Fatalf("epoch %d follows %d", second.Epoch, first.Epoch)
	}
	same(t, must[bool](t)(s.End(ctx, "g1", first.Epoch, at(4), "late")), false)
	wantErr(t, s.Seen(ctx, "g1", first.Epoch, at(50)), fleet.ErrFenced)
	noErr(t, s.Seen(ctx, "g1", second.Epoch, at(5)))
	g = must[fleet.Standing](t)(s.Gateway(ctx, "g1", at(5)))
	same(t, []any{g.Online, g.LastSeen, g.Session}, []any{true, at(5), second})
	same(t, must[bool](t)(s.End(ctx, "g1", second.Epoch, at(6), "gone")), true)
	same(t, must[bool](t)(s.End(ctx, "g1", second.Epoch, at(7), "again")), false)
	second.Ended, second.Why = at(6), "gone"
	g = must[fleet.Standing](t)(s.Gateway(ctx, "g1", at(7)))
	same(t, []any{g.Online, g.LastSeen, g.Session}, []any{false, at(6), second})

	begin.Gateway = "insecure/lamp"
	_, _, err = s.Begin(ctx, begin)
	noErr(t, err)
	same(t, must[fleet.Standing](t)(s.Gateway(ctx, "insecure/lamp", at(7))).Name, "lamp")
	noErr(t, s.MarkRevoked(ctx, "g1", at(8)))
	begin.Gateway = "g1"
	_, _, err = s.Begin(ctx, begin)
	wantErr(t, err, fleet.ErrFenced)
}

// sessionModel lets connections of two hubs come and end in any order, also late.
func sessionModel(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	s := h.Sessions
	runs := map[string]uint64{}
	for _, hub := range []string{"h1", "h2"} {
		runs[hub] = must[uint64](t)(s.Attend(ctx, hub, at(0), at(1000)))
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		id := fmt.Sprintf("g%d", n)
		must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: id}))
		var all []fleet.Session
		online := false
		for i := range rapid.IntRange(1, 15).Draw(t, "steps") {
			if len(all) == 0 || rapid.Bool().Draw(t, "begin") {
				hub := rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "hub")
				begun, replaced, err := s.Begin(ctx, fleet.Session{Gateway: id, Hub: hub, Run: runs[hub], Since: at(i)})
				noErr(t, err)
				if online != (replaced.Epoch > 0) || online && replaced.Epoch != all[len(all)-1].Epoch {
					t.Fatalf("replaced %+v, online %v", replaced, online)
				}
				if len(all) > 0 && begun.Epoch <= all[len(all)-1].Epoch {
					t.Fatalf("epoch %d is not above the last", begun.Epoch)
				}
				all, online = append(all, begun), true
			} else {
				which := rapid.IntRange(0, len(all)-1).Draw(t, "end")
				ended := must[bool](t)(s.End(ctx, id, all[which].Epoch, at(i), "x"))
				same(t, ended, online && which == len(all)-1)
				online = online && !ended
			}
			g := must[fleet.Standing](t)(s.Gateway(ctx, id, at(i)))
			same(t, []any{g.Online, g.Session.Epoch}, []any{online, all[len(all)-1].Epoch})
		}
	})
}

func sessionLease(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	s := h.Sessions
	must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: "g1"}))
	online := func(now time.Time) bool { return must[fleet.Standing](t)(s.Gateway(ctx, "g1", now)).Online }
	run := must[uint64](t)(s.Attend(ctx, "h1", at(0), at(30)))
	old, _, err := s.Begin(ctx, fleet.Session{Gateway: "g1", Hub: "h1", Run: run, Since: at(1)})
	noErr(t, err)
	same(t, []bool{online(at(29)), online(at(30))}, []bool{true, false}) // the hub fell silent
	noErr(t, s.Extend(ctx, "h1", run, at(60)))
	same(t, online(at(59)), true)

	again := must[uint64](t)(s.Attend(ctx, "h1", at(40), at(70)))
	if again <= run {
		t.Fatalf("run %d follows %d", again, run)
	}
	same(t, online(at(41)), false)
	same(t, must[fleet.Standing](t)(s.Gateway(ctx, "g1", at(41))).Session.Why, "the hub started anew")
	wantErr(t, s.Extend(ctx, "h1", run, at(99)), fleet.ErrFenced)
	wantErr(t, s.Leave(ctx, "h1", run, at(99)), fleet.ErrFenced)
	_, _, err = s.Begin(ctx, fleet.Session{Gateway: "g1", Hub: "h1", Run: run, Since: at(42)})
	wantErr(t, err, fleet.ErrFenced)
	fresh, replaced, err := s.Begin(ctx, fleet.Session{Gateway: "g1", Hub: "h1", Run: again, Since: at(43)})
	noErr(t, err)
	same(t, replaced, fleet.Session{})
	same(t, must[bool](t)(s.End(ctx, "g1", old.Epoch, at(44), "late")), false)
	same(t, online(at(45)), true)
	noErr(t, s.Leave(ctx, "h1", again, at(46)))
	same(t, online(at(47)), false)
	same(t, must[bool](t)(s.End(ctx, "g1", fresh.Epoch, at(48), "x")), false)
	// A record that is dropped and made anew doesn't go back in epochs.
	noErr(t, s.Forget(ctx, "g1"))
	must[fleet.Gateway](t)(s.Enrol(ctx, fleet.Gateway{ID: "g1"}))
	must[uint64](t)(s.Attend(ctx, "h2", at(50), at(90)))
	run = must[uint64](t)(s.Attend(ctx, "h2", at(50), at(90)))
	last, _, err := s.Begin(ctx, fleet.Session{Gateway: "g1", Hub: "h2", Run: run, Since: at(51)})
	noErr(t, err)
	if last.Epoch <= fresh.Epoch {
		t.Fatalf("epoch %d follows %d", last.Epoch, fresh.Epoch)
	}
}
