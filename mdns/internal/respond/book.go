package respond

import (
	"hash/maphash"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// When a host had so many conflicts in so much time, it waits so long
	// before each further attempt (RFC 6762 §8.1).
	conflictMany   = 15
	conflictWindow = 10 * time.Second
	conflictWait   = 5 * time.Second
	// ownMemory is how long a record that is no longer published still counts
	// as our own: copies of it may be under way.
	ownMemory = 2 * time.Minute
	// pastMax bounds the records that are remembered after their time.
	pastMax = 4096
)

// Book is what all zones of a host share: which unique records are the host's
// own, on any link, and how many conflicts there were. A copy of an own record
// that comes back, say over another reflector between two of our links, is no
// conflict.
type Book struct {
	seed      maphash.Seed
	own       map[uint64]int // how many zones publish the record, by its hash
	past      map[uint64]time.Time
	conflicts [conflictMany]time.Time
	next      int
}

// NewBook returns an empty Book.
func NewBook() *Book {
	return &Book{seed: maphash.MakeSeed(), own: map[uint64]int{}, past: map[uint64]time.Time{}}
}

func (b *Book) hash(name string, t dnswire.Type, fold string) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_, _ = h.WriteString(name) // never fails
	_ = h.WriteByte(byte(t >> 8))
	_ = h.WriteByte(byte(t))
	_, _ = h.WriteString(fold)
	return h.Sum64()
}

func (b *Book) add(name string, t dnswire.Type, fold string) {
	h := b.hash(name, t, fold)
	b.own[h]++
	delete(b.past, h)
}

func (b *Book) remove(now time.Time, name string, t dnswire.Type, fold string) {
	h := b.hash(name, t, fold)
	if b.own[h]--; b.own[h] > 0 {
		return
	}
	delete(b.own, h)
	if len(b.past) >= pastMax {
		for k, at := range b.past {
			if now.Sub(at) > ownMemory || len(b.past) >= pastMax {
				delete(b.past, k)
			}
		}
	}
	b.past[h] = now
}

// has says whether the record is, or was lately, published by this host on any
// link.
func (b *Book) has(now time.Time, name string, t dnswire.Type, fold []byte) bool {
	h := b.hash(name, t, string(fold))
	if b.own[h] > 0 {
		return true
	}
	at, ok := b.past[h]
	return ok && now.Sub(at) <= ownMemory
}

// conflict counts one and says whether there were too many lately.
func (b *Book) conflict(now time.Time) (many bool) {
	b.conflicts[b.next] = now
	b.next = (b.next + 1) % conflictMany
	oldest := b.conflicts[b.next]
	return !oldest.IsZero() && now.Sub(oldest) <= conflictWindow
}
