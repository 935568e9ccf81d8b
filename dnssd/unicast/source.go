package unicast

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

const (
	// maxQueued is how many events may wait for a slow reader. Then it is told
	// to begin anew.
	maxQueued = 1 << 16
	// flightTime bounds what is done for one question: aliases, A-labels, all
	// servers.
	flightTime = 20 * time.Second
)

// errClosed is returned to who waits for a feed that was closed.
var errClosed = errors.New("unicast: feed closed")

// Source asks DNS servers. It implements dnssd.Source and dnssd.Definite. Set
// the fields before the first Feed; its methods may be called from any
// goroutine. It works as long as a feed is open, and keeps what it heard for the
// next one.
type Source struct {
	Servers
	// MinTTL is for how long an answer holds at least, and so how often a
	// question is asked at most; 0 for DefaultMinTTL.
	MinTTL time.Duration
	// Stale is for how long an answer that somebody wants is kept beyond its
	// time while the servers fail: that they are silent, or say SERVFAIL or REFUSED, doesn't
	// mean that a service is gone. 0 for DefaultStale, less than that for not at all.
	Stale time.Duration
	Log   *slog.Logger

	once sync.Once
	pool *pool
	wake chan struct{}

	mu       sync.Mutex
	cache    *cache
	feeds    map[*feed]struct{}
	stop     context.CancelFunc // of the goroutine that asks
	failure  error
	answered uint64
	queries  uint64
	failures uint64
}

var (
	_ dnssd.Definite    = (*Source)(nil)
	_ dnssd.Reconfirmer = (*Source)(nil)
	_ dnssd.Requerier   = (*Source)(nil)
)

func (s *Source) init() {
	s.once.Do(func() {
		s.pool = newPool(s.Servers)
		s.wake = make(chan struct{}, 1)
		s.cache = newCache(s.MinTTL, s.Stale)
		s.feeds = map[*feed]struct{}{}
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
	})
}

// Via implements dnssd.Source.
func (*Source) Via() string { return "unicast" }

// Failure implements dnssd.Definite: why the last question was not answered,
// nil once one was. It is an *RcodeError where a server refused, and ErrNoAnswer
// inside where none said anything.
func (s *Source) Failure() error {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Stats are counts since the start.
type Stats struct {
	Questions int    // in the cache
	Queries   uint64 // questions put to the servers
	Answered  uint64 // of these
	Failed    uint64 // of these
	Refused   uint64 // questions and answers that found no room
	// Spared are questions that weren't put, since the answer came along with
	// another one's (RFC 6763 §12).
	Spared uint64
	// Sent are the messages to servers, with those that were sent again, and ByTCP
	// those of them by TCP.
	Sent, ByTCP uint64
}

// Stats returns the counts.
func (s *Source) Stats() Stats {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Questions: len(s.cache.entries), Queries: s.queries, Answered: s.answered, Failed: s.failures, Refused: s.cache.refused,
		Spared: s.cache.spared, Sent: s.pool.conns.sent.Load(), ByTCP: s.pool.conns.byTCP.Load()}
}

// Feed implements dnssd.Source. Questions that belong to multicast DNS are
// answered at once by "there is none" and never sent (RFC 6762 §3, §22.1).
func (s *Source) Feed(refreshes bool) dnssd.Feed {
	s.init()
	f := &feed{source: s, updates: refreshes, ready: make(chan struct{}, 1), asked: map[key]struct{}{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[f] = struct{}{}
	if s.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		s.stop = stop
		s.pool.conns.hold()
		go s.run(ctx)
	}
	return f
}

// Reconfirm implements dnssd.Reconfirmer. The zone means nothing here.
func (s *Source) Reconfirm(_ mdns.Zone, rr dnswire.RR) {
	s.init()
	s.mu.Lock()
	s.cache.reconfirm(time.Now(), rr)
	s.mu.Unlock()
	s.nudge()
}

// Requery implements dnssd.Requerier. A question that failed a moment ago is
// asked again, too.
func (s *Source) Requery(q mdns.Question) {
	s.init()
	s.mu.Lock()
	s.cache.requery(time.Now(), q)
	s.mu.Unlock()
	s.nudge()
}

// run asks what is due until ctx ends.
func (s *Source) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ask, wake := s.due(ctx)
		s.mu.Unlock()
		for _, e := range ask {
			go s.fly(ctx, e)
		}
		var at <-chan time.Time
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
			at = timer.C
		}
		select {
		case <-ctx.Done():
			s.pool.conns.release()
			s.nudge() // what was meant for another run
			return
		case <-at:
		case <-s.wake:
		}
	}
}

// due returns the questions to ask now, and when there will be more. s.mu is held.
func (s *Source) due(ctx context.Context) ([]*entry, time.Time) {
	if ctx.Err() != nil {
		return nil, time.Time{} // another run may have begun
	}
	ask, wake := s.cache.advance(time.Now())
	s.queries += uint64(len(ask))
	return ask, wake
}

// fly puts a question to the servers, and then as many others as are due.
func (s *Source) fly(ctx context.Context, e *entry) {
	for e != nil {
		e = s.ask(ctx, e)
	}
	s.nudge()
}

// ask puts a question to the servers. It returns the next one that is due.
func (s *Source) ask(ctx context.Context, e *entry) (next *entry) {
	flight, cancel := context.WithTimeout(ctx, flightTime)
	defer cancel()
	a, err := s.pool.resolve(flight, e.name, e.key.typ)
	now := time.Now()
	s.mu.Lock()
	switch {
	case ctx.Err() != nil:
		s.cache.aborted(now, e)
	case err != nil:
		if s.failure == nil {
			s.Log.Warn("no DNS server answers", "name", e.name.String(), "err", err)
		}
		s.failure = err
		s.failures++
		s.cache.failed(now, e, err)
	default:
		s.failure = nil
		s.answered++
		s.cache.answered(now, e, a)
	}
	ask, _ := s.due(ctx)
	s.mu.Unlock()
	for i, e := range ask {
		if i == 0 {
			next = e
		} else {
			go s.fly(ctx, e)
		}
	}
	return next
}

// nudge has run look again.
func (s *Source) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// feed implements dnssd.Feed. The source's mutex guards it, so that a reader
// gets the whole of an answer at once.
type feed struct {
	source  *Source
	updates bool
	ready   chan struct{}

	asked  map[key]struct{}
	queue  []mdns.Event
	lost   bool
	closed bool
}

// Ask implements dnssd.Feed.
func (f *feed) Ask(questions ...mdns.Question) {
	s := f.source
	now := time.Now()
	s.mu.Lock()
	if _, open := s.feeds[f]; open {
		for _, q := range questions {
			switch {
			case !q.Name.Valid():
			case Multicast(q.Name):
				f.receive(mdns.Event{Op: mdns.OpAsked, Question: q, Unicast: true, Time: now})
				f.receive(mdns.Event{Op: mdns.OpNone, Question: q, Time: now, Err: dnssd.ErrNoName, Expires: now.Add(maxNegative)})
				f.receive(mdns.Event{Op: mdns.OpAnswered, Question: q, Time: now, Err: dnssd.ErrNoName, Expires: now.Add(maxNegative)})
			default:
				f.asked[key{q.Name.Fold(), q.Type}] = struct{}{}
				s.cache.want(now, f, q)
			}
		}
	}
	s.mu.Unlock()
	s.nudge()
}

// Forget implements dnssd.Feed.
func (f *feed) Forget(questions ...mdns.Question) {
	s := f.source
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range questions {
		s.cache.forget(f, q)
		k := key{q.Name.Fold(), q.Type}
		if e := s.cache.entries[k]; e == nil || e.users[f] == nil {
			delete(f.asked, k)
		}
	}
}

// Next implements dnssd.Feed.
func (f *feed) Next(ctx context.Context) ([]mdns.Event, error) {
	for {
		if out, err := f.take(); err != nil || len(out) > 0 {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.ready:
		}
	}
}

func (f *feed) take() ([]mdns.Event, error) {
	s := f.source
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.closed:
		return nil, errClosed
	case f.lost:
		f.lost = false
		f.replay(time.Now())
		return []mdns.Event{{Op: mdns.OpReset, Time: time.Now()}}, nil
	}
	out := f.queue
	f.queue = nil
	return out, nil
}

// replay tells again all that is known of what was asked.
func (f *feed) replay(now time.Time) {
	for k := range f.asked {
		if e := f.source.cache.entries[k]; e != nil && e.known && e.users[f] != nil && !e.users[f].waits {
			f.source.cache.replay(now, e, f)
		}
	}
}

// Close implements dnssd.Feed. With the last feed asking ends.
func (f *feed) Close() {
	s := f.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.closed {
		return
	}
	f.closed, f.queue = true, nil
	f.signal()
	for k := range f.asked {
		if e := s.cache.entries[k]; e != nil && e.users[f] != nil {
			s.cache.leave(e, f)
		}
	}
	delete(s.feeds, f)
	if len(s.feeds) == 0 {
		s.stop()
		s.stop = nil
	}
}

// receive implements user.
func (f *feed) receive(ev mdns.Event) {
	switch {
	case f.closed || f.lost:
	case len(f.queue) >= maxQueued:
		f.lost, f.queue = true, nil
	default:
		f.queue = append(f.queue, ev)
	}
	f.signal()
}

func (f *feed) refreshes() bool { return f.updates }

func (f *feed) signal() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}
