package unicast

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// What a server can say beside an answer, RFC 1035 §4.1.1 and RFC 2136 §2.2.
const (
	rcodeNoError  = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeYXDomain = 6
	rcodeYXRRSet  = 7
	rcodeNXRRSet  = 8
	rcodeNotAuth  = 9
	rcodeNotZone  = 10
	rcodeBadVers  = 16
	rcodeBadSig   = 16
	rcodeBadKey   = 17
	rcodeBadTime  = 18
)

// ErrNoAnswer says that no server answered in time. It is a dnssd.ErrTimeout.
var ErrNoAnswer error = noAnswer{}

type noAnswer struct{}

func (noAnswer) Error() string        { return "no answer" }
func (noAnswer) Is(target error) bool { return target == dnssd.ErrTimeout }

// errFull says that there is no room for a question.
var errFull = errors.New("unicast: too many questions")

// errLame says that a server knows nothing of the name and asks no other.
var errLame = errors.New("knows nothing of the domain and asks no other server")

// RcodeError is a refusal: a server answered that it can't or won't.
type RcodeError struct {
	Server netip.AddrPort
	Rcode  uint16 // with the bits that EDNS adds
	// TSIG says that it is about the signature (RFC 8945 §5.3): 16 is BADSIG then.
	TSIG bool
}

// Error names the server and the code.
func (e *RcodeError) Error() string { return fmt.Sprintf("unicast: %s says %s", e.Server, e.name()) }

func (e *RcodeError) name() string {
	if e.TSIG {
		switch e.Rcode {
		case rcodeBadSig:
			return "BADSIG: its key has another secret"
		case rcodeBadKey:
			return "BADKEY: it doesn't know the key, or the key may not do this"
		case rcodeBadTime:
			return "BADTIME: its clock and this machine's differ by more than five minutes"
		}
	}
	switch e.Rcode {
	case rcodeFormErr:
		return "FORMERR"
	case rcodeServFail:
		return "SERVFAIL"
	case rcodeNXDomain:
		return "NXDOMAIN"
	case rcodeNotImp:
		return "NOTIMP"
	case rcodeRefused:
		return "REFUSED"
	case rcodeYXDomain:
		return "YXDOMAIN"
	case rcodeYXRRSet:
		return "YXRRSET"
	case rcodeNXRRSet:
		return "NXRRSET"
	case rcodeNotAuth:
		return "NOTAUTH"
	case rcodeNotZone:
		return "NOTZONE"
	case rcodeBadVers:
		return "BADVERS"
	case rcodeBadKey:
		return "BADKEY"
	case rcodeBadTime:
		return "BADTIME"
	}
	return fmt.Sprintf("rcode %d", e.Rcode)
}

// newID returns an id that nobody can guess.
func newID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never returns an error
	return binary.BigEndian.Uint16(b[:])
}

// newQuery makes a query for one question.
func newQuery(n dnswire.Name, t dnswire.Type, edns bool) (request, error) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: newID(), RecursionDesired: true}, 0)
	if !b.Question(n, t, dnswire.ClassIN, false) {
		return request{}, fmt.Errorf("unicast: %q can't be asked for", n)
	}
	if edns {
		b.Additional(dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: payloadSize})
	}
	return request{data: b.Bytes(), mine: func(m *dnswire.Message) bool {
		switch m.QDCount {
		case 0:
			return m.Rcode == rcodeFormErr || m.Rcode == rcodeNotImp
		case 1:
			for q := range m.Questions() {
				return q.Type == t && q.Class == dnswire.ClassIN && q.Name.Name().Equal(n)
			}
		}
		return false
	}}, nil
}

// rcode returns a message's response code with the bits that EDNS adds
// (RFC 6891 §6.1.3).
func rcode(m *dnswire.Message) uint16 {
	code := uint16(m.Rcode)
	for r := range m.Records() {
		if r.Section == dnswire.Additional && r.Type == dnswire.TypeOPT {
			code |= uint16(r.TTL>>24) << 4
		}
	}
	return code
}

// verdict is what a message says about a question.
type verdict uint8

const (
	found   verdict = iota + 1
	noData          // the name is there, the type isn't (RFC 2308 §2.2)
	noName          // NXDOMAIN (RFC 2308 §2.1)
	another         // the name is an alias of one that the message says nothing about
	lame            // a referral to other servers, or nothing at all
)

// none returns why there are no records, nil if there are some.
func (a *answer) none() error {
	switch {
	case len(a.records) > 0:
		return nil
	case a.verdict == noName:
		return dnssd.ErrNoName
	}
	return dnssd.ErrNoData
}

// answer is what the servers say about a question.
type answer struct {
	verdict verdict
	records []dnswire.RR // under the name that was asked for
	ttl     time.Duration
	along   []along
	alias   dnswire.Name // for another
	links   int          // of the chain of aliases so far
	server  netip.AddrPort
}

const (
	// maxAliases bounds a chain of CNAME and DNAME records.
	maxAliases = 8
	// maxRecords bounds the answer to a question that isn't for PTR records.
	maxRecords = 128
	// noSOATTL is how long a negative answer holds that doesn't say it. RFC 2308
	// §5 would have it not cached at all, and us ask again at once.
	noSOATTL = 30 * time.Second
	// longest is the longest TTL that there is (RFC 2181 §8).
	longest = (1<<31 - 1) * time.Second
)

// read takes from a message what it says about a question. Only the answer
// section counts, there only the records of the name, and those that lead on
// from it as aliases; and of what the server adds unasked, what cameAlong lets in.
func read(m *dnswire.Message, name dnswire.Name, t dnswire.Type) answer {
	a := answer{ttl: longest}
	at := name
	for a.links <= maxAliases {
		alias := dnswire.Name("")
		for r := range m.Records() {
			if r.Section != dnswire.Answer || r.Class != dnswire.ClassIN {
				continue
			}
			owner := r.Name.Name()
			switch {
			case owner.Equal(at) && (r.Type == t || t == dnswire.TypeANY):
				if len(a.records) < maxRecords || t == dnswire.TypePTR {
					rr := r.RR()
					rr.Name, rr.Flush = name, false
					a.records = append(a.records, rr)
					a.shorten(r.TTL)
				}
			case alias != "":
			case owner.Equal(at) && r.Type == dnswire.TypeCNAME:
				if to, ok := r.Target(); ok {
					alias = to.Name()
					a.shorten(r.TTL)
				}
			case r.Type == dnswire.TypeDNAME && !owner.Equal(at) && at.HasSuffix(owner):
				if to, ok := r.Target(); ok {
					alias = substitute(at, owner, to.Name())
					a.shorten(r.TTL)
				}
			}
		}
		if len(a.records) > 0 {
			a.verdict, a.along = found, cameAlong(m, t, a.records)
			return a
		}
		if alias == "" {
			break
		}
		a.links++
		at = alias
	}
	return a.negative(m, name, at)
}

// negative says what a message without the records means; at is where the
// aliases led.
func (a answer) negative(m *dnswire.Message, name, at dnswire.Name) answer {
	soa, ok := negativeTTL(m, at)
	switch {
	case a.links > maxAliases:
		a.verdict, a.ttl = noData, noSOATTL
	case m.Rcode == rcodeNXDomain:
		a.verdict = noName
	case ok || a.links == 0 && !refers(m):
		a.verdict = noData
	case a.links > 0:
		a.verdict, a.alias = another, at
		return a
	default:
		a.verdict = lame
	}
	if !ok {
		soa = noSOATTL
	}
	a.ttl = min(a.ttl, soa)
	return a
}

func (a *answer) shorten(ttl uint32) { a.ttl = min(a.ttl, seconds(ttl)) }

// seconds reads a TTL.
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		ttl = 0 // RFC 2181 §8
	}
	return time.Duration(ttl) * time.Second
}

// negativeTTL returns how long a negative answer holds: the lesser of the SOA
// record's TTL and its minimum (RFC 2308 §5). Only the SOA of a zone that holds
// the name counts.
func negativeTTL(m *dnswire.Message, name dnswire.Name) (time.Duration, bool) {
	for r := range m.Records() {
		if r.Section != dnswire.Authority || r.Type != dnswire.TypeSOA || !name.HasSuffix(r.Name.Name()) {
			continue
		}
		data := r.RR().Data
		a := answer{ttl: longest}
		a.shorten(r.TTL)
		a.shorten(binary.BigEndian.Uint32([]byte(data[len(data)-4:])))
		return a.ttl, true
	}
	return 0, false
}

// refers says whether a message only names other servers (RFC 2308 §2.2).
func refers(m *dnswire.Message) bool {
	if m.Authoritative {
		return false
	}
	for r := range m.Records() {
		if r.Section == dnswire.Authority && r.Type == dnswire.TypeNS {
			return true
		}
	}
	return false
}

// substitute puts a DNAME's target for its owner at the end of a name (RFC 6672
// §2.2), "" if that makes no name.
func substitute(n, owner, target dnswire.Name) dnswire.Name {
	out := n[:len(n)-len(owner)] + target
	if !out.Valid() {
		return ""
	}
	return out
}
