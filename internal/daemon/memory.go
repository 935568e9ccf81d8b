package daemon

import (
	"cmp"
	"os"
	"strconv"
	"strings"
)

// Memory is how much memory in bytes this process may use: the machine's, or less in a
// container. 0 if that can't be known.
func Memory() uint64 {
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
