package passive

import (
	"net/netip"
	"strconv"
)

// ICMPv6 types of neighbour discovery (RFC 4861 §4).
const (
	ndpRS       = 133
	ndpRA       = 134
	ndpNS       = 135
	ndpNA       = 136
	ndpRedirect = 137
)

// Options of neighbour discovery.
const (
	optSourceLink = 1
	optTargetLink = 2
	optPrefix     = 3
	optMTU        = 5
	optNonce      = 14 // RFC 3971
	optRDNSS      = 25 // RFC 8106
	optDNSSL      = 31
)

// maxNDPOptions bounds the options that are looked at, and maxPrefixes those
// that are told.
const (
	maxNDPOptions = 64
	maxPrefixes   = 8
)

func isNDP(icmpType uint8) bool { return icmpType >= ndpRS && icmpType <= ndpRedirect }

// ndpMessage is what one message says.
type ndpMessage struct {
	kind   uint8
	target netip.Addr // NS, NA
	link   MAC        // the link-layer address option
	nonce  bool
	codes  []byte // the options' types in order
}

// icmpv6 reads neighbour discovery with the checks that RFC 4861 §6.1 and §7.1
// ask of a receiver.
func (d *Decoder) icmpv6(c *context, b []byte) drop {
	if len(b) < 4 {
		return dropNone
	}
	if isMLD(b[0]) {
		return d.mld(c, b)
	}
	if !isNDP(b[0]) || b[0] == ndpRedirect {
		return dropNone
	}
	switch {
	case c.ttl != 255:
		return dropNDPHops
	case b[1] != 0, !c.whole:
		return dropNDPForm
	case checksum(c.src.Addr(), c.dst.Addr(), ipICMPv6, b) != 0xffff:
		return dropNDPChecksum
	}
	src, dst := c.src.Addr(), c.dst.Addr()
	m := ndpMessage{kind: b[0]}
	fixed := 24 // bytes before the options
	switch m.kind {
	case ndpRS:
		fixed = 8
	case ndpRA:
		fixed = 16
	}
	if len(b) < fixed {
		return dropNDPForm
	}
	if m.kind == ndpNS || m.kind == ndpNA {
		m.target = netip.AddrFrom16([16]byte(b[8:24]))
		if m.target.IsMulticast() || m.target.IsUnspecified() {
			return dropNDPForm
		}
	}
	d.buf2 = d.buf2[:0]
	if !m.options(b[fixed:], &d.buf2) {
		return dropNDPForm
	}
	switch m.kind {
	case ndpRS:
		if src.IsUnspecified() && m.link != (MAC{}) {
			return dropNDPForm
		}
	case ndpRA:
		if !src.IsLinkLocalUnicast() {
			return dropNDPForm
		}
	case ndpNS:
		if src.IsUnspecified() && (m.link != (MAC{}) || !solicitedNode(dst)) {
			return dropNDPForm
		}
	case ndpNA:
		if dst.IsMulticast() && b[4]&0x40 != 0 {
			return dropNDPForm
		}
	}
	d.packet(protoNDP)
	f := d.start(c, ProtoNDP)
	f.Fingerprint = d.ndpFingerprint(&m, b)
	d.ndpFields(f, &m, b, fixed)
	d.ndpClaims(c, &m, b)
	d.finish(c)
	return dropNone
}

// options walks over the options and says whether they are well formed
// (RFC 4861 §4.6: a length of 0 is an error). It notes their types in codes.
func (m *ndpMessage) options(b []byte, codes *[]byte) bool {
	for n := 0; len(b) > 0; n++ {
		if n == maxNDPOptions || len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		size := int(b[1]) * 8
		*codes = append(*codes, b[0])
		switch b[0] {
		case optSourceLink, optTargetLink:
			// The one that belongs to the message's type; the other is ignored.
			if (b[0] == optTargetLink) == (m.kind == ndpNA) && size == 8 {
				m.link = MAC(b[2:8])
			}
		case optPrefix:
			if size != 32 || b[2] > 128 {
				return false
			}
		case optMTU:
			if size != 8 {
				return false
			}
		case optNonce:
			m.nonce = true
		}
		b = b[size:]
	}
	m.codes = *codes
	return true
}

// ndpFingerprint says which options stand in the message, and in a router's
// its flags, hop limit, lifetimes and timers: `ndp1:ra;hop=64;flags=mo;opts=3,5,1`.
func (d *Decoder) ndpFingerprint(m *ndpMessage, b []byte) string {
	t := append(d.buf[:0], "ndp1:"...)
	t = append(t, ndpName(m.kind)...)
	switch m.kind {
	case ndpRA:
		t = append(t, ";hop="...)
		t = strconv.AppendUint(t, uint64(b[4]), 10)
		t = appendFlags(append(t, ";flags="...), b[5], "moh")
		t = append(t, ";life="...)
		t = strconv.AppendUint(t, uint64(be.Uint16(b[6:])), 10)
	case ndpNA:
		t = appendFlags(append(t, ";flags="...), b[4], "rso")
	}
	t = append(t, ";opts="...)
	for i, code := range m.codes {
		if i > 0 {
			t = append(t, ',')
		}
		t = strconv.AppendUint(t, uint64(code), 10)
	}
	d.buf = t
	return d.text.get(t)
}

func ndpName(kind uint8) string {
	switch kind {
	case ndpRS:
		return "rs"
	case ndpRA:
		return "ra"
	case ndpNS:
		return "ns"
	}
	return "na"
}

// appendFlags appends the letters of the flags that are set, from the top bit on.
func appendFlags(t []byte, b uint8, letters string) []byte {
	for i := range len(letters) {
		if b&(0x80>>i) != 0 {
			t = append(t, letters[i])
		}
	}
	return t
}

// ndpFields fills in what the message says.
func (d *Decoder) ndpFields(f *Fact, m *ndpMessage, b []byte, fixed int) {
	d.field("message", ndpName(m.kind))
	switch m.kind {
	case ndpNS:
		f.Query = d.addrText(m.target)
		d.field("target", f.Query)
		if f.SrcIP.IsUnspecified() {
			d.field("kind", "probe") // duplicate address detection, RFC 4862 §5.4
		}
	case ndpNA:
		f.Response = true
		f.Query = d.addrText(m.target)
		d.field("target", f.Query)
		d.fieldText("flags", appendFlags(d.buf[:0], b[4], "rso"))
	case ndpRA:
		f.Response = true
		d.fieldText("hop_limit", strconv.AppendUint(d.buf[:0], uint64(b[4]), 10))
		d.fieldText("flags", appendFlags(d.buf[:0], b[5], "moh"))
		d.fieldText("lifetime", strconv.AppendUint(d.buf[:0], uint64(be.Uint16(b[6:])), 10))
		d.routerOptions(b[fixed:])
	}
	if m.link != (MAC{}) {
		d.fieldMAC("link_address", m.link)
	}
}

// routerOptions fills in a router advertisement's options, which are known to
// be well formed: prefixes as "2001:db8::/64 la 86400/14400" (on-link and
// autonomous flag, valid and preferred lifetime in seconds), MTU, DNS servers.
func (d *Decoder) routerOptions(b []byte) {
	prefixes, servers := d.buf[:0], d.buf2[len(d.buf2):]
	var mtu uint64
	for count := 0; len(b) > 0; b = b[int(b[1])*8:] {
		size := int(b[1]) * 8
		switch {
		case b[0] == optPrefix && count < maxPrefixes:
			count++
			t := netip.AddrFrom16([16]byte(b[16:32])).AppendTo(comma(prefixes))
			t = strconv.AppendUint(append(t, '/'), uint64(b[2]), 10)
			t = appendFlags(append(t, ' '), b[3], "la")
			t = strconv.AppendUint(append(t, ' '), uint64(be.Uint32(b[4:])), 10)
			prefixes = strconv.AppendUint(append(t, '/'), uint64(be.Uint32(b[8:])), 10)
		case b[0] == optMTU:
			mtu = uint64(be.Uint32(b[4:]))
		case b[0] == optRDNSS:
			for i := 8; i+16 <= size && i < 8+16*maxPrefixes && len(servers) < 512; i += 16 {
				servers = netip.AddrFrom16([16]byte(b[i : i+16])).AppendTo(comma(servers))
			}
		}
	}
	if len(prefixes) > 0 {
		d.fieldText("prefixes", prefixes)
	}
	if len(servers) > 0 {
		d.fieldText("dns", servers)
	}
	if mtu > 0 {
		d.fieldText("mtu", strconv.AppendUint(d.buf[:0], mtu, 10))
	}
}

// comma separates what is appended next from what t holds.
func comma(t []byte) []byte {
	if len(t) > 0 {
		t = append(t, ',')
	}
	return t
}

// ndpClaims says whose addresses the message tells. A hop limit of 255 proves
// that no router passed it on, so the frame's source is the sender's.
func (d *Decoder) ndpClaims(c *context, m *ndpMessage, b []byte) {
	claim := Claim{MAC: m.link}
	switch m.kind {
	case ndpRS, ndpNS:
		claim.IP = c.src.Addr()
	case ndpRA:
		// RFC 4861 §4.2: with a lifetime of 0 it is no default router.
		claim.IP, claim.Router = c.src.Addr(), be.Uint16(b[6:]) > 0
	case ndpNA:
		// A proxy answers for another with its own MAC (RFC 4861 §7.2.8).
		claim.IP, claim.Router = m.target, b[4]&0x80 != 0
		claim.Hearsay = m.target != c.src.Addr()
		if m.link != (MAC{}) && b[4]&0x20 == 0 {
			// With its own link-layer address in it, and no override flag: RFC 4861
			// §7.2.4 has only proxies and those with an anycast address say that.
			d.claims = append(d.claims, Claim{IP: m.target, Hearsay: true})
			return
		}
	}
	if claim.MAC == (MAC{}) && !claim.Hearsay {
		claim.MAC = c.srcMAC
	}
	if claim.MAC != c.srcMAC && c.srcMAC != (MAC{}) {
		claim.Hearsay = true
	}
	if claim.IP.IsUnspecified() {
		claim.IP = netip.Addr{}
	}
	if claim.MAC != (MAC{}) && !claim.MAC.Group() {
		d.claims = append(d.claims, claim)
		d.learn(c, claim)
	}
}

// solicitedNode says whether a is a solicited-node group, ff02::1:ff00:0/104.
func solicitedNode(a netip.Addr) bool {
	b := a.As16()
	return [13]byte(b[:13]) == [13]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff}
}

// checksum is the Internet checksum with IPv6's pseudo-header (RFC 8200 §8.1);
// 0xffff for a packet whose own is right.
func checksum(src, dst netip.Addr, proto uint8, b []byte) uint16 {
	sum := uint64(len(b)) + uint64(proto)
	s, t := src.As16(), dst.As16()
	for i := 0; i < 16; i += 2 {
		sum += uint64(be.Uint16(s[i:])) + uint64(be.Uint16(t[i:]))
	}
	return fold16(sum + uint64(sum16(b)))
}

// sum16 is the ones' complement sum of b (RFC 1071).
func sum16(b []byte) uint16 {
	sum := uint64(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(be.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return fold16(sum)
}

func fold16(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
