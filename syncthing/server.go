package syncthing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// GlobalPort is the UDP port of a global server.
const GlobalPort = 22026

// DefaultPerPrefix is how many requests of one prefix a [Server] takes in a second.
const DefaultPerPrefix = 200

// Server is a global server: it takes in what devices announce and answers who asks for them.
// Conns must be set; the fields must not be changed once Run was called.
//
// It is of little use to who would flood others through it: an answer has less than 11
// times the bytes of the query, goes only to sources within their limit, and there is
// none for devices that nobody announced. It leaves from the address that was asked.
type Server struct {
	// Conns are read each by a goroutine of its own. Several may share a port, so that
	// the kernel spreads the load. Run closes them. One with a method Overflow() uint64 tells by it how
	// many datagrams it lost so far.
	Conns []Conn
	// Directory is what is known at the start; nil is nothing. It belongs to Run then.
	Directory *Directory
	// Journal keeps what is known, for after a restart; nil keeps nothing.
	Journal Journal
	// Pin takes in a device only from where it was announced first: see Directory.Pin.
	Pin bool
	// PerPrefix is how many packets of one /24 of IPv4 or /64 of IPv6 are taken in a
	// second; as many may come at once. 0 means DefaultPerPrefix. With less than 0 there are no
	// limits at all, neither for a device's announcements nor for the devices that are new.
	PerPrefix int
	// Allowed, if set, says which devices are served. It is called from several
	// goroutines, for each announcement.
	Allowed func(DeviceID) bool
	Log     *slog.Logger // nil is silent

	stats counters
}

// Stats returns what the server counted so far. It may be called at any time.
func (s *Server) Stats() ServerStats {
	stats := s.stats.stats()
	for _, c := range s.Conns {
		if c, ok := c.(interface{ Overflow() uint64 }); ok {
			stats.Overflow += c.Overflow()
		}
	}
	return stats
}

// Run serves until ctx is done, and then returns nil. It ends with an error when one of
// the Conns can't be read any more.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &serving{server: s, stats: &s.stats, log: s.Log, directory: s.Directory}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.directory == nil {
		r.directory = &Directory{}
	}
	switch {
	case s.PerPrefix == 0:
		r.limit = newLimiter(DefaultPerPrefix)
	case s.PerPrefix > 0:
		r.limit = newLimiter(s.PerPrefix)
	default:
		r.directory.Unlimited = true
	}
	if s.Pin {
		r.directory.Pin = true
	}
	r.directory.setTime(time.Now())
	errs := make([]error, len(s.Conns))
	var tasks sync.WaitGroup
	for i, c := range s.Conns {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // nothing is left to lose
		defer stop()
		tasks.Go(func() {
			defer cancel()
			if err := r.read(c); ctx.Err() == nil {
				errs[i] = fmt.Errorf("syncthing: read: %w", err)
			}
		})
	}
	if s.Journal != nil {
		log, whole := r.directory.Tails(&r.mu)
		saved := make(chan struct{})
		go func() {
			defer close(saved)
			r.save(ctx, log, whole)
		}()
		defer func() {
			<-saved
			r.saveOnce(log, whole) // all that readers stored
		}()
	}
	r.forget(ctx)
	tasks.Wait()
	return errors.Join(errs...)
}

// serving is a running Server.
type serving struct {
	server  *Server
	stats   *counters
	log     *slog.Logger
	logged  sync.Once // that sending failed
	failing bool      // the Journal

	limit     *limiter     // nil: none
	mu        sync.RWMutex // of the directory; taken once for a batch
	directory *Directory
}

// How often what is too old is looked for. (No answer has any of it.)
const (
	forgetSoonest = time.Second
	forgetLatest  = time.Minute
)

// forget takes out of the directory what is too old, until ctx is done.
func (r *serving) forget(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.mu.Lock()
		n := r.directory.Expire(time.Now())
		next := r.directory.Next()
		r.stats.devices.Store(uint64(r.directory.Len()))
		r.mu.Unlock()
		wait := forgetLatest
		switch {
		case n > 0:
			wait = 0 // there may be more
		case !next.IsZero():
			wait = min(max(time.Until(next), forgetSoonest), forgetLatest)
		}
		timer.Reset(wait)
	}
}

// fromHost says whether an answer could be sent to src.
func fromHost(src netip.AddrPort) bool {
	return src.Port() != 0 && src.Addr().IsValid() && !src.Addr().IsUnspecified() && !toAll(src.Addr())
}

func toAll(a netip.Addr) bool { return a.IsMulticast() || a == broadcast() }

// broadcast is the limited broadcast address.
func broadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
