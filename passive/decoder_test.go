package passive_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

var (
	be      = binary.BigEndian
	macA    = []byte{2, 0, 0x5e, 0x10, 0, 1}
	macB    = []byte{2, 0, 0x5e, 0x10, 0, 2}
	all     = []byte{255, 255, 255, 255, 255, 255}
	client  = netip.MustParseAddr("10.0.0.5")
	server  = netip.MustParseAddr("10.0.0.1")
	client6 = netip.MustParseAddr("fe80::5")
	group6  = netip.MustParseAddr("ff02::fb")
)

func eth(dst, src []byte, kind uint16, body ...[]byte) []byte {
	return slices.Concat(append([][]byte{dst, src, be.AppendUint16(nil, kind)}, body...)...)
}

// ip4 builds an IPv4 packet; flags are its fragment word, options go behind the header.
func ip4(proto byte, src, dst netip.Addr, ttl byte, id, flags uint16, options, body []byte) []byte {
	h := make([]byte, 20, 60)
	h[0], h[8], h[9] = 0x45+byte(len(options)/4), ttl, proto
	be.PutUint16(h[2:], uint16(20+len(options)+len(body)))
	be.PutUint16(h[4:], id)
	be.PutUint16(h[6:], flags)
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	return slices.Concat(h, options, body)
}

func ip6(next byte, src, dst netip.Addr, hops byte, body ...[]byte) []byte {
	b := slices.Concat(body...)
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, hops
	be.PutUint16(h[4:], uint16(len(b)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, b...)
}

func udp(src, dst uint16, body []byte) []byte {
	b := be.AppendUint16(be.AppendUint16(nil, src), dst)
	return append(be.AppendUint16(be.AppendUint16(b, uint16(8+len(body))), 0), body...)
}

func tcp(src, dst uint16, seq uint32, flags byte, body []byte) []byte {
	b := be.AppendUint32(be.AppendUint16(be.AppendUint16(nil, src), dst), seq)
	return slices.Concat(b, make([]byte, 4), []byte{0x50, flags, 1, 1, 0, 0, 0, 0}, body)
}

func name(t testing.TB, s string) dnswire.Name {
	t.Helper()
	n, err := dnswire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// query is a DNS question for A.
func query(t testing.TB, host string) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: 7, RecursionDesired: true}, 0)
	b.Question(name(t, host), dnswire.TypeA, dnswire.ClassIN, false)
	return b.Bytes()
}

// announcement is an mDNS response.
func announcement(t testing.TB, rrs ...dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 0)
	for _, rr := range rrs {
		if !b.Answer(rr) {
			t.Fatal("record doesn't fit")
		}
	}
	return b.Bytes()
}

// dns4 is a DNS question in an Ethernet frame.
func dns4(t testing.TB, host string) []byte {
	return eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 53, query(t, host))))
}

// asked returns the queries of all facts, and the counters.
func asked(frames ...packet.Frame) ([]string, passive.Stats) {
	d := passive.NewDecoder(passive.Options{})
	var got []string
	for _, f := range frames {
		d.Decode(f, func(x *passive.Fact) {
			if x.Protocol != passive.ProtoTCP {
				got = append(got, x.Query)
			}
		})
	}
	return got, d.Stats()
}

// TestEncapsulations: one question below every header that is read.
func TestEncapsulations(t *testing.T) {
	four := ip4(17, client, server, 64, 1, 0, nil, udp(40000, 53, query(t, "nas.lab")))
	six := ip6(17, client6, group6, 64, udp(40000, 53, query(t, "nas.lab")))
	hopByHop := []byte{17, 0, 5, 2, 0, 0, 1, 0}
	auth := slices.Concat([]byte{17, 4}, make([]byte, 22))
	sll := slices.Concat([]byte{0, 4, 0, 1, 0, 6}, macA, []byte{0, 0})
	sll2 := slices.Concat([]byte{0x08, 0, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6}, macA, []byte{0, 0})
	for _, c := range []struct {
		name string
		link packet.LinkType
		data []byte
		vlan uint16
	}{
		{"ethernet", packet.LinkEthernet, eth(macB, macA, 0x0800, four), 0},
		{"padding", packet.LinkEthernet, eth(macB, macA, 0x0800, four, make([]byte, 20)), 0},
		{"options", packet.LinkEthernet, eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, []byte{0x94, 4, 0, 0}, udp(40000, 53, query(t, "nas.lab")))), 0},
		{"ipv6", packet.LinkEthernet, eth(macB, macA, 0x86dd, six), 0},
		{"extension header", packet.LinkEthernet, eth(macB, macA, 0x86dd, ip6(0, client6, group6, 64, hopByHop, udp(40000, 53, query(t, "nas.lab")))), 0},
		{"authentication header", packet.LinkEthernet, eth(macB, macA, 0x86dd, ip6(51, client6, group6, 64, auth, udp(40000, 53, query(t, "nas.lab")))), 0},
		{"atomic fragment", packet.LinkEthernet, eth(macB, macA, 0x86dd, ip6(44, client6, group6, 64, []byte{17, 0, 0, 0, 0, 0, 0, 9}, udp(40000, 53, query(t, "nas.lab")))), 0},
		{"vlan", packet.LinkEthernet, eth(macB, macA, 0x8100, []byte{0xe0, 5, 8, 0}, four), 5},
		{"priority tag", packet.LinkEthernet, eth(macB, macA, 0x8100, []byte{0xe0, 0, 8, 0}, four), 0},
		{"802.1ad", packet.LinkEthernet, eth(macB, macA, 0x88a8, []byte{0, 7, 0x81, 0, 0, 5, 8, 0}, four), 7},
		{"sll", packet.LinkSLL, slices.Concat(sll, []byte{8, 0}, four), 0},
		{"sll2", packet.LinkSLL2, slices.Concat(sll2, four), 0},
		{"raw 4", packet.LinkRaw, four, 0},
		{"raw 6", packet.LinkRaw, six, 0},
		{"ipv4", packet.LinkIPv4, four, 0},
		{"null", packet.LinkNull, slices.Concat([]byte{2, 0, 0, 0}, four), 0},
		{"null of macOS", packet.LinkNull, slices.Concat([]byte{30, 0, 0, 0}, six), 0},
		{"loop", packet.LinkLoop, slices.Concat([]byte{0, 0, 0, 2}, four), 0},
	} {
		d := passive.NewDecoder(passive.Options{})
		n := 0
		d.Decode(packet.Frame{Data: c.data, Length: len(c.data), LinkType: c.link}, func(f *passive.Fact) {
			n++
			if f.Query != "nas.lab" || f.QType != 1 || f.VLAN != c.vlan || f.Response || f.SrcPort != 40000 {
				t.Errorf("%s: %+v", c.name, f)
			}
			if known := c.link == packet.LinkEthernet || c.link == packet.LinkSLL || c.link == packet.LinkSLL2; known != (f.SrcMAC == passive.MAC(macA)) {
				t.Errorf("%s: source MAC %s", c.name, f.SrcMAC)
			}
		})
		if n != 1 {
			t.Errorf("%s: %d facts; %v", c.name, n, d.Stats().Drops)
		}
		// Cut off anywhere, it is dropped and counted, or of no interest.
		for i := range c.data {
			d := passive.NewDecoder(passive.Options{})
			d.Decode(packet.Frame{Data: c.data[:i], Length: len(c.data), LinkType: c.link}, func(*passive.Fact) {
				if c.name != "padding" {
					t.Errorf("%s: a fact from %d of %d bytes", c.name, i, len(c.data))
				}
			})
		}
	}
}

// TestDrops: what is malformed yields nothing and is counted with its reason.
func TestDrops(t *testing.T) {
	arp := func(edit func(b []byte)) []byte {
		b := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, macA, client.AsSlice(), make([]byte, 6), server.AsSlice())
		edit(b)
		return eth(all, macA, 0x0806, b)
	}
	garbage := slices.Repeat([]byte{0x5a, 0xc3, 0x11}, 60)
	ns := func(hops byte, edit func(b []byte)) []byte {
		b := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, client6.AsSlice(), []byte{1, 1}, macA)
		edit(b)
		be.PutUint16(b[2:], 0)
		be.PutUint16(b[2:], ^sum(client6, group6, b))
		return eth(macB, macA, 0x86dd, ip6(58, client6, group6, hops, b))
	}
	dhcp := func(edit func(b []byte)) []byte {
		b := discover()
		edit(b)
		return eth(all, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(68, 67, b)))
	}
	four := func(b []byte) []byte { return eth(macB, macA, 0x0800, b) }
	for _, c := range []struct {
		why   string
		frame packet.Frame
	}{
		{"link type not supported", packet.Frame{Data: garbage, LinkType: 105}},
		{"link header cut off", ethernet(macA)},
		{"too many VLAN tags", ethernet(eth(macB, macA, 0x8100, []byte{0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0}))},
		{"bad IP header", ethernet(four([]byte{0x44, 0}))},
		{"bad UDP header", ethernet(four(ip4(17, client, server, 64, 1, 0, nil, []byte{0, 53, 0, 53, 0, 7, 0, 0})))},
		{"bad UDP header", ethernet(four(ip4(17, client, server, 64, 1, 0, nil, []byte{0, 53, 0, 53, 0, 99, 0, 0})))},
		{"bad TCP header", ethernet(four(ip4(6, client, server, 64, 1, 0, nil, []byte{0, 53, 0, 53, 0, 7, 0, 0})))},
		{"bad IPv6 extension headers", ethernet(eth(macB, macA, 0x86dd, ip6(0, client6, group6, 1, []byte{17, 9, 0, 0, 0, 0, 0, 0})))},
		{"bad IPv6 extension headers", ethernet(eth(macB, macA, 0x86dd, ip6(0, client6, group6, 1, make([]byte, 200))))},
		{"arp: malformed", ethernet(arp(func(b []byte) { b[4] = 255 }))},
		{"arp: malformed", ethernet(arp(func(b []byte) { b[7] = 3 }))},
		{"arp: sender is no device", ethernet(arp(func(b []byte) { b[8] |= 1 }))},
		{"arp: sender is no device", ethernet(arp(func(b []byte) { clear(b[8:14]) }))},
		{"ndp: came through a router", ethernet(ns(254, func([]byte) {}))},
		{"ndp: malformed", ethernet(ns(255, func(b []byte) { b[25] = 0 }))},
		{"ndp: malformed", ethernet(ns(255, func(b []byte) { b[25] = 9 }))},
		{"ndp: malformed", ethernet(ns(255, func(b []byte) { b[1] = 1 }))},
		{"ndp: malformed", ethernet(ns(255, func(b []byte) { b[8] = 0xff }))},
		{"ndp: bad checksum", ethernet(eth(macB, macA, 0x86dd, ip6(58, client6, group6, 255, []byte{133, 0, 1, 2, 0, 0, 0, 0})))},
		{"ndp: in fragments", ethernet(eth(macB, macA, 0x86dd, ip6(44, client6, group6, 255, []byte{58, 0, 0, 1, 0, 0, 0, 1, 135, 0, 1, 2, 0, 0, 0, 0})))},
		{"dhcp: malformed", ethernet(dhcp(func(b []byte) { b[236] = 0 }))},
		{"dhcp: malformed", ethernet(dhcp(func(b []byte) { b[0] = 3 }))},
		{"dhcp: bad options", ethernet(dhcp(func(b []byte) { b[241] = 200 }))},
		{"dhcp: bad options", ethernet(dhcp(func(b []byte) { b[241] = 2 }))},
		{"dns: malformed", ethernet(four(ip4(17, client, server, 255, 1, 0, nil, udp(5353, 5353, garbage))))},
		{"dns: malformed", ethernet(four(ip4(17, client, server, 255, 1, 0, nil, udp(5000, 53, garbage[:5]))))},
		{"dns: not a query or answer", ethernet(four(ip4(17, client, server, 255, 1, 0, nil, udp(5353, 5353, []byte{0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}))))},
		{"dns: not a query or answer", ethernet(four(ip4(17, client, server, 255, 1, 0, nil, udp(5353, 5353, []byte{0, 0, 0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0}))))},
		{"dns: cut off", packet.Frame{Data: dns4(t, "nas.lab")[:60], Length: 67, LinkType: packet.LinkEthernet}},
		{"bad DNS over TCP", packet.Frame{Data: four(ip4(6, client, server, 64, 1, 0, nil, tcp(5000, 53, 1, 0, []byte{0, 9, 1})))[:56], Length: 57, LinkType: packet.LinkEthernet}},
		{"bad IP fragment", ethernet(four(ip4(17, client, server, 64, 1, 0x2001, nil, make([]byte, 9))))},
		{"too many IP fragments", ethernet(four(ip4(17, client, server, 64, 1, 0x2000|20000/8, nil, make([]byte, 8))))},
	} {
		got, stats := asked(c.frame)
		if len(got) != 0 {
			t.Errorf("%s: facts %q", c.why, got)
		}
		if stats.Drops[c.why] != 1 || len(stats.Drops) != 1 {
			t.Errorf("%s: counted as %v", c.why, stats.Drops)
		}
	}
}

// sum is the ones' complement sum over IPv6's pseudo-header and b.
func sum(src, dst netip.Addr, b []byte) uint16 {
	all := slices.Concat(src.AsSlice(), dst.AsSlice(), be.AppendUint32(nil, uint32(len(b))), []byte{0, 0, 0, 58}, b)
	var s uint32
	for i := 0; i+1 < len(all); i += 2 {
		s += uint32(be.Uint16(all[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestAllocations: frames of no interest cost no memory, and repeats little.
func TestAllocations(t *testing.T) {
	d := passive.NewDecoder(passive.Options{})
	emit := func(*passive.Fact) {}
	var frames []packet.Frame
	for _, g := range goldens(t) {
		if strings.HasPrefix(g.name, "dns-fragments") || strings.HasPrefix(g.name, "dns-tcp") {
			continue // these are put together in memory of their own
		}
		for _, b := range g.frames {
			frames = append(frames, ethernet(b))
		}
	}
	for range 3 {
		for _, f := range frames {
			d.Decode(f, emit)
		}
	}
	for _, f := range frames {
		if n := testing.AllocsPerRun(100, func() { d.Decode(f, emit) }); n != 0 {
			t.Errorf("a repeated frame of %d bytes costs %v allocations", len(f.Data), n)
		}
	}
	for name, f := range map[string]packet.Frame{
		"tcp":  ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0, nil, tcp(5000, 443, 1, 16, make([]byte, 1000))))),
		"udp":  ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(5000, 443, make([]byte, 1000))))),
		"icmp": ethernet(eth(macB, macA, 0x0800, ip4(1, client, server, 64, 1, 0, nil, make([]byte, 64)))),
		"lldp": ethernet(eth(macB, macA, 0x88cc, make([]byte, 64))),
	} {
		if n := testing.AllocsPerRun(100, func() { d.Decode(f, emit) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestDifferentPackets: packets of which no two are alike aren't remembered.
func TestDifferentPackets(t *testing.T) {
	d := passive.NewDecoder(passive.Options{})
	b := dns4(t, "nas.lab")
	n := uint32(0)
	if got := testing.AllocsPerRun(2000, func() {
		n++
		be.PutUint32(b[8:], n) // the source MAC
		d.Decode(ethernet(b), func(*passive.Fact) {})
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestFragments: in any order, with repeats; not with overlaps, not too late.
func TestFragments(t *testing.T) {
	message := udp(40000, 53, query(t, "a-rather-long-name-that-fills-more-than-two-fragments.lab.example"))
	piece := func(id uint16, from, to int) packet.Frame {
		more := uint16(0x2000)
		if to >= len(message) {
			to, more = len(message), 0
		}
		return ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, id, more|uint16(from/8), nil, message[from:to])))
	}
	six := func(from, to int) packet.Frame {
		more := uint16(1)
		if to >= len(message) {
			to, more = len(message), 0
		}
		h := be.AppendUint32(be.AppendUint16([]byte{17, 0}, uint16(from)|more), 99)
		return ethernet(eth(macB, macA, 0x86dd, ip6(44, client6, group6, 64, h, message[from:to])))
	}
	late := piece(1, 48, 999)
	late.Time = late.Time.Add(time.Minute)
	for _, c := range []struct {
		name   string
		frames []packet.Frame
		want   int
	}{
		{"in order", []packet.Frame{piece(1, 0, 24), piece(1, 24, 48), piece(1, 48, 999)}, 1},
		{"backward", []packet.Frame{piece(1, 48, 999), piece(1, 24, 48), piece(1, 0, 24)}, 1},
		{"repeated", []packet.Frame{piece(1, 0, 24), piece(1, 0, 24), piece(1, 24, 48), piece(1, 48, 999)}, 1},
		{"IPv6", []packet.Frame{six(48, 999), six(0, 48)}, 1},
		{"two mixed", []packet.Frame{piece(1, 0, 48), piece(2, 0, 48), piece(2, 48, 999), piece(1, 48, 999)}, 2},
		{"overlap", []packet.Frame{piece(1, 0, 24), piece(1, 16, 48), piece(1, 24, 48), piece(1, 48, 999)}, 0},
		{"gap", []packet.Frame{piece(1, 0, 24), piece(1, 48, 999)}, 0},
		{"late", []packet.Frame{piece(1, 0, 48), late}, 0},
		{"other id", []packet.Frame{piece(1, 0, 48), piece(2, 48, 999)}, 0},
	} {
		if got, stats := asked(c.frames...); len(got) != c.want {
			t.Errorf("%s: %d facts, want %d; %v", c.name, len(got), c.want, stats.Drops)
		}
	}
}

// TestStreams: DNS over TCP, whole, in pieces, out of order, from the middle.
func TestStreams(t *testing.T) {
	framed := func(hosts ...string) []byte {
		var b []byte
		for _, h := range hosts {
			q := query(t, h)
			b = append(be.AppendUint16(b, uint16(len(q))), q...)
		}
		return b
	}
	two := framed("one.lab", "two.lab")
	seg := func(seq uint32, flags byte, b []byte) packet.Frame {
		return ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0, nil, tcp(40000, 53, seq, flags, b))))
	}
	const start = 0xffffffc0 // the numbers wrap around inside
	syn := seg(start-1, 2, nil)
	var bytewise []packet.Frame
	for i := range two {
		bytewise = append(bytewise, seg(start+uint32(i), 16, two[i:i+1]))
	}
	at := func(from, to int) packet.Frame { return seg(start+uint32(from), 24, two[from:to]) }
	end := len(two)
	for _, c := range []struct {
		name   string
		frames []packet.Frame
		want   string
	}{
		{"whole", []packet.Frame{syn, at(0, end)}, "one.lab two.lab"},
		{"byte by byte", append([]packet.Frame{syn}, bytewise...), "one.lab two.lab"},
		{"out of order", []packet.Frame{syn, at(40, end), at(10, 40), at(0, 10)}, "one.lab two.lab"},
		{"repeated", []packet.Frame{syn, at(0, 30), at(0, 30), at(20, end), at(0, end)}, "one.lab two.lab"},
		{"begun before", []packet.Frame{at(0, 10), at(10, end)}, "one.lab two.lab"},
		{"data with SYN", []packet.Frame{seg(start-1, 2, two[:end])}, "one.lab two.lab"},
		{"FIN with data", []packet.Frame{syn, seg(start, 17, two)}, "one.lab two.lab"},
		{"again after the end", []packet.Frame{syn, seg(start, 17, two), seg(5, 2, nil), seg(6, 24, two)}, "one.lab two.lab one.lab two.lab"},
		{"no DNS", []packet.Frame{syn, seg(start, 24, []byte("\x00\x10GET / HTTP/1.1\r\n\r\n")), at(20, end)}, ""},
		{"gap", []packet.Frame{syn, at(0, 10), at(20, end)}, ""},
	} {
		got, _ := asked(c.frames...)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}

// TestFloods: what one source sends doesn't push others out, and memory stays bounded.
func TestFloods(t *testing.T) {
	d := passive.NewDecoder(passive.Options{})
	var got []string
	emit := func(f *passive.Fact) { got = append(got, f.Query) }
	message := udp(40000, 53, query(t, "fragmented.lab"))
	d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0x2000, nil, message[:24]))), emit)
	q := query(t, "streamed.lab")
	stream := append(be.AppendUint16(nil, uint16(len(q))), q...)
	d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0, nil, tcp(40000, 53, 1, 24, stream[:9])))), emit)
	flooder := netip.MustParseAddr("10.0.0.66")
	for i := range 2000 {
		d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, flooder, server, 64, uint16(i), 0x2000, nil, message[:24]))), emit)
		d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(6, flooder, server, 64, 1, 0, nil, tcp(uint16(i+1000), 53, 1, 24, []byte{0xff, 0xff, 1, 2})))), emit)
		d.Decode(ethernet(dns4(t, fmt.Sprintf("random-%d.lab", i))), func(*passive.Fact) {})
	}
	d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 3, nil, message[24:]))), emit)
	d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0, nil, tcp(40000, 53, 10, 24, stream[9:])))), emit)
	if s := strings.Join(got, " "); s != "fragmented.lab streamed.lab" {
		t.Errorf("%q; %v", s, d.Stats().Drops)
	}
	if drops := d.Stats().Drops; drops["too many IP fragments"] == 0 || drops["too many TCP flows"] == 0 {
		t.Errorf("floods aren't counted: %v", drops)
	}
}
