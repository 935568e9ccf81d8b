// Package lldp reads the Link Layer Discovery Protocol (IEEE 802.1AB-2016 §8,
// §9): what a device tells its neighbours about itself.
//
//	 7 bits  9 bits
//	| type | length | value |  chassis id, port id and TTL first, then the others
package lldp

import (
	"encoding/binary"
	"net/netip"
)

// Bounds of a message.
const (
	maxTLVs      = 64
	maxAddresses = 8
)

// Kinds of chassis ids (§8.5.2.2) that are told apart.
const (
	ChassisMAC     = 4
	ChassisNetwork = 5
)

// PortMAC is the kind of port id (§8.5.3.2) that is a hardware address.
const PortMAC = 3

// TLV names a kind of TLV; OUI and Subtype are those of an organisation's own.
type TLV struct {
	Type    uint8
	OUI     uint32
	Subtype uint8
}

// Message is a message that was read. Its values are parts of what was parsed,
// and nil where there is no such TLV.
type Message struct {
	ChassisType     uint8
	Chassis         []byte
	PortType        uint8
	Port            []byte
	TTL             uint16 // seconds; 0 says that the device leaves
	PortDescription []byte
	Name            []byte
	Description     []byte
	Supported       uint16 // the bits of Capabilities
	Enabled         uint16
	VLAN            uint16    // the port's own, 0 if it isn't told
	Inventory       Inventory // LLDP-MED's
	MUD             []byte    // the URL of a usage description (RFC 8520 §11)

	addresses [maxAddresses]netip.Addr
	tlvs      [maxTLVs]TLV
	na, nt    int
}

// Inventory is what an LLDP-MED device tells of its make (ANSI/TIA-1057 §10.2.6).
type Inventory struct{ Hardware, Firmware, Software, Serial, Manufacturer, Model []byte }

// Addresses are the management addresses.
func (m *Message) Addresses() []netip.Addr { return m.addresses[:m.na] }

// TLVs are the kinds of TLV in their order, without the end.
func (m *Message) TLVs() []TLV { return m.tlvs[:m.nt] }

// Capabilities names the bits of Supported and Enabled (§8.5.8.1).
func Capabilities() []string {
	return []string{"other", "repeater", "bridge", "access-point", "router", "telephone", "docsis", "station", "c-vlan", "s-vlan", "relay"}
}

// CapRouter is the bit of a device that routes.
const CapRouter = 1 << 4

// Parse reads the payload of a frame; false if it is malformed.
func (m *Message) Parse(b []byte) bool {
	*m = Message{}
	for len(b) >= 2 {
		head := binary.BigEndian.Uint16(b)
		t, n := uint8(head>>9), int(head&0x1ff)
		if len(b) < 2+n || m.nt == maxTLVs {
			return false
		}
		v := b[2 : 2+n]
		b = b[2+n:]
		if t == 0 {
			break
		}
		tlv := TLV{Type: t}
		if t == 127 {
			if n < 4 {
				return false
			}
			tlv.OUI, tlv.Subtype = uint32(v[0])<<16|uint32(v[1])<<8|uint32(v[2]), v[3]
			m.organisation(tlv, v[4:])
		} else if !m.standard(t, v) {
			return false
		}
		m.tlvs[m.nt] = tlv
		m.nt++
	}
	// §9.2.7.7.1: these three are there, in this order.
	return m.nt >= 3 && m.tlvs[0].Type == 1 && m.tlvs[1].Type == 2 && m.tlvs[2].Type == 3
}

func (m *Message) standard(t uint8, v []byte) bool {
	switch t {
	case 1, 2:
		if len(v) < 2 {
			return false
		}
		if t == 1 {
			m.ChassisType, m.Chassis = v[0], v[1:]
		} else {
			m.PortType, m.Port = v[0], v[1:]
		}
	case 3:
		if len(v) < 2 {
			return false
		}
		m.TTL = binary.BigEndian.Uint16(v)
	case 4:
		m.PortDescription = v
	case 5:
		m.Name = v
	case 6:
		m.Description = v
	case 7:
		if len(v) < 4 {
			return false
		}
		m.Supported, m.Enabled = binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:])
	case 8:
		if len(v) < 2 || int(v[0]) > len(v)-1 {
			return false
		}
		if a := Address(v[1 : 1+v[0]]); a.IsValid() && m.na < maxAddresses {
			m.addresses[m.na] = a
			m.na++
		}
	}
	return true
}

// Address reads an address with its family before it (RFC 3232: 1 is IPv4, 2 is
// IPv6); invalid for other families.
func Address(v []byte) netip.Addr {
	switch {
	case len(v) == 5 && v[0] == 1:
		return netip.AddrFrom4([4]byte(v[1:]))
	case len(v) == 17 && v[0] == 2:
		return netip.AddrFrom16([16]byte(v[1:]))
	}
	return netip.Addr{}
}

// The organisations whose TLVs are read.
const (
	oui8021 = 0x0080c2
	ouiMED  = 0x0012bb
	ouiIANA = 0x00005e
)

func (m *Message) organisation(t TLV, v []byte) {
	switch {
	case t.OUI == oui8021 && t.Subtype == 1 && len(v) == 2:
		m.VLAN = binary.BigEndian.Uint16(v) & 0x0fff
	case t.OUI == ouiIANA && t.Subtype == 1:
		m.MUD = v
	case t.OUI == ouiMED:
		i := &m.Inventory
		switch t.Subtype {
		case 5:
			i.Hardware = v
		case 6:
			i.Firmware = v
		case 7:
			i.Software = v
		case 8:
			i.Serial = v
		case 9:
			i.Manufacturer = v
		case 10:
			i.Model = v
		}
	}
}
