package syncthing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// How often a device is announced.
const (
	DefaultLocalEvery  = time.Minute      // at the latest; half of it at the soonest
	DefaultGlobalEvery = 30 * time.Minute // half of what servers remember
)

// Announcer announces a device: on the local network, to global servers, or both. There is no
// taking back: who heard it forgets it in time.
//
// ID and Addresses must be set, and Local or Servers. The fields must not be changed once
// Run was called.
type Announcer struct {
	ID DeviceID
	// Addresses are where the device can be reached, 1 to 16. An IP that is unspecified, or none
	// at all, stands for the address that the packet comes from. See SetAddresses.
	Addresses []netip.AddrPort

	// Local, if set, is a Listener by whose sockets the device is announced on each
	// link. Run runs it. It ignores announcements of ID, and needs no Event.
	Local *Listener
	// LocalEvery is the longest time between two announcements on a link; half of it is the
	// shortest, and chance decides. One comes at once when a device is new on the link
	// or the link's addresses change. 0 means DefaultLocalEvery.
	LocalEvery time.Duration

	// Servers are global servers, HOST or HOST:PORT. The device is announced at each
	// address of such a name.
	Servers []string
	// Resolve is asked anew for each announcement; it may be nil if no server has a name.
	Resolve Resolver
	// Listen opens a socket on a free port from which the server can be reached, and so can others
	// of that address family: there is one socket for each. It must be set if Servers are.
	Listen func(server netip.AddrPort) (Conn, error)
	// Links, if set, tells of the machine's addresses: when they change servers are
	// told at once.
	Links Links
	// GlobalEvery is how often servers are told; 0 means DefaultGlobalEvery. What failed is
	// tried again after a minute, and then ever later.
	GlobalEvery time.Duration

	// Once ends Run when each link and server was told once.
	Once bool
	// Told, if set, is called for each announcement when its outcome is known, one call
	// at a time.
	Told func(Target)
	Log  *slog.Logger // nil is silent

	mu      sync.Mutex
	now     []netip.AddrPort // Addresses as they are announced
	changed []chan struct{}  // one for each that announces
	targets map[targetKey]*Target
	telling sync.Mutex // around Told
}

// Target is where a device is announced, and how that goes.
type Target struct {
	// Link is the name of a link, and Server the name of a global server as it was
	// given: one of them is set.
	Link, Server string
	// Addr is where to: the first destination on a link, or the server's address; the zero AddrPort
	// if the server's name has none.
	Addr netip.AddrPort
	Sent uint64    // announcements that were sent
	Last time.Time // when the last one was sent
	// Err is why the last one wasn't sent, or, wrapping ErrUnconfirmed, that the server doesn't
	// know of it. nil is good.
	Err error
}

type targetKey struct {
	link, server string
	addr         netip.AddrPort
}

// ErrUnconfirmed says that a server was told where the device is, but doesn't answer when it is asked for it.
var ErrUnconfirmed = errors.New("the server doesn't answer for the device")

// SetAddresses changes what is announced, and has that done at once. It may be called
// at any time.
func (a *Announcer) SetAddresses(all []netip.AddrPort) error {
	all, err := announcedAll(all)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.now, all) {
		a.now = all
		a.poke()
	}
	return nil
}

// Status returns the targets that there are now: links first.
func (a *Announcer) Status() []Target {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Target, 0, len(a.targets))
	for _, t := range a.targets {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr))
	})
	return out
}

// Run announces until ctx is done, or once, and then returns nil. Its error is what the
// fields have wrong, that links can't be watched or, with Once, why a server or
// all links were not told.
func (a *Announcer) Run(ctx context.Context) error {
	if err := a.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tasks, helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	errs := make(chan error, 2)
	if a.Local != nil {
		s := &speaking{announcer: a, changed: a.subscribe(), voices: map[int]*voice{}}
		tasks.Go(func() { errs <- a.Local.run(ctx, s) })
	}
	if len(a.Servers) > 0 {
		g := &telling{announcer: a, ctx: ctx, log: a.Log, posts: map[bool]*post{}, waits: map[netip.AddrPort]chan struct{}{}}
		if g.log == nil {
			g.log = slog.New(slog.DiscardHandler)
		}
		tasks.Go(func() { errs <- g.run() })
		if a.Links != nil {
			links, err := a.Links(ctx)
			if err != nil {
				return fmt.Errorf("syncthing: list links: %w", err)
			}
			helpers.Go(func() { a.follow(links) })
		}
	}
	tasks.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// check holds the fields to what they must be, and makes ready to run.
func (a *Announcer) check() error {
	for _, s := range a.Servers {
		if _, _, err := SplitServer(s); err != nil {
			return err
		}
	}
	switch {
	case a.ID == DeviceID{}:
		return errors.New("syncthing: no device ID to announce")
	case a.Local == nil && len(a.Servers) == 0:
		return errors.New("syncthing: nobody to announce to: neither the local network nor a server")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now == nil { // else SetAddresses was called already
		all, err := announcedAll(a.Addresses)
		if err != nil {
			return err
		}
		a.now = all
	}
	a.changed, a.targets = nil, map[targetKey]*Target{}
	return nil
}

// packet returns the announcement as it is now.
func (a *Announcer) packet() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := Announcement{Device: Device{ID: a.ID, Addresses: a.now}}
	return all.Append(nil)
}

// subscribe returns a channel that gets a value when what is announced changed.
func (a *Announcer) subscribe() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := make(chan struct{}, 1)
	a.changed = append(a.changed, c)
	return c
}

// poke tells all subscribers. The caller holds the mutex.
func (a *Announcer) poke() {
	for _, c := range a.changed {
		select {
		case c <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// follow has servers told when the machine's addresses change. (A Listener follows links by itself.)
func (a *Announcer) follow(links <-chan []packet.Link) {
	var last []netip.Prefix
	for now := range links {
		var all []netip.Prefix
		for _, l := range now {
			if l.Up() {
				all = append(all, l.Prefixes...)
			}
		}
		if last != nil && !slices.Equal(last, all) {
			a.mu.Lock()
			a.poke()
			a.mu.Unlock()
		}
		last = append([]netip.Prefix{}, all...)
	}
}

// record notes how an announcement went; sent is when it was sent, zero if it wasn't.
func (a *Announcer) record(link, server string, to netip.AddrPort, sent time.Time, err error) {
	a.mu.Lock()
	key := targetKey{link, server, to}
	t := a.targets[key]
	if t == nil {
		t = &Target{Link: link, Server: server, Addr: to}
		a.targets[key] = t
	}
	if !sent.IsZero() {
		t.Sent++
		t.Last = sent
	}
	t.Err = err
	now := *t
	a.mu.Unlock()
	if a.Told != nil {
		a.telling.Lock()
		defer a.telling.Unlock()
		a.Told(now)
	}
}

// forget takes targets out that are no more.
func (a *Announcer) forget(gone func(Target) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.targets, func(_ targetKey, t *Target) bool { return gone(*t) })
}
