package lanfolk

import (
	"fmt"
	"net/netip"
	"strings"
)

// IdentifierKind says what an Identifier holds.
type IdentifierKind string

// The kinds of identifier, strong ones first.
const (
	IDMAC      IdentifierKind = "mac"   // strong: a hardware address
	IDProtocol IdentifierKind = "id"    // strong: a protocol's own device id, "syncthing:P56IOI7-…"
	IDHost     IdentifierKind = "host"  // weak: a host name
	IDIP       IdentifierKind = "ip"    // weak: an IP address
	IDEUI64    IdentifierKind = "eui64" // weak: the MAC that an IPv6 address is made of
)

// Identifier is a value that tells devices apart. Gateway and Link hold the
// scope inside which the value means one device; both are empty for a value
// that is unique in the world.
type Identifier struct {
	Kind    IdentifierKind `json:"kind"`
	Value   string         `json:"value"`
	Gateway string         `json:"gateway,omitempty"`
	Link    string         `json:"interface,omitempty"`
}

// Strong says whether two sightings that share the identifier are about one
// device: for certain by a MAC, and by an id as long as nothing speaks against it.
func (i Identifier) Strong() bool { return i.Kind == IDMAC || i.Kind == IDProtocol }

// String returns the identifier as people read it: "mac 02:00:5e:10:00:01 on eth0".
func (i Identifier) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", i.Kind, i.Value)
	if i.Link != "" {
		fmt.Fprintf(&b, " on %s", i.Link)
	}
	if i.Gateway != "" {
		fmt.Fprintf(&b, " at %s", i.Gateway)
	}
	return b.String()
}

// MACIdentifier identifies a device by a hardware address. A universally
// administered address means one device wherever the gateway hears it; a
// locally administered one only on its own link.
func MACIdentifier(m MAC, o Origin) Identifier {
	id := Identifier{Kind: IDMAC, Value: m.String(), Gateway: o.Gateway}
	if m.Local() {
		id.Link = o.Link
	}
	return id
}

// IPIdentifier identifies a device by an address, on the link where it was seen.
func IPIdentifier(a netip.Addr, o Origin) Identifier {
	return Identifier{Kind: IDIP, Value: a.Unmap().WithZone("").String(), Gateway: o.Gateway, Link: o.Link}
}

// AddressIdentifiers identify a device by an address as IPIdentifier does; and, if
// its host made it of its MAC (RFC 4291, appendix A), by that, wherever the
// gateway hears of it.
func AddressIdentifiers(a netip.Addr, o Origin) []Identifier {
	ids := append(make([]Identifier, 0, 2), IPIdentifier(a, o))
	if m := eui64(a); m != (MAC{}) {
		ids = append(ids, Identifier{Kind: IDEUI64, Value: m.String(), Gateway: o.Gateway})
	}
	return ids
}

// eui64 returns the universally administered MAC that an IPv6 address was made
// of, the zero MAC if it wasn't.
func eui64(a netip.Addr) (m MAC) {
	if !a.Is6() || a.Is4In6() || a.IsMulticast() {
		return m
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe || b[8]&3 != 2 {
		return m
	}
	return MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}
}

// HostIdentifier identifies a device by a host name, on the link where it was
// seen. Case and a last dot make no difference.
func HostIdentifier(name string, o Origin) Identifier {
	return Identifier{Kind: IDHost, Value: foldHost(name), Gateway: o.Gateway, Link: o.Link}
}

// ProtocolIdentifier identifies a device by an id that its protocol makes
// unique in the world.
func ProtocolIdentifier(protocol, id string) Identifier {
	return Identifier{Kind: IDProtocol, Value: protocol + ":" + id}
}

// foldHost lowers ASCII letters only, as RFC 6762 §16 compares names.
func foldHost(name string) string {
	name = strings.TrimSuffix(name, ".")
	if strings.IndexFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' }) < 0 {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
