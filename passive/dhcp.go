package passive

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
)

// DHCP options (RFC 2132 and as named).
const (
	dhcpHostName    = 12
	dhcpRequestedIP = 50
	dhcpLease       = 51
	dhcpOverload    = 52
	dhcpType        = 53
	dhcpServerID    = 54
	dhcpParameters  = 55
	dhcpMaxSize     = 57
	dhcpVendorClass = 60
	dhcpClientID    = 61
	dhcpUserClass   = 77 // RFC 3004
	dhcpFQDN        = 81 // RFC 4702
	dhcpAgent       = 82 // RFC 3046
	dhcpArch        = 93 // RFC 4578
	dhcpMachineID   = 97 // RFC 4578
	dhcpPad         = 0
	dhcpEnd         = 255
)

// DHCP message types (RFC 2132 §9.6).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpDecline  = 4
	dhcpAck      = 5
	dhcpNak      = 6
	dhcpRelease  = 7
	dhcpInform   = 8
)

// dhcpTypes names the message types; RFC 3203, 4388, 6926 and 7724 add to them.
var dhcpTypes = [...]string{
	"bootp", "discover", "offer", "request", "decline", "ack", "nak", "release", "inform", "forcerenew",
	"leasequery", "leaseunassigned", "leaseunknown", "leaseactive", "bulkleasequery", "leasequerydone",
	"activeleasequery", "leasequerystatus", "tls",
}

// Bounds of one message.
const (
	maxDHCPOptions = 255  // instances
	maxDHCPValue   = 4096 // bytes of one option, its parts put together
	dhcpFixed      = 236  // bytes before the magic cookie
	dhcpMagic      = 0x63825363
)

// dhcpScratch holds the options of the message in hand.
type dhcpScratch struct {
	value [256][]byte
	seen  [256]bool
	order []byte // codes in the order of their first coming
	parts []byte // values that were put together (RFC 3396)
}

func (s *dhcpScratch) reset() {
	for _, code := range s.order {
		s.value[code], s.seen[code] = nil, false
	}
	s.order, s.parts = s.order[:0], s.parts[:0]
}

// parse reads options from an area until its end; false where one runs over it.
func (s *dhcpScratch) parse(b []byte, count *int) bool {
	for len(b) > 0 {
		code := b[0]
		switch code {
		case dhcpPad:
			b = b[1:]
			continue
		case dhcpEnd:
			return true
		}
		if *count++; *count > maxDHCPOptions || len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		v := b[2 : 2+int(b[1])]
		b = b[2+len(v):]
		if !s.seen[code] {
			s.seen[code], s.value[code] = true, v
			s.order = append(s.order, code)
			continue
		}
		old := s.value[code]
		if len(old)+len(v) > maxDHCPValue {
			return false
		}
		start := len(s.parts)
		s.parts = append(append(s.parts, old...), v...)
		s.value[code] = s.parts[start:len(s.parts):len(s.parts)]
	}
	return true
}

// addr returns an option that holds one IPv4 address.
func (s *dhcpScratch) addr(code uint8) netip.Addr {
	if v := s.value[code]; len(v) == 4 {
		return netip.AddrFrom4([4]byte(v))
	}
	return netip.Addr{}
}

// dhcpv4 reads a DHCP or BOOTP message (RFC 2131 §2).
//
//	0    1    2    3    4     8    10    12     16     20     24     28     44    108  236
//	| op | ht | hl | ho | xid | sec | fl | ciad | yiad | siad | giad | chad | sname | file | options
func (d *Decoder) dhcpv4(c *context, b []byte) drop {
	switch {
	case !c.whole:
		return dropDHCPCut
	case len(b) < dhcpFixed+4, b[0] != 1 && b[0] != 2, b[2] > 16, be.Uint32(b[dhcpFixed:]) != dhcpMagic:
		return dropDHCPHeader
	}
	s, count := &d.dhcp, 0
	s.reset()
	ok := s.parse(b[dhcpFixed+4:], &count)
	// RFC 2131 §4.1: options may go on in the file and server name fields, the
	// file first.
	if v := s.value[dhcpOverload]; ok && len(v) == 1 {
		if v[0]&1 != 0 {
			ok = s.parse(b[108:236], &count)
		}
		if ok && v[0]&2 != 0 {
			ok = s.parse(b[44:108], &count)
		}
	}
	kind := uint8(0)
	if v := s.value[dhcpType]; len(v) == 1 {
		kind = v[0]
	} else if s.seen[dhcpType] {
		ok = false
	}
	if !ok {
		return dropDHCPOptions
	}
	d.packet(protoDHCP)

	f := d.start(c, ProtoDHCP)
	f.Response = b[0] == 2
	f.Fingerprint = d.dhcpFingerprint(kind)
	host := d.dhcpHost()
	f.Query = host
	d.dhcpFields(b, kind, host)
	d.dhcpClaims(c, b, kind, host)
	d.finish(c)
	return dropNone
}

// dhcpHost returns the host name that the message tells: option 12, else the
// one in option 81.
func (d *Decoder) dhcpHost() string {
	s := &d.dhcp
	if v := trimZero(s.value[dhcpHostName]); len(v) > 0 {
		d.buf = appendSafe(d.buf[:0], v)
		return d.text.get(d.buf)
	}
	v := s.value[dhcpFQDN]
	if len(v) < 4 {
		return ""
	}
	// RFC 4702 §2: flags, two codes of no use, the name; flag 4 says that it
	// is in DNS wire form.
	if name := v[3:]; v[0]&4 == 0 {
		d.buf = appendSafe(d.buf[:0], trimZero(name))
	} else if d.buf, name = appendLabels(d.buf[:0], name); name != nil {
		return ""
	}
	return d.text.get(d.buf)
}

// appendLabels appends a name of length-prefixed labels, with or without the
// last empty one. rest is nil if all of b was well formed.
func appendLabels(dst, b []byte) (text, rest []byte) {
	for n := 0; len(b) > 0 && b[0] != 0; n++ {
		if b[0] > 63 || int(b[0]) >= len(b) {
			return dst, b
		}
		if n > 0 {
			dst = append(dst, '.')
		}
		dst = appendSafe(dst, b[1:1+b[0]])
		b = b[1+b[0]:]
	}
	return dst, nil
}

// dhcpFingerprint: see the package comment. has names the options of those
// that only some stacks send, in ascending order.
func (d *Decoder) dhcpFingerprint(kind uint8) string {
	s := &d.dhcp
	t := append(d.buf[:0], "dhcp1:type="...)
	t = strconv.AppendUint(t, uint64(kind), 10)
	t = appendCodes(append(t, ";opts="...), s.order)
	if s.seen[dhcpParameters] {
		t = appendCodes(append(t, ";prl="...), s.value[dhcpParameters])
	}
	if s.seen[dhcpVendorClass] {
		t = append(t, ";vendor="...)
		v := trimZero(s.value[dhcpVendorClass])
		t = appendFingerprintText(t, v[:min(len(v), 64)])
	}
	first := true
	for _, code := range [...]uint8{dhcpMaxSize, dhcpUserClass, dhcpArch, dhcpMachineID} {
		if !s.seen[code] {
			continue
		}
		if first {
			t = append(t, ";has="...)
		} else {
			t = append(t, ',')
		}
		first = false
		t = strconv.AppendUint(t, uint64(code), 10)
	}
	d.buf = t
	return d.text.get(t)
}

// dhcpFields fills in what the message says.
func (d *Decoder) dhcpFields(b []byte, kind uint8, host string) {
	s := &d.dhcp
	if int(kind) < len(dhcpTypes) {
		d.field("message", dhcpTypes[kind])
	} else {
		d.fieldText("message", strconv.AppendUint(d.buf[:0], uint64(kind), 10))
	}
	if b[1] == 1 && b[2] == 6 {
		d.fieldMAC("client_mac", MAC(b[28:34]))
	} else if b[2] > 0 {
		d.fieldText("client_hardware", hex.AppendEncode(d.buf[:0], b[28:28+b[2]]))
	}
	if s.seen[dhcpHostName] {
		d.buf = appendSafe(d.buf[:0], trimZero(s.value[dhcpHostName]))
		d.fieldText("hostname", d.buf)
	}
	if v := s.value[dhcpFQDN]; len(v) > 3 {
		rest := v[3:]
		if d.buf = d.buf[:0]; v[0]&4 == 0 {
			d.buf, rest = appendSafe(d.buf, trimZero(rest)), nil
		} else {
			d.buf, rest = appendLabels(d.buf, rest)
		}
		if rest == nil {
			d.fieldText("fqdn", d.buf)
		}
	}
	if s.seen[dhcpVendorClass] {
		d.buf = appendSafe(d.buf[:0], trimZero(s.value[dhcpVendorClass]))
		d.fieldText("vendor_class", d.buf)
	}
	if s.seen[dhcpUserClass] {
		d.buf = appendSafe(d.buf[:0], s.value[dhcpUserClass])
		d.fieldText("user_class", d.buf)
	}
	d.fieldHex("client_id", dhcpClientID)
	if s.seen[dhcpParameters] {
		d.buf = appendCodes(d.buf[:0], s.value[dhcpParameters])
		d.fieldText("parameters", d.buf)
	}
	d.buf = appendCodes(d.buf[:0], s.order)
	d.fieldText("options", d.buf)
	d.fieldAddr("requested_ip", s.addr(dhcpRequestedIP))
	d.fieldAddr("client_ip", netip.AddrFrom4([4]byte(b[12:16])))
	d.fieldAddr("your_ip", netip.AddrFrom4([4]byte(b[16:20])))
	d.fieldAddr("server_id", s.addr(dhcpServerID))
	d.fieldAddr("relay", netip.AddrFrom4([4]byte(b[24:28])))
	d.fieldHex("relay_info", dhcpAgent)
	d.fieldUint("lease", s.value[dhcpLease])
	d.fieldUint("max_size", s.value[dhcpMaxSize])
	if v := s.value[dhcpArch]; len(v) >= 2 {
		d.fieldUint("architecture", v[:2])
	}
	d.fieldHex("machine_id", dhcpMachineID)
}

// fieldHex adds an option's bytes in hexadecimal digits, at most 128 bytes.
func (d *Decoder) fieldHex(key string, code uint8) {
	if v := d.dhcp.value[code]; len(v) > 0 {
		d.buf = hex.AppendEncode(d.buf[:0], v[:min(len(v), 128)])
		d.fieldText(key, d.buf)
	}
}

// fieldUint adds a number of 2 or 4 bytes.
func (d *Decoder) fieldUint(key string, v []byte) {
	switch len(v) {
	case 2:
		d.fieldText(key, strconv.AppendUint(d.buf[:0], uint64(be.Uint16(v)), 10))
	case 4:
		d.fieldText(key, strconv.AppendUint(d.buf[:0], uint64(be.Uint32(v)), 10))
	}
}

// dhcpClaims says whose addresses and names the message tells. The client is
// named by its own field (chaddr), so that a relay's MAC is never taken for it.
func (d *Decoder) dhcpClaims(c *context, b []byte, kind uint8, host string) {
	s := &d.dhcp
	client := Claim{Host: host}
	if b[1] == 1 && b[2] == 6 && b[28]&1 == 0 {
		client.MAC = MAC(b[28:34])
	}
	clientIP, yourIP := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	relayed := be.Uint32(b[24:]) != 0
	if b[0] == 1 {
		// An address that is only asked for (option 50) is not the client's yet.
		if !clientIP.IsUnspecified() && (kind == dhcpRequest || kind == dhcpInform || kind == dhcpRelease) {
			client.IP, client.Gone = clientIP, kind == dhcpRelease
			if client.Gone {
				client.Host = "" // only the address is given up
			}
		}
		if client.ID = d.duid(); client.ID == "" {
			client.ID = d.clientID(client.MAC)
		}
		machine := d.machineID()
		if client.ID == "" {
			client.ID, machine = machine, ""
		}
		if client.MAC != (MAC{}) || client.ID != "" {
			d.claims = append(d.claims, client)
		}
		if machine != "" {
			d.claims = append(d.claims, Claim{MAC: client.MAC, ID: machine})
		}
		return
	}
	if kind == dhcpAck && client.MAC != (MAC{}) {
		client.Hearsay = true
		if client.IP = yourIP; yourIP.IsUnspecified() {
			client.IP = clientIP // the answer to an inform
		}
		if v := s.value[dhcpLease]; len(v) == 4 && be.Uint32(v) != 0xffffffff {
			client.Lifetime = time.Duration(be.Uint32(v)) * time.Second
		}
		if !client.IP.IsUnspecified() {
			d.claims = append(d.claims, client)
		}
	}
	// A client that has no address yet hears a server on its link or a relay's
	// answer; one that has may be answered through routers.
	if server := s.addr(dhcpServerID); server.IsValid() && !relayed && clientIP.IsUnspecified() &&
		server == c.src.Addr() && c.srcMAC != (MAC{}) && !c.srcMAC.Group() && !server.IsUnspecified() {
		d.claims = append(d.claims, Claim{MAC: c.srcMAC, IP: server})
	}
}

// duid returns the client's DUID from a client id of RFC 4361 §6.1: type 255,
// 4 bytes that tell its interfaces apart, DUID.
func (d *Decoder) duid() string {
	v := d.dhcp.value[dhcpClientID]
	if len(v) < 5+6 || v[0] != 255 || len(v) > 5+130 {
		return ""
	}
	return d.duidText(v[5:])
}

// clientID returns "client:" and the digits of any other client id (RFC 2132
// §9.14), "" for one that tells no more than the client's MAC does, or that
// none of a single device can be: too short, or all the same digit.
func (d *Decoder) clientID(mac MAC) string {
	v := d.dhcp.value[dhcpClientID]
	if len(v) < 7 || len(v) > 64 || v[0] == 255 || blank(v[1:]) || v[0] == 1 && len(v) == 7 && MAC(v[1:]) == mac {
		return ""
	}
	d.buf = hex.AppendEncode(append(d.buf[:0], "client:"...), v)
	return d.text.get(d.buf)
}

// duidText returns "duid:" and the digits of a DUID of a kind that is unique in
// the world (RFC 8415 §11), else "".
func (d *Decoder) duidText(duid []byte) string {
	if len(duid) < 6 || len(duid) > maxDUID {
		return ""
	}
	if t := be.Uint16(duid); t < 1 || t > 4 || blank(duid[2:]) {
		return ""
	}
	d.buf = hex.AppendEncode(append(d.buf[:0], "duid:"...), duid)
	return d.text.get(d.buf)
}

// machineID returns the machine's UUID (RFC 4578 §2.3), unless it is one that
// boards without an own one tell.
func (d *Decoder) machineID() string {
	v := d.dhcp.value[dhcpMachineID]
	if len(v) != 17 || v[0] != 0 || blank(v[1:]) {
		return ""
	}
	d.buf = hex.AppendEncode(append(d.buf[:0], "uuid:"...), v[1:])
	if id := d.text.get(d.buf); id != "uuid:00020003000400050006000700080009" && id != "uuid:03000200040005000006000700080009" {
		return id
	}
	return ""
}

// blank says whether all bytes are 0 or all are 255.
func blank(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return b[0] == 0 || b[0] == 255
}
