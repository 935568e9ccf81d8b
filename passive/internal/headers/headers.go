// Package headers reads what HTTP's relatives have in common: a start line and
// header fields (RFC 9112 §2.1). It copies nothing, and reads each byte once.
package headers

import "bytes"

// Line cuts off the first line. It ends in CRLF or LF; the last line's end may
// be missing.
func Line(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// Next cuts off the first header field; white space around the value doesn't
// count. ok is false at the empty line that ends the fields, or at the end.
// A line without a colon has a nil name.
func Next(b []byte) (name, value, rest []byte, ok bool) {
	line, rest := Line(b)
	if len(line) == 0 {
		return nil, nil, rest, false
	}
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return nil, line, rest, true
	}
	return bytes.TrimRight(line[:i], " \t"), bytes.Trim(line[i+1:], " \t"), rest, true
}

// Is compares a field's name without regard to the case of ASCII letters; want
// is in lower case.
func Is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}
