package zone

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"time"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Errors in a signature (RFC 8945 §3).
const (
	badSig   = 16
	badKey   = 17
	badTime  = 18
	badTrunc = 22
)

// fudge is by how much a signature's time may differ from ours, in seconds
// (RFC 8945 §10).
const fudge = 300

// keyed is a TSIG key, ready for work (RFC 8945).
type keyed struct {
	name      dnswire.Name // folded
	algorithm dnswire.Name // folded
	hash      func() hash.Hash
	secret    []byte
	size      int // bytes that a signature adds to a message
}

func newKeyed(k *unicast.Key) (*keyed, error) {
	out := &keyed{name: k.Name.Fold(), secret: k.Secret}
	switch k.Algorithm {
	case "hmac-sha1":
		out.hash = sha1.New
	case "hmac-sha224":
		out.hash = sha256.New224
	case "hmac-sha256":
		out.hash = sha256.New
	case "hmac-sha384":
		out.hash = sha512.New384
	case "hmac-sha512":
		out.hash = sha512.New
	default:
		return nil, fmt.Errorf("zone: key %s: the algorithm is unknown", k)
	}
	var err error
	if out.algorithm, err = dnswire.ParseName(k.Algorithm); err != nil {
		return nil, fmt.Errorf("zone: key %s: %w", k, err)
	}
	const otherTime = 6
	out.size = len(out.name) + 10 + len(out.algorithm) + 16 + out.hash().Size() + otherTime
	return out, nil
}

// signature is the TSIG record of a message (RFC 8945 §4.2).
type signature struct {
	name, algorithm dnswire.Name
	signed          uint64 // seconds since 1970
	fudge           uint16
	mac             []byte
	original        uint16 // the message's first ID
	err             uint16
	other           []byte
}

// parseSignature reads a TSIG record. ok is false if it can't be one.
func parseSignature(r dnswire.Record) (s *signature, ok bool) {
	d := r.RData()
	if r.Class|flushBit(r.Flush) != dnswire.ClassANY || r.TTL != 0 {
		return nil, false
	}
	n := 0
	for n < len(d) && d[n] != 0 {
		n += 1 + int(d[n])
	}
	n++
	const fields, behind = 10, 6
	if n > len(d) || !dnswire.Name(d[:n]).Valid() || len(d) < n+fields+behind {
		return nil, false
	}
	s = &signature{name: r.Name.Name().Fold(), algorithm: dnswire.Name(d[:n]).Fold()}
	d = d[n:]
	s.signed = uint64(binary.BigEndian.Uint16(d))<<32 | uint64(binary.BigEndian.Uint32(d[2:]))
	s.fudge = binary.BigEndian.Uint16(d[6:])
	size := int(binary.BigEndian.Uint16(d[8:]))
	if d = d[fields:]; len(d) < size+behind {
		return nil, false
	}
	s.mac, d = d[:size], d[size:]
	s.original, s.err = binary.BigEndian.Uint16(d), binary.BigEndian.Uint16(d[2:])
	if s.other = d[behind:]; len(s.other) != int(binary.BigEndian.Uint16(d[4:])) {
		return nil, false
	}
	return s, true
}

// flushBit gives back the class bit that dnswire keeps apart: it means nothing here.
func flushBit(set bool) dnswire.Class {
	if set {
		return dnswire.TopBit
	}
	return 0
}

// verify checks a query's signature, if it has one, and returns what is wrong with it.
// Without one, or with one that is right, that is 0.
func (a *Answerer) verify(q *query) (wrong uint16) {
	s := q.signed
	if s == nil {
		return 0
	}
	var key *keyed
	for _, z := range a.Zones {
		for _, k := range z.keys {
			if k != nil && k.name == s.name && k.algorithm == s.algorithm {
				key = k
			}
		}
	}
	if key == nil {
		return badKey
	}
	wrong = key.check(q.Query, s, nil, q.Time)
	if wrong == 0 || wrong == badTime {
		q.key = key
	}
	return wrong
}

// check checks the signature of a message; asked is the signature that it answers, nil
// for a query.
func (k *keyed) check(msg []byte, s *signature, asked []byte, now time.Time) (wrong uint16) {
	at, ok := lastRecord(msg)
	if !ok {
		return badSig
	}
	h := hmac.New(k.hash, k.secret)
	writeMAC(h, asked)
	var head [headerSize]byte
	copy(head[:], msg)
	binary.BigEndian.PutUint16(head[:], s.original)
	addCount(head[:], 10, -1)
	h.Write(head[:])
	h.Write(msg[headerSize:at])
	k.writeVariables(h, s)
	want := h.Sum(nil)
	switch {
	case len(s.mac) < len(want)/2 || len(s.mac) > len(want) || !hmac.Equal(want[:len(s.mac)], s.mac):
		return badSig
	case len(s.mac) < len(want):
		return badTrunc // of the keys here none says that shorter ones will do
	}
	if d := now.Unix() - int64(s.signed); d > int64(s.fudge) || -d > int64(s.fudge) {
		return badTime
	}
	return 0
}

// lastRecord returns where the last record of a well-formed message begins.
func lastRecord(msg []byte) (at int, ok bool) {
	m, err := dnswire.Parse(msg)
	if err != nil {
		return 0, false
	}
	for r := range m.Records() {
		at, ok = r.Name.Begin(), true
	}
	return at, ok
}

func writeMAC(h hash.Hash, mac []byte) {
	if mac != nil {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
		h.Write(mac)
	}
}

// writeVariables writes what is signed beside the message (RFC 8945 §4.3.3).
func (k *keyed) writeVariables(h hash.Hash, s *signature) {
	b := append([]byte(k.name), 0, byte(dnswire.ClassANY), 0, 0, 0, 0)
	b = append(b, k.algorithm...)
	b = appendTimes(b, s)
	b = binary.BigEndian.AppendUint16(b, s.err)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.other)))
	h.Write(append(b, s.other...))
}

func appendTimes(b []byte, s *signature) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(s.signed>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(s.signed))
	return binary.BigEndian.AppendUint16(b, s.fudge)
}

// append appends the signature as a record to a message.
func (s *signature) append(msg []byte) []byte {
	msg = append(msg, s.name...)
	msg = append(msg, 0, byte(dnswire.TypeTSIG), 0, byte(dnswire.ClassANY), 0, 0, 0, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(s.algorithm)+16+len(s.mac)+len(s.other)))
	msg = appendTimes(append(msg, s.algorithm...), s)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(s.mac)))
	msg = append(msg, s.mac...)
	msg = binary.BigEndian.AppendUint16(msg, s.original)
	msg = binary.BigEndian.AppendUint16(msg, s.err)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(s.other)))
	msg = append(msg, s.other...)
	addCount(msg, 10, 1)
	return msg
}

// sign signs the answer to a signed query or, with asked nil, a query, and returns
// the signature, too.
func (k *keyed) sign(msg []byte, asked *signature, now time.Time) (signed, mac []byte) {
	s := &signature{name: k.name, algorithm: k.algorithm, signed: uint64(now.Unix()), fudge: fudge, original: binary.BigEndian.Uint16(msg)}
	var before []byte
	if asked != nil {
		before = asked.mac
		if asked.err == badTime { // RFC 8945 §5.2.3: the asker's time, and ours
			s.signed, s.err = asked.signed, badTime
			s.other = binary.BigEndian.AppendUint16(nil, uint16(now.Unix()>>32))
			s.other = binary.BigEndian.AppendUint32(s.other, uint32(now.Unix()))
		}
	}
	h := hmac.New(k.hash, k.secret)
	writeMAC(h, before)
	h.Write(msg)
	k.writeVariables(h, s)
	s.mac = h.Sum(nil)
	return s.append(msg), s.mac
}

// signNext signs a message that follows others in a transfer; last is the
// signature of the one before (RFC 8945 §5.3.1).
func (k *keyed) signNext(msg, last []byte, now time.Time) (signed, mac []byte) {
	s := &signature{name: k.name, algorithm: k.algorithm, signed: uint64(now.Unix()), fudge: fudge, original: binary.BigEndian.Uint16(msg)}
	h := hmac.New(k.hash, k.secret)
	writeMAC(h, last)
	h.Write(msg)
	h.Write(appendTimes(nil, s))
	s.mac = h.Sum(nil)
	return s.append(msg), s.mac
}

// failSigned answers a query whose signature isn't right (RFC 8945 §5.2).
func (a *Answerer) failSigned(dst []byte, q *query, wrong uint16) ([]byte, Verdict) {
	s := *q.signed
	if q.key != nil { // it was, but for its time
		s.err = badTime
		q.signed = &s
		out, _ := a.fail(dst, q, rcodeNotAuth, Unsigned)
		return out, Unsigned
	}
	q.room -= len(s.name) + 10 + len(s.algorithm) + 16
	out, _ := a.fail(dst, q, rcodeNotAuth, Unsigned)
	s.mac, s.other, s.err = nil, nil, wrong
	return s.append(out), Unsigned
}
