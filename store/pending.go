package store

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
)

// pending is the rows that wait to be written or are being written, within
// bounds on their number and size, and on what one MAC may have of it. It is
// not safe for use by several goroutines.
type pending struct {
	maxRows, maxBytes int
	rows              map[lanfolk.ObservationKey]*waiting // what waits, one a key
	out               int                                 // rows that take handed out and that did not come back yet
	bytes             int                                 // of both
	owners            owners
	flood             uint                // rows that came when there was no room for their kind
	names             map[string]*waiting // of both, by folded name: one of a ring
}

// waiting is a row in memory. It stands in a ring with those of the same name.
type waiting struct {
	lanfolk.Observation
	owner      *owner
	at         int // in owner.rows
	out        bool
	prev, next *waiting
}

func newPending(rows, bytes int) pending {
	return pending{
		maxRows: rows, maxBytes: bytes,
		rows:   make(map[lanfolk.ObservationKey]*waiting),
		owners: newOwners(),
		names:  make(map[string]*waiting),
	}
}

// rowBytes is about what a row costs beside its strings: the row itself, its
// key in the map, and the maps' own.
const rowBytes = 760

// ownerShare is the part of all room that one MAC may take: an eighth. It is far
// more than a device says in a second, and leaves the others theirs.
const ownerShare = 8

// sizeOf returns about how much memory a row holds, in bytes.
func sizeOf(o *lanfolk.Observation) int {
	return rowBytes + len(o.Gateway) + len(o.Link) + len(o.Protocol) + len(o.Query) + len(o.Fingerprint)
}

// len returns how many rows are not in the database yet.
func (p *pending) len() int { return len(p.rows) + p.out }

// crowded says that it is time to write.
func (p *pending) crowded() bool { return p.len() > p.maxRows/2 || p.bytes > p.maxBytes/2 }

// lost is how many rows had to go, by why.
type lost struct {
	room  uint64 // there was no room for all
	share uint64 // the MAC had its share already
}

// add merges a copy of o in. It returns what had to go for that; o itself may be
// of it.
func (p *pending) add(o *lanfolk.Observation) (gone lost) {
	if have := p.rows[o.ObservationKey]; have != nil {
		have.Merge(*o)
		have.owner.heard(o.Last)
		return lost{}
	}
	size := sizeOf(o)
	if size > p.maxBytes/ownerShare {
		return lost{share: 1}
	}
	full := p.len() >= p.maxRows || p.bytes+size > p.maxBytes
	by := p.owners.all[o.Owner()]
	if full && (by == nil || !by.settled()) && p.refuses() {
		return lost{room: 1}
	}
	if by != nil && by.full(p, size) && p.refuses() {
		return lost{share: 1}
	}
	by = p.owners.get(o.Owner(), o.Last)
	for by.full(p, size) {
		worst := by.worst()
		gone.share++
		if worst == nil || worthLess(o, by, by.count()+1, worst) {
			return gone
		}
		p.drop(worst)
	}
	for p.len() >= p.maxRows || p.bytes+size > p.maxBytes {
		worst := p.worst()
		gone.room++
		if worst == nil || worthLess(o, by, by.count()+1, worst) {
			return gone
		}
		p.drop(worst)
	}
	p.insert(&waiting{Observation: *o, owner: by}, size)
	return gone
}

// refuses says whether to turn away one more of a flood without a search for what is
// worth less, which costs more than all else: all but a few, so that what is new still
// finds its way in while the database takes nothing.
func (p *pending) refuses() bool {
	p.flood++
	return p.flood%searched != 0
}

// searched is of how many rows of a flood one is worth a search.
const searched = 32

func (p *pending) insert(w *waiting, size int) {
	p.rows[w.ObservationKey] = w
	p.bytes += size
	w.owner.bytes += size
	w.owner.put(w)
	p.link(w)
}

// drop lets go of a row that waits.
func (p *pending) drop(w *waiting) {
	delete(p.rows, w.ObservationKey)
	w.owner.take(w)
	p.forget(w)
}

// forget takes a row out of what rows that wait and rows that are being written
// share.
func (p *pending) forget(w *waiting) {
	size := sizeOf(&w.Observation)
	p.bytes -= size
	w.owner.bytes -= size
	p.unlink(w)
}

// looks is among how many rows worst searches. The true worst would need an
// order to be kept, or a stop to make one; among eight the choice is nearly as
// good and takes the same short time always.
const looks = 8

// worst returns a row that is worth little, nil if there are none.
func (p *pending) worst() *waiting {
	var worst *waiting
	n := 0
	for _, w := range p.rows { // begins at a random place
		if worst == nil || worthLess(&w.Observation, w.owner, w.owner.count(), worst) {
			worst = w
		}
		if n++; n == looks {
			break
		}
	}
	return worst
}

// worthLess says whether a, one of n rows of by, is rather to be let go than b. A MAC that
// has been here for a while stays before one that has just come, as all are that
// somebody makes up; of those alike the one with few rows stays, so that who says
// most loses first. What was heard often stays before what was heard once; an
// announcement, from which discovery learns MACs, before a question; then what is
// newer.
func worthLess(a *lanfolk.Observation, by *owner, n int, b *waiting) bool {
	return cmp.Or(
		compareBools(by.settled(), b.owner.settled()),
		-cmp.Compare(bits.Len(uint(n)), bits.Len(uint(b.owner.count()))),
		cmp.Compare(bits.Len64(a.Count), bits.Len64(b.Count)),
		compareBools(a.Response, b.Response),
		a.Last.Compare(b.Last),
	) < 0
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// take hands out all rows that wait, by name. Each must come back by written or
// giveBack; until then newest finds it, too.
func (p *pending) take() []*waiting {
	out := make([]*waiting, 0, len(p.rows))
	for _, w := range p.rows {
		w.owner.take(w)
		w.owner.out++
		w.out = true
		out = append(out, w)
	}
	// Rows of one name lie side by side in the database's index of names: in
	// order, fewer pages are written.
	slices.SortFunc(out, func(a, b *waiting) int { return strings.Compare(a.Query, b.Query) })
	p.out += len(out)
	clear(p.rows)
	return out
}

// written ends the wait of rows that take handed out.
func (p *pending) written(rows []*waiting) {
	p.out -= len(rows)
	for _, w := range rows {
		w.owner.out--
		p.forget(w)
	}
}

// giveBack lets rows wait again that take handed out. They had their room all the
// time, so none must go.
func (p *pending) giveBack(rows []*waiting) {
	p.out -= len(rows)
	for _, w := range rows {
		w.owner.out--
		w.out = false
		if have := p.rows[w.ObservationKey]; have != nil {
			have.Merge(w.Observation)
			p.forget(w)
			continue
		}
		p.rows[w.ObservationKey] = w
		w.owner.put(w)
	}
}

// newest returns what memory holds of the row with a name, folded, that was heard
// last of those that match; nothing if there is none.
func (p *pending) newest(name string, match func(*lanfolk.Observation) bool) parts {
	var best *waiting
	for w := p.names[name]; w != nil; {
		if (best == nil || w.Last.After(best.Last)) && match(&w.Observation) {
			best = w
		}
		if w = w.next; w == p.names[name] {
			break
		}
	}
	if best == nil {
		return nil
	}
	return p.parts(best.ObservationKey)
}

// parts are what memory holds of one row: what waits, and what is being written.
type parts []lanfolk.Observation

// whole merges them. There is one at least.
func (p parts) whole() lanfolk.Observation {
	o := p[0]
	for _, x := range p[1:] {
		o.Merge(x)
	}
	return o
}

// addTo adds them to the database's row, which was looked at after them. What was
// written in the meantime the row holds already: then it was heard last when they
// were, or later.
func (p parts) addTo(row lanfolk.Observation) lanfolk.Observation {
	last := row.Last
	for _, x := range p {
		if last.Before(x.Last) {
			row.Merge(x)
		}
	}
	return row
}

// parts returns what memory holds of a key.
func (p *pending) parts(key lanfolk.ObservationKey) (all parts) {
	name := foldName(key.Query)
	for w := p.names[name]; w != nil; {
		if w.ObservationKey == key {
			all = append(all, w.Observation)
		}
		if w = w.next; w == p.names[name] {
			break
		}
	}
	return all
}

// matching returns what memory holds of all rows that match, in no order.
func (p *pending) matching(match func(*lanfolk.Observation) bool) map[lanfolk.ObservationKey]parts {
	found := make(map[lanfolk.ObservationKey]parts)
	for _, head := range p.names {
		for w := head; ; {
			if match(&w.Observation) {
				found[w.ObservationKey] = append(found[w.ObservationKey], w.Observation)
			}
			if w = w.next; w == head {
				break
			}
		}
	}
	return found
}

// link puts w into the ring of its name.
func (p *pending) link(w *waiting) {
	name := foldName(w.Query)
	head := p.names[name]
	if head == nil {
		w.prev, w.next = w, w
	} else {
		w.prev, w.next = head.prev, head
		head.prev.next, head.prev = w, w
	}
	p.names[name] = w
}

func (p *pending) unlink(w *waiting) {
	name := foldName(w.Query)
	if w.next == w {
		delete(p.names, name)
		return
	}
	w.prev.next, w.next.prev = w.next, w.prev
	if p.names[name] == w {
		p.names[name] = w.next
	}
}
