// Package group reads how hosts join and leave multicast groups: IGMP versions
// 1 to 3 for IPv4 (RFC 1112, RFC 2236, RFC 3376) and MLD versions 1 and 2 for
// IPv6 (RFC 2710, RFC 3810), which is the same with longer addresses.
package group

import (
	"encoding/binary"
	"net/netip"
)

// Kind says what a message is.
type Kind uint8

// The kinds of message.
const (
	Query Kind = iota
	Report
	Leave
)

// String names the kind in lower case.
func (k Kind) String() string { return [...]string{"query", "report", "leave"}[k] }

// Mode names what a record of a report says (RFC 3376 §4.2.12), "" for what isn't known.
func Mode(m uint8) string {
	names := [...]string{"", "is-include", "is-exclude", "to-include", "to-exclude", "allow", "block"}
	if int(m) < len(names) {
		return names[m]
	}
	return ""
}

// maxRecords bounds the records of a message that are told.
const maxRecords = 48

// Record is what a message says of one group.
type Record struct {
	Group   netip.Addr // unspecified in a query for all groups
	Mode    uint8      // of a record of a report, else 0
	Sources int        // how many source addresses it names
}

// Message is a message that was read.
type Message struct {
	Kind    Kind
	Version uint8
	// Of a query: how long hosts may wait, as the code in the message, and the
	// querier's robustness and interval (RFC 3376 §4.1), which version 3 of IGMP and
	// version 2 of MLD tell.
	MaxResponse uint16
	Robustness  uint8
	Interval    uint8
	records     [maxRecords]Record
	count       int
}

// Records are what the message says, a group each.
func (m *Message) Records() []Record { return m.records[:m.count] }

// ParseIGMP reads the payload of an IPv4 packet. known says whether it is one
// of the messages above; ok that it isn't malformed.
//
//	0      1              2          4
//	| type | max response | checksum | group |                          and behind a query of version 3:
//	                                         | flags, robustness | interval | sources |
//	| 0x22 | 0            | checksum | 0, count of records | records
func (m *Message) ParseIGMP(b []byte) (known, ok bool) {
	*m = Message{}
	if len(b) < 8 {
		return true, false
	}
	switch b[0] {
	case 0x11:
		m.Kind, m.Version, m.MaxResponse = Query, 2, uint16(b[1])
		switch {
		case len(b) >= 12:
			m.Version, m.Robustness, m.Interval = 3, b[8]&7, b[9]
		case b[1] == 0:
			m.Version = 1
		}
	case 0x12:
		m.Kind, m.Version = Report, 1
	case 0x16:
		m.Kind, m.Version = Report, 2
	case 0x17:
		m.Kind, m.Version = Leave, 2
	case 0x22:
		m.Kind, m.Version = Report, 3
		return true, m.list(b[8:], int(binary.BigEndian.Uint16(b[6:])), 4)
	default:
		return false, true
	}
	r := Record{Group: netip.AddrFrom4([4]byte(b[4:8]))}
	if m.Version == 3 {
		r.Sources = int(binary.BigEndian.Uint16(b[10:]))
	}
	m.add(r)
	return true, true
}

// Types of MLD's messages in ICMPv6.
const (
	MLDQuery   = 130
	MLDReport  = 131
	MLDDone    = 132
	MLDReport2 = 143
)

// ParseMLD reads an ICMPv6 message of one of the types above; false if it is
// malformed.
//
//	0      1      2          4              6   8
//	| type | code | checksum | max response | 0 | group |    and in version 2 as in IGMP's version 3
//	| 143  | 0    | checksum | 0, count of records      | records
func (m *Message) ParseMLD(b []byte) bool {
	*m = Message{}
	if len(b) >= 8 && b[0] == MLDReport2 {
		m.Kind, m.Version = Report, 2
		return m.list(b[8:], int(binary.BigEndian.Uint16(b[6:])), 16)
	}
	if len(b) < 24 {
		return false
	}
	m.Version = 1
	r := Record{Group: netip.AddrFrom16([16]byte(b[8:24]))}
	switch b[0] {
	case MLDQuery:
		m.Kind, m.MaxResponse = Query, binary.BigEndian.Uint16(b[4:])
		if len(b) >= 28 {
			m.Version, m.Robustness, m.Interval = 2, b[24]&7, b[25]
			r.Sources = int(binary.BigEndian.Uint16(b[26:]))
		}
	case MLDReport:
		m.Kind = Report
	case MLDDone:
		m.Kind = Leave
	default:
		return false
	}
	m.add(r)
	return true
}

func (m *Message) add(r Record) {
	if m.count < maxRecords {
		m.records[m.count] = r
		m.count++
	}
}

// list reads the records of a report with addresses of size bytes.
//
//	0      1                2                4
//	| mode | length of data | sources' count | group | sources | data, 4 bytes each
func (m *Message) list(b []byte, n, size int) bool {
	for ; n > 0; n-- {
		if len(b) < 4+size {
			return false
		}
		sources := int(binary.BigEndian.Uint16(b[2:]))
		length := 4 + size + sources*size + 4*int(b[1])
		if length > len(b) {
			return false
		}
		g, _ := netip.AddrFromSlice(b[4 : 4+size])
		m.add(Record{Group: g, Mode: b[0], Sources: sources})
		b = b[length:]
	}
	return true
}
