package passive

import (
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/hello"
	"github.com/lanfolk/lanfolk/passive/internal/quic"
)

// portHTTPS is the port of most QUIC servers.
const portHTTPS = 443

// quicBegin is what is known of a client that began a connection, until its
// ClientHello is whole.
type quicBegin struct {
	keys   *quic.Keys
	dcid   string
	crypto quic.Crypto
	size   int // counted of crypto
}

// quicDatagram reads a datagram that begins with a QUIC Initial packet: the
// ClientHello in it, or a part of one. It holds further packets of the client's
// perhaps, each behind the other.
//
// As with TCP no connection is followed: only a ClientHello that isn't whole in
// one datagram starts a flow. What a server sends can't be opened, and nothing is
// said of it.
func (d *Decoder) quicDatagram(c *context, b []byte) drop {
	d.memo.forget()
	if c.src.Port() == portHTTPS && c.dst.Port() != portHTTPS {
		return dropNone // a server's
	}
	d.quics.sweep(c.time)
	key := flowKey{c.src, c.dst, c.vlan, c.iface}
	f := d.quics.flows[key]
	first, rest, err := quic.Next(b)
	switch {
	case err != nil && !c.whole:
		return dropQUICCut
	case err != nil || !first.Initial():
		return dropQUICForm
	}
	if d.quicBegun(c, key, &first) {
		return dropNone
	}
	keys, fresh := d.quicKeys(f, &first)
	if keys == nil {
		return dropNone
	}
	crypto := &d.quicFirst
	if fresh {
		if f != nil { // after a Retry, or another connection: from the begin
			d.quics.remove(key, f)
			f = nil
		}
		crypto.Reset()
	} else {
		crypto = &f.quic.crypto
	}
	why := dropNone
	for {
		if crypto.Frames(d.quicBuf) != nil {
			why = dropQUICForm
			break
		}
		if rest = d.quicNext(keys, first.DCID, rest); rest == nil {
			break
		}
	}
	message := crypto.Bytes()
	whole := false
	switch {
	case why != dropNone || len(message) < hello.HeaderSize:
	case hello.Size(message) > quic.MaxCrypto:
		why = dropQUICForm
	case hello.Size(message) <= len(message):
		whole = true
		if why = d.helloFact(c, protoQUIC, quicVersion(first.Version), message[:hello.Size(message)]); why != dropNone {
			why = dropQUICForm
		}
	}
	if whole || why != dropNone {
		d.quicDone.put(key, begun{keys, c.time})
		if f != nil {
			d.quics.remove(key, f)
		}
		return why
	}
	if !crypto.Some() {
		return dropNone
	}
	return d.quicKeep(c, key, f, keys, &first)
}

// begun is a connection whose ClientHello was read, or can't be.
type begun struct {
	keys *quic.Keys
	at   time.Time
}

// connections remembers those that have begun, in two generations. Their clients send
// a few Initial packets more, to ids that their servers chose: to look for the keys
// of those would take most of the time.
type connections struct {
	young, old map[flowKey]begun
}

const maxBegun = 128 // of one generation

func (s *connections) put(key flowKey, b begun) {
	if s.young == nil || len(s.young) >= maxBegun {
		s.young, s.old = s.old, s.young
		if s.young == nil {
			s.young = make(map[flowKey]begun)
		}
		clear(s.young)
	}
	s.young[key] = b
}

// quicBegun says whether a packet belongs to a connection that has begun.
func (d *Decoder) quicBegun(c *context, key flowKey, p *quic.Packet) bool {
	b, ok := d.quicDone.young[key]
	if !ok {
		b, ok = d.quicDone.old[key]
	}
	if !ok || c.time.Sub(b.at).Abs() > helloLifetime {
		return false
	}
	_, err := b.keys.Open(d.quicBuf[:0], p)
	return err == nil
}

// quicNext opens the next packet of a datagram that keys open and that has the
// same destination, as all in a datagram have (RFC 9000 §12.2). It returns what
// lies behind it, nil if there is no such packet.
func (d *Decoder) quicNext(keys *quic.Keys, dcid, b []byte) []byte {
	for len(b) > 0 {
		p, rest, err := quic.Next(b)
		if err != nil || rest == nil {
			break // padding, or a packet that doesn't tell where it ends
		}
		b = rest
		if !p.Initial() || string(p.DCID) != string(dcid) {
			continue
		}
		if frames, err := keys.Open(d.quicBuf[:0], &p); err == nil {
			d.quicBuf = frames
			return b
		}
	}
	return nil
}

// quicKeys opens a packet and returns the keys that did, nil if there are none, and
// whether they are fresh: those of a connection that the packet begins. A
// client's later packets carry the id that its server chose, and keep the keys.
func (d *Decoder) quicKeys(f *flow, p *quic.Packet) (keys *quic.Keys, fresh bool) {
	opens := func(k *quic.Keys) bool {
		out, err := k.Open(d.quicBuf[:0], p)
		if err == nil {
			d.quicBuf = out
		}
		return err == nil
	}
	if f != nil && opens(f.quic.keys) {
		return f.quic.keys, false
	}
	if len(p.DCID) < quic.MinFirst || f != nil && f.quic.dcid == string(p.DCID) {
		return nil, false
	}
	k, err := quic.ClientKeys(p.Version, p.DCID)
	if err != nil || !opens(k) {
		return nil, false
	}
	return k, true
}

// quicKeep keeps what has come of a ClientHello.
func (d *Decoder) quicKeep(c *context, key flowKey, f *flow, keys *quic.Keys, p *quic.Packet) drop {
	why := dropNone
	if f == nil {
		var lost bool
		if f, lost = d.quics.add(key, c.time); f == nil {
			return dropQUICLimit
		}
		if lost {
			why = dropQUICLimit
		}
		f.quic = &quicBegin{keys: keys, dcid: string(p.DCID), crypto: d.quicFirst}
		d.quicFirst = quic.Crypto{} // its memory is the flow's now
	}
	f.last = c.time
	size := f.quic.crypto.Size()
	d.quics.bytes += size - f.quic.size
	f.quic.size = size
	if d.quics.bytes > maxFlowBytes {
		d.quics.remove(key, f)
		return dropQUICLimit
	}
	return why
}

// quicVersion names a version: "1", "2", "draft-29".
func quicVersion(v uint32) string {
	switch v {
	case quic.Version1:
		return "1"
	case quic.Version2:
		return "2"
	}
	return "draft-" + strconv.Itoa(int(v&0xff))
}
