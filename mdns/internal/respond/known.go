package respond

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// own returns our record that is the same as the one in a message, nil if we
// don't have it live.
func (r *Responder) own(v *dnswire.Record) *record {
	if v.Class != dnswire.ClassIN || v.Malformed {
		return nil
	}
	n := r.find(v.Name)
	if n == nil {
		return nil
	}
	s := n.set(v.Type)
	if s == nil {
		if v.Type != dnswire.TypeNSEC {
			return nil
		}
		for _, s := range n.denial {
			if s != nil && s.records[0].rr.TTL == v.TTL {
				r.fold = foldedData(r.fold[:0], v)
				return s.find(r.fold)
			}
		}
		return nil
	}
	r.fold = foldedData(r.fold[:0], v)
	if x := s.find(r.fold); x != nil && x.live > 0 {
		return x
	}
	return nil
}

// listKnown puts into r.known what the sender of the query knows already and for
// long enough: at least half of the true TTL (RFC 6762 §7.1).
func (r *Responder) listKnown(m *Message) {
	for v := range m.Records() {
		if v.Section != dnswire.Answer {
			break
		}
		if x := r.own(&v); x != nil && v.TTL >= (x.rr.TTL+1)/2 {
			r.known[x] = struct{}{}
		}
	}
}

// moreKnown applies a packet that goes on with the known answers of a query
// before it (RFC 6762 §7.2).
func (r *Responder) moreKnown(m *Message) {
	var waits bool
	for _, p := range r.pending {
		if p.source == m.Src.Addr() {
			waits = true
			if m.Truncated { // and there is more to come
				p.at = m.Time.Add(between(truncatedDelayMin, truncatedDelayMax))
			}
		}
	}
	if !waits {
		return
	}
	r.listKnown(m)
	for _, p := range r.pending {
		if p.source != m.Src.Addr() {
			continue
		}
		for x := range r.known {
			if p.known == nil {
				p.known = make(map[*record]struct{}, len(r.known))
			}
			p.known[x] = struct{}{}
		}
	}
	clear(r.known)
}

// heardAnswer is called when another host multicast a record that we have, too:
// nobody needs to hear it from us (RFC 6762 §7.4), unless its TTL would make it
// expire long before ours does (§6.6).
func (r *Responder) heardAnswer(now time.Time, x *record, ttl uint32) {
	switch {
	case ttl >= x.rr.TTL:
		x.heard = now
	case ttl < (x.rr.TTL+1)/2:
		r.repair(now, x)
	}
}
