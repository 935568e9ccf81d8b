package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// accept says whether the zone may use the packet, and if not, why not. The
// rules are RFC 6762 §6, §11, §18.3 and §18.11. What it doesn't look at doesn't matter: a
// response's ID, its questions, its AA bit.
func (z *zone) accept(p *Packet) (drop, bool) {
	m := &p.Message
	switch {
	case m.Opcode != 0:
		return dropOpcode, false
	case m.Rcode != 0:
		return dropRcode, false
	case m.Response && p.Src.Port() != Port:
		return dropPort, false
	}
	dst := p.Dst.Addr()
	if dst == z.id.Family.Group().Addr() {
		// To the group means from this link, whatever the source address is (§11).
		return 0, true
	}
	switch {
	case !dst.IsValid() || dst.IsMulticast():
		return dropDestination, false
	case !z.link.OnLink(p.Src.Addr()):
		return dropOffLink, false
	case m.Response && !z.askedUnicast(p):
		return dropUnasked, false
	}
	return 0, true
}

// askedUnicast says whether a unicast response answers a question that we
// asked with the QU bit in the last two seconds (RFC 6762 §6).
func (z *zone) askedUnicast(p *Packet) bool {
	if z.lastQU.IsZero() || p.Time.Sub(z.lastQU) > unicastWindow {
		return false
	}
	for r := range p.Message.Records() {
		if r.Section != dnswire.Answer {
			break
		}
		z.key = r.Name.AppendFolded(z.key[:0])
		n := z.names[string(z.key)]
		if n == nil {
			continue
		}
		for _, s := range n.slots {
			// NSEC answers a question for any type (§6.1).
			if a := s.ask; a != nil && (s.typ == r.Type || s.typ == dnswire.TypeANY || r.Type == dnswire.TypeNSEC) &&
				a.lastQU != 0 && z.moment(p.Time)-a.lastQU <= moment(unicastWindow) {
				return true
			}
		}
	}
	return false
}

// hear applies a packet that accept let through.
func (z *zone) hear(p *Packet) {
	if p.Message.Response {
		z.stats.responses.Add(1)
		z.hearResponse(p)
	} else {
		z.stats.queries.Add(1)
		z.hearQuery(p)
	}
}

// hearResponse puts the records of a response's answer and additional sections
// into the cache.
func (z *zone) hearResponse(p *Packet) {
	h := hearing{p: p, now: p.Time, jitter: randomJitter()}
	slot, again := z.memos.find(p.Data)
	if again {
		for _, it := range slot.items {
			z.refreshed(&h, it.entry, it.ttl, it.flush)
		}
	} else {
		z.hearRecords(&h)
		if slot != nil && !h.news {
			z.memos.keep(slot, p.Data, z.items)
		}
		clear(z.items)
		z.items = z.items[:0]
	}
	if len(z.flushed) > 0 {
		z.flushOthers(h.now)
	}
}

func (z *zone) hearRecords(h *hearing) {
	for r := range h.p.Message.Records() {
		switch {
		case r.Section == dnswire.Authority || r.Type == dnswire.TypeOPT:
			continue
		case r.Class != dnswire.ClassIN || r.Type == dnswire.TypeANY:
			z.stats.drop(dropClass, 1)
			h.news = true
			continue
		case r.Malformed && r.Type == dnswire.TypeNSEC:
			z.stats.drop(dropNSEC, 1)
			h.news = true
			continue
		}
		z.put(h, &r)
	}
}

// hearing is what the records of one response share.
type hearing struct {
	p      *Packet
	now    time.Time
	jitter uint8
	// ttl is the TTL of the last record, which many share, and until what it
	// comes to.
	ttl   uint32
	until time.Time
	// news says that the response did more than refresh records, or that
	// something in it is to be counted.
	news bool
}

// flushOthers lets go of the records that a response with the cache-flush bit
// left out.
func (z *zone) flushOthers(now time.Time) {
	for _, s := range z.flushed {
		s.flush = false
		// The flush bit says that these are all there are: others go, unless
		// they were heard within the last second, perhaps in an earlier packet
		// of the same burst (RFC 6762 §10.2).
		for _, e := range s.entries {
			if now.Sub(e.seen) > graceTTL {
				z.cut(e, now.Add(graceTTL))
			}
		}
	}
	clear(z.flushed)
	z.flushed = z.flushed[:0]
}

// put applies one record.
func (z *zone) put(h *hearing, r *dnswire.Record) {
	now := h.now
	z.key = recordKey(z.key[:0], r)
	e := z.records[string(z.key)]
	if r.TTL == 0 {
		// A goodbye: the record stays for a second, in which another host that
		// has it can save it (RFC 6762 §10.1).
		h.news = true
		if e != nil {
			z.cut(e, now.Add(graceTTL))
		}
		return
	}
	if e == nil {
		h.news = true
		if e = z.add(now, h.p, r); e == nil {
			return
		}
	}
	ttl := clampTTL(r.TTL)
	z.items = append(z.items, memoItem{e, ttl, r.Flush})
	z.refreshed(h, e, ttl, r.Flush)
}

// refreshed is called when a record of the cache was heard, if only now.
func (z *zone) refreshed(h *hearing, e *entry, ttl uint32, flush bool) {
	now := h.now
	if ttl != h.ttl {
		h.ttl, h.until = ttl, now.Add(time.Duration(ttl)*time.Second)
	}
	// With the TTL that it had, what is due about the record is due no earlier
	// than its alarm goes off, or at least in the same window.
	later := e.index != 0 && !e.dying && e.rr.TTL == ttl
	e.seen, e.expires = now, h.until
	e.rr.TTL, e.rr.Flush = ttl, flush
	e.step, e.dying, e.jitter = 0, false, h.jitter
	if e.doubt != nil {
		z.trust(now, e)
	}
	if !later {
		if due := e.due(z.phase); e.index == 0 || due.Before(e.at) {
			z.alarms.set(e, due)
		}
	}
	if flush {
		z.answered(e.slot)
		if !e.slot.flush && len(e.slot.entries) > 1 {
			e.slot.flush = true
			z.flushed = append(z.flushed, e.slot)
		}
	}
	switch {
	case e.told.IsZero():
		e.told = e.expires
		z.tell(OpAdd, now, e)
		if e.slot.typ == dnswire.TypeNSEC {
			z.deny(now, e)
		}
	case e.expires.Sub(e.told) > time.Duration(ttl)*(time.Second/toldShare):
		e.told = e.expires
		z.tell(OpUpdate, now, e)
	}
}

// add makes room for a record that the cache doesn't hold and puts it in. It
// returns nil if there is no room.
func (z *zone) add(now time.Time, p *Packet, r *dnswire.Record) *entry {
	// A TXT record that can't be read is one, too: who asked for it learns that.
	e := &entry{key: string(z.key), rr: r.RR(), broken: r.Malformed}
	victims, why, ok := z.room(p.Src.Addr(), e.cost())
	if !ok {
		z.stats.drop(why, 1)
		return nil
	}
	for _, v := range victims {
		z.stats.evicted.Add(1)
		z.expire(now, v, firstGap)
	}
	s := z.slot(e.rr.Name, e.rr.Type)
	if s.node.name == e.rr.Name {
		e.rr.Name = s.node.name // one copy of it
	}
	z.insert(e, s, p.Src.Addr())
	return e
}

// deny tells those who ask for types that the NSEC record says aren't there.
func (z *zone) deny(now time.Time, nsec *entry) {
	for _, s := range nsec.slot.node.slots {
		a := s.ask
		if a == nil || z.denial(s) != nsec {
			continue
		}
		a.series = time.Time{}
		z.plan(a)
		ev := z.none(now, a, nsec)
		for _, w := range a.wants {
			w.to.receive(ev)
		}
	}
}

// hearQuery notes which of our questions another host has just asked: if ours
// is due soon, its answers do for both (RFC 6762 §7.3). Nothing in a query is
// ever cached (§7.1, §8.2).
func (z *zone) hearQuery(p *Packet) {
	m := &p.Message
	if m.Truncated || m.NSCount > 0 || p.Src.Port() != Port || !p.Dst.Addr().IsMulticast() {
		// More known answers follow that we haven't seen; a probe; a one-shot
		// query and one to us alone, whose answers go to their sender alone.
		return
	}
	z.hearQuestions(p)
	if z.asking == 0 {
		return
	}
	for q := range m.Questions() {
		if q.Unicast || q.Class != dnswire.ClassIN {
			continue
		}
		z.key = q.Name.AppendFolded(z.key[:0])
		n := z.names[string(z.key)]
		if n == nil {
			continue
		}
		s := n.slot(q.Type)
		if s != nil && s.ask != nil && z.knowsAll(p, s) {
			s.ask.heard = z.moment(p.Time)
		}
	}
}

// knowsAll says whether we'd list every answer to the slot's question that the
// query lists as known. If not, its answers may leave out what we don't have.
func (z *zone) knowsAll(p *Packet, s *slot) bool {
	for r := range p.Message.Records() {
		if r.Section != dnswire.Answer {
			break
		}
		if s.typ != dnswire.TypeANY && r.Type != s.typ || !r.Name.Equal(s.node.name) {
			continue
		}
		z.key = recordKey(z.key[:0], &r)
		e := z.records[string(z.key)]
		if e == nil {
			return false
		}
		if _, ok := e.known(p.Time); !ok {
			return false
		}
	}
	return true
}
