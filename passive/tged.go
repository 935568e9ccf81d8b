package passive

import (
	"errors"
	"strings"

	"github.com/lanfolk/lanfolk/tged"
)

// maxTGEDKeys bounds the keys in a fingerprint.
const maxTGEDKeys = 8

// tgedMessage reads a message of the Simple Discovery Protocol. It claims
// nothing: a request names no device, and a reply is unsigned text.
func (d *Decoder) tgedMessage(c *context, b []byte) drop {
	m, err := tged.Parse(b)
	switch {
	case errors.Is(err, tged.ErrNotTGED):
		return dropNone // something else on its port
	case !c.whole:
		return dropTGEDCut
	case err != nil:
		return dropTGEDForm
	}
	d.packet(protoTGED)
	f := d.start(c, ProtoTGED)
	f.Response = m.Method == tged.Reply || m.Method == tged.Invalid
	service, _ := m.Get("RQ")
	f.Query = d.safeText([]byte(service))

	message := strings.ToLower(m.Method)
	t := appendPart(append(d.buf2[:0], "tged1:"...), "", []byte(message))
	t = append(append(t, ";version="...), m.Version.String()...)
	for i, x := range m.Fields[:min(len(m.Fields), maxTGEDKeys)] {
		if i == 0 {
			t = append(t, ";keys="...)
		} else {
			t = append(t, ',')
		}
		t = appendFingerprintText(t, []byte(x.Key[:min(len(x.Key), 32)]))
	}
	d.buf2 = t
	f.Fingerprint = d.text.get(t)

	d.fieldSafe("message", []byte(message))
	d.field("version", m.Version.String())
	for _, key := range [...]string{"HOST", "IP", "PORT"} {
		if v, ok := m.Get(key); ok {
			d.fieldSafe(strings.ToLower(key), []byte(v))
		}
	}
	d.finish(c)
	return dropNone
}
