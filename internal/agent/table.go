package agent

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

// Bounds of what is remembered.
const (
	maxOpen    = 1024            // commands that the hub hasn't acknowledged
	maxEntries = 16 << 10        // commands
	maxInline  = 8 << 10         // bytes of a result that stand in the journal
	keepFor    = 24 * 60 * 60    // seconds for which an id is remembered that has no deadline
	keepBeyond = 60 * 60         // seconds beyond a deadline
	maxKeep    = 2 * 365 * 86400 // seconds
	keepUnsent = 30 * 24 * 60 * 60
)

// A table is what the journal says, command by command. It is told the time.
type table struct {
	entries map[string]*entry
	open    int    // entries that aren't acknowledged
	floor   string // no unknown command up to this id runs
	newest  string // the greatest id there ever was
	lines   int    // that were read
}

// An entry is what is known of one command.
type entry struct {
	id       string
	state    state
	accepted int64
	keep     int64
	source   *source
	result   *result
}

func newTable() *table { return &table{entries: make(map[string]*entry)} }

// apply adds what a line says. A command never goes back to an earlier state.
func (t *table) apply(r record) {
	t.newest = max(t.newest, r.ID)
	e := t.entries[r.ID]
	if e == nil {
		e = &entry{id: r.ID, accepted: r.Accepted, keep: keepFor}
		t.entries[r.ID] = e
		t.open++
	}
	if r.Keep > 0 {
		e.keep = r.Keep
	}
	if r.State.rank() <= e.state.rank() {
		return
	}
	if e.state = r.State; r.State == acknowledged {
		t.open--
		e.source, e.result = nil, nil // of no more use
		return
	}
	if r.Source != nil {
		e.source = r.Source
	}
	if r.Result != nil {
		e.result = r.Result
	}
}

// record returns the line that says all of an entry.
func (e *entry) record() record {
	return record{ID: e.id, State: e.state, Accepted: e.accepted, Keep: e.keep, Source: e.source, Result: e.result}
}

// expired says whether an entry may be forgotten. A clock that was set back
// keeps it longer.
func (e *entry) expired(now int64) bool {
	age := now - e.accepted
	return e.state == acknowledged && age > e.keep || e.state == done && age > e.keep+keepUnsent
}

// prune forgets what may be forgotten, and returns whether there is room for one
// more command.
func (t *table) prune(now time.Time) bool {
	if t.open >= maxOpen || len(t.entries) >= maxEntries {
		for id, e := range t.entries {
			if e.expired(now.Unix()) {
				t.forget(id)
			}
		}
	}
	if t.open >= maxOpen {
		return false
	}
	if len(t.entries) < maxEntries {
		return true
	}
	// More acknowledged commands than can be remembered: an eighth of them goes,
	// the oldest, and no command that is older than these runs any more.
	var old []string
	for id, e := range t.entries {
		if e.state == acknowledged {
			old = append(old, id)
		}
	}
	slices.Sort(old)
	for _, id := range old[:len(old)/8+1] {
		t.floor = max(t.floor, id)
		t.forget(id)
	}
	return true
}

func (t *table) forget(id string) {
	if e := t.entries[id]; e != nil && e.state != acknowledged {
		t.open--
	}
	delete(t.entries, id)
}

// sorted returns the entries, the oldest first.
func (t *table) sorted() []*entry {
	return slices.SortedFunc(maps.Values(t.entries), func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
}

// interrupted is the result of a command of which nobody knows how far it came;
// sum and total are of what is left of its output.
func interrupted(sum [sha256.Size]byte, total int64) *result {
	return &result{
		Type: reverse.TypeResult, Status: reverse.StatusInterrupted, SHA256: sum[:], Total: total,
		Error: "the gateway ended while the command ran; it is not run again",
	}
}
