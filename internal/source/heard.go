package source

import (
	"maps"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/passive"
)

// Heard passes on what a Decoder says of one link: rows to the database and
// sightings to the inventory. Devices say the same again and again: what a fact
// amounts to is worked out once and then only counted. Rows are handed over every tenth of a
// second. A sighting is handed over at once where it is news, and else every second:
// a later one replaces it anyway. All in one goroutine.
type Heard struct {
	From *Passive
	// Look, if not nil, sees each fact first and may change or refuse it. It decides by the fact
	// alone: for what is repeated it is not asked again.
	Look func(*passive.Fact) (*passive.Fact, bool)
	// Record and Observe take what is handed over, and don't keep the slices.
	// Observe may be nil.
	Record  func(...lanfolk.Observation)
	Observe func(...lanfolk.Sighting)

	rows      []lanfolk.Observation
	sightings []lanfolk.Sighting
	collect   func(lanfolk.Sighting) // appends to sightings
	counted   []*repeated            // with packets that Record doesn't know of
	held      []*thing               // with sightings that Observe doesn't know of
	things    map[lanfolk.ID]*thing
	era       int // of things
	flushed   time.Time
}

const (
	// rowsEvery is how long rows are counted here, and sightingsEvery how long
	// sightings that say nothing new are held back.
	rowsEvery      = 100 * time.Millisecond
	sightingsEvery = time.Second
	// maxNews is how often something new about one thing is handed over at once
	// within that time.
	maxNews = 4
	// Bounds of what is gathered.
	maxGathered = 1024
	maxCounted  = 1 << 14
	maxThings   = 1 << 13
	maxWords    = 3
)

// repeated is what a fact amounts to that is heard again and again.
type repeated struct {
	link      string
	row       lanfolk.Observation // Count is how often since it was handed over
	isRow     bool
	sightings []lanfolk.Sighting
	every     time.Duration // sightingsEvery, less where they don't hold so long
	era       int           // of the rest
	things    []*thing      // what each sighting is about
	words     []*lanfolk.Sighting
}

// thing is what sightings with one ID are about.
type thing struct {
	// words are different sightings of it; those of many packets say the same.
	words []*lanfolk.Sighting
	word  *lanfolk.Sighting // that was heard last, nil for one of a fact not known by heart
	last  *lanfolk.Sighting // the same, as the last packet has it
	heard time.Time         // when
	told  time.Time         // when one was handed over
	news  int               // how many since sightingsEvery ago
	held  bool              // last wasn't handed over
}

// Fact takes a fact.
func (h *Heard) Fact(f *passive.Fact) {
	if f.Again != nil {
		k, known := f.Again.Value.(*repeated)
		switch {
		case !known:
			f.Again.Value = h.learn(f)
			return
		case k.link == f.Interface: // else a file's, of many links
			h.again(k, f.Time)
			return
		}
	}
	h.once(f)
}

// once takes a fact that isn't known by heart, and returns its sightings.
func (h *Heard) once(f *passive.Fact) (row lanfolk.Observation, isRow bool, sightings []lanfolk.Sighting) {
	if h.Look != nil {
		var ok bool
		if f, ok = h.Look(f); !ok {
			return row, false, nil
		}
	}
	if len(h.rows) >= maxGathered || len(h.sightings) >= maxGathered {
		h.handOver()
	}
	if row, isRow = h.From.Observation(f); isRow {
		h.rows = append(h.rows, row)
	}
	if h.Observe == nil {
		return row, isRow, nil
	}
	if h.collect == nil {
		h.collect = func(s lanfolk.Sighting) { h.sightings = append(h.sightings, s) }
	}
	from := len(h.sightings)
	h.From.Sightings(f, h.collect)
	sightings = h.sightings[from:]
	for i := range sightings {
		if x := h.things[sightings[i].ID()]; x != nil {
			x.word, x.last = nil, nil // something else was said of it since
		}
	}
	return row, isRow, sightings
}

// learn takes a fact that is from now on known by heart.
func (h *Heard) learn(f *passive.Fact) *repeated {
	k := &repeated{link: f.Interface, every: sightingsEvery, era: -1}
	var sightings []lanfolk.Sighting
	k.row, k.isRow, sightings = h.once(f)
	k.row.Count = 0
	k.sightings = append(k.sightings, sightings...)
	for i := range k.sightings {
		if life := k.sightings[i].Lifetime; life > 0 {
			k.every = min(k.every, life/10)
		}
	}
	h.find(k)
	for i, x := range k.things {
		x.word, x.last, x.told, x.news = k.words[i], &k.sightings[i], f.Time, x.news+1
	}
	return k
}

// find looks up what k's sightings are about.
func (h *Heard) find(k *repeated) {
	if len(h.things) >= maxThings || h.things == nil {
		h.handOverHeld(time.Time{})
		h.things = make(map[lanfolk.ID]*thing)
		h.era++
	}
	k.era, k.things, k.words = h.era, k.things[:0], k.words[:0]
	for i := range k.sightings {
		s := &k.sightings[i]
		x := h.things[s.ID()]
		if x == nil {
			x = new(thing)
			h.things[s.ID()] = x
		}
		k.things, k.words = append(k.things, x), append(k.words, x.wordFor(s))
	}
}

// wordFor returns the sighting among those known that says the same as s, s
// itself if there is none.
func (x *thing) wordFor(s *lanfolk.Sighting) *lanfolk.Sighting {
	for _, w := range x.words {
		if sayTheSame(w, s) {
			return w
		}
	}
	if len(x.words) == maxWords {
		x.words = append(x.words[:0], x.words[1:]...)
	}
	x.words = append(x.words, s)
	return s
}

// sayTheSame says whether two sightings of one thing differ at most in their time, and in how
// the evidence is put for people.
func sayTheSame(a, b *lanfolk.Sighting) bool {
	return a.Origin == b.Origin && a.Name == b.Name && a.Type == b.Type && a.Host == b.Host && a.Port == b.Port &&
		a.State == b.State && a.Lifetime == b.Lifetime && a.Gone == b.Gone &&
		slices.Equal(a.Identifiers, b.Identifiers) && slices.Equal(a.Addresses, b.Addresses) && maps.Equal(a.Attributes, b.Attributes)
}

// again takes what is known by heart.
func (h *Heard) again(k *repeated, now time.Time) {
	if k.isRow {
		if k.row.Count == 0 {
			if len(h.counted) >= maxCounted {
				h.handOverCounted()
			}
			k.row.First = now
			h.counted = append(h.counted, k)
		}
		k.row.Count++
		k.row.Last = now
	}
	if len(k.sightings) == 0 {
		return
	}
	if k.era != h.era {
		h.find(k)
	}
	for i, x := range k.things {
		s, same := &k.sightings[i], x.word == k.words[i]
		x.word, x.last, x.heard = k.words[i], s, now
		switch {
		case now.Sub(x.told).Abs() >= k.every:
			x.news = 0
			h.tell(x, now)
		case !same && x.news < maxNews:
			x.news++
			h.tell(x, now)
		case !x.held:
			x.held = true
			h.held = append(h.held, x)
		}
	}
}

// tell gathers the sighting of a thing.
func (h *Heard) tell(x *thing, now time.Time) {
	if len(h.sightings) >= maxGathered {
		h.handOver()
	}
	x.last.Time, x.told = now, now
	h.sightings = append(h.sightings, *x.last)
	x.last = nil // what is in the list of those held is passed over
}

// handOver hands over what is gathered.
func (h *Heard) handOver() {
	if len(h.rows) > 0 {
		h.Record(h.rows...)
		clear(h.rows)
		h.rows = h.rows[:0]
	}
	if len(h.sightings) > 0 {
		h.Observe(h.sightings...)
		clear(h.sightings)
		h.sightings = h.sightings[:0]
	}
}

// handOverCounted hands over the rows that were counted.
func (h *Heard) handOverCounted() {
	for i, k := range h.counted {
		if len(h.rows) >= maxGathered {
			h.handOver()
		}
		h.rows = append(h.rows, k.row)
		k.row.Count = 0
		h.counted[i] = nil
	}
	h.counted = h.counted[:0]
	h.handOver()
}

// handOverHeld hands over the sightings that were held back long enough; for the
// zero time all.
func (h *Heard) handOverHeld(now time.Time) {
	rest := h.held[:0]
	for _, x := range h.held {
		switch {
		case x.last == nil:
			x.held = false
		case !now.IsZero() && now.Sub(x.told).Abs() < sightingsEvery:
			rest = append(rest, x)
		default:
			x.held, x.news = false, 0
			h.tell(x, x.heard)
		}
	}
	clear(h.held[len(rest):])
	h.held = rest
	h.handOver()
}

// Pause is called whenever frames have been read, and hands over what is due. It
// returns in how long it wants to be called again if no more come; 0: not before.
func (h *Heard) Pause() time.Duration {
	h.handOver()
	if len(h.counted) == 0 && len(h.held) == 0 {
		return 0
	}
	now := time.Now()
	if since := now.Sub(h.flushed); since >= 0 && since < rowsEvery {
		return rowsEvery - since
	}
	h.flushed = now
	h.handOverCounted()
	h.handOverHeld(now)
	if len(h.held) == 0 {
		return 0
	}
	return rowsEvery
}

// End hands over all that there is.
func (h *Heard) End() {
	h.handOverCounted()
	h.handOverHeld(time.Time{})
}
