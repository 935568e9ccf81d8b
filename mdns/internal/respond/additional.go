package respond

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// unit is what stays together in a message: a shared record or a whole unique
// set, and the records that whoever asks for it will want next.
type unit struct {
	rec      *record
	from, to int // of those records, in Responder.extras
}

// list appends the record's unit, unless the message has it already.
func (r *Responder) list(units []unit, x *record) []unit {
	if !r.mark(x) {
		return units
	}
	return append(units, unit{rec: x})
}

// mark notes that the message has the record, and with it the whole of a unique
// set. It returns false if it was noted before.
func (r *Responder) mark(x *record) bool {
	_, listed := x.times()
	if *listed == r.listing {
		return false
	}
	*listed = r.listing
	return true
}

// together yields what must be sent with the record: all live ones of a unique
// set (RFC 6762 §10.2).
func (x *record) together(yield func(*record) bool) {
	if !x.set.unique {
		yield(x)
		return
	}
	for _, x := range x.set.records {
		if x.live > 0 && !yield(x) {
			return
		}
	}
}

// additional puts what follows from the unit's records behind r.extras
// (RFC 6763 §12, RFC 6762 §6.2): of a PTR record the SRV and TXT records and the
// addresses of what it points to, of an SRV record the addresses of its host, of an
// address those of the other family, or that there are none.
func (r *Responder) additional(now time.Time, u *unit, unicast bool) {
	u.from = len(r.extras)
	for x := range u.rec.together {
		switch x.set.typ {
		case dnswire.TypePTR:
			n := r.names[x.fold]
			if n == nil {
				continue
			}
			if s := n.set(dnswire.TypeSRV); s != nil {
				r.extra(now, s, unicast)
				for _, x := range s.records {
					r.addresses(now, x, unicast)
				}
			}
			if s := n.set(dnswire.TypeTXT); s != nil {
				r.extra(now, s, unicast)
			}
		case dnswire.TypeSRV:
			r.addresses(now, x, unicast)
		case dnswire.TypeA:
			r.family(now, x.set.name, dnswire.TypeAAAA, unicast)
		case dnswire.TypeAAAA:
			r.family(now, x.set.name, dnswire.TypeA, unicast)
		}
	}
	u.to = len(r.extras)
}

// addresses adds the addresses of the host that the SRV record names.
func (r *Responder) addresses(now time.Time, srv *record, unicast bool) {
	if n := r.names[srv.fold[6:]]; n != nil {
		r.family(now, n, dnswire.TypeA, unicast)
		r.family(now, n, dnswire.TypeAAAA, unicast)
	}
}

// family adds the host's addresses of one type, or the record that says that
// there are none.
func (r *Responder) family(now time.Time, n *name, t dnswire.Type, unicast bool) {
	if s := n.set(t); s != nil && s.live > 0 {
		r.extra(now, s, unicast)
	} else if n.owned() {
		r.extra(now, r.denial(n, t), unicast)
	}
}

// extra adds a set's live records, unless they are in the message, or were
// multicast a moment ago and would be again.
func (r *Responder) extra(now time.Time, s *set, unicast bool) {
	for _, x := range s.records {
		if x.live == 0 || !unicast && r.limited(now, x, limitAnswer) || !r.mark(x) {
			continue
		}
		for x := range x.together {
			r.extras = append(r.extras, x)
		}
	}
}
