package passive_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// TestTagsAndExtensionHeaders: one question below tags and headers that stand together.
func TestTagsAndExtensionHeaders(t *testing.T) {
	ask := udp(40000, 53, query(t, "nas.lab"))
	four := ip4(17, client, server, 64, 1, 0, nil, ask)
	ext := func(next byte, eights int) []byte { // hop-by-hop, routing or destination options
		return slices.Concat([]byte{next, byte(eights - 1), 1, byte(8*eights - 4)}, make([]byte, 8*eights-4))
	}
	chain := func(n int) []byte { // n times destination options
		b := make([]byte, 0, 8*n)
		for i := range n {
			next := byte(60)
			if i == n-1 {
				next = 17
			}
			b = append(b, ext(next, 1)...)
		}
		return ip6(60, client6, group6, 64, b, ask)
	}
	sll := slices.Concat([]byte{0, 4, 0, 1, 0, 6}, macA, []byte{0, 0})
	sll2 := func(kind uint16) []byte {
		return slices.Concat(be.AppendUint16(nil, kind), []byte{0, 0, 0, 0, 0, 2, 0, 1, 4, 6}, macA, []byte{0, 0})
	}
	for _, c := range []struct {
		name string
		f    packet.Frame
		vlan uint16 // 0xffff: nothing is read
	}{
		{"QinQ of before the standard", ethernet(eth(macB, macA, 0x9100, []byte{0, 7, 0x81, 0, 0, 5, 8, 0}, four)), 7},
		{"two 802.1Q tags", ethernet(eth(macB, macA, 0x8100, []byte{0, 7, 0x81, 0, 0, 5, 8, 0}, four)), 7},
		{"a priority tag before a VLAN's", ethernet(eth(macB, macA, 0x8100, []byte{0xe0, 0, 0x81, 0, 0, 5, 8, 0}, four)), 5},
		{"QinQ and IPv6 with hop-by-hop, routing and destination options", ethernet(eth(macB, macA, 0x88a8, []byte{0, 7, 0x81, 0, 0, 5, 0x86, 0xdd},
			ip6(0, client6, group6, 64, ext(43, 1), ext(60, 2), ext(17, 3), ask))), 7},
		{"the outer tag taken off by the card", packet.Frame{Data: eth(macB, macA, 0x8100, []byte{0, 5, 8, 0}, four), VLAN: 7, LinkType: packet.LinkEthernet}, 7},
		{"a tag in SLL", packet.Frame{Data: slices.Concat(sll, []byte{0x81, 0, 0, 5, 8, 0}, four), LinkType: packet.LinkSLL}, 5},
		{"two tags in SLL2", packet.Frame{Data: slices.Concat(sll2(0x88a8), []byte{0, 7, 0x81, 0, 0, 5, 8, 0}, four), LinkType: packet.LinkSLL2}, 7},
		{"IPv6 in SLL2", packet.Frame{Data: slices.Concat(sll2(0x86dd), ip6(17, client6, group6, 64, ask)), LinkType: packet.LinkSLL2}, 0},
		{"eight extension headers", ethernet(eth(macB, macA, 0x86dd, chain(8))), 0},
		{"nine extension headers", ethernet(eth(macB, macA, 0x86dd, chain(9))), 0xffff},
		{"three tags", ethernet(eth(macB, macA, 0x88a8, []byte{0, 7, 0x81, 0, 0, 5, 0x81, 0, 0, 6, 8, 0}, four)), 0xffff},
		{"an extension header longer than the packet", ethernet(eth(macB, macA, 0x86dd, ip6(60, client6, group6, 64, []byte{17, 200, 1, 4, 0, 0, 0, 0}, ask))), 0xffff},
	} {
		c.f.Length = len(c.f.Data)
		d := passive.NewDecoder(passive.Options{})
		for turn := range 4 { // remembered from the third on
			n := 0
			d.Decode(c.f, func(f *passive.Fact) {
				n++
				if f.Query != "nas.lab" || f.VLAN != c.vlan || f.SrcMAC != passive.MAC(macA) || f.SrcPort != 40000 || f.DstPort != 53 {
					t.Errorf("%s, the %dth time: %+v", c.name, turn+1, f)
				}
			})
			if want := map[bool]int{false: 1}[c.vlan == 0xffff]; n != want {
				t.Errorf("%s, the %dth time: %d facts, want %d; %v", c.name, turn+1, n, want, d.Stats().Drops)
			}
		}
	}
}

// TestFragmentsOfMDNS: an announcement of 9,000 bytes (RFC 6762 §17) in pieces, by both
// families and below tags, in both orders; and what an attacker does with pieces.
func TestFragmentsOfMDNS(t *testing.T) {
	var rrs []dnswire.RR
	for i := range 34 {
		txt, err := dnswire.NewTXT(name(t, fmt.Sprintf("device %d._http._tcp.local", i)), 4500, strings.Repeat("x", 200))
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, txt)
	}
	message := udp(5353, 5353, announcement(t, rrs...))
	group := netip.MustParseAddr("224.0.0.251")
	cut := func(size int, frame func(from, to int, more bool) []byte) (frames [][]byte) {
		for from := 0; from < len(message); from += size {
			to := min(from+size, len(message))
			frames = append(frames, frame(from, to, to < len(message)))
		}
		return frames
	}
	four := func(from, to int, more bool) []byte {
		flags := uint16(from / 8)
		if more {
			flags |= 0x2000
		}
		return ip4(17, client, group, 255, 9, flags, nil, message[from:to])
	}
	six := func(from, to int, more bool) []byte {
		word := uint16(from)
		if more {
			word |= 1
		}
		h := be.AppendUint32(be.AppendUint16([]byte{17, 0}, word), 9)
		hop := []byte{44, 0, 5, 2, 0, 0, 1, 0} // a header before the fragment's
		return ip6(0, client6, group6, 255, hop, h, message[from:to])
	}
	plain := func(kind uint16, p func(int, int, bool) []byte) func(int, int, bool) []byte {
		return func(from, to int, more bool) []byte { return eth(macB, macA, kind, p(from, to, more)) }
	}
	tagged := func(from, to int, more bool) []byte {
		return eth(macB, macA, 0x88a8, []byte{0, 7, 0x81, 0, 0, 5, 8, 0}, four(from, to, more))
	}
	v4, v6 := cut(1480, plain(0x0800, four)), cut(1440, plain(0x86dd, six))
	reversed := func(f [][]byte) [][]byte { f = slices.Clone(f); slices.Reverse(f); return f }
	tiny := cut(8, plain(0x0800, four))
	inside := plain(0x0800, four)(1488, 2000, true)
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   int // facts
		drop   string
	}{
		{"IPv4", v4, 34, ""},
		{"IPv4 from the last", reversed(v4), 34, ""},
		{"IPv6", v6, 34, ""},
		{"IPv6 from the last", reversed(v6), 34, ""},
		{"QinQ", cut(1480, tagged), 34, ""},
		{"each piece twice", slices.Concat(v4[:3], v4[:3], v4[3:]), 34, ""},
		{"one is missing", slices.Concat(v4[:2], v4[3:]), 0, ""},
		{"the first is missing", v4[1:], 0, ""},
		{"the last is missing", v4[:len(v4)-1], 0, ""},
		{"one inside another", slices.Concat(v4[:2], [][]byte{inside}, v4[2:]), 0, "bad IP fragment"},
		{"a second end", slices.Concat(v4[len(v4)-1:], [][]byte{plain(0x0800, four)(1480, 2960, false)}, v4), 0, "bad IP fragment"},
		{"pieces of 8 bytes", tiny, 0, "too many IP fragments"},
		{"an end beyond 65,535 bytes", [][]byte{eth(macB, macA, 0x0800, ip4(17, client, group, 255, 9, 0x1fff, nil, make([]byte, 64)))}, 0, "bad IP fragment"},
		{"a piece of no bytes", [][]byte{eth(macB, macA, 0x0800, ip4(17, client, group, 255, 9, 0x2000, nil, nil))}, 0, "bad IP fragment"},
	} {
		d := passive.NewDecoder(passive.Options{})
		facts := 0
		for _, b := range c.frames {
			d.Decode(ethernet(b), func(f *passive.Fact) {
				facts++
				if f.Protocol != passive.ProtoMDNS || !f.Response || f.SrcPort != 5353 {
					t.Errorf("%s: %+v", c.name, f)
				}
			})
		}
		if drops := d.Stats().Drops; facts != c.want || c.drop == "" && len(drops) > 0 || c.drop != "" && drops[c.drop] == 0 {
			t.Errorf("%s: %d facts, want %d; dropped: %v", c.name, facts, c.want, drops)
		}
	}
}

// TestNamesAreBytes: whatever a label holds, the name can be read back from the fact.
func TestNamesAreBytes(t *testing.T) {
	for _, labels := range [][]string{
		{"Lab printer v1.2", "_ipp", "_tcp", "local"},
		{"Küche – Drucker", "local"},
		{"印刷機", "_ipp", "_tcp", "local"},
		{`back\slash`, "local"},
		{"\x00\x01\x7f\xff\xc3\x28", "local"},
		{"\u0085\u00a0\u202e", "local"}, // control characters and what turns text around
		{"a.b", "c.d", "local"},
		{strings.Repeat("\xfe", 63), "local"},
		{" ", "local"},
		{"*", "local"},
	} {
		want, err := dnswire.NameOf(labels...)
		if err != nil {
			t.Fatal(err)
		}
		rr := dnswire.NewPTR(want, want, 120)
		for _, port := range []uint16{5353, 53, 5355} {
			d := passive.NewDecoder(passive.Options{})
			for range 4 {
				d.Decode(ethernet(eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(port, port, announcement(t, rr))))), func(f *passive.Fact) {
					for _, text := range []string{f.Query, f.Record.Name, f.Record.Data} {
						if got, err := dnswire.ParseName(text); err != nil || got != want {
							t.Errorf("%q on port %d: %q, %v", labels, port, text, err)
						}
						if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
							t.Errorf("%q on port %d: control characters in %q", labels, port, text)
						}
					}
				})
			}
			if n := d.Stats().Facts; n != 4 {
				t.Errorf("%q on port %d: %d facts; %v", labels, port, n, d.Stats().Drops)
			}
		}
	}
}
