package reflector_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

// board is a reflector between links without an engine: it is handed packets
// and keeps what it sends.
type board struct {
	refl  *reflector.Reflector
	zones []mdns.Zone
	sent  map[mdns.Zone][][]byte
	keep  bool
	count int
}

func newBoard(r *reflector.Reflector, links int) *board {
	b := &board{refl: r, sent: map[mdns.Zone][][]byte{}, keep: true}
	for i := range links {
		z := mdns.Zone{Link: i + 1, Interface: fmt.Sprint("link", i), Family: mdns.IPv4}
		b.zones = append(b.zones, z)
		r.Opened(mdns.RelayPort{
			Zone: z, Unicast: true,
			Link: packet.Link{Index: z.Link, Name: z.Interface, MTU: 1500, Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast,
				Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 1}), 24)}},
			Send: func(d []packet.Datagram) (int, error) {
				b.count += len(d)
				for i := range d {
					if b.keep {
						b.sent[z] = append(b.sent[z], append([]byte(nil), d[i].Data...))
					}
				}
				return len(d), nil
			},
		})
	}
	return b
}

// packet parses a message of a host on the first link.
func (b *board) packet(now time.Time, src netip.AddrPort, msg []byte) mdns.Packet {
	m, err := dnswire.Parse(msg)
	return mdns.Packet{Zone: b.zones[0], Src: src, Dst: group4, Time: now, Message: m, Data: msg, Malformed: err}
}

// numbered makes answers, or queries, that differ in a number.
func numbered(msg []byte) (set func(n uint32)) {
	return func(n uint32) {
		for i := range 8 {
			msg[headerLen+len("\x0dhost-")+i] = 'a' + byte(n>>(4*i))&15
		}
	}
}

const numberedHost = "host-00000000.local"

const headerLen = 12

func someRules(t testing.TB) *reflector.Rules {
	t.Helper()
	r, err := reflector.NewRules(reflector.RulesOptions{Deny: []string{"_smb._tcp"}, Guests: []string{"guests"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPacketThatPassesAllocatesNothing(t *testing.T) {
	for _, rules := range []*reflector.Rules{nil, someRules(t)} {
		b := newBoard(&reflector.Reflector{Rules: rules, SourceRate: 1e6, SourceBurst: 1e6, LinkRate: 1e6, LinkBurst: 1e6}, 2)
		b.keep = false
		msg := response(addr(numberedHost, "10.0.1.5", 120))
		set := numbered(msg)
		now := time.Now()
		src := netip.MustParseAddrPort("10.0.1.5:5353")
		p := []mdns.Packet{b.packet(now, src, msg)}
		n := uint32(0)
		allocs := testing.AllocsPerRun(1000, func() {
			n++
			set(n)
			p[0].Time = now.Add(time.Duration(n) * time.Millisecond)
			b.refl.Relay(b.zones[0], p)
		})
		if allocs > 0 || b.count < 1000 {
			t.Errorf("rules %v: %v allocations, %d passed", rules != nil, allocs, b.count)
		}
	}
}

func TestMillionRandomNamesKeepMemoryFlat(t *testing.T) {
	packets := 1_000_000
	if testing.Short() {
		packets = 100_000
	}
	b := newBoard(&reflector.Reflector{Rules: someRules(t)}, 2)
	b.keep = false
	msg := response(addr(numberedHost, "10.0.1.5", 120))
	set := numbered(msg)
	now := time.Now()
	p := make([]mdns.Packet, 1)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before uint64
	for n := range packets {
		if n == packets/10 {
			before = heap()
		}
		set(uint32(n))
		// 20,000 a second, each from another address.
		a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		p[0] = b.packet(now.Add(time.Duration(n)*50*time.Microsecond), netip.AddrPortFrom(a, 5353), msg)
		b.refl.Relay(b.zones[0], p)
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d bytes more after %d packets", after-before, packets)
	}
	if b.count < packets*9/10 {
		t.Errorf("%d of %d passed", b.count, packets)
	}
}

func TestMillionQueriesThatNobodyAnswersKeepMemoryFlat(t *testing.T) {
	b := newBoard(&reflector.Reflector{SourceRate: 1e6, SourceBurst: 1e6, LinkRate: 1e6, LinkBurst: 1e6}, 2)
	b.keep = false
	now := time.Now()
	p := make([]mdns.Packet, 1)
	msg := message(dnswire.Header{ID: 1}, []question{{numberedHost, dnswire.TypeA, false}})
	set := numbered(msg)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before uint64
	for n := range 200_000 {
		if n == 50_000 {
			before = heap()
		}
		set(uint32(n))
		p[0] = b.packet(now.Add(time.Duration(n)*50*time.Microsecond), netip.AddrPortFrom(netip.MustParseAddr("10.0.1.5"), uint16(10000+n%50000)), msg)
		b.refl.Relay(b.zones[0], p)
	}
	if after := heap(); after > before+2<<20 {
		t.Errorf("%d bytes more", after-before)
	}
}

// FuzzReflector hands any packets to the reflector: what it passes on must be
// well-formed, and no packet may make more than one copy on a link, unless it
// was too large for one.
func FuzzReflector(f *testing.F) {
	f.Add(uint16(5353), response(addr("nas.local", "10.0.1.5", 120)))
	f.Add(uint16(5353), query(question{"_ipp._tcp.local", dnswire.TypePTR, true}))
	f.Add(uint16(40000), query(question{"nas.local", dnswire.TypeA, false}))
	f.Add(uint16(5353), probe("nas.local", "10.0.1.5"))
	f.Add(uint16(5353), known(true, ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)))
	f.Add(uint16(5353), message(dnswire.Header{}, nil, ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)))
	f.Add(uint16(5353), []byte{0, 0, 0x84, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, port uint16, msg []byte) {
		if len(msg) > 9000 {
			return
		}
		b := newBoard(&reflector.Reflector{Rules: someRules(t)}, 3)
		now := time.Now()
		was := string(msg)
		// Someone waits for an answer, so that answers by unicast are made, too.
		ask := b.packet(now, netip.MustParseAddrPort("10.0.2.9:40000"), query(question{"nas.local", dnswire.TypeANY, false}))
		ask.Zone = b.zones[1]
		b.refl.Relay(b.zones[1], []mdns.Packet{ask})
		clear(b.sent)
		src := netip.AddrPortFrom(netip.MustParseAddr("10.0.1.5"), port)
		for i := range 3 { // the same again and again
			b.refl.Relay(b.zones[0], []mdns.Packet{b.packet(now.Add(time.Duration(i)*100*time.Millisecond), src, msg)})
		}
		if string(msg) != was {
			t.Fatal("the packet itself was changed")
		}
		if len(b.sent[b.zones[0]]) > 0 {
			t.Fatalf("sent back: %x", b.sent[b.zones[0]])
		}
		for z, all := range b.sent {
			for _, d := range all {
				if _, err := dnswire.Parse(d); err != nil {
					t.Fatalf("%v: sent %x: %v", z, d, err)
				}
			}
			// One to the group, and one to who waits; a goodbye may follow what it takes back.
			if limit := 2; len(all) > 2*limit && len(msg) <= 1400 {
				t.Fatalf("%v: %d copies of %x", z, len(all), msg)
			}
		}
	})
}

// BenchmarkRelay passes answers on that have a PTR, SRV, TXT and A record each,
// of a service and a host that weren't heard before.
func BenchmarkRelay(b *testing.B) {
	for _, rules := range []bool{false, true} {
		b.Run(fmt.Sprint("rules=", rules), func(b *testing.B) {
			other := make([]byte, 4<<20) // what the rest of the machine works with
			refl := &reflector.Reflector{SourceRate: 1e8, SourceBurst: 1e8, LinkRate: 1e8, LinkBurst: 1e8}
			if rules {
				refl.Rules = someRules(b)
			}
			x := newBoard(refl, 2)
			x.keep = false
			const host, instance = numberedHost, "host-00000000._ipp._tcp.local"
			txt, err := dnswire.NewTXT(name(instance), 4500, "path=/")
			if err != nil {
				b.Fatal(err)
			}
			msg := response(dnswire.NewSRV(name(instance), dnswire.SRV{Port: 80, Target: name(host)}, 120),
				ptr("_ipp._tcp.local", instance, 4500), txt, addr(host, "10.0.1.5", 120))
			var at []int
			for i := range msg {
				if bytes.HasPrefix(msg[i:], []byte("host-0")) {
					at = append(at, i+len("host-"))
				}
			}
			now := time.Now()
			p := []mdns.Packet{x.packet(now, netip.MustParseAddrPort("10.0.1.5:5353"), msg)}
			next := func(n int) {
				for _, off := range at {
					for i := range 8 {
						msg[off+i] = 'a' + byte(n>>(4*i))&15
					}
				}
				p[0].Time = now.Add(time.Duration(n) * 50 * time.Microsecond)
				refl.Relay(x.zones[0], p)
			}
			const full = 20_000 // packets, after which the book has no room left
			for n := range full {
				next(n)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				next(full + n)
			}
			b.StopTimer()
			// As it is for single packets on a busy machine: nothing is in the processor's cache.
			const cold = 1000
			var spent time.Duration
			for n := range cold {
				for i := 0; i < len(other); i += 64 {
					other[i]++
				}
				began := time.Now()
				next(full + b.N + n)
				spent += time.Since(began)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/cold, "cold-ns/op")
		})
	}
}
