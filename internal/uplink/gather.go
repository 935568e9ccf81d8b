package uplink

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
)

// change is what may be told of one item.
type change struct {
	feed.Item
	sum uint64 // of what it says, times aside
}

// A packer gathers what goes up in one batch. The last word on a key counts.
type packer struct {
	items  map[string]change
	size   int
	urgent bool // something in it shouldn't wait for the end of a sweep
}

// put adds changes, all or none; false if they don't fit.
func (p *packer) put(all []change, urgent bool) bool {
	more := 0
	for n := range all {
		more += all[n].Size()
	}
	if p.size+more > feed.MaxBatch-feed.HeaderSize && len(p.items) > 0 {
		return false
	}
	if p.items == nil {
		p.items = make(map[string]change)
	}
	for _, c := range all {
		p.drop(c.Key)
		p.items[c.Key] = c
		p.size += c.Size()
	}
	p.urgent = p.urgent || urgent && len(all) > 0
	return true
}

// drop takes back what was to be said of an item: it is as the hub has it.
func (p *packer) drop(key string) {
	if c, ok := p.items[key]; ok {
		delete(p.items, key)
		p.size -= c.Size()
	}
}

// gather fills the batch with what changed, and says whether it is full: then there may be
// more. Evidence of a sweep is looked at in steps, unless all of it is wanted at once.
func (v *inventory) gather(all bool) (full bool) {
	defer v.rest()
	if v.held != nil {
		held := v.held
		v.held = nil
		if !v.add(held, true) {
			return true
		}
	}
	for v.takeNoted(); len(v.changed) > 0 || len(v.proven) > 0; v.takeNoted() {
		for len(v.changed) > 0 {
			key := last(&v.changed)
			if !v.addPicture(key, v.pictures[key]) {
				return true
			}
			delete(v.pictures, key)
		}
		for len(v.proven) > 0 {
			if !v.addEvidence(last(&v.proven), true) {
				return true
			}
		}
	}
	for n := 0; len(v.slow) > 0 && (all || n < sweepStep); n++ {
		if !v.addEvidence(last(&v.slow), false) {
			return true
		}
	}
	return !v.addTimes()
}

// last takes the last one out of a list.
func last(list *[]string) string {
	n := len(*list) - 1
	s := (*list)[n]
	*list = (*list)[:n]
	return s
}

// takeNoted takes over what was noted, once what was taken before is done with.
func (v *inventory) takeNoted() {
	if len(v.changed) > 0 || len(v.proven) > 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.dirty) > 0 {
		v.pictures, v.dirty = v.dirty, make(map[string]picture)
		for key := range v.pictures {
			v.changed = append(v.changed, key)
		}
	}
	if len(v.proofs) > 0 {
		for id := range v.proofs {
			v.proven = append(v.proven, id)
		}
		v.proofs = make(map[string]bool)
	}
}

// rest notes how much is still to be compared.
func (v *inventory) rest() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.Waiting = len(v.changed) + len(v.proven)
}

// add adds changes of one thing to the batch. If they don't fit they are held for the next
// one, and it says false.
func (v *inventory) add(all []change, urgent bool) bool {
	if v.parcel.put(all, urgent) {
		return true
	}
	v.held = all
	return false
}

// addPicture compares a device or service with what the hub has.
func (v *inventory) addPicture(key string, p picture) bool {
	_, err := feed.ParseKey(key)
	had, there := v.ledger.has[key]
	switch {
	case p.gone() && there:
		return v.add([]change{{Item: feed.Item{Key: key}}}, true)
	case p.gone():
		v.parcel.drop(key)
		return true
	case err != nil: // the id is of a form that can't travel
		v.leaveOut()
		return true
	}
	sum := sumOf(0, p.doc(false))
	switch {
	case there && had == sum:
		v.parcel.drop(key)
		return true
	case !there && !v.room():
		return true
	}
	return v.add([]change{{feed.Item{Key: key, Doc: p.doc(true)}, sum}}, true)
}

// room says whether one more item may go up.
func (v *inventory) room() bool {
	if len(v.ledger.has)+len(v.parcel.items) < v.most {
		return true
	}
	v.leaveOut()
	return false
}

func (v *inventory) leaveOut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.LeftOut++
}

// addEvidence compares the evidence for a device with what the hub has.
func (v *inventory) addEvidence(id string, urgent bool) bool {
	if !feed.GoodID(id) {
		return true
	}
	var docs, still [][]byte
	d, evidence, err := v.registry.Explain(id)
	if err == nil && d.ID == id { // else it is another one now, or none
		reasons, err := v.registry.Reasons(id)
		if err != nil {
			reasons = nil // it went just now, and will be noted
		}
		docs, still = feed.EvidenceDocs(evidence, reasons)
	}
	age := ageOf(id, evidence)
	var all []change
	for part := range feed.EvidenceParts {
		key := feed.Key{Kind: feed.Evidence, ID: id, Part: part}.String()
		had, there := v.ledger.has[key]
		v.parcel.drop(key)
		if part >= len(docs) {
			if there {
				all = append(all, change{Item: feed.Item{Key: key}})
			}
			continue
		}
		if sum := sumOf(age, still[part]); there && had != sum || !there && v.room() {
			all = append(all, change{feed.Item{Key: key, Doc: docs[part]}, sum})
		}
	}
	return v.add(all, urgent)
}

// ageOf is a number that changes as often as evidence goes up of which nothing but times
// changed, for each device at another time.
func ageOf(id string, evidence []lanfolk.Evidence) uint64 {
	var newest time.Time
	for _, e := range evidence {
		if e.Time.After(newest) {
			newest = e.Time
		}
	}
	if newest.IsZero() {
		return 0
	}
	offset := time.Duration(sumOf(0, []byte(id)) % uint64(evidenceEvery))
	return uint64(newest.Add(offset).UnixNano() / int64(evidenceEvery))
}

// times is when things were heard last, by part; nil where it was told.
type times struct {
	parts [][]feed.Heard
	told  bool // those of another number of parts went
}

func timesOf(devices []*lanfolk.Device, services []*lanfolk.Service) times {
	t := times{parts: make([][]feed.Heard, feed.TimesParts(len(devices)+len(services)))}
	put := func(h feed.Heard) {
		if feed.GoodID(h.ID) {
			n := feed.TimesPart(h.ID, len(t.parts))
			t.parts[n] = append(t.parts[n], h)
		}
	}
	for _, d := range devices {
		put(feed.Heard{Kind: feed.Device, ID: d.ID, Last: d.LastSeen})
	}
	for _, s := range services {
		put(feed.Heard{Kind: feed.Service, ID: s.ID, Last: s.LastSeen, Expires: s.Expires})
	}
	return t
}

// addTimes adds when things were heard, where that isn't what the hub has.
func (v *inventory) addTimes() bool {
	t := &v.heard
	count := strconv.Itoa(len(t.parts))
	for n, part := range t.parts {
		if part == nil {
			continue
		}
		t.parts[n] = nil
		c := change{Item: feed.Item{Key: feed.Key{Kind: feed.Times, ID: count, Part: n}.String(), Doc: feed.TimesDoc(part)}}
		c.sum = sumOf(0, c.Doc)
		if had, there := v.ledger.has[c.Key]; (had != c.sum || !there) && !v.add([]change{c}, false) {
			return false
		}
	}
	if t.told || t.parts == nil {
		return true
	}
	t.told = true
	var old []change
	for key := range v.ledger.has {
		if k, err := feed.ParseKey(key); err == nil && k.Kind == feed.Times && k.ID != count {
			old = append(old, change{Item: feed.Item{Key: key}})
		}
	}
	return v.add(old, false)
}

// sumOf is a hash of a document and a number.
func sumOf(n uint64, doc []byte) uint64 {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, n))
	h.Write(doc)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
