package registry_test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/oui/internal/registry"
	"pgregory.net/rapid"
)

func TestLookupAgreesWithSearchingAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var blocks registry.Blocks
		for i, bits := range registry.Bits {
			for range rapid.IntRange(0, 12).Draw(t, "blocks") {
				// Few of them, and near each other, so that sizes overlap.
				prefix := rapid.Uint64Range(0, 3).Draw(t, "high")<<(bits-2) | rapid.Uint64Range(0, 3).Draw(t, "low")
				blocks[i] = append(blocks[i], registry.Block{Prefix: prefix, Vendor: fmt.Sprintf("%d bits %x", bits, prefix)})
			}
			slices.SortFunc(blocks[i], func(a, b registry.Block) int { return cmp.Compare(a.Prefix, b.Prefix) })
			blocks[i] = slices.Compact(blocks[i])
		}
		packed, err := registry.Pack("now", blocks)
		if err != nil {
			t.Fatal(err)
		}
		table, err := registry.Unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(blocks[0]) + len(blocks[1]) + len(blocks[2]); table.Len() != n || table.Edition != "now" {
			t.Fatalf("%d blocks of %d, edition %q", table.Len(), n, table.Edition)
		}
		for range 50 {
			var mac [6]byte
			mac[0] = rapid.Byte().Draw(t, "high") & 0xc0
			for i := 1; i < 6; i++ {
				mac[i] = rapid.SampledFrom([]byte{0, 0, 1, 2, 3, 0x10, 0x20, 0x30}).Draw(t, "byte")
			}
			want := ""
			for i, bits := range registry.Bits {
				for _, b := range blocks[i] {
					if registry.Number(mac)>>(48-bits) == b.Prefix {
						want = b.Vendor // a later size is a smaller block
					}
				}
			}
			if got := table.Lookup(mac); got != want {
				t.Fatalf("%x: %q, want %q", mac, got, want)
			}
		}
	})
}

func TestPackRefusesWhatIsNotSorted(t *testing.T) {
	t.Parallel()
	for _, list := range [][]registry.Block{
		{{Prefix: 2, Vendor: "a"}, {Prefix: 1, Vendor: "b"}},
		{{Prefix: 1, Vendor: "a"}, {Prefix: 1, Vendor: "b"}},
		{{Prefix: 1 << 24, Vendor: "a"}},
	} {
		if _, err := registry.Pack("", registry.Blocks{list}); err == nil {
			t.Errorf("%v was packed", list)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	good, err := registry.Pack("now", registry.Blocks{{{Prefix: 1, Vendor: "a"}, {Prefix: 9, Vendor: "b"}}, nil, {{Prefix: 7, Vendor: "a"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte(strings.Repeat("\x00", 40)))
	f.Add(bytes.ToUpper(good))
	f.Fuzz(func(t *testing.T, packed []byte) {
		table, err := registry.Unpack(packed)
		if err != nil {
			return
		}
		for i := range 64 {
			table.Lookup([6]byte{0, 0, byte(i), byte(i), byte(i), byte(i)})
		}
	})
}
