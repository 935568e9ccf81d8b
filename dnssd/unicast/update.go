package unicast

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
)

// An update as it stands in a message (RFC 2136 §2):
//
//	zone           example.com SOA
//	prerequisites  in the answer section
//	updates        in the authority section
//	additional     OPT with the lease that is asked for (RFC 9664), TSIG (RFC 8945)
type update struct {
	zone    dnswire.Name
	require []dnswire.RR
	change  []dnswire.RR
	lease   time.Duration // 0 asks for none
}

// What a record of an update stands for, by its class (RFC 2136 §2.4, §2.5).

// notInUse requires that nothing has the name.
func notInUse(n dnswire.Name) dnswire.RR {
	return dnswire.RR{Name: n, Type: dnswire.TypeANY, Class: dnswire.ClassNONE}
}

// absent requires that there are no records of the type.
func absent(n dnswire.Name, t dnswire.Type) dnswire.RR {
	return dnswire.RR{Name: n, Type: t, Class: dnswire.ClassNONE}
}

// exactly requires that these are all the records of their name and type.
func exactly(rr dnswire.RR) dnswire.RR {
	rr.TTL = 0
	return rr
}

// without takes one record away.
func without(rr dnswire.RR) dnswire.RR {
	rr.TTL, rr.Class = 0, dnswire.ClassNONE
	return rr
}

// withoutAll takes all records of a type away.
func withoutAll(n dnswire.Name, t dnswire.Type) dnswire.RR {
	return dnswire.RR{Name: n, Type: t, Class: dnswire.ClassANY}
}

// optionLease is the EDNS option Update Lease (RFC 9664 §4).
const optionLease = 2

// message writes the update, without a signature.
func (u update) message(id uint16) ([]byte, error) {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{ID: id, Opcode: dnswire.OpcodeUpdate}, 0)
	ok := b.Question(u.zone, dnswire.TypeSOA, dnswire.ClassIN, false)
	for _, rr := range u.require {
		ok = ok && b.Answer(rr)
	}
	for _, rr := range u.change {
		ok = ok && b.Authority(rr)
	}
	if u.lease > 0 {
		data := binary.BigEndian.AppendUint32([]byte{0, optionLease, 0, 4}, uint32(u.lease/time.Second))
		ok = ok && b.Additional(dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: payloadSize, Data: string(data)})
	}
	if !ok {
		return nil, errors.New("unicast: update: a record is not valid, or there are too many")
	}
	return b.Bytes(), nil
}

// fudge is by how much a signature's time may differ from the server's clock
// (RFC 8945 §10 recommends 300 s).
const fudge = 300

// sign adds a TSIG record to a message and returns its MAC, too. miekg/dns
// reads and writes the names in between; TestMessagesPassMiekgUnchanged holds it to
// their bytes.
func (k Key) sign(data []byte, now time.Time) (signed []byte, mac string, err error) {
	m, err := toMiekg(data)
	if err != nil {
		return nil, "", fmt.Errorf("unicast: sign: %w", err)
	}
	name, _, err := dns.UnpackDomainName([]byte(k.Name.Fold()), 0)
	if err != nil {
		return nil, "", fmt.Errorf("unicast: sign: name of the key: %w", err)
	}
	m.SetTsig(name, algorithms()[k.Algorithm], fudge, now.Unix())
	return dns.TsigGenerate(m, base64.StdEncoding.EncodeToString(k.Secret), "", false)
}

// toMiekg reads a message so that miekg/dns writes it back as it was.
func toMiekg(data []byte) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(data); err != nil {
		return nil, err
	}
	m.Compress = true
	for _, section := range [...][]dns.RR{m.Answer, m.Ns} {
		for i, rr := range section {
			if h := rr.Header(); h.Rdlength == 0 { // it would write fields of 0
				section[i] = &dns.ANY{Hdr: *h}
			}
		}
	}
	return m, nil
}

// errUnsigned says that an answer to a signed message has no signature.
var errUnsigned = errors.New("the answer is not signed")

// verify checks the answer to a signed message. Errors about the key come
// without a signature (RFC 8945 §5.3.2): they are told, but prove nothing. That
// a name is taken must be signed.
func (k Key) verify(server netip.AddrPort, r *reply, mac string) error {
	var m dns.Msg
	if err := m.Unpack(r.data); err != nil {
		return fmt.Errorf("unicast: %s: %w: %w", server, errMalformed, err)
	}
	t := m.IsTsig()
	code := rcode(&r.Message)
	switch {
	case t != nil && t.Error != 0:
		return &RcodeError{Server: server, Rcode: t.Error, TSIG: true}
	case t == nil && code != rcodeNoError && !decided(code):
		return &RcodeError{Server: server, Rcode: code}
	case t == nil:
		return fmt.Errorf("unicast: %s: %w", server, errUnsigned)
	}
	if err := dns.TsigVerify(r.data, base64.StdEncoding.EncodeToString(k.Secret), mac, false); err != nil {
		return fmt.Errorf("unicast: %s: signature: %w", server, err)
	}
	return nil
}

// send has a server carry out the update. It returns the lease that the server
// grants, 0 where it knows of none. An RcodeError says that a prerequisite
// failed, or that the server won't.
func (p *pool) send(ctx context.Context, u update, key *Key) (lease time.Duration, err error) {
	timeout := p.Timeout
	for range p.Attempts {
		for _, s := range p.order(time.Now()) {
			got, e := p.sendTo(ctx, s, u, key, timeout)
			if e == nil {
				return got, nil
			}
			if ctx.Err() != nil {
				return 0, fmt.Errorf("unicast: %w", ctx.Err())
			}
			if r := (&RcodeError{}); errors.As(e, &r) && decided(r.Rcode) {
				return 0, e
			}
			p.note(s, time.Now(), false)
			err = telling(err, e)
		}
		timeout = min(2*timeout, maxTimeout)
	}
	return 0, err
}

// decided says whether no other server, and no other try, would say otherwise.
func decided(code uint16) bool {
	switch code {
	case rcodeYXDomain, rcodeYXRRSet, rcodeNXRRSet, rcodeNXDomain, rcodeNotZone:
		return true
	}
	return false
}

func (p *pool) sendTo(ctx context.Context, server netip.AddrPort, u update, key *Key, timeout time.Duration) (time.Duration, error) {
	r, err := p.sendOnce(ctx, server, u, key, timeout)
	if e := (&RcodeError{}); u.lease > 0 && errors.As(err, &e) && (e.Rcode == rcodeFormErr || e.Rcode == rcodeNotImp) {
		u.lease = 0 // a server that takes the option for a mistake
		r, err = p.sendOnce(ctx, server, u, key, timeout)
	}
	if err != nil {
		return 0, err
	}
	p.note(server, time.Now(), true)
	for rr := range r.Records() {
		for code, data := range rr.Options() {
			if code == optionLease && len(data) >= 4 {
				return time.Duration(binary.BigEndian.Uint32(data)) * time.Second, nil
			}
		}
	}
	return 0, nil
}

func (p *pool) sendOnce(ctx context.Context, server netip.AddrPort, u update, key *Key, timeout time.Duration) (reply, error) {
	data, err := u.message(newID())
	if err != nil {
		return reply{}, err
	}
	mac := ""
	if key != nil {
		if data, mac, err = key.sign(data, time.Now()); err != nil {
			return reply{}, err
		}
	}
	q := request{data: data, mine: func(m *dnswire.Message) bool { return m.QDCount <= 1 }}
	r, err := p.conns.exchange(ctx, server, q, p.TCP, timeout)
	if err != nil {
		return reply{}, err
	}
	if key != nil {
		if err := key.verify(server, &r, mac); err != nil {
			return reply{}, err
		}
	}
	if code := rcode(&r.Message); code != rcodeNoError {
		return reply{}, &RcodeError{Server: server, Rcode: code}
	}
	return r, nil
}

// zoneOf finds the zone that holds a name, by the SOA record that comes with
// every answer about it (RFC 2136 §4.3 has this to the requestor).
func (p *pool) zoneOf(ctx context.Context, name dnswire.Name) (dnswire.Name, error) {
	var err error
	for at := name; at.NumLabels() > 0; at = at.Parent() {
		for _, s := range p.order(time.Now()) {
			m, e := p.exchange(ctx, s, at, dnswire.TypeSOA, p.edns(s), p.Timeout)
			p.note(s, time.Now(), e == nil)
			if e != nil {
				err = e
				continue
			}
			if code := rcode(&m); code != rcodeNoError && code != rcodeNXDomain {
				err = &RcodeError{Server: s, Rcode: code}
				continue
			}
			for r := range m.Records() {
				zone := r.Name.Name()
				if r.Section != dnswire.Additional && r.Type == dnswire.TypeSOA && name.HasSuffix(zone) && zone != dnswire.Root {
					return zone, nil
				}
			}
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("unicast: %w", ctx.Err())
		}
		if errors.Is(err, ErrNoAnswer) {
			break // nor would it answer about the parents
		}
	}
	if err == nil {
		err = errors.New("no server says which zone it is in")
	}
	return "", fmt.Errorf("unicast: zone of %s: %w", name, err)
}
