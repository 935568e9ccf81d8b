package node

import (
	"cmp"
	"os"
	"strconv"
	"strings"
)

// What a fact takes with a device of its own, which it has in a flood of made-up
// MACs; most devices have ten or more. The garbage that waits is in it.
const (
	factBytes   = 6 << 10
	memoryShare = 6 // one part in so many is for the inventory
	leastFacts  = 20_000
	mostFacts   = 4_000_000
)

// factsFor is how many facts may be held on a machine with so much memory in bytes, 0
// if that isn't known.
func factsFor(memory uint64) int {
	return int(min(max(memory/memoryShare/factBytes, leastFacts), mostFacts))
}

// machineMemory is how much memory this process may use: the machine's, or less in a
// container. 0 if that can't be known.
func machineMemory() uint64 {
	info, _ := os.ReadFile("/proc/meminfo")
	limit, _ := os.ReadFile("/sys/fs/cgroup/memory.max")
	return memoryIn(string(info), string(limit))
}

// memoryIn reads proc_meminfo(5) and a control group's memory.max.
func memoryIn(info, limit string) uint64 {
	var total uint64
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 50)
			total = kib << 10
		}
	}
	if most, err := strconv.ParseUint(strings.TrimSpace(limit), 10, 64); err == nil && most > 0 { // else "max"
		total = min(cmp.Or(total, most), most)
	}
	return total
}
