package reflector

// clock is a time in milliseconds since the reflector began. It wraps after 49
// days; what is compared is never older than seconds.
type clock uint32

// since returns how many milliseconds ago t was, negative if it is to come.
func (c clock) since(t clock) int32 { return int32(c - t) }

const (
	// memoryTime is how long what passed between links is remembered.
	memoryTime = 1000
	// recordGap is the least time between two copies of a record to one link
	// (RFC 6762 §6), and recordEarly by how much one may come early now and
	// then: packets don't keep the distance that they were sent in.
	recordGap, recordEarly = 1000, 100
	// defenceGap is recordGap for answers to a probe (§6), and probeGap that
	// between two equal probes, which are sent 250 ms apart (§8.1).
	defenceGap = 250
	probeGap   = 225
	// askerTime is how long after one host's question the known answers of
	// another's are left out, so that they don't suppress what is meant for the
	// first (§7.1, §7.2: answers wait for up to half a second).
	askerTime = 500
	// joinTime is how long after a question with the QU bit the same from
	// another host on the link isn't passed on, but gets the answers, too.
	joinTime = 50
)

// fact is what the reflector remembers of an item. It has 32 bytes, so that two
// are a line of the processor's cache.
type fact struct {
	seen clock // when it was last heard where it comes from
	next clock // when it may be passed on again
	last clock // when it was passed on last
	from int32 // index of the link that it comes from
	// Of a question: what was listed as known when it was last passed on, and
	// who asked. Of what a proxy said: its TTL.
	known, asker uint32
	// Of a record: when it came early because it had changed between living and
	// taken back.
	turned clock
	turns  bool // it did
	own    bool // this host itself sent it
	passed bool // it was passed on at least once
}

const (
	memoryWays = 4
	memorySets = 1 << 15
)

// facts are those that share a place. Whether there is one about a key, and
// which is to go, is found in one line of the processor's cache.
type facts struct {
	keys [memoryWays]uint64
	put  [memoryWays]clock // when put returned it last
	_    [memoryWays]uint32
	all  [memoryWays]fact
}

// memory holds facts, by key. Its size is fixed: 6 MiB. Where there is no room
// the oldest fact of a set goes; 130,000 are far more than what crosses in the
// second for which they matter.
type memory struct{ sets []facts }

// find returns the fact about key, nil if there is none.
func (m *memory) find(key uint64) *fact {
	set := &m.sets[key%memorySets]
	for i, k := range &set.keys {
		if k == key {
			return &set.all[i]
		}
	}
	return nil
}

// fresh returns the fact about key if it is no older than age.
func (m *memory) fresh(now clock, key uint64, age int32) *fact {
	if f := m.find(key); f != nil && now.since(f.seen) <= age {
		return f
	}
	return nil
}

// put returns the fact about key, a new one if there is none or it is too old.
func (m *memory) put(now clock, key uint64) *fact {
	set := &m.sets[key%memorySets]
	oldest := 0
	for i, k := range &set.keys {
		if k == key {
			f := &set.all[i]
			if now.since(f.seen) > memoryTime {
				*f = fact{seen: now, next: now}
			}
			set.put[i] = now
			return f
		}
		if k == 0 || set.keys[oldest] != 0 && now.since(set.put[i]) > now.since(set.put[oldest]) {
			oldest = i
		}
	}
	set.keys[oldest], set.put[oldest] = key, now
	f := &set.all[oldest]
	*f = fact{seen: now, next: now}
	return f
}

// due says whether the atom may be passed on, given the least gap.
func (f *fact) due(now clock) bool { return !f.passed || now.since(f.next) >= -recordEarly }

// pass notes that the atom is passed on. Over a long time no more pass than one
// for each gap, even if each comes a little early.
func (f *fact) pass(now clock, gap clock) {
	next := now
	if f.passed && now.since(f.next) < 0 {
		next = f.next
	}
	f.next, f.last, f.passed = next+gap, now, true
	if f.next.since(now) > int32(gap)+recordEarly {
		f.next = now + gap + recordEarly
	}
}
