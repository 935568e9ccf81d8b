package unicast

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// DialFunc opens a connection to a server: network is "udp" or "tcp", address
// one that netip.ParseAddrPort reads. A "udp" connection is connected, from a
// port that nobody can guess, so that only the server's packets come back:
// net.Dialer.DialContext does that.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

const (
	// payloadSize is the size of answers that we ask for by EDNS: what passes
	// any path that IPv6 has without fragments.
	payloadSize = 1232
	// readSize is what is read of an answer by UDP. A longer one counts as
	// truncated.
	readSize = 4096
	// maxStrays is how many packets that are no answer to the query may come
	// on a connection. Only an attacker or a broken server sends more.
	maxStrays = 32
)

var (
	errStrays    = errors.New("unicast: too many packets that answer something else")
	errMalformed = errors.New("unicast: the answer can't be read")
)

// request is a message that goes to a server, and how its answer is known.
type request struct {
	data []byte
	// mine says whether a well-formed message answers this request. ID, QR and
	// opcode fit already.
	mine func(*dnswire.Message) bool
}

// reply is what came back.
type reply struct {
	dnswire.Message
	data []byte
}

// exchange sends a request to a server by UDP, or TCP where the answer is
// truncated or tcp says so, and returns the answer to it. Either has the time.
func (cs *conns) exchange(ctx context.Context, server netip.AddrPort, r request, tcp bool, timeout time.Duration) (reply, error) {
	if tcp || len(r.data) > payloadSize {
		return cs.exchangeTCP(ctx, server, r, timeout)
	}
	got, err := cs.exchangeUDP(ctx, server, r, timeout)
	if err == nil && !got.Truncated {
		return got, nil
	}
	if err != nil && !errors.Is(err, errTruncated) {
		return reply{}, err
	}
	return cs.exchangeTCP(ctx, server, r, timeout)
}

// errTruncated says that an answer was cut in the middle of a record.
var errTruncated = errors.New("unicast: truncated answer")

func (cs *conns) exchangeUDP(ctx context.Context, server netip.AddrPort, r request, timeout time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := cs.take(ctx, "udp", server)
	if err != nil {
		return reply{}, err
	}
	cs.sent.Add(1)
	return cs.use(ctx, c, func(c *conn) (reply, error) {
		if _, err := c.Write(r.data); err != nil {
			return reply{}, failed(ctx, server, err)
		}
		if c.buf == nil {
			c.buf = make([]byte, readSize+1)
		}
		for range maxStrays {
			n, err := c.Read(c.buf)
			if err != nil {
				return reply{}, failed(ctx, server, err)
			}
			got, ok, err := r.check(c.buf[:n])
			if n > readSize && ok {
				return reply{}, errTruncated
			}
			if ok || err != nil {
				return got, err
			}
		}
		return reply{}, failed(ctx, server, errStrays)
	})
}

func (cs *conns) exchangeTCP(ctx context.Context, server netip.AddrPort, r request, timeout time.Duration) (reply, error) {
	select {
	case cs.streams <- struct{}{}:
	case <-ctx.Done():
		return reply{}, failed(ctx, server, ctx.Err())
	}
	defer func() { <-cs.streams }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := cs.take(ctx, "tcp", server)
	if err != nil {
		return reply{}, err
	}
	cs.sent.Add(1)
	cs.byTCP.Add(1)
	used := c.uses > 0
	got, err := cs.use(ctx, c, r.overTCP(ctx))
	if used && err != nil && ctx.Err() == nil {
		// The server may close a connection at any time (RFC 7766 §6.2.4).
		if c, err = cs.open(ctx, "tcp", server); err != nil {
			return reply{}, err
		}
		cs.sent.Add(1)
		cs.byTCP.Add(1)
		return cs.use(ctx, c, r.overTCP(ctx))
	}
	return got, err
}

// overTCP sends the request on a connection and reads the answer.
func (r request) overTCP(ctx context.Context) func(*conn) (reply, error) {
	return func(c *conn) (reply, error) {
		out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(r.data)), uint16(len(r.data))) // RFC 1035 §4.2.2
		if _, err := c.Write(append(out, r.data...)); err != nil {
			return reply{}, failed(ctx, c.server, err)
		}
		for range maxStrays {
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return reply{}, failed(ctx, c.server, err)
			}
			buf := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, buf); err != nil {
				return reply{}, failed(ctx, c.server, err)
			}
			got, ok, err := r.check(buf)
			if errors.Is(err, errTruncated) {
				err = errMalformed // by TCP there is no room to run out of
			}
			if ok || err != nil {
				return got, err
			}
		}
		return reply{}, failed(ctx, c.server, errStrays)
	}
}

// check returns the message if it answers the request. An error says that it
// does but can't be read. b isn't kept.
func (r request) check(b []byte) (reply, bool, error) {
	const header = 12
	if len(b) < header || b[0] != r.data[0] || b[1] != r.data[1] || b[2]&0x80 == 0 || b[2]&0x78 != r.data[2]&0x78 {
		return reply{}, false, nil
	}
	b = bytes.Clone(b)
	m, err := dnswire.Parse(b)
	switch {
	case err != nil && b[2]&0x02 != 0: // TC
		return reply{}, true, errTruncated
	case err != nil:
		return reply{}, true, fmt.Errorf("%w: %w", errMalformed, err)
	case !r.mine(&m):
		return reply{}, false, nil
	}
	return reply{m, b}, true, nil
}

// failed says which server did not answer, and why. ctx's own end is preferred
// to what came of it.
func failed(ctx context.Context, server netip.AddrPort, err error) error {
	var t interface{ Timeout() bool }
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("unicast: %s: %w", server, ctx.Err())
	case ctx.Err() != nil, errors.As(err, &t) && t.Timeout():
		return fmt.Errorf("unicast: %s: %w", server, ErrNoAnswer)
	}
	return fmt.Errorf("unicast: %s: %w: %w", server, ErrNoAnswer, err)
}
