package tged

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// Port is the UDP port of TGED.
const Port = 4745

// Bounds of messages, in bytes.
const (
	// MaxRequest is what the document's server reads.
	MaxRequest = 4096
	// MaxReply is what the document's client reads.
	MaxReply = 1024
)

// The methods of TGED 1.0.
const (
	Discovery = "DISCOVERY"
	Reply     = "REPLY"
	Invalid   = "INVALID"
)

// Version is a protocol version.
type Version struct{ Major, Minor uint16 }

// String returns "1.0" and the like.
func (v Version) String() string {
	return strconv.Itoa(int(v.Major)) + "." + strconv.Itoa(int(v.Minor))
}

// V1 is the version that this package speaks.
var V1 = Version{Major: 1}

// Field is one line of a message.
type Field struct{ Key, Value string }

// Message is one message as it stands in a datagram.
type Message struct {
	Method  string  // in capitals; "" if the status line has none
	Version Version // zero if the status line has none that can be read
	Fields  []Field // in order, keys in capitals
}

// Get returns the value of the field with the key, given in capitals: the last
// one, if there are several.
func (m *Message) Get(key string) (string, bool) {
	for n := len(m.Fields) - 1; n >= 0; n-- {
		if m.Fields[n].Key == key {
			return m.Fields[n].Value, true
		}
	}
	return "", false
}

// Style says how fields are written. Both are read alike.
type Style uint8

const (
	// Spaced writes "KEY: value", as the document shows replies.
	Spaced Style = iota
	// Compact writes "KEY:value", as the document shows requests. An old client
	// takes the space of the other style for a part of the value.
	Compact
)

// Errors of Parse.
var (
	ErrNotTGED = errors.New("tged: not a TGED message")
	ErrTooLong = errors.New("tged: message too long")
)

// Parse reads a message. It fails with ErrNotTGED for what doesn't begin with
// "TGED" and a white space, and with ErrTooLong for more than MaxRequest bytes; what
// can't be read in the rest is left out. Values are as they were sent: they may
// hold any byte but a line feed.
func Parse(b []byte) (Message, error) {
	if len(b) > MaxRequest {
		return Message{}, ErrTooLong
	}
	r := reader{rest: b}
	method, version, ok := r.status()
	if !ok {
		return Message{}, ErrNotTGED
	}
	m := Message{Method: string(fold(nil, method)), Version: version}
	for {
		key, value, ok := r.field()
		if !ok {
			return m, nil
		}
		m.Fields = append(m.Fields, Field{Key: string(fold(nil, key)), Value: string(value)})
	}
}

// Append appends the message as it is sent. Keys and values must be as
// [NewService] wants them for the message to be read as it was written.
func (m *Message) Append(dst []byte, s Style) []byte {
	dst = append(dst, "TGED "...)
	dst = append(dst, m.Method...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(m.Version.Major), 10)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, uint64(m.Version.Minor), 10)
	dst = append(dst, "\r\n"...)
	for _, f := range m.Fields {
		dst = append(dst, f.Key...)
		dst = append(dst, ':')
		if s == Spaced {
			dst = append(dst, ' ')
		}
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// reader takes a message apart, without copying.
type reader struct{ rest []byte }

// status reads the first line. It returns false if the datagram doesn't begin
// with the protocol's name and a white space.
func (r *reader) status() (method []byte, v Version, ok bool) {
	const name = "TGED"
	if len(r.rest) <= len(name) || string(r.rest[:len(name)]) != name || r.rest[len(name)] != ' ' && r.rest[len(name)] != '\t' {
		return nil, Version{}, false
	}
	line, _ := r.line()
	method, line = word(line[len(name):])
	number, _ := word(line)
	return method, parseVersion(number), true
}

// field reads the next line with a colon. It returns false at the empty line
// and at the end.
func (r *reader) field() (key, value []byte, ok bool) {
	for {
		line, ok := r.line()
		if !ok || len(line) == 0 {
			return nil, nil, false
		}
		if key, value, ok := bytes.Cut(line, []byte{':'}); ok {
			return trim(key), trim(value), true
		}
	}
}

// line takes the next line off, without its end.
func (r *reader) line() (line []byte, ok bool) {
	if len(r.rest) == 0 {
		return nil, false
	}
	line, r.rest, _ = bytes.Cut(r.rest, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), true
}

// word takes the first word off a line.
func word(b []byte) (w, rest []byte) {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	n := 0
	for n < len(b) && !blank(b[n]) {
		n++
	}
	return b[:n], b[n:]
}

func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// blank says whether a byte is white space within a line.
func blank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' && c != '\n' }

// parseVersion reads "1.0", and "1" as the same. What it can't read is no version.
func parseVersion(b []byte) Version {
	major, minor, dot := bytes.Cut(b, []byte{'.'})
	x, ok := number(major)
	if !ok {
		return Version{}
	}
	y, ok := number(minor)
	if dot && !ok {
		return Version{}
	}
	return Version{x, y}
}

func number(b []byte) (uint16, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > math.MaxUint16 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return uint16(n), len(b) > 0 && n <= math.MaxUint16
}

// isBlank is blank for the functions of package strings. What is beyond ASCII is no white
// space here.
func isBlank(r rune) bool { return r < utf8.RuneSelf && blank(byte(r)) }

// capitals returns s with its ASCII letters in capitals: s itself, mostly.
func capitals(s string) string {
	for n := range len(s) {
		if 'a' <= s[n] && s[n] <= 'z' {
			return string(fold(make([]byte, 0, len(s)), []byte(s)))
		}
	}
	return s
}

// fold appends b with its ASCII letters in capitals.
func fold(dst, b []byte) []byte {
	for _, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
