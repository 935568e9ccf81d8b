package passive

import (
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/hello"
)

// boringTCP says that a segment neither opens a connection nor begins anything
// that is read. What follows its data may be the link's padding.
func boringTCP(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	header := int(b[12]>>4) * 4
	if header < 20 || b[13]&tcpSYN != 0 {
		return false
	}
	data := b[min(header, len(b)):]
	return len(data) < 4 || !hello.Opens(data) && !opensHTTP(data) && !opensMQTT(be.Uint16(b[2:]), data)
}

// tcpData reads a segment of a connection that isn't known to carry DNS: what
// begins like a ClientHello or like the head of an HTTP message, on any port.
//
// No connection is followed. Only what begins a ClientHello and doesn't hold all
// of it starts a flow, which takes the segments behind it in any order.
func (d *Decoder) tcpData(c *context, seq uint32, flags uint8, data []byte) drop {
	if len(d.hellos.flows) > 0 {
		d.hellos.sweep(c.time)
		key := flowKey{c.src, c.dst, c.vlan, c.iface}
		if f := d.hellos.flows[key]; f != nil {
			if ahead := int32(seq - f.next); flags&(tcpSYN|tcpRST) == 0 && -maxAhead < ahead && ahead < maxAhead {
				return d.helloSegment(c, key, f, seq, flags, data)
			}
			d.hellos.remove(key, f) // another connection
		}
	}
	switch {
	case hello.Opens(data):
		return d.clientHello(c, seq, data)
	case opensHTTP(data):
		return d.httpHead(c, data)
	case opensMQTT(c.dst.Port(), data):
		return d.mqttConnect(c, data)
	}
	return dropNone
}

// clientHello reads a segment that begins a ClientHello.
func (d *Decoder) clientHello(c *context, seq uint32, data []byte) drop {
	d.first.Reset()
	message, err := d.first.Write(data)
	switch {
	case err != nil:
		return dropTLSForm
	case message != nil:
		return d.helloFact(c, protoTLS, "", message)
	case !c.whole:
		return dropTLSCut
	}
	f, lost := d.hellos.add(flowKey{c.src, c.dst, c.vlan, c.iface}, c.time)
	if f == nil {
		return dropTCPLimit
	}
	f.hello = &hello.Stream{}
	f.next, f.started = seq, true
	if why := d.segment(c, &d.hellos, f, seq, data); why != dropNone {
		return why
	}
	if lost {
		return dropTCPLimit
	}
	return dropNone
}

// helloSegment takes a segment of a flow that began a ClientHello.
func (d *Decoder) helloSegment(c *context, key flowKey, f *flow, seq uint32, flags uint8, data []byte) drop {
	why := d.segment(c, &d.hellos, f, seq, data)
	switch {
	case why == dropTCPStream:
		why = dropTLSForm
	case why == dropNone && !c.whole && !f.dead && len(data) > 0:
		why = dropTLSCut
	}
	if why != dropNone || f.dead || flags&tcpFIN != 0 && len(f.waiting) == 0 {
		d.hellos.remove(key, f)
	}
	return why
}

// helloBytes takes the next bytes of a flow that began a ClientHello. The flow is
// dead once it has it.
func (d *Decoder) helloBytes(c *context, f *flow, data []byte) drop {
	had := f.hello.Len()
	message, err := f.hello.Write(data)
	d.hellos.bytes += f.hello.Len() - had
	var why drop
	switch {
	case err != nil:
		why = dropTLSForm
	case message != nil:
		why = d.helloFact(c, protoTLS, "", message)
	case d.hellos.bytes > maxFlowBytes:
		why = dropTCPLimit
	default:
		return dropNone
	}
	d.hellos.kill(f)
	return why
}

// helloFact hands out what a ClientHello says; version is QUIC's.
func (d *Decoder) helloFact(c *context, p proto, version string, message []byte) drop {
	h := &d.hello
	if err := h.Parse(message); err != nil {
		return dropTLSForm
	}
	d.packet(p)
	f := d.start(c, protoNames[p])
	transport := byte(hello.TCP)
	if p != protoTLS {
		transport = hello.QUIC
	}
	d.buf = appendSafe(d.buf[:0], h.ServerName)
	f.Query = d.text.get(d.buf)
	d.buf = h.AppendJA4(d.buf[:0], transport)
	f.Fingerprint = d.text.get(d.buf)
	if len(h.ALPN) > 0 {
		d.buf = d.buf[:0]
		for i, name := range h.ALPN {
			if i > 0 {
				d.buf = append(d.buf, ',')
			}
			d.buf = appendSafe(d.buf, name)
		}
		d.fieldText("alpn", d.buf)
	}
	d.field("version", tlsVersion(h.Version))
	if version != "" {
		d.field("quic", version)
	}
	if h.Encrypted {
		d.field("ech", "true")
	}
	if d.direct(c) {
		d.claims = append(d.claims, Claim{MAC: c.srcMAC, IP: c.src.Addr()})
	}
	d.finish(c)
	return dropNone
}

// tlsVersion names the highest version that a client offers.
func tlsVersion(v uint16) string {
	switch v {
	case 0x0300:
		return "3.0" // SSL
	case 0x0301:
		return "1.0"
	case 0x0302:
		return "1.1"
	case 0x0303:
		return "1.2"
	case 0x0304:
		return "1.3"
	}
	return "unknown"
}

// sweep lets flows go that wait in vain, so that the bulk of the segments needn't
// be looked up once no flow waits.
func (s *streams) sweep(now time.Time) {
	if now.Sub(s.swept).Abs() < helloLifetime {
		return
	}
	s.swept = now
	for key, f := range s.flows {
		if now.Sub(f.last).Abs() > helloLifetime {
			s.remove(key, f)
		}
	}
}
