package syncthing

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// What was added is found, and nothing else, whatever was removed before: also where many belong into the same
// slot, or round the end of the table, and where two have the same tag.
func TestIndexFindsWhatWasAdded(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		// Few parts and few tags, of which some are as high as can be.
		tags := 1 + r.Uint64N(60)
		hashOf := func(n uint32) uint64 {
			h := rand.New(rand.NewPCG(uint64(n), seed))
			tag := h.Uint64N(tags)
			if h.IntN(2) == 0 {
				tag = 1<<32 - 1 - tag
			}
			return tag<<32 | h.Uint64N(3)
		}
		var x index
		there := map[uint32]bool{}
		has := func(n uint32) bool {
			p, tag := x.part(hashOf(n))
			for at := tag; ; at++ {
				var got uint32
				if got, at = p.next(tag, at); got == 0 || got == n {
					return got == n
				}
			}
		}
		for step := range 400 {
			n := 1 + r.Uint32N(100)
			if there[n] {
				x.remove(hashOf(n), n)
				delete(there, n)
			} else {
				x.add(hashOf(n), n)
				there[n] = true
			}
			if x.used != len(there) {
				t.Fatalf("seed %d, step %d: holds %d, want %d", seed, step, x.used, len(there))
			}
			for n := uint32(1); n <= 100; n++ {
				if has(n) != there[n] {
					t.Fatalf("seed %d, step %d: %d is found: %v, want %v", seed, step, n, has(n), there[n])
				}
			}
		}
	}
}

// Devices whose hashes agree are told apart.
func TestDirectoryTellsApartWhatHasTheSameHash(t *testing.T) {
	d := Directory{}
	for i := range uint32(5) {
		n := d.devices.take()
		*d.devices.at(n) = record{id: DeviceID{byte(i)}}
		d.index.add(7<<32|7, n)
	}
	for i := range uint32(6) {
		want := i + 1
		if i == 5 {
			want = 0
		}
		if got := d.number(7<<32|7, &DeviceID{byte(i)}); got != want {
			t.Errorf("device %d has number %d, want %d", i, got, want)
		}
	}
}

// BenchmarkFind looks for devices at random, one by one and in step; a million are
// far more than fit into the processor's cache.
func BenchmarkFind(b *testing.B) {
	start := time.Now()
	for _, n := range []uint32{10_000, 200_000, 1_000_000} {
		d := Directory{Unlimited: true}
		device := Device{Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22000")}}
		for i := range n {
			binary.BigEndian.PutUint32(device.ID[:], i)
			d.Put(start, &device, netip.Addr{})
		}
		for _, step := range []int{1, serveBatch} {
			b.Run(fmt.Sprintf("devices=%d/at-once=%d", n, step), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				all := make([]sought, step)
				rounds := 0
				for b.Loop() {
					for i := range all {
						binary.BigEndian.PutUint32(all[i].id[:], r.Uint32N(n))
					}
					if d.find(d.now, all); all[step-1].first == 0 {
						b.Fatal("lost")
					}
					rounds++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*step), "ns/device")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
