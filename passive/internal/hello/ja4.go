package hello

// Transports as JA4 names them.
const (
	TCP  = 't'
	QUIC = 'q'
)

const digits = "0123456789abcdef"

// AppendJA4 appends the JA4 fingerprint, the client's form, in its edition of
// 2025: `t13d1516h2_8daaf6152771_e5627efa2ab1`.
func (h *Hello) AppendJA4(dst []byte, transport byte) []byte {
	dst = append(append(dst, transport), versionText(h.Version)...)
	if h.Named {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	dst = appendCount(appendCount(dst, len(h.Ciphers)), len(h.Extensions))
	dst = h.appendALPN(dst)

	sum := h.ciphersHash()
	dst = append(append(dst, '_'), sum[:]...)
	sum = h.extensionsHash()
	return append(append(dst, '_'), sum[:]...)
}

func versionText(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// appendCount appends a count in two digits.
func appendCount(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, '0'+byte(n/10), '0'+byte(n%10))
}

// appendALPN appends the first and the last character of the first protocol, or
// of its hexadecimal form if one of them is no letter or digit.
func (h *Hello) appendALPN(dst []byte) []byte {
	if len(h.ALPN) == 0 || len(h.ALPN[0]) == 0 {
		return append(dst, '0', '0')
	}
	first, last := h.ALPN[0][0], h.ALPN[0][len(h.ALPN[0])-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(dst, first, last)
	}
	return append(dst, digits[first>>4], digits[last&15])
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// appendHex appends numbers as four hexadecimal digits each, with commas.
func appendHex(dst []byte, codes []uint16) []byte {
	for i, v := range codes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
	}
	return dst
}
