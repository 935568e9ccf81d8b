// Package cdp reads the Cisco Discovery Protocol, versions 1 and 2: what a
// device tells its neighbours about itself. There is no standard; the layout is
// as Cisco's public documents show it.
//
//	0         1     2          4       6        8
//	| version | TTL | checksum | type | length | value | type …
package cdp

import (
	"encoding/binary"
	"net/netip"
)

// Bounds of a message.
const (
	maxTLVs      = 64
	maxAddresses = 8
)

// Message is a message that was read. Its values are parts of what was parsed,
// and nil where there is no such TLV.
type Message struct {
	Version      uint8
	TTL          uint8 // seconds
	Device       []byte
	Port         []byte
	Software     []byte // several lines
	Platform     []byte
	Capabilities uint32 // the bits of Capabilities
	VLAN         uint16 // native, 0 if it isn't told

	addresses [maxAddresses]netip.Addr
	types     [maxTLVs]uint16
	na, nt    int
}

// Addresses are the device's addresses, then those it is managed at.
func (m *Message) Addresses() []netip.Addr { return m.addresses[:m.na] }

// Types are the kinds of TLV in their order.
func (m *Message) Types() []uint16 { return m.types[:m.nt] }

// Capabilities names the bits of Message.Capabilities.
func Capabilities() []string {
	return []string{"router", "bridge", "source-route-bridge", "switch", "host", "igmp", "repeater", "phone", "remote"}
}

// CapRouter is the bit of a device that routes.
const CapRouter = 1

// Parse reads what follows the SNAP header; false if it is malformed.
func (m *Message) Parse(b []byte) bool {
	*m = Message{}
	if len(b) < 4 || b[0] < 1 || b[0] > 2 {
		return false
	}
	m.Version, m.TTL = b[0], b[1]
	for b = b[4:]; len(b) >= 4; {
		t, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < 4 || n > len(b) || m.nt == maxTLVs {
			return false
		}
		m.tlv(t, b[4:n])
		m.types[m.nt] = t
		m.nt++
		b = b[n:]
	}
	return m.Device != nil
}

func (m *Message) tlv(t uint16, v []byte) {
	switch t {
	case 0x01:
		m.Device = v
	case 0x02, 0x16:
		m.addressList(v)
	case 0x03:
		m.Port = v
	case 0x04:
		if len(v) == 4 {
			m.Capabilities = binary.BigEndian.Uint32(v)
		}
	case 0x05:
		m.Software = v
	case 0x06:
		m.Platform = v
	case 0x0a:
		if len(v) == 2 {
			m.VLAN = binary.BigEndian.Uint16(v) & 0x0fff
		}
	}
}

// addressList reads a count, then addresses: a protocol with its kind and
// length, the address with its length. What is cut off is left out.
func (m *Message) addressList(v []byte) {
	if len(v) < 4 {
		return
	}
	for v = v[4:]; len(v) >= 2 && len(v) >= 4+int(v[1]) && m.na < maxAddresses; {
		v = v[2+int(v[1]):]
		n := int(binary.BigEndian.Uint16(v))
		if n > len(v)-2 {
			return
		}
		if a, ok := netip.AddrFromSlice(v[2 : 2+n]); ok {
			m.addresses[m.na] = a
			m.na++
		}
		v = v[2+n:]
	}
}
