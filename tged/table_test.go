package tged_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/tged"
)

// rows is a database in memory that can be away or slow.
type rows struct {
	mu    sync.Mutex
	all   map[string][]tged.Field
	err   error
	takes time.Duration
	reads atomic.Int32
}

func (r *rows) Fields(ctx context.Context, service string) ([]tged.Field, error) {
	r.reads.Add(1)
	r.mu.Lock()
	takes := r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[service], r.err
}

func (r *rows) Check(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *rows) set(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

func lookup(s tged.Fetcher, name string) string {
	x, err := s.Lookup([]byte(name))
	if errors.Is(err, tged.ErrPending) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		x, err = s.Fetch(ctx, name)
	}
	if err != nil {
		return err.Error()
	}
	return x.Fields()[0].Value
}

func TestTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &rows{all: map[string][]tged.Field{"SQL": {{Key: "PORT", Value: "1"}, {Key: "x", Value: "2"}, {Key: "HOST", Value: "a"}, {Key: "B", Value: "3"}}}}
		log := &record{}
		table := &tged.Table{Rows: db, Log: slog.New(slog.NewTextHandler(log, nil))}
		expect := func(name, want string, reads int32) {
			t.Helper()
			if got := lookup(table, name); got != want || db.reads.Load() != reads {
				t.Errorf("%s: %s after %d reads, want %s after %d", name, got, db.reads.Load(), want, reads)
			}
		}
		expect("sql", "a", 1)
		s, _ := table.Lookup([]byte("SQL"))
		want := []tged.Field{{Key: "HOST", Value: "a"}, {Key: "PORT", Value: "1"}, {Key: "B", Value: "3"}, {Key: "X", Value: "2"}}
		if diff := cmp.Diff(want, s.Fields()); diff != "" {
			t.Error(diff)
		}
		db.set(func() { db.all["SQL"] = []tged.Field{{Key: "HOST", Value: "b"}} })
		expect("SQL", "a", 1) // fresh enough
		time.Sleep(tged.DefaultFresh)
		expect("SQL", "b", 2)
		expect("NOPE", "tged: unknown service", 3)
		expect("nope", "tged: unknown service", 3)
		expect("INVALID", "tged: unknown service", 3)
		expect("A\x00", "tged: unknown service", 3)

		db.set(func() { db.err = errors.New("connection refused") })
		time.Sleep(tged.DefaultFresh)
		expect("SQL", "b", 4) // the last good one
		expect("SQL", "b", 4) // and not asked for again at once
		expect("NOPE", "tged: unknown service", 5)
		expect("NEW", `tged: read service "NEW": connection refused`, 6)
		expect("NEW", `tged: read service "NEW": connection refused`, 6)
		if st := table.Status(); st.Reads != 6 || st.Failures != 3 || st.Err == nil {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Hour)
		expect("SQL", "b", 7)
		db.set(func() {
			db.err = nil
			delete(db.all, "SQL")
			db.all["NEW"] = []tged.Field{{Key: "HOST", Value: "bad\n"}}
		})
		time.Sleep(tged.DefaultFresh)
		expect("SQL", "tged: unknown service", 8)
		if table.Status().Err != nil {
			t.Error(table.Status().Err)
		}
		if e, i := log.lines("ERROR"), log.lines("INFO"); len(e) != 1 || len(i) != 1 {
			t.Errorf("%q %q", e, i)
		}
		bad := `tged: service "NEW": the value of HOST holds control characters or isn't UTF-8: "bad\n"`
		expect("NEW", bad, 9)
		time.Sleep(tged.DefaultFresh)
		expect("NEW", bad, 10)
		if st := table.Status(); st.Err != nil || st.Bad == nil || st.Bad.Error() != bad {
			t.Errorf("%+v", st)
		}
		if w := log.lines("WARN"); len(w) != 1 {
			t.Errorf("%q", w)
		}
		db.set(func() { db.all["NEW"] = []tged.Field{{Key: "HOST", Value: "good"}} })
		time.Sleep(tged.DefaultFresh)
		expect("NEW", "good", 11)
		if st := table.Status(); st.Bad != nil {
			t.Errorf("%+v", st)
		}
	})
}

func TestTableReadsOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &rows{takes: 500 * time.Millisecond, all: map[string][]tged.Field{"A": {{Key: "HOST", Value: "a"}}}}
		table := &tged.Table{Rows: db}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got := lookup(table, "A"); got != "a" {
					t.Error(got)
				}
			})
		}
		all.Wait()
		if n := db.reads.Load(); n != 1 {
			t.Errorf("%d reads", n)
		}
		// Who waits for another's read gives up in his own time.
		db.set(func() { db.takes = time.Hour })
		time.Sleep(2 * time.Second)
		all.Go(func() { lookup(table, "B") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := table.Fetch(ctx, "B"); !errors.Is(err, tged.ErrPending) {
			t.Error(err)
		}
		all.Wait()
		time.Sleep(2 * time.Second) // a read ends by itself
	})
}

// TestTableIsBounded: made-up names cost no memory, and push out none that there is.
func TestTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &rows{all: map[string][]tged.Field{"A": {{Key: "HOST", Value: "a"}}}}
		table := &tged.Table{Rows: db}
		lookup(table, "A")
		for n := range 25_000 {
			lookup(table, fmt.Sprint("made up ", n))
			if n%5_000 == 0 {
				time.Sleep(2 * time.Second)
			}
		}
		if n := table.Entries(); n > 10_000 {
			t.Errorf("%d entries", n)
		}
		db.set(func() { db.err = errors.New("away") })
		if got := lookup(table, "A"); got != "a" {
			t.Error(got)
		}
	})
}

// TestTableDoesNotWaitForASlowDatabase: who asks for what was read before has his answer
// while a client still waits, and the next ones at once.
func TestTableDoesNotWaitForASlowDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &rows{all: map[string][]tged.Field{"A": {{Key: "HOST", Value: "a"}}}}
		table := &tged.Table{Rows: db}
		lookup(table, "A")
		db.set(func() {
			db.takes = time.Minute
			db.all["A"] = []tged.Field{{Key: "HOST", Value: "b"}}
		})
		time.Sleep(tged.DefaultFresh)
		start := time.Now()
		if got := lookup(table, "A"); got != "a" || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%s after %v", got, time.Since(start))
		}
		if s, err := table.Lookup([]byte("A")); err != nil || s.Fields()[0].Value != "a" {
			t.Errorf("%v, %v while it is read", s, err)
		}
		if n := db.reads.Load(); n != 2 {
			t.Errorf("%d reads", n)
		}
		time.Sleep(3 * time.Second)
		if st := table.Status(); !errors.Is(st.Err, context.DeadlineExceeded) {
			t.Errorf("%+v; want a read that took too long", st)
		}
		// A read that is late serves the next asker.
		db.set(func() { db.takes = time.Second })
		if got := lookup(table, "A"); got != "a" {
			t.Error(got)
		}
		time.Sleep(time.Second)
		if s, err := table.Lookup([]byte("A")); err != nil || s.Fields()[0].Value != "b" {
			t.Errorf("%v, %v once it was read", s, err)
		}
	})
}

// TestTableRunChecks: that the database is away is known before somebody asks.
func TestTableRunChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &rows{err: errors.New("away"), all: map[string][]tged.Field{"A": {{Key: "HOST", Value: "a"}}}}
		log := &record{}
		table := &tged.Table{Rows: db, Log: slog.New(slog.NewTextHandler(log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- table.Run(ctx) }()
		synctest.Wait()
		if st := table.Status(); st.Err == nil || st.Err.Error() != "tged: away" || st.Checks != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Minute)
		db.set(func() { db.err = nil })
		time.Sleep(11 * time.Second)
		st := table.Status()
		if st.Err != nil || st.Checks != 8 {
			t.Errorf("%+v", st)
		}
		if e, i := log.lines("ERROR"), log.lines("INFO"); len(e) != 1 || len(i) != 1 {
			t.Errorf("%q %q", e, i)
		}
		for range 60 { // reads say it as well
			lookup(table, "A")
			time.Sleep(time.Second)
		}
		if now := table.Status(); now.Checks != st.Checks {
			t.Errorf("%d checks while it was read", now.Checks-st.Checks)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
