// Package text keeps any bytes as text that a database takes.
package text

import (
	"strings"
	"unicode/utf8"
)

// Names that come off a network are bytes: a DNS label or a TXT value need not
// be UTF-8, and may hold a NUL. A text column takes neither, and replacing such
// bytes would make two names one. So they are kept as characters of a private
// range: byte b becomes U+F700+b. A character that stands in that range already
// is kept byte by byte in the same way, so that Encode can always be undone.
const (
	escapeFirst = 0xF700
	escapeLast  = 0xF7FF
)

func escaped(r rune) bool { return escapeFirst <= r && r <= escapeLast }

// Encode returns s as valid UTF-8 without a NUL, for Decode to undo.
func Encode(s string) string {
	if Plain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == 0 || escaped(r) || (r == utf8.RuneError && n == 1) {
			for i := range n {
				b.WriteRune(escapeFirst + rune(s[i]))
			}
		} else {
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// Plain says whether s may stand as it is.
func Plain(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	return ascii || (utf8.ValidString(s) && strings.IndexFunc(s, escaped) < 0)
}

// Decode undoes Encode.
func Decode(s string) string {
	if strings.IndexFunc(s, escaped) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if escaped(r) {
			b = append(b, byte(r-escapeFirst))
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}
