package node

import "testing"

func TestMemoryIsReadAndShared(t *testing.T) {
	const info = "MemTotal:        8000000 kB\nMemFree:          123 kB\n"
	for _, c := range []struct {
		name, info, limit string
		memory            uint64
		facts             int
	}{
		{"machine", info, "max\n", 8_192_000_000, 222_222},
		{"container", info, "2147483648\n", 2 << 30, 58_254},
		{"limit above the machine", info, "9000000000\n", 8_192_000_000, 222_222},
		{"container alone", "", "2147483648\n", 2 << 30, 58_254},
		{"unknown", "", "", 0, 20_000},
		{"small", "MemTotal: 128000 kB\n", "", 131_072_000, 20_000},
		{"huge", "MemTotal: 1000000000 kB\n", "", 1_024_000_000_000, 4_000_000},
	} {
		if got := memoryIn(c.info, c.limit); got != c.memory || factsFor(got) != c.facts {
			t.Errorf("%s: %d bytes, %d facts; want %d, %d", c.name, got, factsFor(got), c.memory, c.facts)
		}
	}
	if machineMemory() == 0 {
		t.Error("this machine's memory isn't known")
	}
}
