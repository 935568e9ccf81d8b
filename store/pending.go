package store

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk"
)

// pending is the rows that wait to be written, one a key, within bounds on
// their number and size. It is not safe for use by several goroutines.
type pending struct {
	maxRows, maxBytes int
	rows              map[lanfolk.ObservationKey]*lanfolk.Observation
	bytes             int
	// What take handed out and is neither written nor given back yet. It takes
	// room, too.
	outRows, outBytes int
}

func newPending(rows, bytes int) pending {
	return pending{maxRows: rows, maxBytes: bytes, rows: make(map[lanfolk.ObservationKey]*lanfolk.Observation)}
}

// rowBytes is about what a row costs beside its strings: the row itself, its
// key in the map, and the map's own.
const rowBytes = 640

// sizeOf returns about how much memory a row holds, in bytes.
func sizeOf(o *lanfolk.Observation) int {
	return rowBytes + len(o.Gateway) + len(o.Link) + len(o.Protocol) + len(o.Query) + len(o.Fingerprint)
}

// len returns how many rows are not in the database yet.
func (p *pending) len() int { return len(p.rows) + p.outRows }

// crowded says that it is time to write.
func (p *pending) crowded() bool {
	return p.len() > p.maxRows/2 || p.bytes+p.outBytes > p.maxBytes/2
}

// add merges a copy of o in, and returns how many rows it had to let go for it;
// o itself may be one of them.
func (p *pending) add(o *lanfolk.Observation) (dropped uint64) {
	if have := p.rows[o.ObservationKey]; have != nil {
		have.Merge(*o)
		return 0
	}
	size := sizeOf(o)
	for p.len() >= p.maxRows || p.bytes+p.outBytes+size > p.maxBytes {
		worst := p.worst()
		if worst == nil || worthLess(o, worst) {
			return dropped + 1
		}
		delete(p.rows, worst.ObservationKey)
		p.bytes -= sizeOf(worst)
		dropped++
	}
	row := *o
	p.rows[o.ObservationKey] = &row
	p.bytes += size
	return dropped
}

// looks is among how many rows worst searches. The true worst would need an
// order to be kept, or a stop to make one; among eight the choice is nearly as
// good and takes the same short time always.
const looks = 8

// worst returns a row that is worth little, nil if there are none.
func (p *pending) worst() *lanfolk.Observation {
	var worst *lanfolk.Observation
	n := 0
	for _, o := range p.rows { // begins at a random place
		if worst == nil || worthLess(o, worst) {
			worst = o
		}
		if n++; n == looks {
			break
		}
	}
	return worst
}

// worthLess says whether a is rather to be let go than b. What was heard often
// stays before what was heard once, as all is that somebody makes up to flood
// us; an announcement, from which discovery learns MACs, stays before a
// question; then what is newer stays.
func worthLess(a, b *lanfolk.Observation) bool {
	answer := func(o *lanfolk.Observation) int {
		if o.Response {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(bits.Len64(a.Count), bits.Len64(b.Count)),
		cmp.Compare(answer(a), answer(b)),
		a.Last.Compare(b.Last),
	) < 0
}

// take hands out all rows, by name. Each must come back by written or giveBack.
func (p *pending) take() []lanfolk.Observation {
	out := make([]lanfolk.Observation, 0, len(p.rows))
	for _, o := range p.rows {
		out = append(out, *o)
	}
	// Rows of one name lie side by side in the database's index of names: in
	// order, fewer pages are written.
	slices.SortFunc(out, func(a, b lanfolk.Observation) int { return strings.Compare(a.Query, b.Query) })
	p.outRows, p.outBytes = p.outRows+len(out), p.outBytes+p.bytes
	clear(p.rows)
	p.bytes = 0
	return out
}

// written ends the wait of rows that take handed out.
func (p *pending) written(rows []lanfolk.Observation) {
	for i := range rows {
		p.outRows--
		p.outBytes -= sizeOf(&rows[i])
	}
}

// giveBack takes rows in again that take handed out, and returns how many it
// had to let go.
func (p *pending) giveBack(rows []lanfolk.Observation) (dropped uint64) {
	p.written(rows)
	for i := range rows {
		dropped += p.add(&rows[i])
	}
	return dropped
}
