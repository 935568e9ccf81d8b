package passive

import "strconv"

// TCP options (RFC 9293 §3.2, RFC 7323, RFC 2018).
const (
	optEnd   = 0
	optNOP   = 1
	optMSS   = 2
	optScale = 3
)

// maxTCPOptions bounds the options of a fingerprint: 40 bytes hold no more.
const maxTCPOptions = 40

// tcpOpen reads a SYN, or a SYN with ACK: how a host's own TCP opens a
// connection. The ports are in the fact alone: the same software opens them all
// alike.
func (d *Decoder) tcpOpen(c *context, b []byte) {
	var order [maxTCPOptions]byte
	n := 0
	mss, scale := -1, -1
	for o := b[20:]; len(o) > 0 && o[0] != optEnd; {
		if n < len(order) {
			order[n] = o[0]
			n++
		}
		if o[0] == optNOP {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			d.count.drop(dropTCPHeader)
			return
		}
		switch {
		case o[0] == optMSS && o[1] == 4:
			mss = int(be.Uint16(o[2:]))
		case o[0] == optScale && o[1] == 3:
			scale = int(o[2])
		}
		o = o[o[1]:]
	}
	d.packet(protoTCP)
	f := d.start(c, ProtoTCP)
	f.Response = b[13]&tcpACK != 0
	window := int(be.Uint16(b[14:]))
	t := append(d.buf[:0], "tcp1:q;ttl="...)
	if f.Response {
		t[len("tcp1:")] = 'a'
	}
	t = strconv.AppendInt(t, int64(ttlClass(c.ttl)), 10)
	t = append(t, ";win="...)
	// A window that counts segments says more than its bytes, which depend on
	// the link.
	if mss > 0 && window >= mss && window%mss == 0 {
		t = append(strconv.AppendInt(t, int64(window/mss), 10), "*mss"...)
	} else {
		t = strconv.AppendInt(t, int64(window), 10)
	}
	if mss >= 0 {
		t = strconv.AppendInt(append(t, ";mss="...), int64(mss), 10)
	}
	if scale >= 0 {
		t = strconv.AppendInt(append(t, ";scale="...), int64(scale), 10)
	}
	if n > 0 {
		t = appendCodes(append(t, ";opts="...), order[:n])
	}
	d.buf = t
	f.Fingerprint = d.text.get(t)
	d.buf = strconv.AppendInt(d.buf[:0], int64(c.ttl), 10)
	d.fieldText("ttl", d.buf)
	d.finish(c)
}

// ttlClass is the TTL that a packet was most likely sent with: systems begin with
// 32, 64, 128 or 255.
func ttlClass(ttl uint8) int {
	switch {
	case ttl <= 32:
		return 32
	case ttl <= 64:
		return 64
	case ttl <= 128:
		return 128
	}
	return 255
}
