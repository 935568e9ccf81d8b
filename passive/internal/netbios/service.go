package netbios

import (
	"encoding/binary"
	"net/netip"
)

var be = binary.BigEndian

// Operations of the name service (RFC 1002 §4.2.1.1); 9 and 15 are in use though
// no standard has them.
const (
	OpQuery        = 0
	OpRegistration = 5
	OpRelease      = 6
	OpWait         = 7
	OpRefresh      = 8
	OpRefreshAlt   = 9
	OpMultihomed   = 15
)

// Types of records.
const (
	TypeNB     = 0x20 // a name's addresses
	TypeStatus = 0x21 // all names of a machine
)

// maxEntries bounds the addresses and the names of a message.
const maxEntries = 16

// Message is a message of the name service.
type Message struct {
	Response  bool
	Operation uint8
	Flags     uint16 // all of the header's, with operation and code
	Code      uint8  // of a response, 0 for success
	Name      Name   // that is asked for or told
	Type      uint16
	TTL       uint32 // seconds, of the record
	Record    bool   // there is a record
	Unit      [6]byte

	addresses [maxEntries]Address
	names     [maxEntries]Entry
	na, nn    int
}

// Address is one address of a name.
type Address struct {
	IP    netip.Addr
	Flags uint16
}

// Group says that many machines share the name.
func (a Address) Group() bool { return a.Flags&0x8000 != 0 }

// Entry is one name of a machine, in the answer to a status query.
type Entry struct {
	Name  Name
	Flags uint16
}

// Group says that many machines share the name.
func (e Entry) Group() bool { return e.Flags&0x8000 != 0 }

// Addresses are those in the record.
func (m *Message) Addresses() []Address { return m.addresses[:m.na] }

// Names are those in a status answer.
func (m *Message) Names() []Entry { return m.names[:m.nn] }

// Parse reads a datagram; false if it is malformed. It looks at the first
// question and the first record.
//
//	0    2       4    6    8    10   12
//	| id | flags | qd | an | ns | ar | question, record
func (m *Message) Parse(b []byte) bool {
	*m = Message{}
	if len(b) < 12 {
		return false
	}
	m.Flags = be.Uint16(b[2:])
	m.Response, m.Operation, m.Code = m.Flags&0x8000 != 0, uint8(m.Flags>>11)&15, uint8(m.Flags&15)
	questions, records := be.Uint16(b[4:]), be.Uint16(b[6:])|be.Uint16(b[8:])|be.Uint16(b[10:])
	at := 12
	if questions > 0 {
		name, next := parseName(b, at)
		if next == 0 || next+4 > len(b) {
			return false
		}
		m.Name, m.Type = name, be.Uint16(b[next:])
		at = next + 4
	}
	if questions > 1 || records == 0 {
		return questions > 0
	}
	name, next := parseName(b, at)
	if next == 0 || next+10 > len(b) {
		return false
	}
	kind, size := be.Uint16(b[next:]), int(be.Uint16(b[next+8:]))
	if next+10+size > len(b) {
		return false
	}
	m.Name, m.Type, m.TTL, m.Record = name, kind, be.Uint32(b[next+4:]), true
	data := b[next+10 : next+10+size]
	switch kind {
	case TypeNB:
		for ; len(data) >= 6 && m.na < maxEntries; data = data[6:] {
			m.addresses[m.na] = Address{netip.AddrFrom4([4]byte(data[2:6])), be.Uint16(data)}
			m.na++
		}
	case TypeStatus:
		return m.status(data)
	}
	return true
}

// status reads the names of a machine and its unit's id, mostly a MAC (RFC 1002 §4.2.18).
func (m *Message) status(b []byte) bool {
	if len(b) < 1 || len(b) < 1+18*int(b[0]) {
		return false
	}
	n := int(b[0])
	for i := range min(n, maxEntries) {
		e := b[1+18*i:]
		m.names[i] = Entry{Name(e[:16]), be.Uint16(e[16:])}
		m.nn++
	}
	if rest := b[1+18*n:]; len(rest) >= 6 {
		m.Unit = [6]byte(rest)
	}
	return true
}
