package passive

import (
	"sync"
	"sync/atomic"
)

// tally counts for one goroutine, and may be read by others. Bulk traffic and
// repeats are so quick to read that an atomic counter for each number would take a
// good part of the time: a frame is written down as one entry of a ring, which is
// added up when it is full or when somebody asks.
type tally struct {
	packets [numProtos]atomic.Uint64 // beside those that are written down
	drops   [numDrops]atomic.Uint64

	ring    [tallyRing]entry
	written uint64        // entries; the counting goroutine's own
	folded  uint64        // the same: how many were added up when the ring was last full
	ready   atomic.Uint64 // entries that others may read

	mu     sync.Mutex
	totals Stats // guarded by mu, as is all below
	known  [numProtos]uint64
	added  uint64 // entries that are in totals
}

const tallyRing = 256

// entry is what one frame adds.
type entry struct {
	bytes uint32
	facts uint16
	proto proto // of a packet, numProtos for none
}

// frame counts a frame, the facts in it, and a packet of a protocol unless p is
// numProtos.
func (t *tally) frame(bytes int, p proto, facts int) {
	if t.written-t.folded == tallyRing {
		t.mu.Lock()
		t.fold(t.written)
		t.mu.Unlock()
		t.folded = t.written
	}
	t.ring[t.written%tallyRing] = entry{uint32(bytes), uint16(min(facts, 1<<16-1)), p}
	t.written++
	t.ready.Store(t.written)
}

// fold adds up the entries before one; mu is held.
func (t *tally) fold(end uint64) {
	for ; t.added < end; t.added++ {
		e := &t.ring[t.added%tallyRing]
		t.totals.Frames++
		t.totals.Bytes += uint64(e.bytes)
		t.totals.Facts += uint64(e.facts)
		if e.proto < numProtos {
			t.known[e.proto]++
		}
	}
}

func (t *tally) packet(p proto) { add(&t.packets[p], 1) }

func (t *tally) drop(why drop) { add(&t.drops[why], 1) }

// add adds to a counter that only one goroutine writes and others read.
func add(c *atomic.Uint64, n uint64) { c.Store(c.Load() + n) }

// Stats says what a Decoder has seen.
type Stats struct {
	Frames uint64 // frames given to Decode
	Bytes  uint64 // their captured bytes
	Facts  uint64
	// Packets counts the well-formed packets of each protocol that was seen.
	Packets map[string]uint64
	// Drops counts packets that yielded nothing, by reason. Frames that the
	// Decoder has no interest in are not among them.
	Drops map[string]uint64
}

// Stats returns the counters. It may be called while another goroutine decodes.
func (d *Decoder) Stats() Stats {
	t := &d.count
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fold(t.ready.Load())
	s := t.totals
	s.Packets, s.Drops = make(map[string]uint64), make(map[string]uint64)
	for i := range t.packets {
		if n := t.packets[i].Load() + t.known[i]; n > 0 {
			s.Packets[protoNames[i]] = n
		}
	}
	for i := range t.drops {
		if n := t.drops[i].Load(); n > 0 {
			s.Drops[dropNames[i]] = n
		}
	}
	return s
}
