package syncthing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
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
	// the kernel spreads the load. Run closes them.
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
func (s *Server) Stats() ServerStats { return s.stats.stats() }

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

	mu        sync.Mutex
	directory *Directory
	limit     *limiter // nil: none
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

// serveBatch is how many datagrams are read and answered at once.
const serveBatch = 64

// desk is what a reader works with. All of it is used again for each batch.
type desk struct {
	in      [serveBatch]packet.Datagram
	out     []packet.Datagram
	answers [serveBatch][]byte // what out's data lie in
	said    Announcement
	found   []netip.AddrPort
}

// read serves one conn until it is closed.
func (r *serving) read(c Conn) error {
	k := &desk{out: make([]packet.Datagram, 0, serveBatch)}
	for {
		n, err := c.ReadBatch(k.in[:])
		if err != nil {
			return err
		}
		r.stats.received.Add(uint64(n))
		now := time.Now()
		k.out = k.out[:0]
		for i := range k.in[:n] {
			if why := r.serve(k, now, &k.in[i]); why != answered {
				r.stats.count(why)
			}
		}
		r.send(c, k.out)
	}
}

// send sends answers; one that can't be sent doesn't keep the others back.
func (r *serving) send(c Conn, out []packet.Datagram) {
	for len(out) > 0 {
		n, err := c.WriteBatch(out)
		r.stats.by[answered].Add(uint64(n))
		if err == nil || n >= len(out) {
			return
		}
		r.stats.count(failed)
		if !errors.Is(err, net.ErrClosed) {
			r.logged.Do(func() { r.log.Warn("Syncthing answer not sent", "addr", out[n].Dst, "err", err) })
		}
		out = out[n+1:]
	}
}

// serve deals with a datagram. If that is to be answered, the answer is added to
// k.out, and the reason is answered.
func (r *serving) serve(k *desk, now time.Time, d *packet.Datagram) reason {
	if !fromHost(d.Src) || toAll(d.Dst.Addr()) {
		return noHost
	}
	q, err := ParseQuery(d.Data)
	if err == nil {
		return r.answer(k, now, d, q.ID)
	}
	if errors.Is(err, ErrMagic) {
		err = k.said.Parse(d.Data)
	}
	switch {
	case errors.Is(err, ErrMagic):
		return foreign
	case err != nil:
		return invalid
	}
	return r.store(now, d.Src.Addr(), &k.said.Device)
}

// answer answers a query.
func (r *serving) answer(k *desk, now time.Time, d *packet.Datagram, id DeviceID) reason {
	r.mu.Lock()
	ok := r.limit.request(now.UnixNano(), d.Src.Addr())
	if ok {
		k.found = r.directory.Get(now, id, k.found[:0])
	}
	r.mu.Unlock()
	switch {
	case !ok:
		return prefixLimit
	case len(k.found) == 0:
		return unknown
	}
	a := Announcement{Device: Device{ID: id, Addresses: k.found}}
	slot := &k.answers[len(k.out)]
	*slot = a.Append((*slot)[:0])
	reply := packet.Datagram{Data: *slot, Dst: d.Src, Link: d.Link}
	if ours := d.Dst.Addr(); ours.IsValid() {
		reply.Src = netip.AddrPortFrom(ours, 0)
	}
	k.out = append(k.out, reply)
	return answered
}

// store takes in what a device announced of itself. What it says of others counts for nothing.
func (r *serving) store(now time.Time, src netip.Addr, d *Device) reason {
	if r.server.Allowed != nil && !r.server.Allowed(d.ID) {
		return denied
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.limit.request(now.UnixNano(), src):
		return prefixLimit
	case len(d.Addresses) == 0:
		return nothing
	case !r.directory.Has(d.ID) && !r.limit.fresh(now.UnixNano(), src):
		return newLimit
	}
	switch r.directory.Put(now, d, src) {
	case Nothing:
		return nothing
	case Limited:
		return deviceLimit
	case Full:
		return full
	case Conflict:
		return conflict
	}
	return stored
}

// fromHost says whether an answer could be sent to src.
func fromHost(src netip.AddrPort) bool {
	return src.Port() != 0 && src.Addr().IsValid() && !src.Addr().IsUnspecified() && !toAll(src.Addr())
}

func toAll(a netip.Addr) bool { return a.IsMulticast() || a == broadcast() }

// broadcast is the limited broadcast address.
func broadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
