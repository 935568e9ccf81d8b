package syncthing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// LocalPort is the UDP port that local announcements are broadcast to by IPv4.
const LocalPort = 21025

// LocalGroup returns the group and port of local announcements by IPv6.
func LocalGroup() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xff, 1: 0x32, 14: 0x52, 15: 0x22}), 21026)
}

// Links sends the links that are to be used: the whole set at once, and again after each
// change. It closes the channel when ctx ends.
type Links func(ctx context.Context) (<-chan []packet.Link, error)

const (
	listenBatch = 32
	listenQueue = 256              // announcements that wait for Run's goroutine
	sweepEvery  = time.Second      // how often what is too old is looked for
	reopenEvery = 10 * time.Second // how often what couldn't be opened is tried again
)

// Listener hears who announces itself on the local network. It sends nothing, unless it is an
// [Announcer]'s. Links, Broadcast, Multicast and Event must be set, and not be changed once
// Run was called.
type Listener struct {
	Links Links
	// Broadcast and Multicast open a link, as lan.ListenBroadcast and lan.ListenMulticast
	// do. Old programs keep the port of IPv4 to themselves: then only IPv6 is heard until
	// they end.
	Broadcast func(link packet.Link, port uint16) (Conn, error)
	Multicast func(link packet.Link, group netip.AddrPort) (Conn, error)
	// Event is called from Run's goroutine for each change, with what the receiver may keep but not change.
	Event func(Event)
	// Refreshes has Event told, too, that a device was heard again, at most every ten seconds.
	Refreshes bool
	// Own are this machine's own devices: their announcements, which come back by
	// broadcast, are left out, and what others say of them.
	Own []DeviceID
	Log *slog.Logger // nil is silent

	stats   listenerCounters
	unheard atomic.Pointer[[]string]
}

// ListenerStats counts what a [Listener] heard. Every datagram is in Received and in one of
// the others, but for Full.
type ListenerStats struct {
	Received      uint64
	Announcements uint64
	Foreign       uint64 // no announcements of this version of the protocol
	Invalid       uint64 // bad ones
	Own           uint64 // our own, that came back
	OffLink       uint64 // sent to us alone, from outside of the link's subnets
	Crowded       uint64 // came while too many others waited
	Full          uint64 // devices for which there was no room
}

type listenerCounters struct {
	received, announcements, foreign, invalid, own, offLink, crowded, full atomic.Uint64
}

// Stats returns what was counted so far. It may be called at any time.
func (l *Listener) Stats() ListenerStats {
	c := &l.stats
	return ListenerStats{
		Received: c.received.Load(), Announcements: c.announcements.Load(), Foreign: c.foreign.Load(),
		Invalid: c.invalid.Load(), Own: c.own.Load(), OffLink: c.offLink.Load(), Crowded: c.crowded.Load(), Full: c.full.Load(),
	}
}

// Unheard returns what can't be heard now, and why: a line for each link and address family. It
// may be called at any time.
func (l *Listener) Unheard() []string {
	if u := l.unheard.Load(); u != nil {
		return *u
	}
	return nil
}

// Run listens until ctx is done, and then returns nil. It opens and closes links as they
// come and go, and tries again where one can't be opened; only when none of those that
// there are at the start can be opened it fails.
func (l *Listener) Run(ctx context.Context) error { return l.run(ctx, nil) }

// run is Run. What s is to announce goes out by the Listener's sockets; nil is nothing.
func (l *Listener) run(ctx context.Context, s *speaking) error {
	ctx, cancel := context.WithCancel(ctx)
	links, err := l.Links(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("syncthing: list links: %w", err)
	}
	r := &listening{
		listener: l, ctx: ctx, log: l.Log, heard: newHearing(), ears: map[earKey]*ear{}, broken: map[earKey]string{},
		in: make(chan said, listenQueue), fails: make(chan *ear), own: l.Own, speaking: s,
	}
	if s != nil {
		r.own = append(slices.Clone(l.Own), s.announcer.ID)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		cancel()
		for _, e := range r.ears {
			_ = e.conn.Close() // nothing is left to lose
		}
		r.tasks.Wait()
	}()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for first := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case now, ok := <-links:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("syncthing: links are no longer watched")
			}
			r.links = now
			if err := r.open(); first && err != nil && len(r.ears) == 0 && s == nil {
				return err
			}
			first = false
			r.advance()
			if r.done() {
				return s.failed()
			}
		case e := <-r.fails:
			r.lost(e)
		case <-r.retry:
			_ = r.open() // said in the log
		case x := <-r.in:
			events, full := r.heard.put(time.Now(), x.link, x.src, x.what)
			l.stats.full.Add(uint64(full))
			r.tell(events)
		case <-s.due():
			s.speak(time.Now(), r.ears)
			if r.done() {
				return s.failed()
			}
		case <-s.changes():
			s.hasten(time.Now())
		case <-sweep.C:
			r.advance()
		}
	}
}

// listening is a running Listener. Run's goroutine owns it.
type listening struct {
	listener *Listener
	ctx      context.Context
	log      *slog.Logger
	heard    *hearing
	links    []packet.Link
	ears     map[earKey]*ear
	broken   map[earKey]string // what can't be opened, and why: each is logged once
	in       chan said
	fails    chan *ear
	retry    <-chan time.Time
	tasks    sync.WaitGroup
	own      []DeviceID
	speaking *speaking // nil: it only listens
	taken    bool      // another program keeps the port of IPv4 to itself
}

// done says whether nothing is left to do but to end.
func (r *listening) done() bool {
	return r.speaking != nil && r.speaking.announcer.Once && r.speaking.said()
}

type earKey struct {
	link int
	v6   bool
}

// ear is an open conn.
type ear struct {
	key  earKey
	conn Conn
	mute bool                        // it only speaks, from a port of its own: LocalPort can't be had
	link atomic.Pointer[packet.Link] // as it is now
	err  error                       // why reading ended
}

// said is an announcement that came in.
type said struct {
	link *packet.Link
	src  netip.AddrPort
	what *Announcement
}

func (r *listening) tell(events []Event) {
	r.speaking.hear(time.Now(), events)
	if r.listener.Event == nil {
		return
	}
	for _, e := range events {
		if e.Kind != Refreshed || r.listener.Refreshes {
			r.listener.Event(e)
		}
	}
}

// advance forgets what is too old or was heard on a link that is gone.
func (r *listening) advance() {
	r.tell(r.heard.advance(time.Now(), func(link int) bool {
		return slices.ContainsFunc(r.links, func(l packet.Link) bool { return l.Index == link })
	}))
}

// open brings the open conns in line with the links: one for each address family that
// a link has an address of. It returns why any could not be opened.
func (r *listening) open() error {
	var errs []error
	var unheard []string
	there := map[earKey]bool{}
	r.retry = nil
	for _, link := range r.links {
		for _, v6 := range []bool{false, true} {
			if !slices.ContainsFunc(link.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 }) {
				continue
			}
			key := earKey{link.Index, v6}
			there[key] = true
			e := r.ears[key]
			if e != nil {
				e.link.Store(&link)
				if !e.mute {
					continue
				}
			}
			if err := r.openOne(key, link); err != nil {
				errs = append(errs, err)
				unheard = append(unheard, link.Name+map[bool]string{false: " IPv4: ", true: " IPv6: "}[v6]+err.Error())
				r.retry = time.After(reopenEvery)
			}
		}
	}
	for key, e := range r.ears {
		if !there[key] {
			_ = e.conn.Close() // nothing is left to lose
			delete(r.ears, key)
		}
	}
	for key := range r.broken {
		if !there[key] {
			delete(r.broken, key)
		}
	}
	if r.taken && !slices.ContainsFunc(errs, inUse) {
		r.taken = false
		r.log.Info("Syncthing's port of IPv4 can be shared again", "port", LocalPort)
	}
	r.listener.unheard.Store(&unheard)
	r.speaking.follow(time.Now(), r.links, r.ears)
	if len(errs) > 0 {
		return fmt.Errorf("syncthing: no link could be opened: %w", errors.Join(errs...))
	}
	return nil
}

func (r *listening) openOne(key earKey, link packet.Link) error {
	var conn Conn
	var err error
	if key.v6 {
		conn, err = r.listener.Multicast(link, LocalGroup())
	} else {
		conn, err = r.listener.Broadcast(link, LocalPort)
	}
	if err != nil {
		r.refused(key, link, err)
		return err
	}
	delete(r.broken, key)
	if e := r.ears[key]; e != nil {
		_ = e.conn.Close() // it only spoke
	}
	e := &ear{key: key, conn: conn}
	e.link.Store(&link)
	r.ears[key] = e
	r.tasks.Go(func() {
		e.err = r.read(e)
		select {
		case r.fails <- e:
		case <-r.ctx.Done():
		}
	})
	return nil
}

// refused says why a link can't be heard, once. Who is to speak does so from another port.
func (r *listening) refused(key earKey, link packet.Link, err error) {
	if r.speaking != nil && !key.v6 && r.ears[key] == nil {
		if conn, err := r.listener.Broadcast(link, 0); err == nil {
			e := &ear{key: key, conn: conn, mute: true}
			e.link.Store(&link)
			r.ears[key] = e
		}
	}
	switch {
	case inUse(err) && !key.v6:
		if !r.taken {
			r.taken = true
			what := "another program keeps Syncthing's port of IPv4 to itself: until it ends only IPv6 is heard"
			if r.speaking != nil {
				what += ", and announcements leave from other ports"
			}
			r.log.Warn(what, "port", LocalPort, "if", link.Name, "err", err)
		}
	case r.broken[key] != err.Error():
		r.broken[key] = err.Error()
		r.log.Warn("can't hear Syncthing announcements", "if", link.Name, "err", err)
	}
}

func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// lost takes a conn out that can't be read any more.
func (r *listening) lost(e *ear) {
	if r.ears[e.key] != e {
		return // closed by us
	}
	_ = e.conn.Close()
	delete(r.ears, e.key)
	r.log.Debug("Syncthing link lost", "if", e.link.Load().Name, "err", e.err)
	r.retry = time.After(reopenEvery)
}

// read hands announcements over until the conn is closed.
func (r *listening) read(e *ear) error {
	var in [listenBatch]packet.Datagram
	for {
		n, err := e.conn.ReadBatch(in[:])
		if err != nil {
			return err
		}
		r.listener.stats.received.Add(uint64(n))
		link := e.link.Load()
		for i := range in[:n] {
			r.judge(link, &in[i]).Add(1)
		}
	}
}

// judge hands a datagram over if it is an announcement, and says where it is counted.
func (r *listening) judge(link *packet.Link, d *packet.Datagram) *atomic.Uint64 {
	c := &r.listener.stats
	if !d.Src.Addr().IsValid() || d.Src.Addr().IsUnspecified() || toAll(d.Src.Addr()) || link.Has(d.Dst.Addr()) && !link.OnLink(d.Src.Addr()) {
		return &c.offLink
	}
	a := &Announcement{}
	if err := a.Parse(d.Data); errors.Is(err, ErrMagic) {
		return &c.foreign
	} else if err != nil {
		return &c.invalid
	}
	if slices.Contains(r.own, a.ID) {
		return &c.own
	}
	a.Extra = slices.DeleteFunc(a.Extra, func(d Device) bool { return slices.Contains(r.own, d.ID) })
	select {
	case r.in <- said{link, d.Src, a}:
		return &c.announcements
	default:
		return &c.crowded
	}
}
