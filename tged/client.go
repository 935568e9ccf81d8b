package tged

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// DefaultTimeout is how long a Client waits for answers.
const DefaultTimeout = 2 * time.Second

// Why a Client has no answer.
var (
	// ErrInvalid says that there were answers, and all of them said INVALID.
	ErrInvalid = errors.New("tged: no server knows the service")
	// ErrNoAnswer says that no server answered.
	ErrNoAnswer = errors.New("tged: no answer")
)

// Client asks for services. Links and Listen must be set. It may be used by
// several goroutines at once; each question has sockets of its own.
type Client struct {
	// Links returns the links to ask on. A broadcast is sent on all that can carry one,
	// or on the loopback link if there is no other.
	Links func() ([]packet.Link, error)
	// Listen opens a link, as lan.ListenBroadcast does; it is asked for port 0, a free one.
	Listen func(link packet.Link, port uint16) (Conn, error)
	// Server is asked alone. The zero AddrPort means all servers, by broadcast.
	Server  netip.AddrPort
	Port    uint16        // of servers that are asked by broadcast; 0 means Port
	Timeout time.Duration // 0 means DefaultTimeout
	Log     *slog.Logger  // nil is silent
}

// Ask returns the first REPLY. A REPLY is preferred over any INVALID, however early that came.
// The error wraps ErrInvalid or ErrNoAnswer if there was none in time, and ctx's error if that ended first.
func (c *Client) Ask(ctx context.Context, service string) (Answer, error) {
	for a, err := range c.All(ctx, service) {
		return a, err
	}
	return Answer{}, ErrNoAnswer // not reached
}

// All yields the REPLY of every server as it comes, until the timeout is over or ctx
// ends. If there is none it yields one error, as Ask returns it.
func (c *Client) All(ctx context.Context, service string) iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		if err := c.ask(ctx, service, func(a Answer) bool { return yield(a, nil) }); err != nil {
			yield(Answer{}, err)
		}
	}
}

// heard is a datagram that came in.
type heard struct {
	from netip.AddrPort
	link packet.Link
	data []byte
}

// ask asks until the timeout is over or take returns false. It returns an error
// if there was nothing to take.
func (c *Client) ask(ctx context.Context, service string, take func(Answer) bool) error {
	if err := CheckName(service); err != nil {
		return fmt.Errorf("tged: ask: %w", err)
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ours, cancel := context.WithTimeout(ctx, timeout)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	routes, err := c.open()
	if err != nil {
		return err
	}
	defer func() {
		for _, r := range routes {
			_ = r.conn.Close() // nothing is left to lose
		}
	}()
	in := make(chan heard)
	for _, r := range routes {
		tasks.Go(func() { r.read(ours, in) })
	}

	m := Message{Method: Discovery, Version: V1, Fields: []Field{{"RQ", service}}}
	request := m.Append(nil, Compact)
	q := newQuestion(time.Now(), service, c.Server)
	sent := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ours.Done():
			switch {
			case len(q.replied) > 0:
				return nil
			case ctx.Err() != nil:
				return fmt.Errorf("tged: ask for %s: %w", service, ctx.Err())
			}
			return q.failure()
		case now := <-timer.C:
			if q.due(now) {
				if err := c.send(routes, request); err == nil {
					sent = true
				} else if !sent { // later on it's a link that went down, and may come back
					return err
				}
			}
			timer.Reset(time.Until(q.resend))
		case h := <-in:
			if a, ok := q.hear(h.from, h.data); ok {
				a.Link = h.link
				if !take(a) {
					return nil
				}
			}
		}
	}
}

// route is an open link and where the question is sent on it.
type route struct {
	link packet.Link
	conn Conn
	to   netip.AddrPort
}

// open opens the links that the question is sent on.
func (c *Client) open() ([]route, error) {
	links, err := c.Links()
	if err != nil {
		return nil, fmt.Errorf("tged: list links: %w", err)
	}
	chosen := c.broadcasts(links)
	if c.Server.IsValid() {
		chosen = c.towards(links)
	}
	if len(chosen) == 0 {
		return nil, errors.New("tged: no link to ask on: none is up and has an IPv4 address")
	}
	var open []route
	var errs []error
	for _, r := range chosen {
		if r.conn, err = c.Listen(r.link, 0); err != nil {
			errs = append(errs, err)
			continue
		}
		open = append(open, r)
	}
	if len(open) == 0 {
		return nil, fmt.Errorf("tged: no link could be opened: %w", errors.Join(errs...))
	}
	if len(errs) > 0 {
		c.logger().Warn("can't ask on all links", "err", errors.Join(errs...))
	}
	return open, nil
}

// broadcasts returns the links that can carry a broadcast, and its address: the
// limited one, which needs no route. A machine without any such link asks itself.
func (c *Client) broadcasts(links []packet.Link) []route {
	port := c.Port
	if port == 0 {
		port = Port
	}
	var wire, self []route
	for _, l := range links {
		if !l.Up() {
			continue
		}
		for _, p := range l.Prefixes {
			a, ok := broadcastOf(p)
			switch {
			case !ok:
				continue
			case l.Flags&net.FlagLoopback != 0: // knows its subnet's broadcast only
				self = append(self, route{link: l, to: netip.AddrPortFrom(a, port)})
			case l.Flags&net.FlagBroadcast != 0:
				wire = append(wire, route{link: l, to: netip.AddrPortFrom(limitedBroadcast, port)})
			default:
				continue
			}
			break
		}
	}
	if len(wire) > 0 {
		return wire
	}
	return self
}

// towards returns the links that lead to the server: that with the server's
// subnet, or all that could have a route.
func (c *Client) towards(links []packet.Link) []route {
	a := c.Server.Addr()
	var near, far []route
	for _, l := range links {
		r := route{link: l, to: c.Server}
		loopback := l.Flags&net.FlagLoopback != 0
		switch {
		case !l.Up():
		case l.OnLink(a):
			near = append(near, r)
		case !loopback && slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }):
			far = append(far, r)
		}
	}
	if len(near) > 0 {
		return near
	}
	return far
}

// send sends the question on all links. It fails if none takes it.
func (c *Client) send(routes []route, request []byte) error {
	var errs []error
	for _, r := range routes {
		if _, err := r.conn.WriteBatch([]packet.Datagram{{Data: request, Dst: r.to}}); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(routes) {
		return fmt.Errorf("tged: ask: %w", errors.Join(errs...))
	}
	if len(errs) > 0 {
		c.logger().Debug("question not sent on all links", "err", errors.Join(errs...))
	}
	return nil
}

func (c *Client) logger() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// read hands over what could be an answer until the socket is closed.
func (r *route) read(ctx context.Context, in chan<- heard) {
	var grams [readBatch]packet.Datagram
	for {
		n, err := r.conn.ReadBatch(grams[:])
		if err != nil {
			return
		}
		for _, d := range grams[:n] {
			if len(d.Data) > MaxRequest {
				continue
			}
			select {
			case in <- heard{from: d.Src, link: r.link, data: slices.Clone(d.Data)}:
			case <-ctx.Done():
				return
			}
		}
	}
}
