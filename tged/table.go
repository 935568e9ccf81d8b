package tged

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultFresh is how long what a Table read is answered with.
	DefaultFresh = time.Second
	// maxEntries bounds what a Table remembers.
	maxEntries = 10_000
	// readTimeout is how long one read may take.
	readTimeout = 2 * time.Second
	// forStale is how long an asker waits for a read, if there is an older answer: most
	// clients wait for a second or two, and the read may take as long.
	forStale = 300 * time.Millisecond
	// checkEvery is how long a table goes unread before Run looks at it.
	checkEvery = 10 * time.Second
)

// Rows are where a Table reads: a table services(service, key, value) in a database,
// say.
type Rows interface {
	// Fields returns the fields of a service, none if there is no such service. The
	// name is in capitals: it means the rows whose service is that once its ASCII letters are
	// capitals, too. Fields is called from several goroutines.
	Fields(ctx context.Context, service string) ([]Field, error)
	// Check says whether services can be read at present, without reading any.
	Check(ctx context.Context) error
}

// Table is Services that are read when somebody asks for them. What was read is
// answered with for a short while; while reading fails, or takes long, the last that
// could be read is. Rows must be set.
//
// Fields come in the document's order: HOST, FQDN, IP, PORT, USER, then the rest by key.
type Table struct {
	Rows  Rows
	Fresh time.Duration // 0 means DefaultFresh
	Log   *slog.Logger  // nil is silent

	mu      sync.Mutex
	entries map[string]*entry
	status  TableStatus
	read    time.Time // when a read or a check ended last
}

// TableStatus says how a Table is doing.
type TableStatus struct {
	Err             error // why reading failed last, nil if it didn't
	Reads, Failures uint64
	Checks          uint64 // of Run
	// Bad is what is wrong with the rows of the service that could last not be made of
	// them, nil if it can now.
	Bad error
	bad string // its name
}

// entry is what is known of one service. Its fields are guarded by Table.mu.
type entry struct {
	service *Service // nil: there is none
	known   bool     // it was ever read
	until   time.Time
	err     error         // why the last read failed, nil if it didn't
	reading chan struct{} // closed when a read is over, nil if there is none
	began   time.Time     // when the read began
}

// Status returns how the table is doing. It may be called at any time.
func (t *Table) Status() TableStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// Lookup implements Services.
func (t *Table) Lookup(name []byte) (*Service, error) {
	if len(name) > maxName {
		return nil, ErrUnknown
	}
	var room [maxName]byte
	key := fold(room[:0], name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[string(key)]; e != nil && e.ready(time.Now()) {
		return e.answer()
	}
	if string(key) == Invalid || CheckName(string(key)) != nil {
		return nil, ErrUnknown
	}
	return nil, ErrPending
}

// ready says whether an entry is answered with as it is: it is fresh, or a read takes too
// long to wait for.
func (e *entry) ready(now time.Time) bool {
	return now.Before(e.until) || e.known && e.reading != nil && now.Sub(e.began) >= forStale
}

// Fetch implements Fetcher. However many ask for a service at once, it is read once. The
// read goes on when ctx ends, so that the next asker finds its answer.
func (t *Table) Fetch(ctx context.Context, name string) (*Service, error) {
	key := string(fold(nil, []byte(name)))
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[key]
	if e == nil {
		e = &entry{}
		t.keep(key, e)
	}
	now := time.Now()
	if e.ready(now) { // read meanwhile
		return e.answer()
	}
	if e.reading == nil {
		e.reading, e.began = make(chan struct{}), now
		go t.readEntry(context.WithoutCancel(ctx), e, key)
	}
	var late <-chan time.Time
	if e.known {
		late = time.After(e.began.Add(forStale).Sub(now))
	}
	reading := e.reading
	t.mu.Unlock()
	select {
	case <-reading:
	case <-late:
	case <-ctx.Done():
	}
	t.mu.Lock()
	return e.answer()
}

// readEntry reads a service.
func (t *Table) readEntry(ctx context.Context, e *entry, name string) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	fields, err := t.Rows.Fields(ctx, name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(e, name, fields, err)
	close(e.reading)
	e.reading = nil
}

// Run looks after the table until ctx ends, and then returns nil: while nobody asks, it
// checks now and then whether services could be read, so that Status and the log say it.
func (t *Table) Run(ctx context.Context) error {
	for {
		t.check(ctx)
		select {
		case <-time.After(checkEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *Table) check(ctx context.Context) {
	t.mu.Lock()
	recent := time.Since(t.read) < checkEvery/2
	t.mu.Unlock()
	if recent {
		return
	}
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err := t.Rows.Check(limited)
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	t.status.Checks++
	if err != nil {
		err = fmt.Errorf("tged: %w", err)
	}
	t.note(err)
}

func (e *entry) answer() (*Service, error) {
	switch {
	case e.service != nil:
		return e.service, nil
	case e.known:
		return nil, ErrUnknown
	case e.err != nil:
		return nil, e.err
	}
	return nil, ErrPending
}

// take notes what a read brought. t.mu is held.
func (t *Table) take(e *entry, name string, fields []Field, err error) {
	e.until = time.Now().Add(cmp.Or(t.Fresh, DefaultFresh))
	t.status.Reads++
	if err != nil {
		e.err = fmt.Errorf("tged: read service %q: %w", name, err)
		t.status.Failures++
		t.note(e.err)
		return
	}
	t.note(nil)
	var s *Service
	if len(fields) > 0 {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, func(a, b Field) int {
			return cmp.Or(cmp.Compare(rank(a.Key), rank(b.Key)), cmp.Compare(a.Key, b.Key))
		})
		if s, err = NewService(name, fields); err != nil {
			t.status.Failures++
			if e.err == nil || e.err.Error() != err.Error() {
				t.log().Warn("the rows of a service can't be used, the last good ones stay", "err", err)
			}
			e.err, t.status.Bad, t.status.bad = err, err, name
			return
		}
	}
	if t.status.bad == name {
		t.status.Bad, t.status.bad = nil, ""
	}
	e.service, e.known, e.err = s, true, nil
}

// note takes over whether services can be read, and logs it when it changes. t.mu is held.
func (t *Table) note(err error) {
	switch {
	case err != nil && t.status.Err == nil:
		t.log().Error("services can't be read, the last good ones stay", "err", err)
	case err == nil && t.status.Err != nil:
		t.log().Info("services can be read again")
	}
	t.status.Err, t.read = err, time.Now()
}

func (t *Table) log() *slog.Logger {
	if t.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Log
}

// rank puts the document's keys first, in its order.
func rank(key string) int {
	known := [...]string{"HOST", "FQDN", "IP", "PORT", "USER"}
	if n := slices.Index(known[:], string(fold(nil, []byte(key)))); n >= 0 {
		return n
	}
	return len(known)
}

// keep remembers an entry, if there is room or can be made. Names are made up
// at will: those that there is no service for go first. t.mu is held.
func (t *Table) keep(key string, e *entry) {
	if t.entries == nil {
		t.entries = map[string]*entry{}
	}
	now := time.Now()
	for _, any := range [...]bool{false, true} {
		if len(t.entries) < maxEntries {
			break
		}
		for k, o := range t.entries {
			if o.reading == nil && !now.Before(o.until) && (any || o.service == nil) {
				delete(t.entries, k)
			}
		}
	}
	if len(t.entries) < maxEntries {
		t.entries[key] = e
	}
}
