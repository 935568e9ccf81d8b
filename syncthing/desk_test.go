package syncthing

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// rounds is a Conn that hands out full batches of requests at random, a number of times.
type rounds struct {
	left    int
	random  *rand.Rand
	devices uint32
	packets [serveBatch][]byte
	sent    int
}

func (c *rounds) ReadBatch(d []packet.Datagram) (int, error) {
	if c.left--; c.left < 0 {
		return 0, net.ErrClosed
	}
	for i, p := range c.packets {
		binary.BigEndian.PutUint32(p[8:], c.random.Uint32N(c.devices))
		d[i] = packet.Datagram{Data: p, Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 22000), Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), GlobalPort)}
	}
	return len(c.packets), nil
}

func (c *rounds) WriteBatch(d []packet.Datagram) (int, error) {
	c.sent += len(d)
	return len(d), nil
}

func (c *rounds) Close() error { return nil }

// newRounds makes a server that knows a number of devices, and a Conn for it.
func newRounds(devices uint32, query bool) (*serving, *rounds) {
	r := &serving{server: &Server{}, stats: &counters{}, directory: &Directory{Unlimited: true}, limit: newLimiter(1e9)}
	d := Device{Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 22000)}}
	for i := range devices {
		binary.BigEndian.PutUint32(d.ID[:], i)
		r.directory.Put(time.Now(), &d, netip.AddrFrom4([4]byte{192, 0, 2, 1}))
	}
	c := &rounds{random: rand.New(rand.NewPCG(1, 2)), devices: devices}
	for i := range c.packets {
		if c.packets[i] = (Query{}).Append(nil); !query {
			c.packets[i] = (&Announcement{Device: d}).Append(nil)
		}
	}
	return r, c
}

// A server takes memory for no request, good or bad.
func TestServingAllocatesNothing(t *testing.T) {
	for _, query := range []bool{true, false} {
		r, c := newRounds(100, query)
		cut := c.packets[0][:30]
		k := newDesk()
		if n := testing.AllocsPerRun(100, func() {
			c.left = 1
			c.packets[1] = cut
			if err := r.batch(k, c); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("query: %v: %v allocations", query, n)
		}
		if n := r.stats.by[invalid].Load(); n < 100 {
			t.Errorf("%d were invalid", n)
		}
	}
}

// BenchmarkServe is what a request costs without the kernel.
func BenchmarkServe(b *testing.B) {
	for _, devices := range []uint32{10_000, 200_000, 1_000_000} {
		for _, query := range []bool{true, false} {
			b.Run(fmt.Sprintf("devices=%d/query=%v", devices, query), func(b *testing.B) {
				r, c := newRounds(devices, query)
				c.left = b.N
				b.ResetTimer()
				_ = r.read(c) // until it is closed
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*serveBatch), "ns/request")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
