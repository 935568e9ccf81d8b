package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// What was recorded is found at once: before it is written, while it is being
// written, and afterwards, each time with its whole count.
func TestTheNewestRowIsNeverLate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "lanfolk.db"), store.Options{})
	r := store.NewRecorder(db, store.RecorderOptions{})
	o := row(1)
	for n := 1; n <= 50; n++ {
		o.Last = o.Last.Add(time.Second)
		r.Record(o)
		if n%3 == 0 {
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got, ok, err := r.Latest(ctx, store.ObservationFilter{Query: "HOST-1.local."})
		if err != nil || !ok || !got.Last.Equal(o.Last) || got.Count != uint64(n) || !got.First.Equal(o.First) {
			t.Fatalf("after %d packets: %+v, %v, %v", n, got, ok, err)
		}
	}
	// Another host takes the name; then the first one again.
	other := o
	other.SrcMAC, other.Last = lanfolk.MAC{2, 5: 9}, o.Last.Add(time.Second)
	for i, want := range []lanfolk.Observation{other, o, other} {
		want.Last = other.Last.Add(time.Duration(i) * time.Minute)
		r.Record(want)
		got, ok, err := r.Latest(ctx, store.ObservationFilter{Query: "host-1.local", Protocol: "mdns"})
		if err != nil || !ok || got.SrcMAC != want.SrcMAC || !got.Last.Equal(want.Last) {
			t.Errorf("step %d: %+v, %v, %v; want the MAC %v", i, got, ok, err, want.SrcMAC)
		}
	}
	if _, ok, err := r.Latest(ctx, store.ObservationFilter{Query: "host-1.local", Protocol: "dns"}); ok || err != nil {
		t.Errorf("of another protocol: %v, %v", ok, err)
	}
	// Lists write out what waits.
	page, next, err := r.ObservationPage(ctx, store.ObservationFilter{Query: "host*"})
	if err != nil || !next.IsZero() || len(page) != 2 || page[0].SrcMAC != other.SrcMAC || r.Stats().Pending != 0 {
		t.Errorf("%+v, %v, %v, %+v", page, next, err, r.Stats())
	}
}

// A row that is just being written is in neither place for a moment, and in both for
// another.
func TestTheNewestRowIsFoundWhileItIsWritten(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	db := open(t, filepath.Join(t.TempDir(), "lanfolk.db"), store.Options{})
	r := store.NewRecorder(db, store.RecorderOptions{Every: time.Millisecond})
	var run sync.WaitGroup
	run.Go(func() { _ = r.Run(ctx) })
	o := row(1)
	for n := uint64(1); n <= 2000; n++ {
		o.Last = o.Last.Add(time.Microsecond)
		r.Record(o)
		got, ok, err := r.Latest(ctx, store.ObservationFilter{Query: o.Query})
		if err != nil || !ok || !got.Last.Equal(o.Last) || got.Count != n {
			t.Fatalf("after %d packets: %+v, %v, %v", n, got, ok, err)
		}
	}
	cancel()
	run.Wait()
}

// While the database can't be read or written memory answers alone.
func TestMemoryAnswersForADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	m := &memory{}
	r := store.NewRecorder(m, store.RecorderOptions{})
	r.Record(row(1), row(2))
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	m.set(store.ErrAway)
	again := row(2)
	again.Last = again.Last.Add(time.Millisecond)
	r.Record(again, row(3))
	if err := r.Flush(ctx); !errors.Is(err, store.ErrAway) {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{1: false, 2: true, 3: true} {
		got, ok, err := r.Latest(ctx, store.ObservationFilter{Query: fmt.Sprintf("host-%d.local", n)})
		if ok != want || (err == nil) != want || want && got.Count != 1 {
			t.Errorf("host %d: %+v, %v, %v", n, got, ok, err)
		}
	}
	rows, _, err := r.ObservationPage(ctx, store.ObservationFilter{Protocol: "mdns"})
	if err != nil || len(rows) != 2 || rows[0].Query != "host-3.local" {
		t.Errorf("%+v, %v", rows, err)
	}
	if _, _, err := r.ObservationPage(ctx, store.ObservationFilter{Protocol: "dns"}); !errors.Is(err, store.ErrAway) {
		t.Errorf("of what memory hasn't: %v", err)
	}
	m.set(nil)
	rows, _, err = r.ObservationPage(ctx, store.ObservationFilter{})
	if err != nil || len(rows) != 3 || rows[1].Count != 2 {
		t.Errorf("back again: %+v, %v", rows, err)
	}
}

func TestSpaceGoesBackToTheDisk(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := open(t, filepath.Join(t.TempDir(), "lanfolk.db"), store.Options{})
	rows := make([]lanfolk.Observation, 20_000)
	for i := range rows {
		rows[i] = row(i)
		rows[i].Fingerprint = fmt.Sprintf("%0600d", i)
	}
	if err := db.SaveObservations(ctx, rows); err != nil {
		t.Fatal(err)
	}
	before, err := db.Size(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := db.ForgetObservations(ctx, rows[len(rows)-1].Last, store.Retention{MaxBytes: before * 3 / 4})
	if err != nil || gone.Room < 4000 || gone.Room > 7000 {
		t.Errorf("%+v, %v", gone, err)
	}
	after, err := db.Size(ctx)
	if err != nil || after > before*3/4 {
		t.Errorf("%d bytes in use of %d, %v", after, before, err)
	}
	if err := db.Close(); err != nil { // what stands in the -wal file goes into the file
		t.Fatal(err)
	}
	info, err := os.Stat(db.Path())
	if err != nil || info.Size()-after > 5<<20 {
		t.Errorf("the file keeps %d bytes for %d, %v", info.Size(), after, err)
	}
	db = open(t, db.Path(), store.Options{})
	// What isn't full loses nothing.
	if gone, err := db.ForgetObservations(ctx, rows[0].Last, store.Retention{MaxBytes: before, MaxRows: 20_000, MaxAge: time.Hour, MaxShare: 10}); gone.Sum() != 0 || err != nil {
		t.Errorf("%+v, %v", gone, err)
	}
}
