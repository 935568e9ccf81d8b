package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// answeringConn hands the engine what is put into in, and gives what it sends
// to sent.
type answeringConn struct {
	in     chan packet.Datagram
	closed chan struct{}

	mu   sync.Mutex
	sent func([]byte)
}

func (c *answeringConn) ReadBatch(d []packet.Datagram) (int, error) {
	select {
	case d[0] = <-c.in:
		return 1, nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *answeringConn) WriteBatch(d []packet.Datagram) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent != nil {
		for i := range d {
			c.sent(d[i].Data)
		}
	}
	return len(d), nil
}

func (c *answeringConn) Close() error { close(c.closed); return nil }

func (c *answeringConn) hear(sent func([]byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = sent
}

// peakMemory returns the most memory that the process ever had resident, in bytes.
func peakMemory(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kB); n == 1 {
			return kB * 1024
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}

func parsedName(b *testing.B, s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkTenThousandServices publishes 10,000 services on one link, in memory,
// and asks for all of them: "answer-ms" is the time from the query until
// the last PTR record of its answer was sent, with the delay of 20 to 120 ms
// that RFC 6762 §6 asks for and the pauses between bursts; "claim-ms" that until
// all names were probed and announced. "heap-MB" is what the engine keeps, and
// "peak-MB" the most memory that the process ever had, garbage, the publications and
// the benchmark included; "base-MB" is what it had before it began.
func BenchmarkTenThousandServices(b *testing.B) {
	const services = 10_000
	conn := &answeringConn{in: make(chan packet.Datagram), closed: make(chan struct{})}
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
		Family: mdns.IPv4,
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	base := peakMemory(b)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()

	service, host := parsedName(b, "_http._tcp.local"), parsedName(b, "server.local")
	meta := parsedName(b, "_services._dns-sd._udp.local")
	begin := time.Now()
	published := make([]*mdns.Published, services)
	for i := range published {
		published[i] = e.Publish(mdns.Publication{
			Label: fmt.Sprintf("Service number %d", i),
			Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
				instance, err := service.Prepend(label)
				if err != nil {
					return nil
				}
				txt, err := dnswire.NewTXT(instance, 0, "txtvers=1", "path=/", "version=1.2.3")
				if err != nil {
					return nil
				}
				return []mdns.Record{
					{RR: dnswire.NewPTR(service, instance, 0)},
					{RR: dnswire.NewPTR(meta, service, 0)},
					{RR: dnswire.NewSRV(instance, dnswire.SRV{Port: 8000, Target: host}, 0), Unique: true},
					{RR: txt, Unique: true},
				}
			},
		})
	}
	for _, p := range published {
		if _, err := p.Established(ctx); err != nil {
			b.Fatal(err)
		}
	}
	claim := time.Since(begin)
	time.Sleep(2500 * time.Millisecond) // the second announcement, and the second that follows it

	var query dnswire.Builder
	query.Reset(nil, dnswire.Header{}, 0)
	query.Question(service, dnswire.TypePTR, dnswire.ClassIN, false)
	ask := slices.Clone(query.Bytes())
	seen := make(map[string]bool, services)
	var answer, slowest time.Duration
	packets, bytes := 0, 0
	var key []byte
	for b.Loop() {
		clear(seen)
		done := make(chan struct{})
		start := time.Now()
		conn.hear(func(data []byte) {
			m, err := dnswire.Parse(data)
			if err != nil {
				b.Error(err)
				return
			}
			packets++
			bytes += len(data)
			for r := range m.Records() {
				if target, ok := r.PTR(); ok && r.Section == dnswire.Answer {
					key = target.AppendWire(key[:0])
					seen[string(key)] = true
				}
			}
			if len(seen) == services && done != nil {
				close(done)
				done = nil
			}
		})
		wait := done
		conn.in <- packet.Datagram{Data: ask, Src: netip.MustParseAddrPort("10.0.0.2:5353"), Dst: mdns.IPv4.Group()}
		<-wait
		took := time.Since(start)
		answer += took
		slowest = max(slowest, took)
		time.Sleep(1500 * time.Millisecond) // the rate limit
	}
	conn.hear(nil)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(published)
	n := float64(b.N)
	b.ReportMetric(float64(claim.Milliseconds()), "claim-ms")
	b.ReportMetric(float64(answer.Milliseconds())/n, "answer-ms")
	b.ReportMetric(float64(slowest.Milliseconds()), "slowest-ms")
	b.ReportMetric(float64(packets)/n, "packets")
	b.ReportMetric(float64(bytes)/n/1e6, "sent-MB")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(peakMemory(b)/1e6, "peak-MB")
	b.ReportMetric(base/1e6, "base-MB")
	b.ReportMetric(0, "ns/op") // most of it is waiting
	if slowest > time.Second {
		b.Errorf("an answer took %v, want less than a second", slowest)
	}
	if mb := float64(after.HeapAlloc-before.HeapAlloc) / 1e6; mb > 60 {
		b.Errorf("%.0f MB, want less than 60", mb)
	}
}
