package node

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
