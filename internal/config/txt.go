package config

import (
	"fmt"
	"slices"
	"strings"
)

// TXT is a table of any keys: the strings of a TXT record, in the order of the
// file. A key's value is text, true for a key without a value, or false for one
// that is left out.
type TXT struct{ pairs []txtPair }

type txtPair struct {
	key   string
	value txtValue
}

type txtValue struct {
	text     string
	bare, no bool
}

// Strings returns what the TXT record holds.
func (t TXT) Strings() []string {
	var out []string
	for _, p := range t.pairs {
		switch {
		case p.value.no:
		case p.value.bare:
			out = append(out, p.key)
		default:
			out = append(out, p.key+"="+p.value.text)
		}
	}
	return out
}

// Equal says whether two tables hold the same, in the same order.
func (t TXT) Equal(o TXT) bool { return slices.Equal(t.pairs, o.pairs) }

// maxTXT is how large a TXT record may be, in bytes, RFC 6763 §6.2.
const maxTXT = 1300

// sound checks keys and lengths, RFC 6763 §6.
func (t TXT) sound() error {
	size := 0
	for _, s := range t.Strings() {
		size += 1 + len(s)
	}
	if size > maxTXT {
		return fmt.Errorf("has %d bytes, more than %d", size, maxTXT)
	}
	for i, p := range t.pairs {
		switch n := len(p.key) + 1 + len(p.value.text); {
		case p.key == "" || strings.ContainsFunc(p.key, func(r rune) bool { return r < ' ' || r > '~' || r == '=' }):
			return fmt.Errorf("key %q: want printable ASCII without =", p.key)
		case n > 255:
			return fmt.Errorf("key %q: has %d bytes with its value, more than 255", p.key, n)
		case slices.ContainsFunc(t.pairs[:i], func(q txtPair) bool { return strings.EqualFold(p.key, q.key) }):
			return fmt.Errorf("key %q is there twice: case makes no difference", p.key)
		}
	}
	return nil
}

// member implements keyed.
func (t *TXT) member(key string) any {
	t.pairs = append(t.pairs, txtPair{key: key})
	return &t.pairs[len(t.pairs)-1].value
}

// members implements keyed.
func (t *TXT) members(yield func(key string, value any) bool) {
	for i := range t.pairs {
		if !yield(t.pairs[i].key, &t.pairs[i].value) {
			return
		}
	}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *txtValue) UnmarshalText(b []byte) error {
	*v = txtValue{text: string(b)}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (v txtValue) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// setBool implements boolean.
func (v *txtValue) setBool(on bool) { *v = txtValue{bare: on, no: !on} }

// bool implements boolean.
func (v *txtValue) bool() (on, ok bool) { return v.bare, v.bare || v.no }

// wanted implements wisher.
func (v *txtValue) wanted() string { return "a string, true or false" }
