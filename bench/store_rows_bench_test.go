package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// BenchmarkStoreMillionRunning is BenchmarkStoreMillion with the Recorder at work as in a
// node, on its own clock: it hands a million observations of 50,000 rows to a Recorder that
// runs, into a new SQLite file, and waits until all is committed. A batch has 64, as
// capture hands them over.
func BenchmarkStoreMillionRunning(b *testing.B) {
	const (
		observations = 1_000_000
		keys         = 50_000
		batch        = 64
	)
	rows := make([]lanfolk.Observation, keys)
	for n := range rows {
		rows[n] = seen(n)
	}
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		db := openStore(b)
		r := store.NewRecorder(db, store.RecorderOptions{})
		begin := processorTime(b)
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { _ = r.Run(ctx) })
		some := make([]lanfolk.Observation, 0, batch)
		b.StartTimer()
		for n := range observations {
			o := rows[n%keys]
			o.First = o.First.Add(time.Duration(n) * time.Microsecond)
			o.Last = o.First
			if some = append(some, o); len(some) == batch {
				r.Record(some...)
				some = some[:0]
			}
		}
		r.Record(some...)
		if err := r.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		spent += processorTime(b) - begin
		cancel()
		run.Wait()
		s := r.Stats()
		n, err := db.CountObservations(context.Background())
		if err != nil || n != keys || s.Dropped+s.DroppedShare != 0 {
			b.Fatal(n, s, err)
		}
		b.StartTimer()
	}
	b.ReportMetric(observations*float64(b.N)/b.Elapsed().Seconds(), "observations/s")
	// Of one core, whatever else the machine does: of two it is up to twice that.
	b.ReportMetric(observations*float64(b.N)/spent.Seconds(), "observations/cpu-s")
}

// BenchmarkStoreNewestByName asks a Recorder for the newest row of a name, among a
// million in the database, while 2,000 observations a second are recorded and written;
// one in four names is heard in the same second.
func BenchmarkStoreNewestByName(b *testing.B) {
	const rows = 1_000_000
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	db := openStore(b)
	batch := make([]lanfolk.Observation, 0, 10_000)
	for n := range rows {
		if batch = append(batch, seen(n)); len(batch) == cap(batch) {
			if err := db.SaveObservations(ctx, batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	r := store.NewRecorder(db, store.RecorderOptions{})
	var run sync.WaitGroup
	run.Go(func() { _ = r.Run(ctx) })
	var latest atomic.Int64
	run.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			for range 2 {
				n := rand.IntN(rows)
				o := seen(n)
				o.Last = time.Now().UTC()
				r.Record(o)
				latest.Store(int64(n))
			}
		}
	})
	for name, f := range map[string]store.ObservationFilter{"name": {}, "announced-by-mdns": {Protocol: "mdns", Response: new(bool)}} {
		b.Run("by="+name, func(b *testing.B) {
			if f.Response != nil {
				*f.Response = true
			}
			took := make([]time.Duration, 0, 1<<20)
			for i := 0; b.Loop(); i++ {
				n := rand.IntN(rows)
				if i%4 == 0 {
					n = int(latest.Load())
				}
				f.Query = fmt.Sprintf("host-%d.local", n)
				begin := time.Now()
				o, ok, err := r.Latest(ctx, f)
				took = append(took, time.Since(begin))
				if err != nil || !ok || o.SrcMAC != seen(n).SrcMAC {
					b.Fatal(o, ok, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
		})
	}
	cancel()
	run.Wait()
}

// BenchmarkStoreDay writes one day of a network of 1,000 devices, as day makes it, and
// tells how large the database then is.
func BenchmarkStoreDay(b *testing.B) {
	var size, rows float64
	for b.Loop() {
		ctx := context.Background()
		db := openStore(b)
		r := store.NewRecorder(db, store.RecorderOptions{MaxRows: 1 << 20, MaxBytes: 1 << 30})
		for o := range day(1000) {
			r.Record(o)
			if r.Stats().Pending > 50_000 {
				if err := r.Flush(ctx); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := r.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		if s := r.Stats(); s.Dropped+s.DroppedShare > 0 {
			b.Fatal(s)
		}
		n, err := db.CountObservations(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil { // the -wal file goes into the file
			b.Fatal(err)
		}
		info, err := os.Stat(db.Path())
		if err != nil {
			b.Fatal(err)
		}
		size, rows = float64(info.Size()), float64(n)
	}
	b.ReportMetric(size/1e6, "MB")
	b.ReportMetric(rows, "rows")
	b.ReportMetric(size/rows, "bytes/row")
}
