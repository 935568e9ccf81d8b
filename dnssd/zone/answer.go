package zone

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Verdict says what became of a query.
type Verdict uint8

// The verdicts.
const (
	Answered  Verdict = iota // with records
	NoData                   // the name exists, records of the type don't
	NoName                   // the name doesn't exist
	Refused                  // outside the zones, or not for this asker
	Malformed                // answered with FORMERR, BADVERS
	NotKnown                 // answered with NOTIMP
	Unsigned                 // a signature that isn't right: NOTAUTH
	Truncated                // too long for UDP
	Limited                  // over the rate limit: truncated or not answered
	Ignored                  // no query at all: not answered
	Transfer                 // the zone is to be sent; see Answerer.Transfer
	verdicts                 // how many there are
)

// String returns the verdict in words.
func (v Verdict) String() string {
	switch v {
	case Answered:
		return "answered"
	case NoData:
		return "no data"
	case NoName:
		return "no such name"
	case Refused:
		return "refused"
	case Malformed:
		return "malformed"
	case NotKnown:
		return "not implemented"
	case Unsigned:
		return "bad signature"
	case Truncated:
		return "truncated"
	case Limited:
		return "limited"
	case Ignored:
		return "ignored"
	case Transfer:
		return "transfer"
	}
	return "unknown"
}

// Return codes (RFC 1035 §4.1.1, RFC 2136 §2.2, RFC 6891 §9).
const (
	rcodeNoError  = 0
	rcodeFormErr  = 1
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeNotAuth  = 9
	rcodeBadVers  = 16
)

// Sizes of messages, in bytes.
const (
	headerSize  = 12
	plainUDP    = 512  // RFC 1035 §4.2.1
	payloadSize = 1232 // passes any path that IPv6 has without fragments
	maxMessage  = 65535
	optSize     = 11 // an OPT record without options
)

// Asked is a query and how it came.
type Asked struct {
	Query []byte
	From  netip.AddrPort
	TCP   bool
	Time  time.Time
}

// Answerer answers queries about zones: bytes in, bytes out. One belongs to one
// goroutine.
type Answerer struct {
	Zones   []*Zone  // the longest domain that fits counts
	Limiter *Limiter // of what goes out by UDP; nil for no limit

	b      dnswire.Builder
	name   []byte // the name asked, folded
	target []byte // names in rdata, folded
	told   map[dnswire.Name]struct{}
}

// query is what an Answerer knows of a query while it works on it.
type query struct {
	Asked
	dnswire.Message
	question dnswire.Question
	room     int // bytes of the answer
	edns     bool
	do       bool
	version  uint8      // of EDNS
	signed   *signature // a signature that is right, to be answered with one
	key      *keyed     // by which it was signed
	zone     *Zone
}

// Answer writes the answer to a query into the space that dst has, or into more,
// and returns it: nil if there is to be none. What it returns is valid as long as
// dst is left alone.
func (a *Answerer) Answer(dst []byte, in Asked) ([]byte, Verdict) {
	q := query{Asked: in, room: plainUDP}
	if len(in.Query) < headerSize || in.Query[2]&0x80 != 0 {
		return nil, Ignored // an answer to an answer would go on for ever
	}
	if in.TCP {
		q.room = maxMessage
	}
	var err error
	if q.Message, err = dnswire.Parse(in.Query); err != nil {
		q.Message = dnswire.Message{Header: headerOf(in.Query)}
	}
	sound := q.extras()
	if !in.TCP && a.Limiter != nil {
		switch r := a.Limiter.take(in.Time, in.From.Addr()); {
		case r == slip && err == nil && q.signed == nil: // who is really there can ask by TCP
			a.begin(dst, &q, rcodeNoError, true)
			return a.finish(&q, rcodeNoError), Limited
		case r != pass:
			return nil, Limited
		}
	}
	switch {
	case err != nil:
		return a.fail(dst, &q, rcodeFormErr, Malformed)
	case q.Opcode != dnswire.OpcodeQuery:
		return a.fail(dst, &q, rcodeNotImp, NotKnown)
	case q.QDCount != 1 || q.ANCount != 0 || !sound:
		return a.fail(dst, &q, rcodeFormErr, Malformed)
	}
	if code := a.verify(&q); code != 0 {
		return a.failSigned(dst, &q, code)
	}
	if q.edns && q.version > 0 { // RFC 6891 §6.1.3
		return a.fail(dst, &q, rcodeBadVers, Malformed)
	}
	if q.question.Class != dnswire.ClassIN || q.question.Unicast {
		return a.fail(dst, &q, rcodeRefused, Refused)
	}
	a.name = q.question.Name.AppendFolded(a.name[:0])
	if q.zone = a.zoneOf(); q.zone == nil {
		return a.fail(dst, &q, rcodeRefused, Refused)
	}
	switch t := q.question.Type; {
	case t == dnswire.TypeAXFR || t == dnswire.TypeIXFR:
		return a.transfer(dst, &q)
	case t == dnswire.TypeNone || t == dnswire.TypeOPT || t >= 128 && t < dnswire.TypeANY: // RFC 6895 §3.1
		return a.fail(dst, &q, rcodeNotImp, NotKnown)
	}
	return a.lookUp(dst, &q)
}

// headerOf reads what can be read of a message that is broken further on.
func headerOf(b []byte) dnswire.Header {
	m, err := dnswire.Parse(append(slices.Clone(b[:4]), 0, 0, 0, 0, 0, 0, 0, 0))
	if err != nil {
		return dnswire.Header{}
	}
	return m.Header
}

// extras takes in a single question, EDNS and the signature. It returns false if
// these two can't be so (RFC 6891 §6.1.1, RFC 8945 §5.1).
func (q *query) extras() bool {
	if q.QDCount == 1 {
		for x := range q.Questions() {
			q.question = x
		}
	}
	for r := range q.Records() {
		if q.signed != nil {
			return false // a signature is the last
		}
		switch r.Type {
		case dnswire.TypeOPT:
			if q.edns || r.Section != dnswire.Additional || r.Malformed || !r.Name.Equal(dnswire.Root) {
				return false
			}
			q.edns, q.do, q.version = true, r.TTL&0x8000 != 0, uint8(r.TTL>>16)
			if !q.TCP {
				q.room = min(max(int(r.Class), plainUDP), payloadSize)
			}
		case dnswire.TypeTSIG:
			var ok bool
			if q.signed, ok = parseSignature(r); !ok || r.Section != dnswire.Additional {
				return false
			}
		}
	}
	return true
}

// zoneOf returns the zone with the longest domain that holds the name asked.
func (a *Answerer) zoneOf() *Zone {
	var best *Zone
	for _, z := range a.Zones {
		if (best == nil || len(z.domain) > len(best.domain)) && below(a.name, z.domain) {
			best = z
		}
	}
	return best
}

// below says whether a name is the domain or lies below it, both folded.
func below(name []byte, domain dnswire.Name) bool {
	off := 0
	for len(name)-off > len(domain) {
		if name[off] == 0 {
			return false
		}
		off += 1 + int(name[off])
	}
	return len(name)-off == len(domain) && string(name[off:]) == string(domain)
}

// begin begins the answer.
func (a *Answerer) begin(dst []byte, q *query, rcode int, truncated bool) {
	h := dnswire.Header{
		ID: q.ID, Response: true, Opcode: q.Opcode, RecursionDesired: q.RecursionDesired, CheckingDisabled: q.CheckingDisabled,
		Authoritative: q.zone != nil, Truncated: truncated, Rcode: uint8(rcode & 0x0F),
	}
	room := q.room
	if q.edns {
		room -= optSize
	}
	if q.key != nil {
		room -= q.key.size
	}
	a.b.Reset(dst, h, room)
	if q.QDCount == 1 && q.question.Type != 0 {
		a.b.CopyQuestion(q.question)
	}
}

// finish returns the message with EDNS and signature.
func (a *Answerer) finish(q *query, rcode int) []byte {
	out := a.unsigned(q, rcode)
	if q.key != nil {
		out, _ = q.key.sign(out, q.signed, q.Time)
	}
	return out
}

// unsigned returns the message with EDNS.
func (a *Answerer) unsigned(q *query, rcode int) []byte {
	out := a.b.Bytes()
	if q.edns {
		ttl := uint32(rcode>>4) << 24
		if q.do {
			ttl |= 0x8000 // RFC 3225 §3
		}
		out = append(out, 0, 0, byte(dnswire.TypeOPT), payloadSize>>8, payloadSize&0xFF, byte(ttl>>24), byte(ttl>>16), byte(ttl>>8), byte(ttl), 0, 0)
		addCount(out, 10, 1)
	}
	return out
}

// addCount adds to a count of a message's header.
func addCount(msg []byte, at int, n int) {
	binary.BigEndian.PutUint16(msg[at:], uint16(int(binary.BigEndian.Uint16(msg[at:]))+n))
}

// fail answers with nothing but a return code.
func (a *Answerer) fail(dst []byte, q *query, rcode int, v Verdict) ([]byte, Verdict) {
	q.zone = nil
	a.begin(dst, q, rcode, false)
	return a.finish(q, rcode), v
}

// lookUp answers what is in the zone.
func (a *Answerer) lookUp(dst []byte, q *query) ([]byte, Verdict) {
	z := q.zone
	z.mu.RLock()
	defer z.mu.RUnlock()
	n := z.names[dnswire.Name(a.name)]
	var sets [maxAny]*rrset
	chosen := n.answers(q, sets[:0])
	apex := n != nil && len(a.name) == len(z.domain)
	soa := apex && (q.question.Type == dnswire.TypeSOA || q.question.Type == dnswire.TypeANY && len(chosen) == 0)
	if n == nil || len(chosen) == 0 && !soa {
		return a.negative(dst, q, n != nil)
	}
	a.begin(dst, q, rcodeNoError, false)
	fits := !soa || a.b.Answer(z.soaNow())
	for _, s := range chosen {
		for i := range s.list {
			if fits = fits && a.b.Answer(n.rr(s, i)); !fits {
				break
			}
		}
	}
	switch {
	case fits:
		a.additional(z, chosen)
		return a.finish(q, rcodeNoError), Answered
	case q.TCP: // no message is longer; what is there is better than nothing
		a.b.SetTruncated(true)
		return a.finish(q, rcodeNoError), Truncated
	}
	a.begin(dst, q, rcodeNoError, true) // nobody may use a part (RFC 2181 §9)
	return a.finish(q, rcodeNoError), Truncated
}

// maxAny is how many types a name has at most in a zone of this package.
const maxAny = 8

// answers returns the sets that answer the question. ANY gets one of them by UDP,
// so that nobody is flooded, and all by TCP (RFC 8482 §4.1, §4.4).
func (n *node) answers(q *query, out []*rrset) []*rrset {
	if n == nil {
		return nil
	}
	if q.question.Type != dnswire.TypeANY {
		if s := n.set(q.question.Type); s != nil {
			out = append(out, s)
		}
		return out
	}
	for _, s := range n.sets {
		if len(out) == 0 || q.TCP && len(out) < maxAny {
			out = append(out, s)
		}
	}
	return out
}

// negative says that there is nothing, and how long that may be believed
// (RFC 2308 §3, §5).
func (a *Answerer) negative(dst []byte, q *query, exists bool) ([]byte, Verdict) {
	rcode, v := rcodeNXDomain, NoName
	if exists {
		rcode, v = rcodeNoError, NoData
	}
	a.begin(dst, q, rcode, false)
	soa := q.zone.soaNow()
	soa.TTL = min(soa.TTL, q.zone.negative)
	if !a.b.Authority(soa) {
		a.begin(dst, q, rcode, true)
	}
	return a.finish(q, rcode), v
}

// additional adds what is asked next (RFC 6763 §12): to PTR records those of the
// instances, to SRV and NS records the addresses. What doesn't fit is left out:
// a set is whole or isn't there.
func (a *Answerer) additional(z *Zone, sets []*rrset) {
	if a.told == nil {
		a.told = map[dnswire.Name]struct{}{}
	}
	clear(a.told)
	for _, s := range sets {
		switch s.typ {
		case dnswire.TypePTR:
			for i := range s.list {
				if n := a.named(z, s.list[i].data); n != nil && !(a.whole(n, dnswire.TypeSRV) && a.whole(n, dnswire.TypeTXT)) {
					return
				}
			}
			for i := range s.list {
				if n := a.named(z, s.list[i].data); n != nil && !a.addresses(z, n.set(dnswire.TypeSRV)) {
					return
				}
			}
		case dnswire.TypeSRV, dnswire.TypeNS:
			if !a.addresses(z, s) {
				return
			}
		}
	}
}

// addresses adds those of the hosts that SRV or NS records name.
func (a *Answerer) addresses(z *Zone, s *rrset) bool {
	if s == nil {
		return true
	}
	skip := 0
	if s.typ == dnswire.TypeSRV {
		skip = 6 // priority, weight, port
	}
	for i := range s.list {
		n := a.named(z, s.list[i].data[skip:])
		if n == nil {
			continue
		}
		if _, again := a.told[n.name]; again {
			continue
		}
		a.told[n.name] = struct{}{}
		if !a.whole(n, dnswire.TypeA) || !a.whole(n, dnswire.TypeAAAA) {
			return false
		}
	}
	return true
}

// named returns the node that a name in rdata means.
func (a *Answerer) named(z *Zone, name string) *node {
	a.target = append(a.target[:0], name...)
	for i, c := range a.target {
		if 'A' <= c && c <= 'Z' { // no length byte is as large
			a.target[i] = c + 'a' - 'A'
		}
	}
	return z.names[dnswire.Name(a.target)]
}

// whole adds a set to the additional section. It returns false if it doesn't fit.
func (a *Answerer) whole(n *node, t dnswire.Type) bool {
	s := n.set(t)
	if s == nil {
		return true
	}
	mark := a.b.Mark()
	for i := range s.list {
		if !a.b.Additional(n.rr(s, i)) {
			a.b.Rewind(mark)
			return false
		}
	}
	return true
}
