package syncthing

import "hash/maphash"

// index finds the numbers of devices by a hash of their ID, that nobody outside can foretell. It holds
// eight bytes for a device and as many to spare, beside each other: one look in memory finds
// a device, and the comparison of its ID is the second.
//
// It is in parts that grow one by one, so that nobody waits long for it to grow.
type index struct {
	seed  maphash.Seed
	parts [indexParts]indexPart
	used  int
}

const indexParts = 1 << 8

// indexPart is a table with open addressing. Its length is a power of two or 0, and there is always
// an empty slot in it.
type indexPart struct {
	slots []indexSlot
	used  int
}

// indexSlot is a device, or empty if its number is 0. Where it belongs follows from its tag, and
// it stands there or in the first slot behind that was free.
type indexSlot struct{ tag, number uint32 }

func (x *index) hash(id *DeviceID) uint64 { return maphash.Bytes(x.seed, id[:]) }

// part returns the part of a hash, and the tag that it has there.
func (x *index) part(hash uint64) (*indexPart, uint32) {
	return &x.parts[hash%indexParts], uint32(hash >> 32)
}

// next returns the first number of a tag in the slots from at on, and at which slot it
// stands; 0 if there is none.
func (p *indexPart) next(tag, at uint32) (number, slot uint32) {
	if len(p.slots) == 0 {
		return 0, 0
	}
	mask := uint32(len(p.slots) - 1)
	for ; ; at++ {
		switch s := p.slots[at&mask]; {
		case s.number == 0:
			return 0, at & mask
		case s.tag == tag:
			return s.number, at & mask
		}
	}
}

// add adds a number that isn't there.
func (x *index) add(hash uint64, number uint32) {
	p, tag := x.part(hash)
	const fewest = 8
	if p.used >= len(p.slots)/4*3 {
		old := p.slots
		p.slots = make([]indexSlot, max(2*len(old), fewest))
		for _, s := range old {
			if s.number != 0 {
				p.put(s)
			}
		}
	}
	p.put(indexSlot{tag, number})
	p.used++
	x.used++
}

func (p *indexPart) put(s indexSlot) {
	mask := uint32(len(p.slots) - 1)
	at := s.tag & mask
	for p.slots[at].number != 0 {
		at = (at + 1) & mask
	}
	p.slots[at] = s
}

// remove takes a number out, which is there.
func (x *index) remove(hash uint64, number uint32) {
	p, tag := x.part(hash)
	mask := uint32(len(p.slots) - 1)
	gap := tag & mask
	for p.slots[gap].number != number {
		gap = (gap + 1) & mask
	}
	// What stands behind moves up, unless it would come to stand before where it belongs.
	for at := (gap + 1) & mask; p.slots[at].number != 0; at = (at + 1) & mask {
		if away := (at - p.slots[at].tag) & mask; away >= (at-gap)&mask {
			p.slots[gap] = p.slots[at]
			gap = at
		}
	}
	p.slots[gap] = indexSlot{}
	p.used--
	x.used--
}

// sought is a device that is looked for.
type sought struct {
	id     DeviceID
	hash   uint64
	number uint32 // 0: it isn't known
	first  uint32 // the newest of its addresses; 0: it has none that isn't too old
}

// find looks for devices. It does so with all of them in step: memory is far slower than the
// processor, but hands out a dozen things as fast as one when it is asked for them at
// the same time.
func (d *Directory) find(t uint32, all []sought) {
	for i := range all {
		s := &all[i]
		s.hash = d.index.hash(&s.id)
		p, tag := d.index.part(s.hash)
		s.number, _ = p.next(tag, tag)
	}
	for i := range all {
		s := &all[i]
		s.first = 0
		if s.number != 0 && d.devices.at(s.number).id != s.id {
			s.number = d.number(s.hash, &s.id) // two have the same tag
		}
		if s.number != 0 {
			s.first = d.devices.at(s.number).first
		}
	}
	for i := range all {
		if s := &all[i]; s.first != 0 && !d.alive(t, d.addresses.at(s.first)) {
			s.first = 0 // and those behind it are older
		}
	}
}

// number returns the number of a device; 0 if it isn't known.
func (d *Directory) number(hash uint64, id *DeviceID) uint32 {
	p, tag := d.index.part(hash)
	for at := tag; ; at++ {
		var n uint32
		if n, at = p.next(tag, at); n == 0 || d.devices.at(n).id == *id {
			return n
		}
	}
}
