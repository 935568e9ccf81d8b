package unicast

import (
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
// truncated or tcp says so, and returns the answer to it.
func exchange(ctx context.Context, dial DialFunc, server netip.AddrPort, r request, tcp bool, timeout time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if tcp || len(r.data) > payloadSize {
		return exchangeTCP(ctx, dial, server, r)
	}
	got, err := exchangeUDP(ctx, dial, server, r)
	if err == nil && !got.Truncated {
		return got, nil
	}
	if err != nil && !errors.Is(err, errTruncated) {
		return reply{}, err
	}
	return exchangeTCP(ctx, dial, server, r)
}

// errTruncated says that an answer was cut in the middle of a record.
var errTruncated = errors.New("unicast: truncated answer")

func exchangeUDP(ctx context.Context, dial DialFunc, server netip.AddrPort, r request) (reply, error) {
	conn, end, err := open(ctx, dial, "udp", server)
	if err != nil {
		return reply{}, err
	}
	defer end()
	if _, err := conn.Write(r.data); err != nil {
		return reply{}, failed(ctx, server, err)
	}
	buf := make([]byte, readSize+1)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, failed(ctx, server, err)
		}
		got, ok, err := r.check(buf[:n])
		if n > readSize && ok {
			return reply{}, errTruncated
		}
		if ok || err != nil {
			return got, err
		}
	}
	return reply{}, failed(ctx, server, errStrays)
}

func exchangeTCP(ctx context.Context, dial DialFunc, server netip.AddrPort, r request) (reply, error) {
	conn, end, err := open(ctx, dial, "tcp", server)
	if err != nil {
		return reply{}, err
	}
	defer end()
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(r.data)), uint16(len(r.data))) // RFC 1035 §4.2.2
	if _, err := conn.Write(append(out, r.data...)); err != nil {
		return reply{}, failed(ctx, server, err)
	}
	for range maxStrays {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return reply{}, failed(ctx, server, err)
		}
		buf := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, buf); err != nil {
			return reply{}, failed(ctx, server, err)
		}
		got, ok, err := r.check(buf)
		if errors.Is(err, errTruncated) {
			err = errMalformed // by TCP there is no room to run out of
		}
		if ok || err != nil {
			return got, err
		}
	}
	return reply{}, failed(ctx, server, errStrays)
}

// check returns the message if it answers the request. An error says that it
// does but can't be read.
func (r request) check(b []byte) (reply, bool, error) {
	const header = 12
	if len(b) < header || b[0] != r.data[0] || b[1] != r.data[1] || b[2]&0x80 == 0 || b[2]&0x78 != r.data[2]&0x78 {
		return reply{}, false, nil
	}
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

// open dials and has the connection end with ctx.
func open(ctx context.Context, dial DialFunc, network string, server netip.AddrPort) (net.Conn, func(), error) {
	if dial == nil {
		return nil, nil, errors.New("unicast: Servers without Dial")
	}
	conn, err := dial(ctx, network, server.String())
	if err != nil {
		return nil, nil, failed(ctx, server, err)
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end) //nolint:errcheck // the watch below ends it, too
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() {
		stop()
		conn.Close()
	}, nil
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
