package passive

import "unicode/utf8"

// appendSafe appends text off the wire as the DNS presentation form writes a
// label: UTF-8 is kept, a backslash is doubled, control characters and bytes
// that are no UTF-8 become \DDD.
func appendSafe(dst, b []byte) []byte {
	for len(b) > 0 {
		n := 0
		for n < len(b) && b[n] >= 0x20 && b[n] < 0x7f && b[n] != '\\' {
			n++
		}
		dst = append(dst, b[:n]...)
		if b = b[n:]; len(b) == 0 {
			break
		}
		c := b[0]
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRune(b); n > 1 && r >= 0xa0 {
				dst = append(dst, b[:n]...)
				b = b[n:]
				continue
			}
		}
		if c == '\\' {
			dst = append(dst, '\\', '\\')
		} else {
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
		b = b[1:]
	}
	return dst
}

// appendFingerprintText appends text for a fingerprint: what is not printable
// ASCII and what separates its parts becomes %XX.
func appendFingerprintText(dst, b []byte) []byte {
	for _, c := range b {
		switch {
		case c <= 0x20 && c != ' ' || c >= 0x7f || c == ';' || c == ',' || c == '+' || c == '%' || c == '/' || c == '{' || c == '}':
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendCodes appends numbers with commas.
func appendCodes(dst, codes []byte) []byte {
	for i, code := range codes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendByte(dst, code)
	}
	return dst
}

// appendByte appends a number in decimal digits.
func appendByte(dst []byte, n uint8) []byte {
	switch {
	case n >= 100:
		return append(dst, '0'+n/100, '0'+n/10%10, '0'+n%10)
	case n >= 10:
		return append(dst, '0'+n/10, '0'+n%10)
	}
	return append(dst, '0'+n)
}

// trimZero takes off the zero bytes with which some stacks end a text.
func trimZero(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// appendFingerprintValue appends a value that stands alone behind "key=": fewer
// bytes separate parts there, so that "Linux/6.1" stays as it is.
func appendFingerprintValue(dst, b []byte) []byte {
	for _, c := range b {
		if c < 0x20 || c >= 0x7f || c == ';' || c == ',' || c == '%' {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
