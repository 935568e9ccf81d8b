package node

import "testing"

func TestFactsFitTheMemory(t *testing.T) {
	for memory, facts := range map[uint64]int{
		8_192_000_000: 222_222, 2 << 30: 58_254, 0: 20_000, 131_072_000: 20_000, 1_024_000_000_000: 4_000_000,
	} {
		if got := factsFor(memory); got != facts {
			t.Errorf("%d bytes: %d facts; want %d", memory, got, facts)
		}
	}
}
