package dnssd_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// crowd is many hosts with one service each, behind one address: it answers
// what it is asked and keeps nothing for a host.
type crowd struct {
	n    int
	conn interface {
		ReadBatch([]packet.Datagram) (int, error)
		WriteBatch([]packet.Datagram) (int, error)
	}
	typ      dnswire.Name
	b        dnswire.Builder
	buf      []byte
	packets  atomic.Int64 // heard
	answered atomic.Int64 // records
}

func (c *crowd) names(i int) (instance, host dnswire.Name) {
	instance, _ = c.typ.Prepend("Web server " + strconv.Itoa(i))
	host, _ = dnswire.NameOf("web-"+strconv.Itoa(i), "local")
	return instance, host
}

func (c *crowd) records(i int) [4]dnswire.RR {
	instance, host := c.names(i)
	txt, _ := dnswire.NewTXT(instance, 4500, "txtvers=1", "path=/jobs/overview", "id="+strconv.Itoa(i))
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24+uint32(i)+10)
	return [4]dnswire.RR{
		dnswire.NewPTR(c.typ, instance, 4500), unique(dnswire.NewSRV(instance, dnswire.SRV{Port: 80, Target: host}, 120)),
		unique(txt), unique(dnswire.NewAddr(host, netip.AddrFrom4(a), 120)),
	}
}

// flush sends what is in the builder, and waits until that has been heard: virtual time goes on
// when nobody has anything to do. A browser that gets no turn meanwhile would drop some.
func (c *crowd) flush() {
	if !c.b.Empty() {
		c.conn.WriteBatch([]packet.Datagram{{Data: c.b.Bytes()}})
		time.Sleep(time.Microsecond)
	}
	c.b.Reset(c.buf, dnswire.Header{Response: true, Authoritative: true}, 1400)
}

func (c *crowd) say(rr dnswire.RR) {
	c.answered.Add(1)
	if !c.b.Answer(rr) {
		c.flush()
		c.b.Answer(rr)
	}
}

// announce tells everything, some hosts in a packet.
func (c *crowd) announce() {
	c.flush()
	for i := range c.n {
		for _, rr := range c.records(i) {
			c.say(rr)
		}
		if i%64 == 63 {
			c.flush()
			time.Sleep(5 * time.Millisecond)
		}
	}
	c.flush()
}

func (c *crowd) serve() {
	var grams [8]packet.Datagram
	for {
		n, err := c.conn.ReadBatch(grams[:])
		if err != nil {
			return
		}
		c.flush()
		for _, g := range grams[:n] {
			m, err := dnswire.Parse(g.Data)
			if err != nil || m.Response {
				continue
			}
			c.packets.Add(1)
			for q := range m.Questions() {
				// "Web server 7._http._tcp.local" or "web-7.local"; the PTR
				// question lists what is known and so needs no answer.
				name := q.Name.Name()
				label := name.Label(0)
				i, err := strconv.Atoi(label[strings.LastIndexAny(label, " -")+1:])
				if err != nil || i >= c.n {
					continue
				}
				for _, rr := range c.records(i) {
					if rr.Type == q.Type && rr.Name.Equal(name) {
						c.say(rr)
					}
				}
				if _, host := c.names(i); q.Type == dnswire.TypeAAAA && host.Equal(name) {
					c.say(unique(dnswire.NewNSEC(host, host, 120, dnswire.TypeA)))
				}
			}
		}
		c.flush()
	}
}

// A browser that resolves ten thousand instances takes less than 60 MB, and in
// steady state, with everything refreshed in time, a few percent of a processor.
func TestTenThousandInstancesTakeLittle(t *testing.T) {
	const many = 10_000
	synctest.Test(t, func(t *testing.T) {
		link := packet.Link{
			Index: 2, Name: "eth0", MTU: 1500, Flags: 1<<0 | 1<<4 | 1<<5, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")},
		}
		ours, theirs := pipe()
		c := &crowd{n: many, conn: theirs, typ: name("_http._tcp.local"), buf: make([]byte, 0, 1500)}
		e := &mdns.Engine{
			Links: func(context.Context) (<-chan []packet.Link, error) {
				ch := make(chan []packet.Link, 1)
				ch <- []packet.Link{link}
				return ch, nil
			},
			Listen: func(packet.Link, netip.AddrPort) (mdns.Conn, error) { return ours, nil },
			Family: mdns.IPv4,
		}
		before := heapNow()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		synctest.Wait()
		var found, changed atomic.Int64
		browsed := make(chan struct{})
		go func() {
			defer close(browsed)
			b := dnssd.Browser{Source: dnssd.Multicast(e), Type: "_http._tcp", Resolve: true}
			for ev := range b.Events(ctx) {
				if ev.Op == dnssd.Add && ev.Resolved {
					found.Add(1)
				} else if ev.Op != dnssd.Settled {
					changed.Add(1)
				}
			}
		}()
		time.Sleep(300 * time.Millisecond)
		c.announce()
		go c.serve()
		time.Sleep(time.Minute)
		synctest.Wait()
		took := heapNow() - before
		cpu, packets, answered := processorNow(), c.packets.Load(), c.answered.Load()
		const steady = 2 * time.Minute
		time.Sleep(steady)
		synctest.Wait()
		used := processorNow() - cpu
		peak := heapNow() - before
		st := e.Stats()
		share := 100 * used.Seconds() / steady.Seconds()
		t.Logf("%d found, %d changes, %d records: heap %.1f MB, later %.1f; %.2f %% of a processor with the hosts' share, for %d packets asked and %d records answered",
			found.Load(), changed.Load(), st.Zones[0].Records, float64(took)/1e6, float64(peak)/1e6, share, c.packets.Load()-packets, c.answered.Load()-answered)
		if found.Load() != many || changed.Load() != 0 {
			t.Errorf("%d found, %d changes; want %d and 0; dropped %v", found.Load(), changed.Load(), many, st.Dropped)
		}
		if took > 60e6 || peak > 60e6 {
			t.Errorf("heap %d and %d bytes, want less than 60 MB", took, peak)
		}
		cancel()
		ours.Close()
		theirs.Close()
		<-browsed
		<-done
	})
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func processorNow() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// end is one end of a wire between two.
type end struct {
	in, out chan []byte
	closed  chan struct{}
}

func pipe() (*end, *end) {
	a, b := make(chan []byte, 1024), make(chan []byte, 1024)
	return &end{a, b, make(chan struct{})}, &end{b, a, make(chan struct{})}
}

func (e *end) ReadBatch(d []packet.Datagram) (int, error) {
	n := 0
	for n < len(d) {
		var b []byte
		select {
		case b = <-e.in:
		default:
			if n > 0 {
				return n, nil
			}
			select {
			case b = <-e.in:
			case <-e.closed:
				return 0, fmt.Errorf("closed")
			}
		}
		d[n] = packet.Datagram{Data: b, Src: netip.MustParseAddrPort("10.0.0.2:5353"), Dst: mdns.IPv4.Group(), Link: 2, TTL: 255}
		n++
	}
	return n, nil
}

func (e *end) WriteBatch(d []packet.Datagram) (int, error) {
	for i := range d {
		select {
		case e.out <- append([]byte(nil), d[i].Data...):
		case <-e.closed:
			return i, fmt.Errorf("closed")
		}
	}
	return len(d), nil
}

func (e *end) Close() error {
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return nil
}
