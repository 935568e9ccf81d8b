package respond

import (
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// unit is what stays together in a message: a shared record or a whole unique
// set, and the records that whoever asks for it will want next.
type unit struct {
	answers []*record
	extra   []*record
}

// list appends the record's unit, unless the message has it already.
func (r *Responder) list(units []unit, x *record) []unit {
	records := r.whole(x)
	if len(records) == 0 {
		return units
	}
	return append(units, unit{answers: records})
}

// whole returns what must be sent with the record: all live ones of a unique
// set. It returns nothing if the message has them already.
func (r *Responder) whole(x *record) []*record {
	s := x.set
	if !s.unique {
		if x.listed == r.listing {
			return nil
		}
		x.listed = r.listing
		return []*record{x}
	}
	if s.listed == r.listing {
		return nil
	}
	s.listed = r.listing
	if s.live == len(s.records) {
		return s.records[:len(s.records):len(s.records)]
	}
	var out []*record
	for _, x := range s.records {
		if x.live > 0 {
			out = append(out, x)
		}
	}
	return out
}

// additional appends what follows from the answers (RFC 6763 §12, RFC 6762 §6.2):
// of a PTR record the SRV and TXT records and the addresses of what it points
// to, of an SRV record the addresses of its host, of an address those of the other
// family, or that there are none.
func (r *Responder) additional(now time.Time, extra, answers []*record, unicast bool) []*record {
	for _, x := range answers {
		switch x.set.typ {
		case dnswire.TypePTR:
			n := r.names[x.fold]
			if n == nil {
				continue
			}
			for _, t := range [...]dnswire.Type{dnswire.TypeSRV, dnswire.TypeTXT} {
				if s := n.set(t); s != nil {
					extra = r.extra(now, extra, s, unicast)
					if t == dnswire.TypeSRV {
						extra = r.addresses(now, extra, s.records, unicast)
					}
				}
			}
		case dnswire.TypeSRV:
			extra = r.addresses(now, extra, []*record{x}, unicast)
		case dnswire.TypeA:
			extra = r.family(now, extra, x.set.name, dnswire.TypeAAAA, unicast)
		case dnswire.TypeAAAA:
			extra = r.family(now, extra, x.set.name, dnswire.TypeA, unicast)
		}
	}
	return extra
}

// addresses appends the addresses of the hosts that the SRV records name.
func (r *Responder) addresses(now time.Time, extra, srv []*record, unicast bool) []*record {
	for _, x := range srv {
		if n := r.names[x.fold[6:]]; n != nil {
			extra = r.family(now, extra, n, dnswire.TypeA, unicast)
			extra = r.family(now, extra, n, dnswire.TypeAAAA, unicast)
		}
	}
	return extra
}

// family appends the host's addresses of one type, or the record that says that
// there are none.
func (r *Responder) family(now time.Time, extra []*record, n *name, t dnswire.Type, unicast bool) []*record {
	if s := n.set(t); s != nil && s.live > 0 {
		return r.extra(now, extra, s, unicast)
	}
	if n.owned() {
		return r.extra(now, extra, r.denial(n, t), unicast)
	}
	return extra
}

// extra appends a set's live records, unless they are in the message, or were
// multicast a moment ago and would be again.
func (r *Responder) extra(now time.Time, extra []*record, s *set, unicast bool) []*record {
	for _, x := range s.records {
		if x.live > 0 && (unicast || !r.limited(now, x, limitAnswer)) {
			extra = append(extra, r.whole(x)...)
		}
	}
	return extra
}
