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
)

// Rows are where a Table reads: a table services(service, key, value) in a database,
// say.
type Rows interface {
	// Fields returns the fields of a service, none if there is no such service. The
	// name is in capitals: it means the rows whose service is that once its ASCII letters are
	// capitals, too. Fields is called from several goroutines.
	Fields(ctx context.Context, service string) ([]Field, error)
}

// Table is Services that are read when somebody asks for them. What was read is
// answered with for a short while; while reading fails, the last that could be
// read is. Rows must be set.
//
// Fields come in the document's order: HOST, FQDN, IP, PORT, USER, then the rest by key.
type Table struct {
	Rows  Rows
	Fresh time.Duration // 0 means DefaultFresh
	Log   *slog.Logger  // nil is silent

	mu      sync.Mutex
	entries map[string]*entry
	status  TableStatus
}

// TableStatus says how a Table is doing.
type TableStatus struct {
	Err             error // why reading failed last, nil if it didn't
	Reads, Failures uint64
}

// entry is what is known of one service. Its fields are guarded by Table.mu.
type entry struct {
	service *Service // nil: there is none
	known   bool     // it was ever read
	until   time.Time
	err     error         // why the last read failed, nil if it didn't
	reading chan struct{} // closed when a read is over, nil if there is none
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
	if e := t.entries[string(key)]; e != nil && time.Now().Before(e.until) {
		return e.answer()
	}
	if string(key) == Invalid || CheckName(string(key)) != nil {
		return nil, ErrUnknown
	}
	return nil, ErrPending
}

// Fetch implements Fetcher. However many ask for a service at once, it is read once.
func (t *Table) Fetch(ctx context.Context, name string) (*Service, error) {
	key := string(fold(nil, []byte(name)))
	t.mu.Lock()
	e := t.entries[key]
	if e == nil {
		e = &entry{}
		t.keep(key, e)
	}
	switch {
	case time.Now().Before(e.until): // read meanwhile
	case e.reading == nil:
		e.reading = make(chan struct{})
		t.mu.Unlock()
		fields, err := t.Rows.Fields(ctx, key)
		t.mu.Lock()
		t.take(e, key, fields, err)
		close(e.reading)
		e.reading = nil
	default:
		reading := e.reading
		t.mu.Unlock()
		select {
		case <-reading:
		case <-ctx.Done():
		}
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	return e.answer()
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
	var s *Service
	if err == nil && len(fields) > 0 {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, func(a, b Field) int {
			return cmp.Or(cmp.Compare(rank(a.Key), rank(b.Key)), cmp.Compare(a.Key, b.Key))
		})
		s, err = NewService(name, fields)
	}
	log := t.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err != nil {
		t.status.Failures++
		if t.status.Err == nil {
			log.Error("services can't be read, the last good ones stay", "err", err)
		}
		e.err = fmt.Errorf("tged: read service %q: %w", name, err)
		t.status.Err = e.err
		return
	}
	if t.status.Err != nil {
		log.Info("services can be read again")
	}
	t.status.Err = nil
	e.service, e.known, e.err = s, true, nil
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
