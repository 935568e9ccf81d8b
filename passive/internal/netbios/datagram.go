package netbios

import (
	"bytes"
	"net/netip"
)

// Datagram is a datagram to a name, or a part of one.
type Datagram struct {
	Type        uint8 // 0x10 to one, 0x11 to a group, 0x12 to all
	Flags       uint8
	IP          netip.Addr // of the sender, as it says
	Source      Name
	Destination Name
	Browser     Browser
}

// Browser is an announcement of a machine or a domain; Command is 0 if there is none.
type Browser struct {
	Command      uint8
	Major, Minor uint8  // of the system
	ServerType   uint32 // what it offers, [MS-BRWS] §2.2.1
	Comment      []byte
}

// Commands of the browser.
const (
	HostAnnouncement   = 1
	DomainAnnouncement = 12
	LocalMaster        = 15
)

// Parse reads a datagram; false if it is malformed (RFC 1002 §4.4.1).
//
//	0      1       2    4    8      10       12       14
//	| type | flags | id | IP | port | length | offset | source name, destination name, data
func (d *Datagram) Parse(b []byte) bool {
	*d = Datagram{}
	if len(b) < 14 || b[0] < 0x10 || b[0] > 0x12 {
		return false
	}
	d.Type, d.Flags, d.IP = b[0], b[1], netip.AddrFrom4([4]byte(b[4:8]))
	var at int
	if d.Source, at = parseName(b, 14); at == 0 {
		return false
	}
	if d.Destination, at = parseName(b, at); at == 0 {
		return false
	}
	d.Browser.parse(b[at:])
	return true
}

// parse reads an SMB transaction to the browser's mailslot. What isn't one is nothing.
func (m *Browser) parse(b []byte) {
	const dataCount, dataOffset, header = 55, 57, 59
	if len(b) < header || string(b[:4]) != "\xffSMB" || b[4] != 0x25 {
		return
	}
	le := func(at int) int { return int(b[at]) | int(b[at+1])<<8 }
	from, size := le(dataOffset), le(dataCount)
	if from < header || from+size > len(b) || size < 32 || !bytes.Contains(b[header:from], []byte("\\MAILSLOT\\BROWSE\x00")) {
		return
	}
	data := b[from : from+size]
	switch data[0] {
	case HostAnnouncement, DomainAnnouncement, LocalMaster:
		m.Command, m.Major, m.Minor = data[0], data[22], data[23]
		m.ServerType = uint32(data[24]) | uint32(data[25])<<8 | uint32(data[26])<<16 | uint32(data[27])<<24
		if data[0] != DomainAnnouncement { // there the master's name stands in its place
			m.Comment, _, _ = bytes.Cut(data[32:], []byte{0})
		}
	}
}
