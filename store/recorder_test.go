package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// memory is a database that fails, or hangs, when it is told to.
type memory struct {
	mu      sync.Mutex
	err     error
	hang    chan struct{} // closed to let a hanging write go on; nil for none
	rows    map[lanfolk.ObservationKey]lanfolk.Observation
	writes  []time.Time // when something was written
	tries   int
	largest int // rows in one call
	forgot  []time.Time
}

func (m *memory) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	m.mu.Lock()
	hang := m.hang
	m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	if m.err != nil {
		return m.err
	}
	if m.rows == nil {
		m.rows = map[lanfolk.ObservationKey]lanfolk.Observation{}
	}
	for _, o := range rows {
		row, ok := m.rows[o.ObservationKey]
		if ok {
			row.Merge(o)
			o = row
		}
		m.rows[o.ObservationKey] = o
	}
	m.writes = append(m.writes, time.Now())
	m.largest = max(m.largest, len(rows))
	return nil
}

func (m *memory) ForgetObservations(_ context.Context, now time.Time, _ store.Retention) (store.Forgotten, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot = append(m.forgot, now)
	return store.Forgotten{Age: 7}, nil
}

func (m *memory) Observation(_ context.Context, key lanfolk.ObservationKey) (lanfolk.Observation, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.rows[key]
	return o, ok, m.err
}

func (m *memory) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	rows, _, err := m.ObservationPage(ctx, f)
	if err != nil || len(rows) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return rows[0], true, nil
}

// ObservationPage knows names alone.
func (m *memory) ObservationPage(_ context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []lanfolk.Observation
	for _, o := range m.rows {
		if f.Query == "" || o.Query == f.Query {
			rows = append(rows, o)
		}
	}
	slices.SortFunc(rows, func(a, b lanfolk.Observation) int { return b.Last.Compare(a.Last) })
	return rows, store.Cursor{}, m.err
}

func (m *memory) set(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) packets() (n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.rows {
		n += o.Count
	}
	return n
}

func row(n int) lanfolk.Observation {
	at := time.Unix(1_700_000_000+int64(n), 0).UTC()
	return lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Protocol: "mdns", Query: fmt.Sprintf("host-%d.local", n), SrcMAC: lanfolk.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)},
		},
		First: at, Last: at, Count: 1,
	}
}

// recording runs f in a bubble of virtual time with a Recorder that runs, which
// it stops afterwards.
func recording(t *testing.T, m *memory, o store.RecorderOptions, f func(t *testing.T, r *store.Recorder)) {
	synctest.Test(t, func(t *testing.T) {
		r := store.NewRecorder(m, o)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		f(t, r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestRecorderMergesAndWritesOnceASecond(t *testing.T) {
	m := &memory{}
	recording(t, m, store.RecorderOptions{}, func(t *testing.T, r *store.Recorder) {
		begin := time.Now()
		for range 30 { // 3 s
			r.Record(row(1), row(2))
			r.Record(row(1))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if m.packets() < 60 || len(m.writes) > 3 {
			t.Errorf("%d packets in %d writes", m.packets(), len(m.writes))
		}
		if first := m.writes[0].Sub(begin); first != time.Second {
			t.Errorf("first write after %v", first)
		}
		time.Sleep(time.Hour)
		writes := len(m.writes)
		time.Sleep(time.Hour)
		if len(m.writes) != writes {
			t.Error("nothing was recorded, yet something was written")
		}
		s := r.Stats()
		if m.packets() != 90 || s.Pending != 0 || s.Dropped != 0 || s.Err != nil || r.Health() != nil {
			t.Errorf("%d packets, %+v", m.packets(), s)
		}
		r.Record(row(3))
	})
	if m.packets() != 91 {
		t.Error("what was recorded last was not written at the end")
	}
}

func TestRecorderKeepsWhatTheDatabaseRefuses(t *testing.T) {
	m := &memory{err: fmt.Errorf("save: %w", store.ErrFull)}
	var log bytes.Buffer
	recording(t, m, store.RecorderOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, r *store.Recorder) {
		begin := time.Now()
		for i := range 600 { // ten minutes
			r.Record(row(i % 100))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		s := r.Stats()
		if s.Pending != 100 || s.Dropped != 0 || !errors.Is(s.Err, store.ErrFull) || s.Since.Sub(begin) != time.Second {
			t.Errorf("%+v", s)
		}
		if err := r.Health(); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "100 rows wait in memory") {
			t.Errorf("health: %v", err)
		}
		// 1, 2, 4, 8, 16 s and then every 30 s.
		if m.tries < 20 || m.tries > 30 || uint64(m.tries) != s.Failures {
			t.Errorf("%d tries, %d failures", m.tries, s.Failures)
		}
		m.set(nil)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if s := r.Stats(); m.packets() != 600 || s.Pending != 0 || s.Err != nil || !s.Since.IsZero() || r.Health() != nil {
			t.Errorf("after it: %d packets, %+v", m.packets(), s)
		}
		writes := len(m.writes)
		r.Record(row(1))
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if len(m.writes) != writes+1 {
			t.Error("it doesn't write every second again")
		}
	})
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("%d lines in the log, want one for the trouble and one for its end:\n%s", got, log.String())
	}
}

func TestRecorderNeverWaitsForTheDatabase(t *testing.T) {
	m := &memory{}
	recording(t, m, store.RecorderOptions{MaxRows: 50}, func(t *testing.T, r *store.Recorder) {
		m.mu.Lock()
		m.hang = make(chan struct{}) // of this bubble
		m.mu.Unlock()
		r.Record(row(0))
		time.Sleep(2 * time.Second) // now it hangs in a write
		begin := time.Now()
		for i := range 1000 {
			r.Record(row(i))
		}
		if time.Since(begin) != 0 {
			t.Error("Record waited")
		}
		if s := r.Stats(); s.Pending != 50 || s.Dropped == 0 {
			t.Errorf("what is being written takes no room: %+v", s)
		}
		close(m.hang)
	})
	if n := len(m.rows); n != 50 {
		t.Errorf("%d rows were written, want 50", n)
	}
}

func TestRecorderLetsGoOfWhatIsWorthLeast(t *testing.T) {
	m := &memory{err: store.ErrFull}
	recording(t, m, store.RecorderOptions{MaxRows: 1000}, func(t *testing.T, r *store.Recorder) {
		for i := range 100 {
			for range 8 { // devices that are there, heard often
				r.Record(row(i))
			}
		}
		for i := range 100_000 { // a flood of made-up names, all of them newer
			r.Record(row(1000 + i))
			if i%100 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		s := r.Stats()
		if s.Pending != 1000 || s.Dropped != 100_100-1000 {
			t.Errorf("%+v", s)
		}
		m.set(nil)
	})
	kept := 0
	for i := range 100 {
		if m.rows[row(i).ObservationKey].Count == 8 {
			kept++
		}
	}
	if kept < 95 {
		t.Errorf("%d of 100 devices outlast the flood", kept)
	}
}

func TestRecorderBoundsBytes(t *testing.T) {
	m := &memory{err: store.ErrFull}
	recording(t, m, store.RecorderOptions{MaxBytes: 1 << 20}, func(t *testing.T, r *store.Recorder) {
		for i := range 1000 {
			o := row(i)
			o.Fingerprint = strings.Repeat("f", 64<<10)
			r.Record(o)
		}
		if s := r.Stats(); s.Pending < 10 || s.Pending > 16 {
			t.Errorf("%d rows of 64 KiB in 1 MiB", s.Pending)
		}
		huge := row(5000)
		huge.Fingerprint, huge.Count = strings.Repeat("f", 2<<20), 1000
		r.Record(huge)
		if s := r.Stats(); s.Pending > 16 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRecorderWritesEarlyInABurstAndInSmallSteps(t *testing.T) {
	m := &memory{}
	recording(t, m, store.RecorderOptions{MaxRows: 20_000}, func(t *testing.T, r *store.Recorder) {
		begin := time.Now()
		for i := range 12_000 {
			r.Record(row(i))
		}
		synctest.Wait()
		if len(m.rows) < 10_000 || time.Since(begin) != 0 {
			t.Errorf("%d rows written", len(m.rows))
		}
		if m.largest > 5000 {
			t.Errorf("%d rows in one transaction", m.largest)
		}
	})
}

func TestRecorderForgets(t *testing.T) {
	m := &memory{}
	recording(t, m, store.RecorderOptions{Keep: store.Retention{MaxRows: 5}}, func(t *testing.T, r *store.Recorder) {
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		if s := r.Stats(); len(m.forgot) != 7 || s.Forgotten.Age != 49 {
			t.Errorf("%d times, %+v", len(m.forgot), s)
		}
	})
}

func TestRecorderFlushWritesNow(t *testing.T) {
	m := &memory{}
	r := store.NewRecorder(m, store.RecorderOptions{})
	r.Record(row(1))
	if err := r.Flush(context.Background()); err != nil || m.packets() != 1 {
		t.Errorf("%v, %d packets", err, m.packets())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Record(row(2))
	if err := r.Flush(ctx); !errors.Is(err, context.Canceled) || r.Health() != nil || r.Stats().Pending != 1 {
		t.Errorf("%v, %v, %+v", err, r.Health(), r.Stats())
	}
}

func TestRecorderFromManyGoroutinesLosesNothing(t *testing.T) {
	m := &memory{}
	r := store.NewRecorder(m, store.RecorderOptions{Every: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	var run, callers sync.WaitGroup
	run.Go(func() { _ = r.Run(ctx) })
	for range 4 {
		callers.Go(func() {
			for i := range 2000 {
				r.Record(row(i % 50))
				if i%500 == 0 {
					_ = r.Flush(ctx)
					_ = r.Stats()
				}
			}
		})
	}
	callers.Wait()
	cancel()
	run.Wait()
	if m.packets() != 8000 {
		t.Errorf("%d packets of 8000", m.packets())
	}
}

// The database itself, locked by another program and let go of again.
func TestRecorderOutlivesALockedDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	db := open(t, path, store.Options{BusyTimeout: 10 * time.Millisecond})
	r := store.NewRecorder(db, store.RecorderOptions{})
	release := lock(t, path)
	r.Record(row(1), row(2))
	if err := r.Flush(context.Background()); !errors.Is(err, store.ErrLocked) || !errors.Is(r.Health(), store.ErrLocked) {
		t.Errorf("locked: %v, health %v", err, r.Health())
	}
	r.Record(row(2))
	release()
	if err := r.Flush(context.Background()); err != nil || r.Health() != nil {
		t.Errorf("free: %v, health %v", err, r.Health())
	}
	if n, err := db.CountObservations(context.Background()); n != 2 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if o, ok, err := db.Latest(context.Background(), store.ObservationFilter{Query: "host-2.local"}); !ok || o.Count != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestHurry: what waits for a database that was away is written as soon as somebody
// says that it is back.
func TestHurry(t *testing.T) {
	m := &memory{err: store.ErrAway}
	recording(t, m, store.RecorderOptions{}, func(t *testing.T, r *store.Recorder) {
		r.Record(row(1))
		time.Sleep(5 * time.Minute) // by now it is tried every 30 s
		synctest.Wait()
		m.set(nil)
		r.Hurry()
		synctest.Wait()
		if s := r.Stats(); s.Pending != 0 || s.Err != nil {
			t.Errorf("at once after Hurry: %+v", s)
		}
	})
}
