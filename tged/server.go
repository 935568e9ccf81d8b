package tged

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// Default rates of a Server, in answers a second.
const (
	DefaultPerSource = 500
	DefaultTotal     = 200_000
)

const (
	maxFetches   = 64              // requests that wait at once for what has to be fetched
	fetchTimeout = 2 * time.Second // how long one waits; no client waits longer
	reopenEvery  = 2 * time.Second // how often a link that couldn't be opened is tried again
)

// Request is a request that a Server heard. What it points to is valid until the call
// that it was given to returns.
type Request struct {
	Link     *packet.Link // as it is now
	Src, Dst netip.AddrPort
	Service  []byte // as the asker wrote it: any bytes
}

// Server answers TGED requests. Links and Listen must be set; the fields must not be
// changed once Run was called.
type Server struct {
	// Services are what it answers from. Without them it says nothing, and only hears.
	Services Services
	// Heard, if set, is told of each request that may be answered by its source and the
	// rates, whether or not there is an answer. It is called from the goroutines that read,
	// several at once, and must return at once.
	Heard func(Request)
	// Links says where the server listens. A request from the machine itself to
	// one of its own addresses comes in on the loopback link, so that one should be there.
	Links Links
	// Listen opens a link, as lan.ListenBroadcast does.
	Listen func(link packet.Link, port uint16) (Conn, error)
	Port   uint16 // 0 means Port
	// Address is the one address that is answered for: what comes to it, and what comes by
	// broadcast on its link. The zero Addr means all.
	Address netip.Addr
	Style   Style
	// OffLink has sources outside of the link's subnets answered, too, with at most
	// four times the bytes that they sent: a made-up source address must not be
	// worth an attacker's while.
	OffLink bool
	// PerSource and Total are how many requests of one source and of all together are
	// answered in a second; as many may come at once. 0 means DefaultPerSource and
	// DefaultTotal, less than 0 no limit. What the machine asks itself counts in Total only.
	PerSource, Total int
	// Patient has Run go on trying where no link can be opened at the start, because
	// another program has the port, say.
	Patient bool
	// Opened, if set, is called from Run's goroutine whenever links were opened, with
	// the names of those that the server listens on now, sorted.
	Opened func(names []string)
	Log    *slog.Logger // nil is silent

	stats     counters
	listening atomic.Pointer[listening]
}

// listening is where a Server listens, and why not everywhere.
type listening struct {
	names []string
	err   error
}

// Listening returns the names of the links that Run listens on now, sorted, and why others
// can't be opened, nil if there are none. It may be called at any time.
func (s *Server) Listening() ([]string, error) {
	if l := s.listening.Load(); l != nil {
		return l.names, l.err
	}
	return nil, nil
}

// Stats returns what the server counted so far. It may be called at any time.
func (s *Server) Stats() Stats { return s.stats.stats() }

// Run answers until ctx is done, and then returns nil. It opens and closes
// links as they come and go, and tries again where one can't be opened; only
// when none of those that there are at the start can be opened it fails, unless it is Patient.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	links, err := s.Links(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("tged: list links: %w", err)
	}
	r := &serving{
		responder: s.responder(ctx), listeners: map[int]*listener{}, broken: map[int]bool{},
		fails: make(chan *listener),
	}
	defer func() {
		cancel()
		for _, l := range r.listeners {
			_ = l.conn.Close() // nothing is left to lose
		}
		r.tasks.Wait()
		s.listening.Store(nil)
	}()
	for first := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case now, ok := <-links:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("tged: links are no longer watched")
			}
			r.links = now
			if err := r.open(); first && err != nil && len(r.listeners) == 0 && !s.Patient {
				return err
			}
			first = false
		case l := <-r.fails:
			r.lost(l)
		case <-r.retry:
			_ = r.open() // said in the log
		}
	}
}

// serving is a running Server. Run's goroutine owns it.
type serving struct {
	*responder
	links     []packet.Link
	listeners map[int]*listener // by the link's index
	broken    map[int]bool      // links that can't be opened: each is logged once, until it can
	fails     chan *listener
	retry     <-chan time.Time
}

// listener is an open link.
type listener struct {
	index int
	conn  Conn
	link  atomic.Pointer[packet.Link] // as it is now
	err   error                       // why reading ended
}

// open brings the listeners in line with the links. It returns why links
// could not be opened.
func (r *serving) open() error {
	s := r.server
	port := s.Port
	if port == 0 {
		port = Port
	}
	var errs []error
	there := map[int]bool{}
	r.retry = nil
	opened := false
	for _, link := range r.links {
		if s.Address.IsValid() && !link.Has(s.Address) {
			continue
		}
		there[link.Index] = true
		if l := r.listeners[link.Index]; l != nil {
			l.link.Store(&link)
			continue
		}
		conn, err := s.Listen(link, port)
		if err != nil {
			errs = append(errs, err)
			r.retry = time.After(reopenEvery)
			// Why it can't be may change at each try, as who holds the port does: Listening tells
			// what holds now.
			if !r.broken[link.Index] {
				r.broken[link.Index] = true
				r.log.Warn("can't listen for TGED requests", "if", link.Name, "err", err)
			}
			continue
		}
		delete(r.broken, link.Index)
		l := &listener{index: link.Index, conn: conn}
		l.link.Store(&link)
		r.listeners[link.Index] = l
		r.tasks.Go(func() {
			l.err = r.read(l)
			select {
			case r.fails <- l:
			case <-r.ctx.Done():
			}
		})
		opened = true
	}
	for index, l := range r.listeners {
		if !there[index] {
			_ = l.conn.Close() // nothing is left to lose
			delete(r.listeners, index)
		}
	}
	for index := range r.broken {
		if !there[index] {
			delete(r.broken, index)
		}
	}
	names := r.note(errors.Join(errs...))
	if opened && s.Opened != nil {
		s.Opened(names)
	}
	if len(errs) > 0 {
		return fmt.Errorf("tged: no link could be opened: %w", errors.Join(errs...))
	}
	return nil
}

// note takes over where the server listens now, and returns that.
func (r *serving) note(why error) (names []string) {
	for _, l := range r.listeners {
		names = append(names, l.link.Load().Name)
	}
	slices.Sort(names)
	r.server.listening.Store(&listening{names, why})
	return names
}

// lost takes a listener out that can't read any more.
func (r *serving) lost(l *listener) {
	if r.listeners[l.index] != l {
		return // closed by us
	}
	_ = l.conn.Close()
	delete(r.listeners, l.index)
	r.log.Debug("TGED link lost", "if", l.link.Load().Name, "err", l.err)
	r.note(l.err)
	r.retry = time.After(reopenEvery)
}
