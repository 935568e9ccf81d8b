package hemtjanst

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxMetadata is how many bytes of metadata are read. A device that says more than that is
// listed without it.
const MaxMetadata = 64 << 10

// ErrMetadata is in errors about metadata that isn't a JSON object in UTF-8, or is too large.
var ErrMetadata = errors.New("hemtjanst: malformed metadata")

// Metadata is what a device says of itself: a JSON object, kept byte for byte. The zero
// Metadata says nothing.
type Metadata struct{ raw string }

// ParseMetadata reads a JSON object.
func ParseMetadata(b []byte) (Metadata, error) {
	if len(b) > MaxMetadata {
		return Metadata{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrMetadata, len(b), MaxMetadata)
	}
	if !utf8.Valid(b) {
		return Metadata{}, fmt.Errorf("%w: it isn't UTF-8", ErrMetadata)
	}
	raw := string(b)
	if i := space(raw, 0); i == len(raw) || raw[i] != '{' || !json.Valid(b) {
		return Metadata{}, fmt.Errorf("%w: it isn't a JSON object", ErrMetadata)
	}
	return Metadata{raw}, nil
}

// JSON returns the object as it was said; an empty one if nothing was.
func (m Metadata) JSON() json.RawMessage {
	if m.raw == "" {
		return json.RawMessage("{}")
	}
	return json.RawMessage(m.raw)
}

// MarshalJSON returns what JSON returns.
func (m Metadata) MarshalJSON() ([]byte, error) { return m.JSON(), nil }

// UnmarshalJSON is ParseMetadata.
func (m *Metadata) UnmarshalJSON(b []byte) (err error) {
	*m, err = ParseMetadata(b)
	return err
}

// Member returns the value of a member of the object, by its exact name; the last one of several
// with that name, as most readers see it.
func (m Metadata) Member(name string) (value json.RawMessage, ok bool) {
	v, ok := m.member(name)
	if !ok {
		return nil, false
	}
	return json.RawMessage(v), true
}

func (m Metadata) member(name string) (value string, ok bool) {
	walk(m.raw, func(at member) {
		if at.name == name {
			value, ok = m.raw[at.value:at.end], true
		}
	})
	return value, ok
}

// text returns the value of a member that is a string.
func (m Metadata) text(name string) (string, bool) {
	v, ok := m.member(name)
	if !ok {
		return "", false
	}
	return unquote(v)
}

// Name is the member name; "" if it isn't there or is no string, as with those that follow.
func (m Metadata) Name() string { s, _ := m.text("name"); return s }

// Type is the member type.
func (m Metadata) Type() string { s, _ := m.text("type"); return s }

// Root is the member root: the device's root topic.
func (m Metadata) Root() string { s, _ := m.text("root"); return s }

// Provider is the member providerID.
func (m Metadata) Provider() string { s, _ := m.text("providerID"); return s }

// Features is the member features, as it was said; nil if there is none.
func (m Metadata) Features() json.RawMessage { v, _ := m.Member("features"); return v }

// With returns metadata in which a member is a string, and only there. An empty string takes the member
// out. All others stay as they are, byte for byte and in their order.
func (m Metadata) With(name, value string) Metadata {
	b := m.raw
	if b == "" {
		b = "{}"
	}
	out := append(make([]byte, 0, len(b)+len(name)+len(value)+6), b[:space(b, 0)+1]...)
	first := true
	begin := func() {
		if !first {
			out = append(out, ',')
		}
		first = false
	}
	tail := len(out) // where what follows the last member begins in b
	walk(b, func(at member) {
		tail = at.end
		if at.name != name {
			begin()
			out = append(out, b[at.begin:at.end]...)
		}
	})
	if value != "" {
		begin()
		out = appendString(out, name)
		out = append(out, ':')
		out = appendString(out, value)
	}
	return Metadata{string(append(out, b[tail:]...))}
}

func appendString(out []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be marshalled
	}
	return append(out, b...)
}

// member is where a member of an object stands: from its name to the end of its value.
type member struct {
	name              string
	begin, value, end int
}

// walk calls f for each member of a valid JSON object.
func walk(b string, f func(member)) {
	i := space(b, 0) + 1
	for i < len(b) {
		i = space(b, i)
		if i == len(b) || b[i] == '}' {
			return
		}
		if b[i] == ',' {
			i = space(b, i+1)
		}
		m := member{begin: i}
		i = skip(b, i)
		m.name, _ = unquote(b[m.begin:i])
		i = space(b, space(b, i)+1) // the colon
		m.value = i
		i = skip(b, i)
		m.end = i
		f(m)
	}
}

// space returns where the white space at i ends.
func space(b string, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skip returns where the value at i of valid JSON ends.
func skip(b string, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ' ', '\t', '\n', '\r', ',', ':':
			if depth == 0 {
				return i
			}
			i++
			continue
		default: // a number, or a word
			for i < len(b) && strings.IndexByte(" \t\n\r,:]}", b[i]) < 0 {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return i
}

// unquote returns the text of a JSON value that is a string.
func unquote(b string) (string, bool) {
	if len(b) < 2 || b[0] != '"' {
		return "", false
	}
	if in := b[1 : len(b)-1]; strings.IndexByte(in, '\\') < 0 {
		return in, true
	}
	var s string
	if json.Unmarshal([]byte(b), &s) != nil {
		return "", false
	}
	return s, true
}
