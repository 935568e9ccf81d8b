package passive_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// filterVM runs the kernel's filter.
func filterVM(t testing.TB) *bpf.VM { return vmOf(t, passive.Filter()) }

func vmOf(t testing.TB, raw []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	ops, whole := bpf.Disassemble(raw)
	if len(raw) == 0 || !whole {
		t.Fatal("no filter")
	}
	vm, err := bpf.NewVM(ops)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func passes(t testing.TB, vm *bpf.VM, b []byte) bool {
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// tagged puts VLAN tags into an Ethernet frame.
func tagged(b []byte, tags ...byte) []byte { return slices.Concat(b[:12], tags, b[12:]) }

// TestFilterLetsThrough: each golden frame passes, plain and tagged, once and twice.
func TestFilterLetsThrough(t *testing.T) {
	vm := filterVM(t)
	for _, g := range goldens(t) {
		for i, b := range g.frames {
			for _, f := range [][]byte{b, tagged(b, 0x81, 0, 0, 5), tagged(b, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 5)} {
				if !passes(t, vm, f) {
					t.Errorf("%s: frame %d with %d bytes doesn't pass", g.name, i+1, len(f))
				}
			}
		}
	}
	q := udp(40000, 53, query(t, "nas.lab"))
	hello := clientHello(t, "nas.example")
	segment := func(port uint16, flags byte, data []byte) []byte {
		return eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(40000, port, 1, flags, data)))
	}
	for name, f := range map[string][]byte{
		"IPv4 options":     eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, make([]byte, 40), q)),
		"later fragment":   eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 100, nil, make([]byte, 30))),
		"IPv6 fragment":    eth(macB, macA, 0x86dd, ip6(44, client6, group6, 64, []byte{17, 0, 0, 1, 0, 0, 0, 1}, q)),
		"extension header": eth(macB, macA, 0x86dd, ip6(0, client6, group6, 64, []byte{17, 0, 0, 0, 0, 0, 0, 0}, q)),
		"TCP over IPv6":    eth(macB, macA, 0x86dd, ip6(6, client6, group6, 64, tcp(53, 40000, 1, 16, nil))),
		"Syncthing":        eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 21025, nil))),
		"Syncthing, IPv6":  eth(macB, macA, 0x86dd, ip6(17, client6, group6, 64, udp(40000, 21026, nil))),
		"Syncthing server": eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(22026, 40000, nil))),
		"SYN":              segment(9999, 2, nil),
		"SYN, ACK":         segment(9999, 0x12, nil),
		"HTTP":             segment(9999, 24, []byte("GET / HTTP/1.1\r\n")),
		"HTTP over IPv6":   eth(macB, macA, 0x86dd, ip6(6, client6, group6, 64, tcp(8080, 40000, 1, 24, []byte("HTTP/1.1 200 OK\r\n")))),
		"TLS":              segment(9999, 24, hello),
		"TLS, IP options":  eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0, make([]byte, 8), tcp(40000, 9999, 1, 16, hello[:600]))),
		"TLS, the rest":    segment(443, 24, hello[600:]),
		"a second record":  segment(443, 24, append([]byte{22, 3, 1, 0, 99, 7}, make([]byte, 98)...)),
		"LLMNR":            eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 5355, nil))),
	} {
		if !passes(t, vm, f) {
			t.Errorf("%s doesn't pass", name)
		}
	}
}

// TestFilterKeepsOut: bulk traffic stays in the kernel.
func TestFilterKeepsOut(t *testing.T) {
	vm := filterVM(t)
	segment := func(src, dst uint16, flags byte, data []byte) []byte {
		return eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(src, dst, 1, flags, data)))
	}
	quicPacket := func(first byte, version uint32, fill byte) []byte {
		b := append(be.AppendUint32([]byte{first}, version), bytes.Repeat([]byte{fill}, 1195)...)
		return eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0x4000, nil, udp(40000, 443, b)))
	}
	for name, f := range map[string][]byte{
		"TCP":              eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(40000, 443, 1, 16, make([]byte, 99)))),
		"TCP fragment":     eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 100, nil, make([]byte, 99))),
		"UDP":              eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, nil, udp(40000, 443, make([]byte, 99)))),
		"UDP with options": eth(macB, macA, 0x0800, ip4(17, client, server, 64, 1, 0, make([]byte, 8), udp(40000, 443, make([]byte, 99)))),
		"ICMP":             eth(macB, macA, 0x0800, ip4(1, client, server, 64, 1, 0, nil, make([]byte, 99))),
		"UDP over IPv6":    eth(macB, macA, 0x86dd, ip6(17, client6, group6, 64, udp(40000, 443, make([]byte, 99)))),
		"TCP over IPv6":    eth(macB, macA, 0x86dd, ip6(6, client6, group6, 64, tcp(443, 40000, 1, 16, make([]byte, 99)))),
		"short TCP":        segment(40000, 443, 16, []byte{22, 3}),
		"TLS data":         segment(40000, 443, 24, append([]byte{23, 3, 3, 0, 99}, make([]byte, 99)...)),
		"an upload":        segment(40000, 443, 16, make([]byte, 1448)),
		"an upload's end":  segment(40000, 443, 24, make([]byte, 1448)),
		"a download's end": segment(443, 40000, 24, make([]byte, 99)),
		"other data":       segment(40000, 5000, 24, make([]byte, 99)),
		"ServerHello":      segment(443, 40000, 24, append([]byte{22, 3, 3, 0, 99, 2}, make([]byte, 99)...)),
		"QUIC":             quicPacket(0x40, 1, 0),
		"QUIC's handshake": quicPacket(0xe0, 1, 1),
		"old QUIC":         quicPacket(0xc3, 0x51303433, 2), // "Q043"
		"echo over IPv6":   eth(macB, macA, 0x86dd, ip6(58, client6, group6, 64, []byte{128, 0, 0, 0, 0, 0, 0, 0})),
		"MPLS":             eth(macB, macA, 0x8847, make([]byte, 60)),
		"spanning tree":    eth(macB, macA, 38, []byte{0x42, 0x42, 3}, make([]byte, 60)),
		"other SNAP":       eth(macB, macA, 38, []byte{0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 4}, make([]byte, 60)),
		"MQTT publish":     eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(40000, 1883, 1, 24, []byte{0x30, 2, 0, 0, 1}))),
		"cut off":          eth(macB, macA, 0x0800, make([]byte, 8)),
		"three tags":       tagged(dns4(t, "nas.lab"), 0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3),
	} {
		if passes(t, vm, f) {
			t.Errorf("%s passes", name)
		}
		if passes(t, vm, tagged(f, 0x81, 0, 0, 5)) {
			t.Errorf("%s with a tag passes", name)
		}
	}
}

// TestWideFilter lets the middle of a ClientHello through, and with it uploads, but
// no other bulk traffic.
func TestWideFilter(t *testing.T) {
	narrow, wide := filterVM(t), vmOf(t, passive.WideFilter())
	segment := func(src, dst uint16, flags byte, data []byte) []byte {
		return eth(macB, macA, 0x0800, ip4(6, client, server, 64, 1, 0x4000, nil, tcp(src, dst, 1, flags, data)))
	}
	for name, c := range map[string]struct {
		frame        []byte
		narrow, wide bool
	}{
		"a middle":            {segment(40000, 443, 16, make([]byte, 1448)), false, true},
		"of a short path":     {segment(40000, 8883, 16, make([]byte, 536)), false, true},
		"a long end":          {segment(40000, 443, 24, make([]byte, 1448)), false, true},
		"an end":              {segment(40000, 443, 24, make([]byte, 99)), true, true},
		"an acknowledgement":  {segment(40000, 443, 16, nil), false, false},
		"padded":              {segment(40000, 443, 16, make([]byte, 6)), false, false},
		"a record":            {segment(40000, 443, 16, append([]byte{23, 3, 3}, make([]byte, 1445)...)), false, false},
		"a download":          {segment(443, 40000, 16, make([]byte, 1448)), false, false},
		"to another port":     {segment(40000, 9000, 24, make([]byte, 1448)), false, false},
		"a middle with a tag": {tagged(segment(40000, 443, 16, make([]byte, 1448)), 0x81, 0, 0, 5), false, true},
		"a middle by IPv6":    {eth(macB, macA, 0x86dd, ip6(6, client6, group6, 64, tcp(40000, 443, 1, 16, make([]byte, 1228)))), false, true},
	} {
		if got := passes(t, narrow, c.frame); got != c.narrow {
			t.Errorf("%s: passes %v, want %v", name, got, c.narrow)
		}
		if got := passes(t, wide, c.frame); got != c.wide {
			t.Errorf("%s: passes the wide one %v, want %v", name, got, c.wide)
		}
	}
	for _, g := range goldens(t) {
		for i, b := range g.frames {
			if !passes(t, wide, b) {
				t.Errorf("%s: frame %d doesn't pass", g.name, i+1)
			}
		}
	}
}

// TestFilterLosesNothing: of real captures the frames that the filter lets
// through say all that the whole captures say.
func TestFilterLosesNothing(t *testing.T) {
	vm := filterVM(t)
	facts, kept, frames := 0, 0, 0
	for _, file := range captures(t, "LANFOLK_PCAPS") {
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := passive.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		whole, filtered := passive.NewDecoder(passive.Options{}), passive.NewDecoder(passive.Options{})
		for n := 1; ; n++ {
			f, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Logf("%s: %v", filepath.Base(file), err)
				break
			}
			if f.LinkType != packet.LinkEthernet {
				continue
			}
			frames++
			var all, some []string
			whole.Decode(f, func(x *passive.Fact) { all = append(all, string(x.AppendJSON(nil))) })
			if passes(t, vm, f.Data) {
				kept++
				filtered.Decode(f, func(x *passive.Fact) { some = append(some, string(x.AppendJSON(nil))) })
			}
			facts += len(all)
			if !slices.Equal(all, some) {
				t.Errorf("%s: frame %d says %q, filtered %q", filepath.Base(file), n, all, some)
			}
		}
		in.Close()
	}
	t.Logf("%d facts; %d of %d frames pass", facts, kept, frames)
}
