// Package dhcpv6 reads the messages of DHCP for IPv6 (RFC 8415 §8, §9, §21),
// those in relays' messages, too.
//
//	0      1                4
//	| type | transaction id | options: code, length (2 bytes each), value
//
//	0      1      2              18             34
//	| type | hops | link address | peer address | options      between relays
package dhcpv6

import (
	"encoding/binary"
	"net/netip"
)

var be = binary.BigEndian

// Types of messages (RFC 8415 §7.3).
const (
	Solicit            = 1
	Advertise          = 2
	Request            = 3
	Confirm            = 4
	Renew              = 5
	Rebind             = 6
	Reply              = 7
	Release            = 8
	Decline            = 9
	Reconfigure        = 10
	InformationRequest = 11
	RelayForward       = 12
	RelayReply         = 13
)

// Codes of options.
const (
	optClientID    = 1
	optServerID    = 2
	optIANA        = 3
	optIATA        = 4
	optAddress     = 5
	optRequest     = 6
	optRelayed     = 9
	optUserClass   = 15
	optVendorClass = 16
	optIAPD        = 25
	optPrefix      = 26
	optFQDN        = 39 // RFC 4704
	optArch        = 61 // RFC 5970
	optMUD         = 112
)

// Bounds of a message.
const (
	maxOptions   = 128
	maxAddresses = 16
	maxRelays    = 8 // HOP_COUNT_LIMIT (RFC 8415 §7.6)
)

// Name returns a message type's name, "" for one that isn't known.
func Name(t uint8) string {
	names := [...]string{
		"", "solicit", "advertise", "request", "confirm", "renew", "rebind", "reply", "release", "decline", "reconfigure",
		"information-request", "relay-forward", "relay-reply", "leasequery", "leasequery-reply", "leasequery-done", "leasequery-data",
	}
	if int(t) < len(names) {
		return names[t]
	}
	return ""
}

// Lease is an address or a delegated prefix and how long it holds.
type Lease struct {
	Prefix netip.Prefix // of one address with all its bits
	Valid  uint32       // seconds, 0xffffffff for ever
}

// Message is a message that was read. Its values are parts of what was parsed,
// and nil where there is no such option.
type Message struct {
	Type        uint8
	Relays      int        // how many of them the message went through
	RelayType   uint8      // of the outer message, 0 without a relay
	Link        netip.Addr // on the first relay's link with the client
	Client      []byte     // DUID
	Server      []byte     // DUID
	Requested   []byte     // codes of options, 2 bytes each
	VendorClass []byte     // enterprise number, then texts with their lengths
	UserClass   []byte     // texts with their lengths
	FQDN        []byte     // flags, then labels
	Arch        []byte
	MUD         []byte

	options [maxOptions]uint16
	leases  [maxAddresses]Lease
	no, nl  int
}

// Options are the codes of the message's own options in their order, not those inside of others.
func (m *Message) Options() []uint16 { return m.options[:m.no] }

// Leases are the addresses and prefixes that the message speaks of.
func (m *Message) Leases() []Lease { return m.leases[:m.nl] }

// FromClient says that clients send such a message.
func (m *Message) FromClient() bool {
	switch m.Type {
	case Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest:
		return true
	}
	return false
}

// Parse reads a datagram; false if it is malformed.
func (m *Message) Parse(b []byte) bool {
	*m = Message{}
	for len(b) > 0 && (b[0] == RelayForward || b[0] == RelayReply) {
		if len(b) < 34 || m.Relays == maxRelays {
			return false
		}
		if m.Relays++; m.Relays == 1 {
			m.RelayType = b[0]
		}
		m.Link = netip.AddrFrom16([16]byte(b[2:18]))
		var inner []byte
		for rest := b[34:]; len(rest) > 0; {
			code, v, next, ok := option(rest)
			if !ok {
				return false
			}
			if code == optRelayed && inner == nil {
				inner = v
			}
			rest = next
		}
		b = inner
	}
	if len(b) < 4 || b[0] == 0 {
		return false
	}
	m.Type = b[0]
	for b = b[4:]; len(b) > 0; {
		code, v, rest, ok := option(b)
		if !ok || m.no == maxOptions || !m.option(code, v) {
			return false
		}
		m.options[m.no] = code
		m.no++
		b = rest
	}
	return true
}

// option cuts off the first option.
func option(b []byte) (code uint16, v, rest []byte, ok bool) {
	if len(b) < 4 || len(b) < 4+int(be.Uint16(b[2:])) {
		return 0, nil, nil, false
	}
	n := 4 + int(be.Uint16(b[2:]))
	return be.Uint16(b), b[4:n], b[n:], true
}

func (m *Message) option(code uint16, v []byte) bool {
	switch code {
	case optClientID:
		m.Client = v
	case optServerID:
		m.Server = v
	case optRequest:
		m.Requested = v[:len(v)&^1]
	case optUserClass:
		m.UserClass = v
	case optVendorClass:
		m.VendorClass = v
	case optFQDN:
		m.FQDN = v
	case optArch:
		m.Arch = v
	case optMUD:
		m.MUD = v
	case optIANA, optIAPD:
		return len(v) >= 12 && m.association(v[12:])
	case optIATA:
		return len(v) >= 4 && m.association(v[4:])
	}
	return true
}

// association reads the addresses and prefixes inside of an identity association.
func (m *Message) association(b []byte) bool {
	for len(b) > 0 {
		code, v, rest, ok := option(b)
		if !ok {
			return false
		}
		b = rest
		if m.nl == maxAddresses {
			continue
		}
		switch {
		case code == optAddress && len(v) >= 24:
			m.leases[m.nl] = Lease{netip.PrefixFrom(netip.AddrFrom16([16]byte(v)), 128), be.Uint32(v[20:])}
		case code == optPrefix && len(v) >= 25 && v[8] <= 128:
			m.leases[m.nl] = Lease{netip.PrefixFrom(netip.AddrFrom16([16]byte(v[9:])), int(v[8])), be.Uint32(v[4:])}
		default:
			continue
		}
		m.nl++
	}
	return true
}
