package passive

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/dhcpv6"
)

// Ports of DHCPv6 (RFC 8415 §7.2).
const (
	portDHCPv6Client = 546
	portDHCPv6Server = 547
)

// maxDUID is the longest DUID (RFC 8415 §11.1), in bytes.
const maxDUID = 130

// dhcpv6Message reads DHCPv6.
func (d *Decoder) dhcpv6Message(c *context, b []byte) drop {
	m := &d.dhcpv6
	switch {
	case !c.whole:
		return dropDHCPv6Cut
	case !m.Parse(b), len(m.Client) > maxDUID, len(m.Server) > maxDUID:
		return dropDHCPv6Form
	}
	d.packet(protoDHCPv6)
	f := d.start(c, ProtoDHCPv6)
	f.Response = !m.FromClient()
	f.Fingerprint = d.dhcpv6Fingerprint()
	host := d.dhcpv6Host()
	f.Query = host
	d.dhcpv6Fields(host)
	d.dhcpv6Claims(c, host)
	d.finish(c)
	return dropNone
}

// dhcpv6Host returns the name in the FQDN option (RFC 4704 §4): flags, then
// labels, of which a client may send the first alone.
func (d *Decoder) dhcpv6Host() string {
	v := d.dhcpv6.FQDN
	if len(v) < 2 || len(v) > 256 {
		return ""
	}
	t, rest := appendLabels(d.buf[:0], v[1:])
	if d.buf = t; rest != nil {
		return ""
	}
	return d.text.get(t)
}

func (d *Decoder) dhcpv6Fingerprint() string {
	m := &d.dhcpv6
	t := strconv.AppendUint(append(d.buf2[:0], "dhcp6v1:type="...), uint64(m.Type), 10)
	t = append(t, ";opts="...)
	for i, code := range m.Options() {
		if i > 0 {
			t = append(t, ',')
		}
		t = strconv.AppendUint(t, uint64(code), 10)
	}
	if m.Requested != nil {
		t = appendCodes16(append(t, ";oro="...), m.Requested[:min(len(m.Requested), 2*maxORO)])
	}
	if len(m.VendorClass) >= 4 {
		t = strconv.AppendUint(append(t, ";vendor="...), uint64(be.Uint32(m.VendorClass)), 10)
		if texts := firstText(m.VendorClass[4:]); texts != nil {
			t = appendFingerprintValue(append(t, ' '), texts[:min(len(texts), 64)])
		}
	}
	if len(m.Client) >= 2 && m.FromClient() {
		t = strconv.AppendUint(append(t, ";duid="...), uint64(be.Uint16(m.Client)), 10)
	}
	d.buf2 = t
	return d.text.get(t)
}

// maxORO bounds the requested options in a fingerprint.
const maxORO = 64

// appendCodes16 appends numbers of two bytes with commas.
func appendCodes16(t, codes []byte) []byte {
	for i := 0; i+1 < len(codes); i += 2 {
		if i > 0 {
			t = append(t, ',')
		}
		t = strconv.AppendUint(t, uint64(be.Uint16(codes[i:])), 10)
	}
	return t
}

// firstText returns the first of texts with their lengths; nil if it is cut off.
func firstText(b []byte) []byte {
	if len(b) < 2 || len(b) < 2+int(be.Uint16(b)) {
		return nil
	}
	return b[2 : 2+be.Uint16(b)]
}

func (d *Decoder) dhcpv6Fields(host string) {
	m := &d.dhcpv6
	if name := dhcpv6.Name(m.Type); name != "" {
		d.field("message", name)
	} else {
		d.fieldText("message", strconv.AppendUint(d.buf[:0], uint64(m.Type), 10))
	}
	d.fieldBytes("client_id", m.Client)
	d.fieldBytes("server_id", m.Server)
	if host != "" {
		d.field("fqdn", host)
	}
	if len(m.VendorClass) >= 4 {
		d.fieldText("vendor", strconv.AppendUint(d.buf[:0], uint64(be.Uint32(m.VendorClass)), 10))
		d.fieldSafe("vendor_class", firstText(m.VendorClass[4:]))
	}
	d.fieldSafe("user_class", firstText(m.UserClass))
	if m.Requested != nil {
		d.buf = appendCodes16(d.buf[:0], m.Requested[:min(len(m.Requested), maxFieldText)])
		d.fieldText("parameters", d.buf)
	}
	t := d.buf[:0]
	for _, code := range m.Options() {
		t = strconv.AppendUint(comma(t), uint64(code), 10)
	}
	d.buf = t
	d.fieldText("options", t)
	for _, prefixes := range [...]bool{false, true} {
		t, key := d.buf[:0], "addresses"
		if prefixes {
			key = "prefixes"
		}
		for _, l := range m.Leases() {
			switch single := l.Prefix.IsSingleIP(); {
			case single && !prefixes:
				t = l.Prefix.Addr().AppendTo(comma(t))
			case !single && prefixes:
				t = l.Prefix.AppendTo(comma(t))
			}
		}
		if d.buf = t; len(t) > 0 {
			d.fieldText(key, t)
		}
	}
	if m.Relays > 0 {
		d.fieldNumber("relays", uint64(m.Relays))
		d.field("relay_message", dhcpv6.Name(m.RelayType))
		d.fieldAddr("relay", m.Link)
	}
	if len(m.Arch) >= 2 {
		d.fieldUint("architecture", m.Arch[:2])
	}
	d.fieldSafe("mud_url", m.MUD)
}

// fieldBytes adds bytes in hexadecimal digits, unless there are none.
func (d *Decoder) fieldBytes(key string, v []byte) {
	if len(v) > 0 {
		d.buf = hex.AppendEncode(d.buf[:0], v)
		d.fieldText(key, d.buf)
	}
}

// dhcpv6Claims says whose addresses, names and ids the message tells. A client
// holds the addresses that it renews or gives up; those that it asks for aren't
// its own yet.
func (d *Decoder) dhcpv6Claims(c *context, host string) {
	m := &d.dhcpv6
	client := d.duidText(m.Client)
	var sender Claim
	if m.Relays == 0 {
		sender = d.ownClaim(c)
	}
	if m.FromClient() {
		sender.ID, sender.Host = client, host
		if sender.ID == "" && sender.MAC == (MAC{}) {
			return
		}
		d.claims = append(d.claims, sender)
		switch m.Type {
		case dhcpv6.Confirm, dhcpv6.Renew, dhcpv6.Rebind, dhcpv6.Release:
			d.leaseClaims(Claim{MAC: sender.MAC, ID: client, Gone: m.Type == dhcpv6.Release})
		}
		return
	}
	if m.Type == dhcpv6.Reply && client != "" {
		d.leaseClaims(Claim{ID: client, Host: host, Hearsay: true})
	}
	if sender.ID = d.duidText(m.Server); sender.ID != "" && m.Relays == 0 {
		d.claims = append(d.claims, sender)
	}
}

// leaseClaims tells a claim with each of the addresses. A lifetime of 0 takes
// an address away (RFC 8415 §18.2.10.1).
func (d *Decoder) leaseClaims(claim Claim) {
	host := claim.Host
	for _, l := range d.dhcpv6.Leases() {
		a := l.Prefix.Addr()
		if !l.Prefix.IsSingleIP() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			continue
		}
		claim.IP = a
		if claim.Hearsay {
			claim.Gone, claim.Lifetime, claim.Host = l.Valid == 0, 0, host
			if claim.Gone {
				claim.Host = "" // only the address is given up
			}
			if l.Valid != 0xffffffff {
				claim.Lifetime = time.Duration(l.Valid) * time.Second
			}
		}
		d.claims = append(d.claims, claim)
	}
}
