package syncthing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

const (
	// resolveWithin bounds how long a server's name is looked for.
	resolveWithin = 10 * time.Second
	firstWait     = time.Minute // after a failure; each time twice as long
	// What changes within a moment is announced once, and servers aren't told of changes more often
	// than this.
	settle    = time.Second
	changeGap = 10 * time.Second
)

// askAfter returns how long after the announcement a server is asked for the device, and after each
// question again; last, how long it has to answer. Old clients ask once, after a second.
func askAfter() []time.Duration {
	return []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second, 2 * time.Second}
}

// telling is the global part of a running Announcer.
type telling struct {
	announcer *Announcer
	ctx       context.Context
	log       *slog.Logger
	readers   sync.WaitGroup

	mu    sync.Mutex
	posts map[bool]*post                   // by whether it is IPv6
	waits map[netip.AddrPort]chan struct{} // for what a server says of the device; closed when it does
}

// post is a socket to servers of one address family.
type post struct {
	conn Conn
	mu   sync.Mutex // WriteBatch is called by one at a time
}

// run tells each server in a goroutine of its own until ctx is done, or once.
func (g *telling) run() error {
	var tasks sync.WaitGroup
	defer g.readers.Wait()
	defer g.close()
	stop := context.AfterFunc(g.ctx, g.close)
	defer stop()
	errs := make([]error, len(g.announcer.Servers))
	for i, s := range g.announcer.Servers {
		changed := g.announcer.subscribe()
		tasks.Go(func() { errs[i] = g.keep(s, changed) })
	}
	tasks.Wait()
	return errors.Join(errs...)
}

func (g *telling) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.posts {
		_ = p.conn.Close() // nothing is left to lose
	}
	clear(g.posts)
}

// keep tells a server again and again. Only if it is to be told once it returns how that went.
func (g *telling) keep(server string, changed <-chan struct{}) error {
	failures := 0
	var said error
	var last []netip.AddrPort
	for {
		begun := time.Now()
		err := g.tell(server, &last)
		switch {
		case g.ctx.Err() != nil:
			return nil
		case g.announcer.Once:
			return err
		case err != nil:
			failures++
			if said == nil || said.Error() != err.Error() {
				g.log.Warn("Syncthing server not told", "addr", server, "err", err)
			}
		case failures > 0:
			failures = 0
			g.log.Info("Syncthing server told again", "addr", server)
		}
		said = err
		if !g.wait(begun, g.pause(failures), changed) {
			return nil
		}
	}
}

// pause is the time from one announcement to the next, after so many failures in a row.
func (g *telling) pause(failures int) time.Duration {
	every := g.announcer.GlobalEvery
	if every <= 0 {
		every = DefaultGlobalEvery
	}
	if failures == 0 {
		return every
	}
	return min(every, firstWait<<min(failures-1, 16))
}

// wait waits until the next announcement is due: a pause after the last began, or sooner after
// a change. It returns false when ctx is done.
func (g *telling) wait(begun time.Time, pause time.Duration, changed <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(begun.Add(pause)))
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
			changed = nil // the rest of it is told then, too
			soon := max(settle, time.Until(begun.Add(changeGap)))
			timer.Reset(min(soon, max(0, time.Until(begun.Add(pause)))))
		}
	}
}

// tell announces the device at each of a server's addresses; last are those that it had when its name
// could be resolved. It fails if none of them answers for the device afterwards.
func (g *telling) tell(server string, last *[]netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(g.ctx, resolveWithin)
	addrs, err := ResolveServer(ctx, server, g.announcer.Resolve)
	cancel()
	switch {
	case g.ctx.Err() != nil:
		return g.ctx.Err()
	case err == nil:
		*last = addrs
	case len(*last) > 0: // the DNS is away, the server need not be
		addrs = *last
		g.log.Debug("Syncthing server's last addresses used", "addr", server, "err", err)
	}
	g.announcer.forget(func(t Target) bool { return t.Server == server && !slices.Contains(addrs, t.Addr) })
	if len(addrs) == 0 {
		g.announcer.record("", server, netip.AddrPort{}, time.Time{}, err)
		return err
	}
	data := g.announcer.packet()
	errs := make([]error, len(addrs))
	var tasks sync.WaitGroup
	for i, to := range addrs {
		tasks.Go(func() { errs[i] = g.tellOne(server, to, data) })
	}
	tasks.Wait()
	if slices.Contains(errs, nil) {
		return nil
	}
	return errors.Join(errs...)
}

func (g *telling) tellOne(server string, to netip.AddrPort, data []byte) error {
	sent := time.Now()
	err := g.send(to, data)
	if err != nil {
		sent = time.Time{}
	} else {
		err = g.confirm(to)
	}
	if g.ctx.Err() == nil {
		g.announcer.record("", server, to, sent, err)
	}
	return err
}

// confirm asks a server for the device that it was told of.
func (g *telling) confirm(to netip.AddrPort) error {
	key := netip.AddrPortFrom(to.Addr().WithZone(""), to.Port())
	g.mu.Lock()
	heard, others := g.waits[key]
	if !others {
		heard = make(chan struct{})
		g.waits[key] = heard
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(g.waits, key)
		}()
	}
	g.mu.Unlock()
	query := Query{ID: g.announcer.ID}.Append(nil)
	for n, pause := range askAfter() {
		if n > 0 {
			if err := g.send(to, query); err != nil {
				return err
			}
		}
		select {
		case <-g.ctx.Done():
			return g.ctx.Err()
		case <-heard:
			return nil
		case <-time.After(pause):
		}
	}
	select {
	case <-heard: // in time: it was we who were late
		return nil
	default:
		return fmt.Errorf("syncthing: %v: %w", to, ErrUnconfirmed)
	}
}

// send sends a packet to a server, always from the same socket.
func (g *telling) send(to netip.AddrPort, data []byte) error {
	p, err := g.post(to)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err = p.conn.WriteBatch([]packet.Datagram{{Data: data, Dst: to}})
	return err
}

// post returns the socket for a server's family, which it opens if need be.
func (g *telling) post(to netip.AddrPort) (*post, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v6 := to.Addr().Is6()
	if p := g.posts[v6]; p != nil {
		return p, nil
	}
	if g.ctx.Err() != nil {
		return nil, g.ctx.Err()
	}
	c, err := g.announcer.Listen(to)
	if err != nil {
		return nil, err
	}
	p := &post{conn: c}
	g.posts[v6] = p
	g.readers.Go(func() {
		err := g.read(c)
		_ = c.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.posts[v6] == p { // not closed by us
			delete(g.posts, v6)
			g.log.Debug("Syncthing socket lost", "err", err)
		}
	})
	return p, nil
}

// read takes in what servers say of the device until the socket is closed.
func (g *telling) read(c Conn) error {
	var in [8]packet.Datagram
	var a Announcement
	for {
		n, err := c.ReadBatch(in[:])
		if err != nil {
			return err
		}
		for _, d := range in[:n] {
			if a.Parse(d.Data) != nil || a.ID != g.announcer.ID {
				continue
			}
			g.mu.Lock()
			if heard, ok := g.waits[d.Src]; ok {
				select {
				case <-heard: // it said so already
				default:
					close(heard)
				}
			}
			g.mu.Unlock()
		}
	}
}
