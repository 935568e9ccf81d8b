// Package ssdp reads messages of the Simple Service Discovery Protocol, UPnP's
// (UPnP Device Architecture 2.0 §1): a search, an announcement, or the answer
// to a search.
package ssdp

import (
	"bytes"

	"github.com/lanfolk/lanfolk/passive/internal/headers"
)

// Kind says what a message is.
type Kind uint8

// The kinds of message. Notify is an announcement with an NTS field that isn't
// discovery's.
const (
	Search Kind = iota
	Answer
	Alive
	ByeBye
	Update
	Notify
)

// String names the kind in lower case.
func (k Kind) String() string {
	return [...]string{"search", "answer", "alive", "byebye", "update", "notify"}[k]
}

// maxFields bounds the header fields that are looked at.
const maxFields = 32

// Message is a message that was read. Its values are parts of what was parsed,
// and nil where there is no such field.
type Message struct {
	Kind      Kind
	Target    []byte // ST of a search or answer, NT of an announcement
	USN       []byte
	Server    []byte
	UserAgent []byte
	Location  []byte
	MX        []byte
	MaxAge    []byte // the seconds in CACHE-CONTROL
	fields    [maxFields][]byte
	count     int
}

// Fields are the names of the header fields, in their order and as they are written.
func (m *Message) Fields() [][]byte { return m.fields[:m.count] }

// Parse reads a datagram; false if it isn't SSDP.
func (m *Message) Parse(b []byte) bool {
	line, b := headers.Line(b)
	*m = Message{}
	switch {
	case bytes.HasPrefix(line, []byte("M-SEARCH * HTTP/1.")):
		m.Kind = Search
	case bytes.HasPrefix(line, []byte("NOTIFY * HTTP/1.")):
		m.Kind = Notify
	case bytes.HasPrefix(line, []byte("HTTP/1.")) && len(line) >= 12 && string(line[8:12]) == " 200":
		m.Kind = Answer
	default:
		return false
	}
	for {
		name, value, rest, ok := headers.Next(b)
		if !ok {
			return true
		}
		b = rest
		if name == nil || m.count == maxFields {
			continue
		}
		m.fields[m.count] = name
		m.count++
		m.field(name, value)
	}
}

// field takes in a field. Of one that is there twice the first counts.
func (m *Message) field(name, value []byte) {
	var to *[]byte
	switch {
	case headers.Is(name, "st") && m.Kind <= Answer, headers.Is(name, "nt") && m.Kind > Answer:
		to = &m.Target
	case headers.Is(name, "usn"):
		to = &m.USN
	case headers.Is(name, "server"):
		to = &m.Server
	case headers.Is(name, "user-agent"):
		to = &m.UserAgent
	case headers.Is(name, "location"):
		to = &m.Location
	case headers.Is(name, "mx"):
		to = &m.MX
	case headers.Is(name, "cache-control"):
		to, value = &m.MaxAge, maxAge(value)
	case headers.Is(name, "nts") && m.Kind == Notify:
		switch {
		case headers.Is(value, "ssdp:alive"):
			m.Kind = Alive
		case headers.Is(value, "ssdp:byebye"):
			m.Kind = ByeBye
		case headers.Is(value, "ssdp:update"):
			m.Kind = Update
		}
		return
	default:
		return
	}
	if *to == nil {
		*to = value
	}
}

// maxAge returns the digits of "max-age = 1800".
func maxAge(v []byte) []byte {
	i := bytes.IndexByte(v, '=')
	if i < 0 || !headers.Is(bytes.TrimRight(v[:i], " \t"), "max-age") {
		return nil
	}
	v = bytes.TrimLeft(v[i+1:], " \t\"")
	n := 0
	for n < len(v) && '0' <= v[n] && v[n] <= '9' {
		n++
	}
	return v[:n]
}
