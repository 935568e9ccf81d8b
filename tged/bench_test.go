package tged_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// busyConn always has a full batch of requests, until n of them were read.
type busyConn struct {
	n       int
	data    []byte
	replies int
	done    context.CancelFunc
	closed  chan struct{}
}

func (c *busyConn) ReadBatch(d []packet.Datagram) (int, error) {
	if c.n <= 0 {
		c.done()
		<-c.closed
		return 0, net.ErrClosed
	}
	n := min(len(d), c.n)
	c.n -= n
	for i := range d[:n] {
		d[i] = packet.Datagram{
			Data: c.data, Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(c.n >> 8), byte(c.n)}), 40000),
			Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), tged.Port),
		}
	}
	return n, nil
}

func (c *busyConn) WriteBatch(d []packet.Datagram) (int, error) {
	c.replies += len(d)
	return len(d), nil
}

func (c *busyConn) Close() error { close(c.closed); return nil }

// BenchmarkServer is what a request costs without its sockets: 10 µs would be
// 100,000 in a second.
func BenchmarkServer(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	c := &busyConn{n: b.N, data: []byte(canonical), done: cancel, closed: make(chan struct{})}
	s := &tged.Server{
		Services: services(b), PerSource: 1e6, Total: 1e9,
		Links: func(context.Context) (<-chan []packet.Link, error) {
			links := make(chan []packet.Link, 1)
			links <- []packet.Link{{Index: 1, Name: "eth0", Flags: net.FlagUp | net.FlagRunning, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}}}
			return links, nil
		},
		Listen: func(packet.Link, uint16) (tged.Conn, error) { return c, nil },
	}
	b.ReportAllocs()
	if err := s.Run(ctx); err != nil {
		b.Fatal(err)
	}
	if c.replies != b.N {
		b.Errorf("%d replies to %d requests", c.replies, b.N)
	}
}
