package bench

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// replayConn hands the engine the same datagram over and over, in batches.
type replayConn struct {
	data     []byte
	src, dst netip.AddrPort
	todo     chan int // packets to deliver
	closed   chan struct{}
}

func (c *replayConn) ReadBatch(d []packet.Datagram) (int, error) {
	select {
	case n := <-c.todo:
		n = min(n, len(d))
		for i := range d[:n] {
			d[i] = packet.Datagram{
				Data: c.data, Link: 2, TTL: 255,
				Src: c.src, Dst: c.dst,
			}
		}
		return n, nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *replayConn) WriteBatch(d []packet.Datagram) (int, error) { return len(d), nil }
func (c *replayConn) Close() error                                { close(c.closed); return nil }

// applied counts the packets and changes that an engine heard of.
type applied struct {
	want    int
	done    chan struct{}
	changes int
}

func (a *applied) Heard(*mdns.Packet) {
	if a.want--; a.want == 0 {
		a.done <- struct{}{}
	}
}

func (a *applied) Changed(mdns.Event) { a.changes++ }

// engineHears runs an engine that hears the datagram whenever deliver is called.
func engineHears(b *testing.B, data []byte) (deliver func(n int), seen *applied) {
	conn := &replayConn{
		data: data, todo: make(chan int), closed: make(chan struct{}),
		src: netip.MustParseAddrPort("10.0.0.5:5353"), dst: mdns.IPv4.Group(),
	}
	seen = &applied{done: make(chan struct{}, 1)}
	link := packet.Link{
		Index: 2, Name: "eth0", MTU: 1500, Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	}
	e := &mdns.Engine{
		Links: func(context.Context) (<-chan []packet.Link, error) {
			c := make(chan []packet.Link, 1)
			c <- []packet.Link{link}
			return c, nil
		},
		Listen: func(_ packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			if g.Addr().Is6() {
				return nil, errors.New("no IPv6")
			}
			return conn, nil
		},
		Observers: []mdns.Observer{seen},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return func(n int) {
		for n > 0 {
			k := min(n, 32) // as many as package lan reads at once
			seen.want = k
			conn.todo <- k
			<-seen.done
			n -= k
		}
	}, seen
}

// BenchmarkMDNSResponse measures a response of about 430 bytes with PTR, SRV,
// TXT, A and AAAA that tells nothing new. "engine" is the whole way of it
// through mdns.Engine: read, copied, checked, handed over, looked up and
// refreshed in the cache. "miekg" only unpacks it. "ratio" does both in turn and
// says how many times as fast the engine is, by processor time, which other
// programs on the machine don't change. All on one processor: the engine's two
// goroutines shall not share the work, nor wait for each other's processor.
func BenchmarkMDNSResponse(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	data := mdnsResponse(b)
	unpack := func(n int) {
		var m dns.Msg
		for range n {
			if err := m.Unpack(data); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("engine", func(b *testing.B) {
		deliver, seen := engineHears(b, data)
		deliver(64)
		before := seen.changes
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		b.ResetTimer()
		deliver(b.N)
		b.StopTimer()
		if before != 5 {
			b.Fatalf("the cache holds %d records, want 5", before)
		}
	})
	b.Run("miekg", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		unpack(b.N)
	})
	b.Run("ratio", func(b *testing.B) {
		deliver, _ := engineHears(b, data)
		deliver(64)
		const turn = 3200
		var ours, theirs time.Duration
		for b.Loop() {
			runtime.GC() // not timed: what one leaves behind is not the other's to clear
			start := processorTime(b)
			deliver(turn)
			middle := processorTime(b)
			unpack(turn)
			ours += middle - start
			theirs += processorTime(b) - middle
		}
		b.ReportMetric(float64(theirs)/float64(ours), "times-as-fast")
		b.ReportMetric(float64(ours)/float64(turn*b.N), "ns/packet")
	})
}

// processorTime returns the processor time that this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
