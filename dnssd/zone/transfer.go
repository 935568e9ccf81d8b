package zone

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// transferSize is how long the messages of a transfer are at most, in bytes: names
// behind the first 16 KiB can't be pointed to, so longer ones save nothing.
const transferSize = 16 << 10

// transfer answers a query for the whole zone: who may have it gets the verdict
// Transfer and no answer yet.
func (a *Answerer) transfer(dst []byte, q *query) ([]byte, Verdict) {
	z := q.zone
	switch {
	case len(a.name) != len(z.domain):
		return a.fail(dst, q, rcodeNotAuth, Refused)
	case !z.allowed(q.From.Addr(), q.key):
		return a.fail(dst, q, rcodeRefused, Refused)
	case q.TCP:
		return nil, Transfer
	case q.question.Type == dnswire.TypeAXFR: // RFC 5936 §4.2 knows none
		return a.fail(dst, q, rcodeFormErr, Malformed)
	}
	// RFC 1995 §2: the present SOA record tells whether it is worth a connection.
	z.mu.RLock()
	defer z.mu.RUnlock()
	a.begin(dst, q, rcodeNoError, false)
	a.b.Answer(z.soaNow())
	return a.finish(q, rcodeNoError), Answered
}

// allowed says whether the asker is one of the secondaries.
func (z *Zone) allowed(from netip.Addr, key *keyed) bool {
	from = from.Unmap().WithZone("")
	for i, s := range z.secondaries {
		addr := s.Address.Addr()
		if (!addr.IsValid() || addr.Unmap().WithZone("") == from) && (s.Key == nil || z.keys[i] == key || key != nil && sameKey(z.keys[i], key)) {
			return true
		}
	}
	return false
}

func sameKey(a, b *keyed) bool {
	return a.name == b.name && a.algorithm == b.algorithm && slices.Equal(a.secret, b.secret)
}

// Transfer yields the messages of the zone transfer that a query with the verdict
// Transfer asks for (RFC 5936 §2.2). IXFR is answered with the whole zone, too
// (RFC 1995 §4), or, for who has the present version, with the SOA record alone. A
// message is valid until the next is asked for.
func (a *Answerer) Transfer(in Asked) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		q := query{Asked: in, room: transferSize}
		var err error
		if q.Message, err = dnswire.Parse(in.Query); err != nil || q.QDCount != 1 || !q.extras() || a.verify(&q) != 0 {
			return // not after that verdict
		}
		a.name = q.question.Name.AppendFolded(a.name[:0])
		if q.zone = a.zoneOf(); q.zone == nil {
			return
		}
		soa, records := q.zone.all()
		if q.current(soa) {
			records = []dnswire.RR{soa}
		} else {
			records = append(slices.Insert(records, 0, soa), soa)
		}
		var buf, mac []byte
		for first := true; len(records) > 0; first = false {
			a.begin(buf, &q, rcodeNoError, false)
			n := 0
			for n < len(records) && a.b.Answer(records[n]) {
				n++
			}
			if n == 0 { // longer than a message of the usual size
				q.room = maxMessage
				if a.begin(buf, &q, rcodeNoError, false); !a.b.Answer(records[0]) {
					return
				}
				n, q.room = 1, transferSize
			}
			records = records[n:]
			var out []byte
			out, mac = a.sealed(&q, mac, first)
			if buf = out[:0]; !yield(out) {
				return
			}
		}
	}
}

// sealed ends a message of a transfer; last is the signature of the one before.
func (a *Answerer) sealed(q *query, last []byte, first bool) (out, mac []byte) {
	out = a.unsigned(q, rcodeNoError)
	switch {
	case q.key == nil:
		return out, nil
	case first:
		return q.key.sign(out, q.signed, q.Time)
	}
	return q.key.signNext(out, last, q.Time)
}

// current says whether the asker has the present version already.
func (q *query) current(soa dnswire.RR) bool {
	if q.question.Type != dnswire.TypeIXFR {
		return false
	}
	for r := range q.Records() {
		if r.Section == dnswire.Authority && r.Type == dnswire.TypeSOA {
			d := string(r.AppendRData(nil))
			return len(d) >= 20 && d[len(d)-20:len(d)-16] == soa.Data[len(soa.Data)-20:len(soa.Data)-16]
		}
	}
	return false
}

// notification returns a NOTIFY message (RFC 1996 §3.7), and its signature.
func (z *Zone) notification(id uint16, key *keyed, now time.Time) (msg, mac []byte) {
	z.mu.RLock()
	soa := z.soaNow()
	z.mu.RUnlock()
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: id, Opcode: dnswire.OpcodeNotify, Authoritative: true}, 0)
	b.Question(soa.Name, dnswire.TypeSOA, dnswire.ClassIN, false)
	b.Answer(soa)
	if key == nil {
		return b.Bytes(), nil
	}
	return key.sign(b.Bytes(), nil, now)
}
