package syncthing

import (
	"sync"
	"time"
)

// tails is how many tails a directory has.
const tails = 2

// tailBatch is how many devices a tail hands out at once: what it keeps others waiting
// for is some 50 µs.
const tailBatch = 128

// Tail hands out a directory's devices as records, oldest announcement first: those that
// were announced since it handed them out last. So a device that was announced a hundred
// times meanwhile is handed out once, and what isn't fetched takes no memory.
//
// All that a Tail hands out from when it was rewound, one behind the other, is what
// [Directory.Restore] reads.
type Tail struct {
	mu      sync.Locker
	d       *Directory
	mark    int // the index of its mark
	rewound bool
	base    int64 // of the last clock
}

// Tails returns the two tails of a directory. They hold mu while they read it. Each has one
// user at a time, and goes on where the user before left it: with what was announced since the
// directory was restored, if there was none.
func (d *Directory) Tails(mu sync.Locker) (log, whole *Tail) {
	mu.Lock()
	defer mu.Unlock()
	base := d.base(d.epoch.Add(time.Duration(d.now) * tick))
	return &Tail{mu: mu, d: d, mark: 0, base: base}, &Tail{mu: mu, d: d, mark: 1, base: base}
}

// Rewind makes a tail begin anew, with the head of a file and all devices.
func (t *Tail) Rewind() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rewound = true
	t.d.marks[t.mark] = t.d.oldest
}

// Follow makes a tail hand out what another one has yet to hand out.
func (t *Tail) Follow(other *Tail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rewound, t.base = other.rewound, other.base
	t.d.marks[t.mark] = t.d.marks[other.mark]
}

// Append appends some of what is to be handed out, not much more than 16 KiB; if there is
// nothing, it returns dst as it is.
func (t *Tail) Append(now time.Time, dst []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.d
	d.setTime(now)
	base := d.base(now)
	i := d.marks[t.mark]
	if i == 0 && !t.rewound && near(base, t.base) {
		return dst
	}
	if t.rewound {
		dst = append(dst, stateHead...)
		dst = appendClock(dst, d.now, base) // so that a file that is cut has one
	}
	for n := 0; n < tailBatch && i != 0; n++ {
		dst = d.appendRecord(dst, i)
		i = d.devices.at(i).newer
	}
	dst = appendClock(dst, d.now, base)
	d.marks[t.mark] = i
	t.rewound, t.base = false, base
	return dst
}

// near says whether what two clocks say differs by no more than they may drift apart.
func near(a, b int64) bool {
	const most = int64(time.Second / time.Millisecond)
	return a-b <= most && b-a <= most
}
