package hub

import "testing"

func TestItemsFitTheMemory(t *testing.T) {
	for memory, items := range map[uint64]int{
		0: 250_000, 1 << 30: 250_000, 8 << 30: 1 << 20, 1 << 40: 10_000_000,
	} {
		if got := itemsFor(memory); got != items {
			t.Errorf("%d bytes: %d items; want %d", memory, got, items)
		}
	}
}
