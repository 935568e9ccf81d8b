package passive_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// TestMemory: whatever comes, a Decoder holds no more than a few megabytes.
func TestMemory(t *testing.T) {
	const pad = "a-label-of-forty-bytes-that-fills-memory"
	for name, c := range map[string]struct {
		limit int64 // bytes
		flood func(decode func([]byte))
	}{
		"names": {4 << 20, func(decode func([]byte)) {
			for i := range 20_000 {
				decode(dns4(t, fmt.Sprintf("%d.%s.%s.lab", i, pad, pad)))
			}
		}},
		"repeats": {10 << 20, func(decode func([]byte)) {
			for i := range 12_000 {
				f := dns4(t, fmt.Sprintf("%d.%s.lab", i, pad))
				for range 3 {
					decode(f)
				}
			}
		}},
		"streams": {10 << 20, func(decode func([]byte)) {
			for i := range 256 {
				src := netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
				part := make([]byte, 1400)
				part[0], part[1] = 0xff, 0xff
				for seq := range uint32(46) {
					decode(eth(macB, macA, 0x0800, ip4(6, src, server, 64, 1, 0, nil, tcp(40000, 53, seq*1400, 16, part))))
				}
			}
		}},
		"half ClientHellos": {8 << 20, func(decode func([]byte)) {
			begin := append([]byte{22, 3, 1, 0x3f, 0xf0, 1, 0, 0x3f, 0xec}, make([]byte, 1400)...)
			for i := range 512 {
				src := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
				decode(eth(macB, macA, 0x0800, ip4(6, src, server, 64, 1, 0, nil, tcp(40000, 443, 1, 16, begin))))
				for seq := range uint32(9) {
					decode(eth(macB, macA, 0x0800, ip4(6, src, server, 64, 1, 0, nil, tcp(40000, 443, 1410+1400*seq, 16, make([]byte, 1400)))))
				}
			}
		}},
		"fragments": {4 << 20, func(decode func([]byte)) {
			for i := range 2000 {
				src := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
				decode(eth(macB, macA, 0x0800, ip4(17, src, server, 64, 1, 0x2000|15000/8, nil, make([]byte, 1000))))
			}
		}},
	} {
		d := passive.NewDecoder(passive.Options{})
		before := heap()
		c.flood(func(b []byte) {
			d.Decode(packet.Frame{Data: b, Length: len(b), LinkType: packet.LinkEthernet, Time: goldenTime}, func(*passive.Fact) {})
		})
		if used := heap() - before; used > c.limit {
			t.Errorf("%s: %d KiB held, at most %d expected", name, used>>10, c.limit>>10)
		} else {
			t.Logf("%s: %d KiB", name, used>>10)
		}
		runtime.KeepAlive(d)
	}
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
