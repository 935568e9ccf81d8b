package broker

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn stands between a client's connection and mochi. What is written goes
// into a bounded buffer that a goroutine of its own empties, so that who
// publishes never waits for who listens; Write waits only when it is full. A
// client that takes nothing for a while is cut off. The first packet must be a
// CONNECT of sensible size, and come soon.
type conn struct {
	net.Conn
	stall   time.Duration
	full    int // bytes at which Write waits
	stalled func()
	session atomic.Pointer[session] // when the client was let in

	verified bool   // the client has shown a certificate
	name     string // its common name

	first [5]byte // the fixed header, while it isn't whole
	seen  int     // bytes of it; -1 when it was judged

	mu      sync.Mutex
	changed sync.Cond // pending got shorter, or the connection ended
	pending []byte
	closing bool // nothing more may be written; what is pending still goes
	err     error
	wake    chan struct{}
	done    chan struct{} // the writer has ended
}

var errNotConnect = errors.New("the first packet is no CONNECT of sensible size")

func newConn(c net.Conn, l Limits, stalled func()) *conn {
	x := &conn{Conn: c, stall: l.Stall, full: l.WriteBuffer, stalled: stalled, wake: make(chan struct{}, 1), done: make(chan struct{})}
	x.changed.L = &x.mu
	_ = c.SetReadDeadline(time.Now().Add(l.ConnectTimeout)) // a failure shows at the first read
	go x.writer()
	return x
}

// Read reads what the client says.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.seen >= 0 && n > 0 {
		c.seen += copy(c.first[c.seen:], p[:n])
		if bad := c.judge(); bad != nil {
			return 0, bad
		}
	}
	if err != nil && c.isClosing() {
		err = net.ErrClosed // and not the deadline by which Close ends reading
	}
	return n, err
}

// judge looks at the fixed header of the first packet, MQTT 5 §2.1: its type,
// and its length as a variable byte integer.
func (c *conn) judge() error {
	if c.first[0] != 1<<4 {
		return errNotConnect
	}
	length, shift := 0, 0
	for _, b := range c.first[1:c.seen] {
		length |= int(b&0x7f) << shift
		shift += 7
		if b < 0x80 {
			c.seen = -1
			if length > maxConnect {
				return errNotConnect
			}
			return nil
		}
	}
	if c.seen == len(c.first) {
		return errNotConnect
	}
	return nil
}

// Write queues p. It waits while the buffer is full.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) >= c.full && c.err == nil && !c.closing {
		c.changed.Wait()
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case c.closing:
		return 0, net.ErrClosed
	}
	c.pending = append(c.pending, p...)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

// waitRoom waits until half of the buffer is free.
func (c *conn) waitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) >= c.full/2 && c.err == nil && !c.closing {
		c.changed.Wait()
	}
	if c.closing {
		return net.ErrClosed
	}
	return c.err
}

// roomy says whether Write wouldn't wait.
func (c *conn) roomy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) < c.full && c.err == nil && !c.closing
}

func (c *conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// backlog says whether anything waits for the client to take it.
func (c *conn) backlog() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) > 0
}

const (
	lastWords  = time.Second // for what is pending when a connection is closed
	keptBuffer = 64 << 10    // bytes; larger ones are given back
	writeChunk = 64 << 10    // bytes, for each of which a client has Limits.Stall
)

// writer empties the buffer into the connection until it ends.
func (c *conn) writer() {
	defer close(c.done)
	defer c.Conn.Close()
	var out []byte
	for {
		c.mu.Lock()
		out, c.pending = c.pending, out[:0]
		closing := c.closing
		c.changed.Broadcast()
		c.mu.Unlock()
		if len(out) == 0 {
			if closing {
				return
			}
			<-c.wake
			continue
		}
		if err := c.send(out, closing); err != nil {
			c.mu.Lock()
			c.err, c.pending = err, nil
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		if cap(out) > keptBuffer {
			out = nil
		}
	}
}

func (c *conn) send(out []byte, closing bool) error {
	for len(out) > 0 {
		patience := c.stall
		if closing {
			patience = lastWords
		}
		if err := c.Conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := c.Conn.Write(out[:min(len(out), writeChunk)])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && !closing {
				c.stalled()
			}
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		out = out[n:]
	}
	return nil
}

// SetDeadline sets that for reading; writing has its own.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writing has its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close ends the connection: who reads is freed at once, what is pending has a
// moment more.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closing = true
	c.changed.Broadcast()
	c.mu.Unlock()
	_ = c.Conn.SetReadDeadline(time.Now().Add(-time.Second)) // it is over either way
	_ = c.Conn.SetWriteDeadline(time.Now().Add(lastWords))
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// abort ends the connection with nothing more said.
func (c *conn) abort() {
	_ = c.Conn.Close()
	_ = c.Close()
}
