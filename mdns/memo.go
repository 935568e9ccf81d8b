package mdns

import (
	"bytes"
	"hash/maphash"
)

const (
	memoSlots = 256
	memoBytes = 1500 // longer responses aren't remembered
)

// memos remember the responses that were heard last and told nothing new, and
// the records that they refreshed: hosts repeat their answers byte for byte, to
// everybody who asks. One that comes again is applied without looking up its
// names. The table has a fixed size and its slots keep their memory.
type memos struct {
	seed  maphash.Seed
	slots []memo
}

type memo struct {
	hash  uint64
	data  []byte
	items []memoItem
}

// memoItem is one record of the response.
type memoItem struct {
	entry *entry
	ttl   uint32
	flush bool
}

// find returns the slot for the message and whether it holds it. The slot is nil for messages
// that aren't remembered.
func (m *memos) find(data []byte) (*memo, bool) {
	if len(data) > memoBytes {
		return nil, false
	}
	if m.slots == nil {
		m.slots, m.seed = make([]memo, memoSlots), maphash.MakeSeed()
	}
	h := maphash.Bytes(m.seed, data)
	s := &m.slots[h%memoSlots]
	if s.hash == h && bytes.Equal(s.data, data) {
		for i := range s.items {
			if s.items[i].entry.slot == nil { // no longer in the cache
				return s, false
			}
		}
		return s, true
	}
	return s, false
}

// keep puts a message into its slot.
func (m *memos) keep(s *memo, data []byte, items []memoItem) {
	s.hash = maphash.Bytes(m.seed, data)
	s.data = append(s.data[:0], data...)
	clear(s.items)
	s.items = append(s.items[:0], items...)
}
