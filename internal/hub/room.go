package hub

// What an item of gateways' inventories takes in the memory (bench: BenchmarkFeeds), with
// the garbage that waits and what is made of it for readers.
const (
	itemBytes   = 2 << 10
	memoryShare = 4 // one part in so many is for the inventory
	leastItems  = 250_000
	mostItems   = 10_000_000
)

// itemsFor is how many items of all gateways may be held on a machine with so much
// memory in bytes, 0 if that isn't known.
func itemsFor(memory uint64) int {
	return int(min(max(memory/memoryShare/itemBytes, leastItems), mostItems))
}
