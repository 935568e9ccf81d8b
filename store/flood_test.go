package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// device returns what the device with a number says in a moment: its name, and that it
// asks for printers.
func device(n int, at time.Time) []lanfolk.Observation {
	key := lanfolk.ObservationKey{
		Protocol: "mdns", Response: true, Query: fmt.Sprintf("device-%d.local", n),
		SrcMAC: lanfolk.MAC{2, 0xde, 0, 0, byte(n >> 8), byte(n)}, DstMAC: lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}, DstClass: lanfolk.Multicast,
	}
	ask := key
	ask.Response, ask.Query = false, "_ipp._tcp.local"
	return []lanfolk.Observation{
		{ObservationKey: key, First: at, Last: at, Count: 1},
		{ObservationKey: ask, First: at, Last: at, Count: 1},
	}
}

// invented returns the n-th name that somebody makes up, who has one MAC or each time
// another.
func invented(n int, manyMACs bool, at time.Time) lanfolk.Observation {
	o := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Protocol: "dns", Query: fmt.Sprintf("x%07d.example.com", n),
			SrcMAC: lanfolk.MAC{2, 0xbd}, DstMAC: lanfolk.MAC{2, 0xaa}, DstClass: lanfolk.Unicast,
		},
		First: at, Last: at, Count: 1,
	}
	if manyMACs {
		binary.BigEndian.PutUint32(o.SrcMAC[2:], uint32(n))
	}
	if n%2 == 1 { // the router answers, to who asked
		o.Response, o.SrcMAC, o.DstMAC = true, o.DstMAC, o.SrcMAC
	}
	return o
}

const devices = 300

// Somebody makes up names for hours, while devices say what they say: all of it is
// there afterwards, and the database stays within its bounds.
func TestAFloodPushesNobodyOut(t *testing.T) {
	t.Parallel()
	for name, manyMACs := range map[string]bool{"by one MAC": false, "by a MAC each": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			db := open(t, filepath.Join(t.TempDir(), "lanfolk.db"), store.Options{})
			r := store.NewRecorder(db, store.RecorderOptions{MaxRows: 4096})
			keep := store.Retention{MaxAge: 24 * time.Hour, MaxRows: 6000, MaxShare: 1000}
			rounds, flood := 5, 15_000
			if os.Getenv("LANFOLK_SOAK") != "" {
				rounds, flood = 30, 200_000
			}
			var gone store.Forgotten
			now := time.Unix(1_700_000_000, 0)
			for round := range rounds {
				now = now.Add(20 * time.Minute)
				if round < 2 { // they were there before
					for n := range devices {
						r.Record(device(n, now)...)
					}
				}
				for i := range flood {
					if i%40 == 0 {
						r.Record(device(i/40%devices, now)...)
					}
					r.Record(invented(round*flood+i, manyMACs, now))
				}
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				forgotten, err := db.ForgetObservations(ctx, now, keep)
				if err != nil {
					t.Fatal(err)
				}
				gone.Share += forgotten.Share
				gone.Room += forgotten.Room
				if n, err := db.CountObservations(ctx); err != nil || n > keep.MaxRows {
					t.Errorf("round %d: %d rows, %v", round, n, err)
				}
			}
			s := r.Stats()
			t.Logf("%d written, %d dropped for room, %d for their MAC's share; forgotten %+v", s.Written, s.Dropped, s.DroppedShare, gone)
			if manyMACs && (s.Dropped == 0 || gone.Room == 0) || !manyMACs && (s.DroppedShare == 0 || gone.Share == 0) {
				t.Error("the flood wasn't one")
			}
			missing := 0
			for n := range devices {
				for _, want := range device(n, now) {
					if row, ok, err := r.Latest(ctx, store.ObservationFilter{Query: want.Query, SrcMAC: want.SrcMAC}); err != nil {
						t.Fatal(err)
					} else if !ok || !row.Last.Equal(now) {
						missing++
					}
				}
			}
			if missing > 0 {
				t.Errorf("%d of %d rows of devices are lost", missing, 2*devices)
			}
		})
	}
}

// Millions of names, while the database takes nothing at all: memory stays bounded.
func TestAFloodStaysWithinMemory(t *testing.T) {
	for _, manyMACs := range []bool{false, true} {
		r := store.NewRecorder(&memory{err: store.ErrLocked}, store.RecorderOptions{})
		now := time.Unix(1_700_000_000, 0)
		for n := range devices {
			r.Record(device(n, now)...)
			r.Record(device(n, now.Add(2*time.Minute))...)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		flood := 300_000
		if os.Getenv("LANFOLK_SOAK") != "" {
			flood = 5_000_000
		}
		for n := range flood {
			r.Record(invented(n, manyMACs, now.Add(3*time.Minute)))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		s := r.Stats()
		if grown > 192<<20 || s.Pending > 1<<17 || s.Dropped+s.DroppedShare+uint64(s.Pending) != uint64(flood+2*devices) {
			t.Errorf("many MACs %v: memory grew by %d MiB; %+v", manyMACs, grown>>20, s)
		}
		for n := range devices {
			name := device(n, now)[0].Query
			if _, ok, _ := r.Latest(context.Background(), store.ObservationFilter{Query: name}); !ok {
				t.Fatalf("many MACs %v: %s is lost", manyMACs, name)
			}
		}
	}
}
