package reflector

import (
	"testing"

	"pgregory.net/rapid"
)

// A shelf does what a map does, whatever the order in which things come and go.
func TestShelfIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s shelf[uint64]
		want := map[uint64]bool{}
		// Few distinct low bits: many keys have the same place.
		keys := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(rt, "place") | rapid.Uint64Range(1, 40).Draw(rt, "rest")<<uint64(rapid.IntRange(2, 12).Draw(rt, "shift"))
		}), 1, 300).Draw(rt, "keys")
		for _, k := range keys {
			if want[k] {
				s.drop(k)
				delete(want, k)
			} else {
				*s.add(k) = k
				want[k] = true
			}
			for _, k := range keys {
				if x := s.find(k); (x != nil) != want[k] || x != nil && *x != k {
					rt.Fatalf("%x: found %v, want %v", k, x != nil, want[k])
				}
			}
			if s.count != len(want) {
				rt.Fatalf("count %d, want %d", s.count, len(want))
			}
		}
	})
}
