package reflector

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// editor holds what judging and changing messages needs, so that it allocates
// nothing. There is one for each side that packets are passed on to; calls of
// apply with one editor never overlap.
type editor struct {
	// more are further messages that the last call of apply made of its
	// message, because it was too large for the link (RFC 6762 §17).
	more [][]byte
	// decided is told what became of each question and record; it may be nil.
	decided func(Decision)

	buf       []byte // the messages that were made since the last reset
	builder   dnswire.Builder
	keep      []bool // for each question, then each record of the message at hand
	scratch   scratch
	homes     homes
	direction direction
}

// reset begins a new batch of packets: what apply returned since the last
// reset is no longer needed.
func (e *editor) reset() { e.more, e.buf = e.more[:0], e.buf[:0] }

// apply says what becomes of one message on its way from one side to another.
// data is p.Data itself if nothing changes (the common case: nothing is copied
// nor allocated), memory of the editor's that stays valid until its next
// reset, or nil when the message is stopped. It must not change p.
//
// Three things change messages: the rules, addresses that mean nothing on the
// other link, and the size of packets that the other link carries.
func (r *Rules) apply(e *editor, from, to *side, p *mdns.Packet) (data []byte, why verdict) {
	e.more = e.more[:0]
	e.scratch.reset()
	j := judge{e: e, rules: r, from: from, to: to, p: p, now: p.Time, why: edited}
	if r != nil {
		j.pair, j.back = e.direction.of(r, from.link.Name, to.link.Name)
		if j.pair.open && (j.back.open || p.Message.Response) {
			if !j.back.open { // queries from there will list it as known
				from.book.learn(p.Time, p.Src.Addr(), &p.Message, &e.scratch)
			}
			j.pair, j.back = nil, nil // no rule concerns it
		}
	}
	lost := p.Message.Response && j.addresses()
	fits := len(p.Data) <= messageLimit(to)
	if j.pair == nil && !lost && e.decided == nil {
		if fits {
			return p.Data, passed
		}
		return j.write()
	}
	from.book.learn(p.Time, p.Src.Addr(), &p.Message, &e.scratch)
	switch gone := j.all(); {
	case gone == 0 && fits && p.Message.Trailing == 0:
		return p.Data, passed
	case gone > 0 && j.nothingLeft():
		return nil, j.why
	}
	return j.write()
}

// judge is the work on one message.
type judge struct {
	e        *editor
	rules    *Rules
	from, to *side
	p        *mdns.Packet
	now      time.Time
	// pair are the rules for what is on from as it is seen from to, back the
	// other way; both nil if no rule concerns the message.
	pair, back *pair
	why        verdict // of what was stopped
	count      int     // questions and records
}

// all judges every question and record, fills e.keep and returns how many are to go.
func (j *judge) all() (gone int) {
	m := &j.p.Message
	j.e.keep = j.e.keep[:0]
	if !m.Response && j.pair != nil {
		j.asked()
	} else {
		for q := range m.Questions() {
			j.tell(len(j.e.keep), q.Name, q.Type, true, noRule)
			j.e.keep = append(j.e.keep, true)
		}
	}
	j.count = int(m.QDCount)
	c := court{book: j.from.book, pair: j.pair, scratch: &j.e.scratch, now: j.now}
	if j.pair != nil && j.pair.macs && j.rules.mac != nil {
		if a, ok := j.rules.mac(j.from.link.Index, j.p.Src.Addr()); ok {
			c.mac, c.hasMAC = macOf(a)
		}
	}
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	probe := !m.Response && m.NSCount > 0
	if probe && j.pair != nil {
		// A probe's question is about what its sender is going to have.
		i := 0
		for q := range m.Questions() {
			ok, by := c.name(c.scratch.topic(q.Name))
			j.rule(j.pair, i, q.Name, q.Type, ok, by)
			i++
		}
	}
	for r := range m.Records() {
		i := j.count
		j.count++
		known := i < len(j.e.keep) && j.e.keep[i] // asked said that the other side has it
		if i < len(j.e.keep) {
			j.e.keep[i] = true
		} else {
			j.e.keep = append(j.e.keep, true)
		}
		if r.Type == dnswire.TypeOPT {
			continue
		}
		switch {
		case known:
			j.tell(i, r.Name, r.Type, true, "known over there")
		case j.pair != nil:
			ok, by := c.record(&r)
			j.rule(j.pair, i, r.Name, r.Type, ok, by)
		default:
			j.tell(i, r.Name, r.Type, true, noRule)
		}
		if m.Response && j.e.keep[i] && j.useless(&c, &r) {
			j.e.keep[i] = false
			j.tell(i, r.Name, r.Type, false, stoppedAddress.String())
			if j.why == edited {
				j.why = stoppedAddress
			}
		}
	}
	for _, k := range j.e.keep {
		if !k {
			gone++
		}
	}
	return gone
}

// asked judges a query's questions by what the other side has: a question
// travels against the direction of what it asks for. It also says which known
// answers are the other side's own, since those tell it nothing new.
func (j *judge) asked() {
	m := &j.p.Message
	c := court{book: j.to.book, pair: j.back, scratch: &j.e.scratch, now: j.now}
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	i := 0
	for q := range m.Questions() {
		j.e.keep = append(j.e.keep, true)
		if m.NSCount == 0 {
			ok, by := c.question(q.Name)
			j.rule(j.back, i, q.Name, q.Type, ok, by)
		}
		i++
	}
	for r := range m.Records() {
		if r.Section != dnswire.Answer {
			break
		}
		ok := c.holds(&r)
		if ok {
			ok, _ = c.record(&r)
		}
		j.e.keep = append(j.e.keep, ok)
	}
}

// rule notes what a rule says of the i'th thing in the message.
func (j *judge) rule(p *pair, i int, n dnswire.NameView, t dnswire.Type, ok bool, by int) {
	j.e.keep[i] = ok
	p.hit(by, ok)
	if !ok {
		j.why = stoppedRule
		j.rules.ledger.stopped(j.now, p, by, n, t, &j.e.scratch)
	}
	j.tell(i, n, t, ok, p.ruleName(by))
}

// nothingLeft says whether what is kept is worth no packet: a query without a
// question that had some, a response without an answer that had some.
func (j *judge) nothingLeft() bool {
	m, keep := &j.p.Message, j.e.keep
	first := keep[:m.QDCount]
	if m.Response || len(first) == 0 {
		first = keep[m.QDCount : m.QDCount+m.ANCount]
	}
	if len(first) > 0 {
		for _, k := range first {
			if k {
				return false
			}
		}
		return true
	}
	i := int(m.QDCount)
	for r := range m.Records() {
		if keep[i] && r.Type != dnswire.TypeOPT {
			return false
		}
		i++
	}
	return true
}
