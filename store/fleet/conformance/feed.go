package conformance

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// feedModel sends batches with breaks, repetitions and gateways that lost their
// memory, and reads the changes in between: each counts once.
func feedModel(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		gateway := fmt.Sprintf("g%d", n)
		var count uint64 // packets that were sent
		epoch, next := 0, uint64(0)
		row := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "dns", Query: gateway, Gateway: "pretended"}, First: at(0), Last: at(0), Count: 1}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			batch := fleet.Batch{Gateway: gateway, Kind: fleet.Fingerprints, Epoch: fmt.Sprint("e", epoch), Observations: []lanfolk.Observation{row, row}}
			switch rapid.SampledFrom([]string{"next", "next", "again", "gap", "new epoch", "unknown epoch"}).Draw(t, "step") {
			case "next":
				batch.Seq = next
				mark, fresh, err := h.Feed.Take(ctx, batch)
				noErr(t, err)
				next++
				count += 2
				same(t, fresh, true)
				same(t, mark, fleet.Mark{Epoch: batch.Epoch, Next: next})
			case "again":
				if next == 0 {
					continue
				}
				batch.Seq = rapid.Uint64Range(0, next-1).Draw(t, "which")
				mark, fresh, err := h.Feed.Take(ctx, batch)
				noErr(t, err)
				same(t, fresh, false)
				same(t, mark, fleet.Mark{Epoch: batch.Epoch, Next: next})
			case "gap":
				if next == 0 {
					continue // of an epoch that is unknown still
				}
				batch.Seq = next + rapid.Uint64Range(1, 3).Draw(t, "ahead")
				mark, _, err := h.Feed.Take(ctx, batch)
				wantErr(t, err, fleet.ErrGap)
				same(t, mark.Next, next)
			case "new epoch":
				epoch, next = epoch+1, 0
			case "unknown epoch":
				batch.Epoch, batch.Seq = "other", 1
				_, _, err := h.Feed.Take(ctx, batch)
				wantErr(t, err, fleet.ErrEpoch)
			}
		}
		var got uint64
		for _, o := range must[[]lanfolk.Observation](t)(h.Observations(ctx)) {
			if o.Query == gateway {
				same(t, o.Gateway, gateway)
				got += o.Count
			}
		}
		same(t, got, count)
	})
}

func feedRows(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	same(t, must[fleet.Mark](t)(h.Feed.Mark(ctx, "g1", fleet.Fingerprints)), fleet.Mark{})
	key := lanfolk.ObservationKey{Protocol: "mdns", Query: "x.local"}
	for _, g := range []string{"g1", "g2"} {
		_, _, err := h.Feed.Take(ctx, fleet.Batch{Gateway: g, Kind: fleet.Fingerprints, Epoch: "e", Observations: []lanfolk.Observation{{ObservationKey: key, First: at(0), Last: at(1), Count: 3}}})
		noErr(t, err)
	}
	var gateways []string
	for _, o := range must[[]lanfolk.Observation](t)(h.Observations(ctx)) {
		gateways = append(gateways, o.Gateway)
	}
	slices.Sort(gateways)
	same(t, gateways, []string{"g1", "g2"})
	same(t, must[fleet.Mark](t)(h.Feed.Mark(ctx, "g1", fleet.Fingerprints)), fleet.Mark{Epoch: "e", Next: 1})
	same(t, must[fleet.Mark](t)(h.Feed.Mark(ctx, "g1", fleet.Inventory)), fleet.Mark{})
	for _, b := range []fleet.Batch{
		{Gateway: "g1", Kind: "other", Epoch: "e"},
		{Gateway: "g1", Kind: fleet.Inventory, Epoch: ""},
		{Gateway: "g1", Kind: fleet.Inventory, Epoch: "e", Seq: 3, Snapshot: true},
		{Gateway: "g1", Kind: fleet.Inventory, Epoch: "e", Snapshot: true, Items: []fleet.Item{{Doc: []byte("x")}}},
		{Gateway: "g1", Kind: fleet.Inventory, Epoch: "e", Snapshot: true, Items: []fleet.Item{{Key: "k", Doc: make([]byte, 1<<20)}}},
		{Gateway: "g1", Kind: fleet.Fingerprints, Epoch: "e", Items: []fleet.Item{{Key: "k"}}},
	} {
		_, _, err := h.Feed.Take(ctx, b)
		wantErr(t, err, fleet.ErrInvalid)
	}
}

func feedSnapshot(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	var position uint64
	// changes reads what is new, as key=doc; a key alone went.
	changes := func() (all []string) {
		for {
			items := must[[]fleet.Item](t)(h.Feed.Changes(ctx, position, 2))
			if len(items) == 0 {
				return all
			}
			for _, i := range items {
				if i.Position <= position {
					t.Fatalf("position %d follows %d", i.Position, position)
				}
				position = i.Position
				all = append(all, i.Gateway+" "+i.Key+"="+string(i.Doc))
			}
		}
	}
	take := func(b fleet.Batch, pairs ...string) error {
		b.Gateway, b.Kind = "g1", fleet.Inventory
		for i := 0; i < len(pairs); i += 2 {
			item := fleet.Item{Key: pairs[i], Doc: []byte(pairs[i+1])}
			if pairs[i+1] == "" {
				item.Doc = nil
			}
			b.Items = append(b.Items, item)
		}
		_, _, err := h.Feed.Take(ctx, b)
		return err
	}
	wantErr(t, take(fleet.Batch{Epoch: "a"}, "x", "1"), fleet.ErrEpoch)
	noErr(t, take(fleet.Batch{Epoch: "a", Snapshot: true}, "x", "1", "y", "1"))
	noErr(t, take(fleet.Batch{Epoch: "a", Seq: 1, Complete: true}, "z", "1", "z", "2"))
	same(t, changes(), []string{"g1 x=1", "g1 y=1", "g1 z=2"})
	noErr(t, take(fleet.Batch{Epoch: "a", Seq: 2}, "x", "3", "y", ""))
	same(t, changes(), []string{"g1 x=3", "g1 y="})
	noErr(t, take(fleet.Batch{Epoch: "a", Seq: 2}, "x", "4")) // came before
	same(t, changes(), []string(nil))

	// A new epoch: nothing goes until its snapshot is complete.
	wantErr(t, take(fleet.Batch{Epoch: "b", Seq: 1}, "x", "5"), fleet.ErrEpoch)
	noErr(t, take(fleet.Batch{Epoch: "b", Snapshot: true}, "x", "5"))
	same(t, changes(), []string{"g1 x=5"})
	for key, epoch := range map[string]string{"x": "b", "z": "a"} {
		same(t, must[fleet.Item](t)(h.Feed.Item(ctx, "g1", key)).Epoch, epoch)
	}
	noErr(t, take(fleet.Batch{Epoch: "b", Seq: 1, Complete: true}, "w", "6"))
	same(t, changes(), []string{"g1 w=6", "g1 z="})
	same(t, must[fleet.Item](t)(h.Feed.Item(ctx, "g1", "w")), fleet.Item{Gateway: "g1", Key: "w", Doc: []byte("6"), Position: position - 1, Epoch: "b"})
	for _, where := range [][2]string{{"g1", "z"}, {"g1", "v"}, {"g2", "w"}} {
		_, err := h.Feed.Item(ctx, where[0], where[1])
		wantErr(t, err, fleet.ErrUnknown)
	}
	noErr(t, h.Feed.Compact(ctx, position))
	position = 0
	same(t, changes(), []string{"g1 x=5", "g1 w=6"})
	noErr(t, h.Feed.Forget(ctx, "g1"))
	same(t, changes(), []string{"g1 w=", "g1 x="})
	same(t, must[fleet.Mark](t)(h.Feed.Mark(ctx, "g1", fleet.Inventory)), fleet.Mark{})
}
