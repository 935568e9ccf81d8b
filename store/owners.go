package store

import (
	"cmp"
	"math/rand/v2"
	"time"

	"github.com/lanfolk/lanfolk"
)

// owner is a MAC on whose account rows wait; see lanfolk.ObservationKey.Owner.
type owner struct {
	rows        []*waiting // in no order
	out         int        // rows that are being written
	bytes       int        // of both
	first, last time.Time  // when it was heard
}

// settledAfter is how long after the first word a MAC that still speaks counts as
// one that is really there. Of made-up MACs each speaks for a moment.
const settledAfter = time.Minute

func (o *owner) settled() bool { return o.last.Sub(o.first) >= settledAfter }

func (o *owner) heard(at time.Time) {
	if at.After(o.last) {
		o.last = at
	}
}

// count returns how many rows it has in memory.
func (o *owner) count() int { return len(o.rows) + o.out }

// full says whether it has no room for a row of a size.
func (o *owner) full(p *pending, size int) bool {
	return o.count() >= max(1, p.maxRows/ownerShare) || o.bytes+size > p.maxBytes/ownerShare
}

func (o *owner) put(w *waiting) {
	w.at = len(o.rows)
	o.rows = append(o.rows, w)
}

func (o *owner) take(w *waiting) {
	last := len(o.rows) - 1
	o.rows[w.at] = o.rows[last]
	o.rows[w.at].at = w.at
	o.rows[last] = nil
	if o.rows = o.rows[:last]; last == 0 {
		o.rows = nil // most say little: keep no room for more
	}
}

// worst returns one of its rows that is worth little, nil if none waits.
func (o *owner) worst() *waiting {
	var worst *waiting
	for range min(looks, len(o.rows)) {
		w := o.rows[rand.IntN(len(o.rows))]
		if worst == nil || worthLess(&w.Observation, o, o.count(), worst) {
			worst = w
		}
	}
	return worst
}

// owners are the MACs that speak or spoke lately.
type owners struct{ all map[lanfolk.MAC]*owner }

func newOwners() owners { return owners{make(map[lanfolk.MAC]*owner)} }

// maxOwners is how many MACs are kept in mind beside those that have rows, some
// 100 bytes each.
const maxOwners = 1 << 15

// get returns the owner with a MAC that is heard at a time.
func (o *owners) get(mac lanfolk.MAC, at time.Time) *owner {
	if x := o.all[mac]; x != nil {
		x.heard(at)
		return x
	}
	if len(o.all) >= maxOwners {
		o.forget()
		o.forget() // so that what a flood left shrinks again
	}
	x := &owner{first: at, last: at}
	o.all[mac] = x
	return x
}

// forget lets go of one that has no rows, where among a few there is one: who
// has just come before who is really there, then who fell silent first.
func (o *owners) forget() {
	var worst lanfolk.MAC
	var of *owner
	n := 0
	for mac, x := range o.all { // begins at a random place
		if x.count() == 0 && (of == nil || cmp.Or(compareBools(x.settled(), of.settled()), x.last.Compare(of.last)) < 0) {
			worst, of = mac, x
		}
		if n++; n == looks {
			break
		}
	}
	if of != nil {
		delete(o.all, worst)
	}
}
