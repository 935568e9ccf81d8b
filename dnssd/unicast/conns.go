package unicast

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A port of ours serves portUses queries within portLife, one after the other,
	// and not more: who wants to slip in an answer has to guess it, together with the
	// query's ID, before it is another one (RFC 5452 §9.2).
	portLife = time.Second
	portUses = 64
	// streamLife is how long a TCP connection may wait for the next query (RFC 7766 §6.2.3).
	streamLife = 2 * time.Second
	// maxStreams bounds the TCP connections at a time: servers serve few.
	maxStreams = 4
)

// conns are connections to DNS servers. While somebody holds them open one that
// has done its work serves the next query soon after.
type conns struct {
	dial    DialFunc
	streams chan struct{} // holds one for each TCP connection in use
	sent    atomic.Uint64 // messages
	byTCP   atomic.Uint64 // of these

	mu      sync.Mutex
	holders int
	idle    []*conn // the one that has waited longest first
	sweep   *time.Timer
}

type conn struct {
	net.Conn
	network string
	server  netip.AddrPort
	opened  time.Time
	waits   time.Time // since when
	uses    int
	buf     []byte
}

func newConns(dial DialFunc) *conns {
	return &conns{dial: dial, streams: make(chan struct{}, maxStreams)}
}

// until is when the connection may no longer be used.
func (c *conn) until() time.Time {
	if c.network == "tcp" {
		return c.waits.Add(streamLife)
	}
	return c.opened.Add(portLife)
}

// take returns a connection that waits, or a new one.
func (cs *conns) take(ctx context.Context, network string, server netip.AddrPort) (*conn, error) {
	now := time.Now()
	cs.mu.Lock()
	for i, c := range slices.Backward(cs.idle) {
		if c.network == network && c.server == server && c.until().After(now) {
			cs.idle = slices.Delete(cs.idle, i, i+1)
			cs.mu.Unlock()
			return c, nil
		}
	}
	cs.mu.Unlock()
	return cs.open(ctx, network, server)
}

func (cs *conns) open(ctx context.Context, network string, server netip.AddrPort) (*conn, error) {
	if cs.dial == nil {
		return nil, errors.New("unicast: Servers without Dial")
	}
	c, err := cs.dial(ctx, network, server.String())
	if err != nil {
		return nil, failed(ctx, server, err)
	}
	return &conn{Conn: c, network: network, server: server, opened: time.Now()}, nil
}

// put has a connection wait for the next query, if somebody holds it open.
func (cs *conns) put(c *conn) {
	c.waits = time.Now()
	c.uses++
	if c.network == "udp" && c.uses >= portUses || !c.until().After(c.waits) {
		c.Close()
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.holders == 0 {
		c.Close()
		return
	}
	cs.idle = append(cs.idle, c)
	if cs.sweep == nil {
		cs.sweep = time.AfterFunc(c.until().Sub(c.waits), cs.tidy)
	}
}

// tidy closes the connections that have waited for too long.
func (cs *conns) tidy() {
	now := time.Now()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sweep = nil
	cs.idle = slices.DeleteFunc(cs.idle, func(c *conn) bool {
		if c.until().After(now) {
			return false
		}
		c.Close()
		return true
	})
	if len(cs.idle) > 0 {
		next := cs.idle[0].until()
		for _, c := range cs.idle {
			if u := c.until(); u.Before(next) {
				next = u
			}
		}
		cs.sweep = time.AfterFunc(next.Sub(now), cs.tidy)
	}
}

// hold has connections wait for the next query until release.
func (cs *conns) hold() {
	cs.mu.Lock()
	cs.holders++
	cs.mu.Unlock()
}

// release closes the connections that wait if nobody else holds them open.
func (cs *conns) release() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.holders--; cs.holders > 0 {
		return
	}
	for _, c := range cs.idle {
		c.Close()
	}
	cs.idle = nil
	if cs.sweep != nil {
		cs.sweep.Stop()
		cs.sweep = nil
	}
}

// past is a deadline that ends whatever waits.
var past = time.Unix(1, 0)

// use does something with a connection, which ctx ends.
func (cs *conns) use(ctx context.Context, c *conn, do func(*conn) (reply, error)) (reply, error) {
	end, _ := ctx.Deadline()
	c.SetDeadline(end)                                             //nolint:errcheck // the watch below ends it, too
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(past) }) //nolint:errcheck // then it has no deadlines
	got, err := do(c)
	if !stop() || err != nil {
		c.Close()
	} else {
		cs.put(c)
	}
	return got, err
}
