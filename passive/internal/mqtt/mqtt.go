// Package mqtt reads the packet with which an MQTT client begins, CONNECT, of
// versions 3.1, 3.1.1 and 5 (MQTT 5 §3.1). User name, password and the will's
// payload are never looked at.
//
//	| 0x10 | length, 1 to 4 bytes | "MQTT" | version | flags | keep-alive | properties (5) | client id |
//	| will's properties (5) | will's topic | will's payload | user name | password
package mqtt

import "encoding/binary"

// Flags of a CONNECT (§3.1.2.3).
const (
	FlagClean    = 1 << 1
	FlagWill     = 1 << 2
	FlagRetain   = 1 << 5
	FlagPassword = 1 << 6
	FlagUser     = 1 << 7
)

// maxProperties bounds the kinds of property that are told.
const maxProperties = 16

// Connect is a CONNECT that was read. Its values are parts of what was parsed.
type Connect struct {
	Version   uint8 // 3 is 3.1, 4 is 3.1.1
	Flags     uint8
	KeepAlive uint16 // seconds
	Client    []byte
	WillTopic []byte // nil without a will

	properties [maxProperties]uint8
	count      int
}

// QoS is the will's.
func (c *Connect) QoS() uint8 { return c.Flags >> 3 & 3 }

// Properties are the kinds of property of version 5, in their order.
func (c *Connect) Properties() []uint8 { return c.properties[:c.count] }

// Opens says quickly whether a stream may begin with a CONNECT.
func Opens(b []byte) bool { return len(b) >= 4 && b[0] == 0x10 }

// Parse reads the begin of a stream. known says whether that is a CONNECT; ok
// that all that counts is there and well formed.
func (c *Connect) Parse(b []byte) (known, ok bool) {
	*c = Connect{}
	if !Opens(b) {
		return false, false
	}
	size, b, ok := number(b[1:])
	if !ok {
		return false, false
	}
	b = b[:min(len(b), size)]
	name, b, ok := text(b)
	if !ok || string(name) != "MQTT" && string(name) != "MQIsdp" || len(b) < 4 {
		return false, false
	}
	c.Version, c.Flags, c.KeepAlive = b[0]&0x7f, b[1], binary.BigEndian.Uint16(b[2:])
	b = b[4:]
	if c.Version < 3 || c.Version > 5 || c.Flags&1 != 0 || c.QoS() == 3 { // §3.1.2.3, §3.1.2.6
		return true, false
	}
	if c.Version == 5 {
		if b, ok = c.skip(b, true); !ok {
			return true, false
		}
	}
	if c.Client, b, ok = text(b); !ok {
		return true, false
	}
	if c.Flags&FlagWill == 0 {
		return true, true
	}
	if c.Version == 5 {
		if b, ok = c.skip(b, false); !ok {
			return true, false
		}
	}
	c.WillTopic, _, ok = text(b)
	return true, ok
}

// skip passes over properties, and notes their kinds if they are to be told.
func (c *Connect) skip(b []byte, tell bool) (rest []byte, ok bool) {
	size, b, ok := number(b)
	if !ok || size > len(b) {
		return nil, false
	}
	rest = b[size:]
	for b = b[:size]; tell && len(b) > 0 && c.count < maxProperties; {
		kind := b[0]
		n := propertySize(b)
		if n == 0 || n > len(b) {
			return nil, false
		}
		c.properties[c.count] = kind
		c.count++
		b = b[n:]
	}
	return rest, true
}

// propertySize returns how long a property of a CONNECT is with its kind, 0 for
// one that can't be there (§3.1.2.11).
func propertySize(b []byte) int {
	length := func(at int) int {
		if len(b) < at+2 {
			return len(b) + 1
		}
		return at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	}
	switch b[0] {
	case 0x11, 0x27: // session's expiry, longest packet
		return 5
	case 0x21, 0x22: // packets at once, topic aliases
		return 3
	case 0x17, 0x19: // asks for problems, asks for information
		return 2
	case 0x15, 0x16: // a way of authentication, its data
		return length(1)
	case 0x26: // a user's own
		return length(length(1))
	}
	return 0
}

// number reads a number of 1 to 4 bytes (§1.5.5).
func number(b []byte) (n int, rest []byte, ok bool) {
	for i := 0; i < 4 && i < len(b); i++ {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}

// text reads a text behind its length.
func text(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, nil, false
	}
	return b[2:n:n], b[n:], true
}
