package passive

import (
	"bytes"
	"encoding/hex"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// idKeys are the services whose TXT record holds an id of the device, under which
// key, and how the kind of id is called. AirPlay tells the MAC of one of the
// device's interfaces on each of them, HomeKit an id that looks like one but is
// made up when the accessory is set up.
var idKeys = [...]struct{ service, key, kind string }{
	{"\x08_airplay\x04_tcp\x05local\x00", "deviceid=", "deviceid:"},
	{"\x04_hap\x04_tcp\x05local\x00", "id=", "hap:"},
	{"\x04_hap\x04_udp\x05local\x00", "id=", "hap:"},
}

// raopService is AirPlay's for sound alone, whose instances are called
// "<deviceid>@<name>".
const raopService = "\x05_raop\x04_tcp\x05local\x00"

// idClaim tells the id in the TXT record of a service that the sender offers
// itself: in the same message it says that the service is at its own name. A
// proxy, or a reflector, tells others' ids.
func (d *Decoder) idClaim(x *dnsContext, r dnswire.Record) {
	d.dns.name = r.Name.AppendFolded(d.dns.name[:0])
	kind, id := "", MAC{}
	if bytes.HasSuffix(d.dns.name, []byte(raopService)) {
		if n := int(d.dns.name[0]); n > 13 && d.dns.name[13] == '@' {
			if m, ok := deviceID(d.dns.name[1:13]); ok {
				kind, id = "deviceid:", m
			}
		}
	}
	for _, k := range idKeys {
		if !bytes.HasSuffix(d.dns.name, []byte(k.service)) {
			continue
		}
		for s := range r.TXT() {
			if len(s) >= len(k.key) && bytes.EqualFold(s[:len(k.key)], []byte(k.key)) {
				if m, ok := deviceID(s[len(k.key):]); ok {
					kind, id = k.kind, m
				}
				break // RFC 6763 §6.4: the first of a key counts
			}
		}
	}
	if kind == "" || !d.offersItself(x) {
		return
	}
	d.buf = id.appendText(append(d.buf[:0], kind...))
	d.claims = append(d.claims, Claim{
		MAC: x.srcMAC, IP: x.src.Addr(), ID: d.text.get(d.buf), Lifetime: time.Duration(r.TTL) * time.Second,
	})
}

// offersItself says whether the message has an SRV record of the instance in
// d.dns.name that leads to the sender's own name.
func (d *Decoder) offersItself(x *dnsContext) bool {
	for r := range x.m.Records() {
		srv, ok := r.SRV()
		if !ok {
			continue
		}
		d.dns.item = r.Name.AppendFolded(d.dns.item[:0])
		if !bytes.Equal(d.dns.item, d.dns.name) {
			continue
		}
		d.dns.item = srv.Target.AppendFolded(d.dns.item[:0])
		return bytes.Equal(d.dns.item, d.dns.own)
	}
	return false
}

// deviceID reads an id in the form of a MAC, with colons or without; all zeros
// and all ones are none.
func deviceID(b []byte) (m MAC, ok bool) {
	var digits [12]byte
	n := 0
	for _, c := range b {
		if c == ':' {
			continue
		}
		if n == len(digits) {
			return m, false
		}
		digits[n] = c
		n++
	}
	if n != len(digits) {
		return m, false
	}
	_, err := hex.Decode(m[:], digits[:])
	return m, err == nil && !blank(m[:])
}
