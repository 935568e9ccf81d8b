package passive

import (
	"bytes"

	"github.com/lanfolk/lanfolk/passive/internal/wsd"
)

// portWSD is WS-Discovery's port.
const portWSD = 3702

// wsdMessage reads WS-Discovery.
func (d *Decoder) wsdMessage(c *context, b []byte) drop {
	m := &d.wsd
	switch {
	case !c.whole:
		return dropWSDCut
	case !m.Parse(b):
		return dropWSDForm
	}
	d.packet(protoWSD)
	f := d.start(c, ProtoWSD)
	f.Response = !m.Kind.Asks()
	if m.Kind == wsd.Resolve || m.Types == nil {
		f.Query = d.safeText(m.Endpoint)
	} else {
		f.Query = d.safeText(m.Types)
	}
	f.Fingerprint = d.wsdFingerprint()
	d.field("message", m.Kind.String())
	d.fieldSafe("endpoint", m.Endpoint)
	d.fieldSafe("types", m.Types)
	d.fieldSafe("scopes", m.Scopes)
	d.fieldSafe("addresses", m.XAddrs)
	d.fieldSafe("metadata_version", m.Version)
	d.wsdClaim(c)
	d.finish(c)
	return dropNone
}

// wsdFingerprint: see the package comment. Prefixes are the sender's choice, so
// they tell its stack; of the scopes only those are kept that ONVIF cameras name
// their make with.
func (d *Decoder) wsdFingerprint() string {
	m := &d.wsd
	t := append(append(d.buf2[:0], "wsd1:"...), m.Kind.String()...)
	t = appendPart(t, ";root=", m.Envelope)
	t = appendPart(t, ";types=", m.Types)
	rest := m.Scopes
	for n := 0; len(rest) > 0 && n < maxItems; n++ {
		var scope []byte
		scope, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " \t\r\n"), []byte{' '})
		if make, ok := bytes.CutPrefix(scope, []byte("onvif://www.onvif.org/hardware/")); ok {
			t = appendPart(t, ";hardware=", make)
			break
		}
	}
	d.buf2 = t
	return d.text.get(t)
}

// wsdClaim tells the id of the device that announces or answers. If none of its
// URLs holds the sender's address, somebody else speaks for it: a proxy.
func (d *Decoder) wsdClaim(c *context) {
	m := &d.wsd
	if m.Kind.Asks() || m.Kind == wsd.Bye {
		return
	}
	i := bytes.Index(m.Endpoint[:min(len(m.Endpoint), 16)], []byte("uuid:"))
	if i < 0 {
		return
	}
	claim := d.ownClaim(c)
	if claim.ID = d.uuidText(m.Endpoint[i+5:]); claim.ID == "" {
		return
	}
	other := false
	rest := m.XAddrs
	for n := 0; len(rest) > 0 && n < maxItems; n++ {
		var url []byte
		url, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " \t\r\n"), []byte{' '})
		// One family may well be announced by the other.
		if a := urlAddr(url); a == c.src.Addr() {
			other = false
			break
		} else if a.IsValid() && a.Is4() == c.src.Addr().Is4() {
			other = true
		}
	}
	if other {
		claim.MAC, claim.Hearsay = MAC{}, true
		if claim.IP = urlAddr(bytes.TrimLeft(m.XAddrs, " \t\r\n")); !claim.IP.IsValid() {
			return
		}
	}
	d.claims = append(d.claims, claim)
}
