package daemon

import "testing"

func TestMemoryIsRead(t *testing.T) {
	const info = "MemTotal:        8000000 kB\nMemFree:          123 kB\n"
	for _, c := range []struct {
		name, info, limit string
		memory            uint64
	}{
		{"machine", info, "max\n", 8_192_000_000},
		{"container", info, "2147483648\n", 2 << 30},
		{"limit above the machine", info, "9000000000\n", 8_192_000_000},
		{"container alone", "", "2147483648\n", 2 << 30},
		{"unknown", "", "", 0},
	} {
		if got := memoryIn(c.info, c.limit); got != c.memory {
			t.Errorf("%s: %d bytes; want %d", c.name, got, c.memory)
		}
	}
	if Memory() == 0 {
		t.Error("this machine's memory isn't known")
	}
}
