package lanfolk

// table finds entries by hash in one flat array of 8 bytes a slot: the upper
// half of a slot is the entry's hash, the lower half its index plus one. A Go
// map would take six times as much for a million entries.
type table[T any] struct {
	slots []uint64
	items []*T
	free  []uint32
	used  int
}

// find returns the entry with the hash for which eq holds, or nil.
func (t *table[T]) find(hash uint32, eq func(*T) bool) *T {
	if len(t.slots) == 0 {
		return nil
	}
	mask := uint32(len(t.slots) - 1)
	for p := hash & mask; ; p = (p + 1) & mask {
		s := t.slots[p]
		if s == 0 {
			return nil
		}
		if uint32(s>>32) == hash {
			if e := t.items[uint32(s)-1]; eq(e) {
				return e
			}
		}
	}
}

// put adds an entry that isn't there yet and returns its index.
func (t *table[T]) put(hash uint32, e *T) uint32 {
	if (t.used+1)*4 > len(t.slots)*3 {
		t.grow()
	}
	var n uint32
	if last := len(t.free) - 1; last >= 0 {
		n = t.free[last]
		t.free = t.free[:last]
		t.items[n] = e
	} else {
		n = uint32(len(t.items))
		t.items = append(t.items, e)
	}
	t.used++
	t.insert(uint64(hash)<<32 | uint64(n+1))
	return n
}

func (t *table[T]) insert(s uint64) {
	mask := uint32(len(t.slots) - 1)
	p := uint32(s>>32) & mask
	for t.slots[p] != 0 {
		p = (p + 1) & mask
	}
	t.slots[p] = s
}

func (t *table[T]) grow() {
	old := t.slots
	t.slots = make([]uint64, max(16, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			t.insert(s)
		}
	}
}

// remove takes out the entry with that hash and index, and closes the gap so
// that no search has to pass over tombstones.
func (t *table[T]) remove(hash, n uint32) {
	mask := uint32(len(t.slots) - 1)
	want := uint64(hash)<<32 | uint64(n+1)
	p := hash & mask
	for t.slots[p] != want {
		p = (p + 1) & mask
	}
	t.items[n] = nil
	t.free = append(t.free, n)
	t.used--
	for q := (p + 1) & mask; t.slots[q] != 0; q = (q + 1) & mask {
		home := uint32(t.slots[q]>>32) & mask
		if (q-home)&mask >= (q-p)&mask {
			t.slots[p] = t.slots[q]
			p = q
		}
	}
	t.slots[p] = 0
}
