package classify

import (
	"encoding/hex"
	"net/netip"
	"strings"
)

// Scrub takes out of a signal's value what would name one device instead of its
// model: its MAC in any spelling, the last three or two bytes of it where they stand
// alone, UUIDs and IP addresses. Each becomes a word in angle brackets.
func Scrub(value string, mac [6]byte) string {
	value = scrubUUID(value)
	if mac != ([6]byte{}) {
		value = scrubMAC(value, mac)
	}
	return scrubIP(value)
}

// scrubMAC replaces the MAC. The digits may stand together or with a separator
// between the bytes.
func scrubMAC(value string, mac [6]byte) string {
	digits := hex.EncodeToString(mac[:])
	for _, n := range [...]int{6, 3, 2} {
		tail := digits[12-2*n:]
		for _, sep := range [...]string{"", ":", "-", ".", "%3a"} {
			if sep == "" {
				value = replaceFold(value, tail, "<mac>", n == 2)
				continue
			}
			parts := make([]string, 0, 6)
			for i := 0; i < len(tail); i += 2 {
				parts = append(parts, tail[i:i+2])
			}
			value = replaceFold(value, strings.Join(parts, sep), "<mac>", true)
		}
	}
	return value
}

// replaceFold replaces old, without regard to case; alone: only where no letter or
// digit stands beside it.
func replaceFold(s, old, with string, alone bool) string {
	lower := strings.ToLower(s)
	if len(lower) != len(s) { // not all of it is ASCII: what is folded can't be told apart
		lower = s
	}
	var b strings.Builder
	from := 0
	for at := 0; ; {
		i := strings.Index(lower[at:], old)
		if i < 0 {
			break
		}
		i += at
		end := i + len(old)
		if alone && (i > 0 && word(s[i-1]) || end < len(s) && word(s[end])) {
			at = i + 1
			continue
		}
		b.WriteString(s[from:i])
		b.WriteString(with)
		from, at = end, end
	}
	if from == 0 {
		return s
	}
	b.WriteString(s[from:])
	return b.String()
}

func word(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// scrubUUID replaces UUIDs as RFC 9562 §4 writes them.
func scrubUUID(s string) string {
	const size = 36
	for i := 0; i+size <= len(s); i++ {
		if isUUID(s[i : i+size]) {
			s = s[:i] + "<uuid>" + s[i+size:]
		}
	}
	return s
}

func isUUID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
			continue
		}
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
			return false
		}
	}
	return true
}

// scrubIP replaces words that are IP addresses.
func scrubIP(s string) string {
	if strings.Count(s, ".") < 3 && strings.Count(s, ":") < 2 {
		return s
	}
	address := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' || r == '.' || r == ':'
	}
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexFunc(s, address)
		if i < 0 {
			break
		}
		n := strings.IndexFunc(s[i:], func(r rune) bool { return !address(r) })
		if n < 0 {
			n = len(s) - i
		}
		b.WriteString(s[:i])
		if a, err := netip.ParseAddr(s[i : i+n]); err == nil && a.IsValid() {
			b.WriteString("<ip>")
		} else {
			b.WriteString(s[i : i+n])
		}
		s = s[i+n:]
	}
	b.WriteString(s)
	return b.String()
}

// serial is how many digits in a row are no model's number, but one device's.
const serial = 5

// Form is a name with # for each run of five digits or more: host names and topics
// often end in a serial number.
func Form(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); {
		n := 0
		for i+n < len(name) && name[i+n] >= '0' && name[i+n] <= '9' {
			n++
		}
		switch {
		case n >= serial:
			b.WriteByte('#')
		case n > 0:
			b.WriteString(name[i : i+n])
		default:
			n = 1
			b.WriteByte(name[i])
		}
		i += n
	}
	return b.String()
}
