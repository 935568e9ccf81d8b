package dnswire

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

const (
	maxName  = 255 // bytes on the wire, with the final 0; RFC 1035 §2.3.4
	maxLabel = 63  // bytes, without the length
)

// Name is an owned domain name in uncompressed wire form: each label behind a
// byte with its length, then a 0. Names are comparable and fit for map keys, but
// == tells case apart: compare with Equal, or keep Fold.
//
// The root is "\x00". The zero Name means that there is none. Names come from
// ParseName, NameOf and messages; a Name that was converted from other bytes
// need not be valid, and nothing here panics on it.
type Name string

// Root is the name without labels.
const Root Name = "\x00"

var (
	errEmptyName  = errors.New("is empty")
	errEmptyLabel = errors.New("has an empty label")
	errLongLabel  = errors.New("has a label longer than 63 bytes")
	errLongName   = errors.New("is longer than 255 bytes")
	errEscape     = errors.New(`has a broken escape: want \DDD up to \255, or \ and the character itself`)
)

func nameError(text string, err error) error {
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return fmt.Errorf("dnswire: name %q %w", text, err)
}

// ParseName reads a name as people and zone files write it: labels with dots
// between, \. for a dot and \\ for a backslash inside a label, \DDD for the byte
// with that decimal number, \X for any other character X itself. The last dot may be left
// out; "." is the root.
func ParseName(text string) (Name, error) {
	if text == "" {
		return "", nameError(text, errEmptyName)
	}
	if text == "." {
		return Root, nil
	}
	var buf [maxName + maxLabel + 2]byte
	start, n := 0, 1 // the label's length byte; the next byte to write
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.':
			if n == start+1 {
				return "", nameError(text, errEmptyLabel)
			}
			buf[start] = byte(n - start - 1)
			start, n = n, n+1
			continue
		case c == '\\':
			v, size, ok := unescape(text[i+1:])
			if !ok {
				return "", nameError(text, errEscape)
			}
			c = v
			i += size
		}
		if n-start > maxLabel {
			return "", nameError(text, errLongLabel)
		}
		if n >= maxName {
			return "", nameError(text, errLongName)
		}
		buf[n] = c
		n++
	}
	if n > start+1 { // no last dot
		buf[start] = byte(n - start - 1)
		start, n = n, n+1
	}
	buf[start] = 0
	if n > maxName {
		return "", nameError(text, errLongName)
	}
	return Name(buf[:n]), nil
}

// unescape reads what follows a backslash and returns the byte that is meant
// and how many bytes of s say so.
func unescape(s string) (v byte, size int, ok bool) {
	if s == "" {
		return 0, 0, false
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0], 1, true
	}
	if len(s) < 3 {
		return 0, 0, false
	}
	sum := 0
	for _, d := range []byte(s[:3]) {
		if d < '0' || d > '9' {
			return 0, 0, false
		}
		sum = sum*10 + int(d-'0')
	}
	return byte(sum), 3, sum <= 255
}

// NameOf builds a name from raw labels, which may hold dots and any other byte.
// Without labels it is the root.
func NameOf(labels ...string) (Name, error) {
	var buf [maxName]byte
	n := 0
	for _, l := range labels {
		var err error
		switch {
		case l == "":
			err = errEmptyLabel
		case len(l) > maxLabel:
			err = errLongLabel
		case n+1+len(l)+1 > maxName:
			err = errLongName
		}
		if err != nil {
			return "", nameError(strings.Join(labels, "."), err)
		}
		buf[n] = byte(len(l))
		n += 1 + copy(buf[n+1:], l)
	}
	return Name(buf[:n+1]), nil
}

// label returns the label that begins at off and the offset behind it. ok is
// false at the final 0 and where the bytes are no name.
func (n Name) label(off int) (l string, next int, ok bool) {
	if off >= len(n) || n[off] == 0 || n[off] > maxLabel {
		return "", off, false
	}
	next = off + 1 + int(n[off])
	if next > len(n) {
		return "", off, false
	}
	return string(n[off+1 : next]), next, true
}

// Valid says whether n is a well-formed name; "" is not.
func (n Name) Valid() bool {
	return len(n) <= maxName && wireNameLen(string(n)) == len(n) && n != ""
}

// wireNameLen returns the length of the uncompressed name that s begins with, 0 if there
// is none.
func wireNameLen(s string) int {
	for off := 0; off < len(s) && off < maxName; {
		c := s[off]
		if c == 0 {
			return off + 1
		}
		if c > maxLabel {
			return 0
		}
		off += 1 + int(c)
	}
	return 0
}

// Labels yields the labels, leftmost first, as raw bytes.
func (n Name) Labels() iter.Seq[string] {
	return func(yield func(string) bool) {
		for l, off, ok := n.label(0); ok; l, off, ok = n.label(off) {
			if !yield(l) {
				return
			}
		}
	}
}

// NumLabels returns the number of labels, 0 for the root.
func (n Name) NumLabels() int {
	c := 0
	for range n.Labels() {
		c++
	}
	return c
}

// Label returns the label with index i, the leftmost with 0; "" if there is none.
func (n Name) Label(i int) string {
	for l := range n.Labels() {
		if i == 0 {
			return l
		}
		i--
	}
	return ""
}

// Parent returns the name without its leftmost label. The root has none: "".
func (n Name) Parent() Name {
	_, next, ok := n.label(0)
	if !ok {
		return ""
	}
	return n[next:]
}

// Fold returns the name in ASCII lower case, n itself where it already is. Other
// bytes stay as they are (RFC 6762 §16).
func (n Name) Fold() Name { return Name(foldString(string(n))) }

// foldString lowers ASCII letters. A label's length is at most 63 and so never
// mistaken for one.
func foldString(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = foldTable[b[i]]
			}
			return string(b)
		}
	}
	return s
}

// Equal compares with ASCII case folding.
func (n Name) Equal(o Name) bool { return equalFold(string(n), string(o)) }

func equalFold(a, b string) bool {
	return len(a) == len(b) && (a == b || sameLetters(a, b))
}

// HasSuffix says whether n is o or lies below it. Every name lies below the root.
func (n Name) HasSuffix(o Name) bool {
	if o == "" {
		return false
	}
	for off, ok := 0, true; ok && len(n)-off >= len(o); _, off, ok = n.label(off) {
		if len(n)-off == len(o) {
			return equalFold(string(n[off:]), string(o))
		}
	}
	return false
}

// Prepend returns the name with a raw label put before it.
func (n Name) Prepend(label string) (Name, error) {
	var err error
	switch {
	case n == "":
		err = errEmptyName
	case label == "":
		err = errEmptyLabel
	case len(label) > maxLabel:
		err = errLongLabel
	case 1+len(label)+len(n) > maxName:
		err = errLongName
	}
	if err != nil {
		return "", nameError(label+"."+n.String(), err)
	}
	return Name(string([]byte{byte(len(label))}) + label + string(n)), nil
}

// String returns the name as text without the last dot: "nas.local"; the root is
// ".". Dots and backslashes inside labels get a backslash before them, control
// characters and bytes that are no UTF-8 become \DDD. ParseName reads it back exactly.
func (n Name) String() string {
	if n == "" {
		return ""
	}
	return string(n.AppendText(make([]byte, 0, len(n)+8)))
}

// AppendText appends what String returns. It implements encoding.TextAppender
// but for the error.
func (n Name) AppendText(dst []byte) []byte {
	if n == Root {
		return append(dst, '.')
	}
	first := true
	for l, off, ok := n.label(0); ok; l, off, ok = n.label(off) {
		if !first {
			dst = append(dst, '.')
		}
		first = false
		dst = appendLabelText(dst, l)
	}
	return dst
}

func appendLabelText[T string | []byte](dst []byte, l T) []byte {
	for i := 0; i < len(l); {
		c := l[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '.' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ' || c == 0x7f:
				dst = appendDDD(dst, c)
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, size := decodeRune(l[i:])
		if r == utf8.RuneError && size <= 1 || r >= 0x80 && r < 0xA0 { // no UTF-8, or a C1 control
			for range max(size, 1) {
				dst = appendDDD(dst, l[i])
				i++
			}
			continue
		}
		dst = append(dst, l[i:i+size]...)
		i += size
	}
	return dst
}

func decodeRune[T string | []byte](s T) (rune, int) {
	var buf [utf8.UTFMax]byte
	return utf8.DecodeRune(buf[:copy(buf[:], s)])
}

func appendDDD(dst []byte, c byte) []byte {
	return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}
