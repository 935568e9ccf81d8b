package respond

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const groupPort = 5353

const (
	// aggregateMax is how much longer an answer may wait for others
	// (RFC 6762 §6.4).
	aggregateMax = 500 * time.Millisecond
	// Bounds of what waits for one asker alone, whatever comes. Who finds no room
	// is answered by multicast, with everybody else.
	maxPending   = 256
	maxQuestions = 16 // of a legacy query, repeated in its answer
)

// response is a message, or a few, that waits until it is sent.
type response struct {
	at     time.Time
	latest time.Time // later than this it must not be put off
	kind   kind
	source netip.Addr // of a truncated query, whose known answers go on
	to     packetTo
	items  []item
	known  map[*record]struct{} // what the source turned out to know
}

// kind says whom a response is for.
type kind uint8

const (
	single kind = iota // one asker; its records are counted
	common             // all who ask for what takes its time
	mend               // those who have something in their caches that isn't so
)

// item is a record that waits in a response.
type item struct {
	rec   *record
	added time.Time
	limit time.Duration // since the record was last multicast
}

// plan puts the hits that the asker doesn't know into responses.
func (r *Responder) plan(m *Message, legacy, probe bool, delay time.Duration) {
	now := m.Time
	held := m.Truncated && delay > 0
	room := len(r.pending) < maxPending && r.items+len(r.hits) <= 4*r.records+1024
	if !room {
		if legacy {
			r.count.Refused.Add(1)
			return
		}
		if held {
			held, delay = false, between(sharedDelayMin, sharedDelayMax)
		}
	}
	var multi, uni *response
	limit := limitAnswer
	if probe && delay == 0 {
		limit = limitProbe
	}
	for _, h := range r.hits {
		if _, ok := r.known[h.rec]; ok {
			r.count.Suppressed.Add(1)
			continue
		}
		it := item{h.rec, now, limit}
		if legacy || h.qu && room && m.OnLink && !m.Local && (probe || r.fresh(now, h.rec)) {
			if uni == nil {
				uni = r.unicast(m, legacy, held, delay)
			}
			r.put(uni, it)
			continue
		}
		if r.limited(now, h.rec, limit) {
			r.count.Suppressed.Add(1)
			continue
		}
		if !held && delay > 0 && h.rec.queued {
			continue // others wait for it already
		}
		if multi == nil {
			multi = r.multi(m, held, delay)
		}
		r.put(multi, it)
	}
}

func (r *Responder) put(p *response, it item) {
	switch p.kind {
	case single:
		r.items++
	case common:
		it.rec.queued = true
	}
	p.items = append(p.items, it)
}

// fresh says whether the record was multicast within a quarter of its TTL: only
// then may it be sent by unicast (RFC 6762 §5.4).
func (r *Responder) fresh(now time.Time, x *record) bool {
	last := x.multicast()
	return !last.IsZero() && now.Sub(last) < time.Duration(x.rr.TTL)*time.Second/4
}

// multi returns the response that multicast answers to the query go into.
func (r *Responder) multi(m *Message, held bool, delay time.Duration) *response {
	now := m.Time
	switch {
	case held:
		for _, p := range r.pending {
			if p.source == m.Src.Addr() && !p.to.dst.IsValid() {
				p.at = now.Add(delay)
				return p
			}
		}
		return r.add(&response{at: now.Add(delay), source: m.Src.Addr()})
	case delay == 0:
		return r.add(&response{at: now})
	}
	at := now.Add(delay)
	if c := r.common; c != nil {
		if at.After(c.at) {
			c.at = at
			if at.After(c.latest) {
				c.at = c.latest
			}
		}
		return c
	}
	r.common = r.add(&response{kind: common, at: at, latest: at.Add(aggregateMax)})
	return r.common
}

// unicast returns a response that goes to the query's sender alone.
func (r *Responder) unicast(m *Message, legacy, held bool, delay time.Duration) *response {
	to := packetTo{dst: m.Src}
	if m.Unicast {
		to.src = netip.AddrPortFrom(m.Dst.Addr(), 0)
	}
	if legacy {
		to.legacy, to.id = true, m.ID
		for q := range m.Questions() {
			if len(to.questions) == maxQuestions {
				break
			}
			to.questions = append(to.questions, question{q.Name.Name(), q.Type, q.Class, q.Unicast})
		}
	}
	p := &response{at: m.Time.Add(delay), to: to}
	if held {
		p.source = m.Src.Addr()
	}
	return r.add(p)
}

func (r *Responder) add(p *response) *response {
	r.pending = append(r.pending, p)
	return p
}

// advanceResponses sends the responses that are due.
func (r *Responder) advanceResponses(now time.Time) {
	for {
		i := slices.IndexFunc(r.pending, func(p *response) bool { return !p.at.After(now) })
		if i < 0 {
			return
		}
		p := r.pending[i]
		r.pending = slices.Delete(r.pending, i, i+1)
		switch p.kind {
		case single:
			r.items -= len(p.items)
		case common:
			r.common = nil
		case mend:
			r.mend = nil
		}
		r.send(now, p)
	}
}

// send sends what is left of a response.
func (r *Responder) send(now time.Time, p *response) {
	r.listing++
	r.units, r.extras = r.units[:0], r.extras[:0]
	unicast := p.to.dst.IsValid()
	for _, it := range p.items {
		x := it.rec
		_, known := p.known[x]
		switch p.kind {
		case common:
			x.queued = false
		case mend:
			*x.mending() = false
		}
		switch {
		case x.live == 0 || x.set.stale():
			continue
		case p.kind == mend:
			if r.limited(now, x, limitAnswer) {
				r.repair(now, x)
				continue
			}
		case known, !unicast && r.limited(now, x, it.limit), !unicast && !x.heard.Before(it.added):
			r.count.Suppressed.Add(1)
			continue
		}
		r.units = r.list(r.units, x)
	}
	if len(r.units) == 0 {
		return
	}
	for i := range r.units {
		r.additional(now, &r.units[i], unicast)
	}
	if unicast {
		r.sendUnicast(now, p.to, r.units)
	} else {
		r.multicast(now, r.units)
	}
	clear(r.units) // keeps nothing that was taken back
	clear(r.extras)
}

// repair multicasts the record's set as soon as the rate limit lets it: others
// have something in their caches that isn't so.
func (r *Responder) repair(now time.Time, x *record) {
	mending := x.mending()
	if *mending {
		return
	}
	*mending = true
	at := now.Add(between(sharedDelayMin, sharedDelayMax))
	if last := x.multicast(); !last.IsZero() && at.Before(last.Add(limitAnswer)) {
		at = last.Add(limitAnswer)
	}
	if r.mend == nil {
		r.mend = r.add(&response{kind: mend, at: at, latest: now.Add(limitAnswer)})
	} else if at.After(r.mend.at) {
		r.mend.at = at
		if at.After(r.mend.latest) {
			r.mend.at = r.mend.latest // what is still limited then is put off alone
		}
	}
	r.put(r.mend, item{x, now, limitAnswer})
}

type question struct {
	name  dnswire.Name
	typ   dnswire.Type
	class dnswire.Class
	qu    bool
}
