package lanfolk

import (
	"encoding/hex"
	"fmt"
)

// MAC is a 48-bit hardware address. The zero MAC means that none is known.
type MAC [6]byte

// ParseMAC reads a MAC as people write it: with colons, with dashes, or bare.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	digits := make([]byte, 0, 12)
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':' || c == '-' || c == '.':
		case len(digits) < 12:
			digits = append(digits, c)
		default:
			return MAC{}, fmt.Errorf("lanfolk: %q is no MAC: more than 12 hexadecimal digits", s)
		}
	}
	if len(digits) != 12 {
		return MAC{}, fmt.Errorf("lanfolk: %q is no MAC: %d of 12 hexadecimal digits", s, len(digits))
	}
	if _, err := hex.Decode(m[:], digits); err != nil {
		return MAC{}, fmt.Errorf("lanfolk: %q is no MAC: %w", s, err)
	}
	return m, nil
}

// String returns the address in lower case with colons, "" for the zero MAC.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	b := make([]byte, 0, 17)
	for i, c := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{c})
	}
	return string(b)
}

// Local says whether the address is locally administered: made up by software,
// as phones do for privacy.
func (m MAC) Local() bool { return m[0]&2 != 0 }

// Group says whether the address is a multicast or broadcast address, which
// names no device.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// Virtual says whether routers that stand in for each other pass the address
// among them: VRRP (RFC 9568 §7.3), HSRP, and GLBP.
func (m MAC) Virtual() bool {
	switch {
	case m[0] == 0 && m[1] == 0 && m[2] == 0x5e && m[3] == 0 && (m[4] == 1 || m[4] == 2), // VRRP for IPv4, for IPv6
		m[0] == 0 && m[1] == 0 && m[2] == 0x0c && m[3] == 7 && m[4] == 0xac,     // HSRP
		m[0] == 0 && m[1] == 0 && m[2] == 0x0c && m[3] == 0x9f && m[4]>>4 == 15, // HSRP version 2
		m[0] == 0 && m[1] == 5 && m[2] == 0x73 && m[3] == 0xa0 && m[4]>>4 == 0,  // HSRP for IPv6
		m[0] == 0 && m[1] == 7 && m[2] == 0xb4 && m[3] == 0:                     // GLBP
		return true
	}
	return false
}

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	var err error
	*m, err = ParseMAC(string(b))
	return err
}
