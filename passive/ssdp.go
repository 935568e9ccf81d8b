package passive

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/ssdp"
)

// opensAnswer says whether a datagram between any ports may answer a search by
// SSDP. Many devices answer from a port of their own, to the one that asked.
func opensAnswer(b []byte) bool { return len(b) >= 4 && be.Uint32(b) == httpAnswer }

// ssdpMessage reads SSDP. What comes between other ports must be an answer, with the fields
// that it must have (UPnP Device Architecture 2.0 §1.3.3).
func (d *Decoder) ssdpMessage(c *context, b []byte) drop {
	m := &d.ssdp
	foreign := c.src.Port() != portSSDP && c.dst.Port() != portSSDP
	switch {
	case !c.whole && foreign:
		return dropNone
	case !c.whole:
		return dropSSDPCut
	case !m.Parse(b) && !foreign:
		return dropSSDPForm
	case foreign && (m.Kind != ssdp.Answer || m.Target == nil || m.USN == nil):
		return dropNone
	}
	d.packet(protoSSDP)
	f := d.start(c, ProtoSSDP)
	f.Response = m.Kind != ssdp.Search
	f.Query = d.safeText(m.Target)
	f.Fingerprint = d.ssdpFingerprint()
	d.field("message", m.Kind.String())
	for _, x := range [...]struct {
		key   string
		value []byte
	}{
		{"usn", m.USN}, {"server", m.Server}, {"user_agent", m.UserAgent}, {"location", m.Location},
		{"mx", m.MX}, {"max_age", m.MaxAge},
	} {
		d.fieldSafe(x.key, x.value)
	}
	d.ssdpClaim(c)
	d.finish(c)
	return dropNone
}

// ssdpFingerprint: see the package comment. The names of the header fields stand
// in it as they are written: no two stacks agree on their case and order.
func (d *Decoder) ssdpFingerprint() string {
	m := &d.ssdp
	t := append(append(d.buf2[:0], "ssdp1:"...), m.Kind.String()...)
	key := ";nt="
	if m.Kind <= ssdp.Answer {
		key = ";st="
	}
	if m.Target != nil {
		t = appendTarget(append(t, key...), m.Target)
	}
	for _, x := range [...]struct {
		key   string
		value []byte
	}{{";mx=", m.MX}, {";max-age=", m.MaxAge}, {";server=", m.Server}, {";ua=", m.UserAgent}} {
		if x.value != nil {
			t = appendFingerprintValue(append(t, x.key...), x.value[:min(len(x.value), maxPartText)])
		}
	}
	for i, name := range m.Fields() {
		if i == 0 {
			t = append(t, ";fields="...)
		} else {
			t = append(t, ',')
		}
		if i == maxKeys {
			t = append(t, '+')
			break
		}
		t = appendFingerprintValue(t, name[:min(len(name), 32)])
	}
	d.buf2 = t
	return d.text.get(t)
}

// appendTarget appends a target without the device's own id.
func appendTarget(t, target []byte) []byte {
	if _, ok := cutUUID(target); ok {
		return append(t, "uuid:*"...)
	}
	return appendFingerprintValue(t, target[:min(len(target), maxPartText)])
}

// cutUUID returns what follows "uuid:", without regard to the case.
func cutUUID(b []byte) ([]byte, bool) {
	if len(b) < 5 || !bytes.EqualFold(b[:5], []byte("uuid:")) {
		return nil, false
	}
	return b[5:], true
}

// maxSSDPAge bounds how long an announcement holds: most say half an hour.
const maxSSDPAge = 24 * time.Hour

// ssdpClaim tells the id of the device that announces or answers. What points
// to a description on another host speaks for that one.
func (d *Decoder) ssdpClaim(c *context) {
	m := &d.ssdp
	if m.Kind == ssdp.Search || m.Kind == ssdp.ByeBye {
		return
	}
	rest, ok := cutUUID(m.USN)
	if !ok {
		return
	}
	claim := d.ownClaim(c)
	if claim.ID = d.uuidText(rest); claim.ID == "" {
		return
	}
	if a := urlAddr(m.Location); a.IsValid() && a != c.src.Addr() {
		claim.MAC, claim.IP, claim.Hearsay = MAC{}, a, true
	}
	if age, err := strconv.ParseUint(string(m.MaxAge), 10, 31); err == nil {
		claim.Lifetime = min(time.Duration(age)*time.Second, maxSSDPAge)
	}
	d.claims = append(d.claims, claim)
}

// ownClaim begins a claim about the sender: its address, and its MAC if the
// packet came straight from it.
func (d *Decoder) ownClaim(c *context) Claim {
	var claim Claim
	if a := c.src.Addr(); !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() {
		claim.IP = a
	}
	if d.direct(c) {
		claim.MAC = c.srcMAC
	}
	return claim
}

// uuidText returns "uuid:" and 32 digits for a UUID as RFC 9562 §4 writes it, ""
// for what is none, or none of a single device: all zeros, all ones, or as it
// stands in examples that vendors copy.
func (d *Decoder) uuidText(b []byte) string {
	if len(b) < 36 || len(b) > 36 && b[36] != ':' || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return ""
	}
	var digits [32]byte
	n := 0
	for i, c := range b[:36] {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		digits[n] = c
		n++
	}
	var id [16]byte
	if _, err := hex.Decode(id[:], digits[:]); err != nil || blank(id[:]) || string(digits[:8]) == "12345678" {
		return ""
	}
	d.buf = append(append(d.buf[:0], "uuid:"...), digits[:]...)
	return d.text.get(d.buf)
}

// urlAddr returns the IP address that a URL holds in place of a host name.
func urlAddr(u []byte) netip.Addr {
	i := bytes.Index(u[:min(len(u), 32)], []byte("://"))
	if i < 0 {
		return netip.Addr{}
	}
	host := u[i+3:]
	host = host[:min(len(host), 64)]
	if i := bytes.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.IndexByte(host, ']'); i > 0 {
			host = host[1:i]
		}
	} else if i := bytes.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	a, err := netip.ParseAddr(string(host))
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("").Unmap()
}
