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
	o := opening{f.Response, ttlClass(c.ttl), window, mss, scale, order[:n]}
	f.Fingerprint = d.openForm(&o)
	d.buf = strconv.AppendInt(d.buf[:0], int64(c.ttl), 10)
	d.fieldText("ttl", d.buf)
	d.finish(c)
}

// opening is what a fingerprint of a SYN or of its answer tells.
type opening struct {
	answer             bool
	ttl                int
	window, mss, scale int // the last two -1 if they aren't told
	options            []byte
}

// openForm returns the fingerprint; the same few come again and again.
func (d *Decoder) openForm(o *opening) string {
	k := append(d.buf2[:0], bit(o.answer), byte(o.ttl), byte(o.window>>8), byte(o.window),
		byte(o.mss>>16), byte(o.mss>>8), byte(o.mss), byte(o.scale>>8), byte(o.scale))
	d.buf2 = append(k, o.options...)
	form, ok := d.opens.Find(d.buf2)
	if !ok {
		form = string(o.appendForm(d.buf[:0]))
		d.opens.Put(string(d.buf2), form, len(form))
	}
	return form
}

func (o *opening) appendForm(t []byte) []byte {
	t = append(t, "tcp1:q;ttl="...)
	if o.answer {
		t[len("tcp1:")] = 'a'
	}
	t = strconv.AppendInt(t, int64(o.ttl), 10)
	t = append(t, ";win="...)
	// A window that counts segments says more than its bytes, which depend on
	// the link.
	if o.mss > 0 && o.window >= o.mss && o.window%o.mss == 0 {
		t = append(strconv.AppendInt(t, int64(o.window/o.mss), 10), "*mss"...)
	} else {
		t = strconv.AppendInt(t, int64(o.window), 10)
	}
	if o.mss >= 0 {
		t = strconv.AppendInt(append(t, ";mss="...), int64(o.mss), 10)
	}
	if o.scale >= 0 {
		t = strconv.AppendInt(append(t, ";scale="...), int64(o.scale), 10)
	}
	if len(o.options) > 0 {
		t = appendCodes(append(t, ";opts="...), o.options)
	}
	return t
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
