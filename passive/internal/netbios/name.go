// Package netbios reads what NetBIOS over UDP says about names: the name
// service and datagrams (RFC 1001, RFC 1002), and in these the announcements of
// Microsoft's browser protocol ([MS-BRWS] §2.2).
package netbios

const hexDigits = "0123456789abcdef"

// Name is a NetBIOS name: 15 bytes filled up with spaces, then a suffix that
// says what is named so.
type Name [16]byte

// Suffixes of names that are a machine's own, unless they are a group's.
const (
	Workstation = 0x00
	Server      = 0x20
)

// Suffix returns the last byte.
func (n Name) Suffix() byte { return n[15] }

// AppendHost appends the name without suffix and spaces; nothing if it holds
// what no machine is called.
func (n Name) AppendHost(dst []byte) []byte {
	end := 15
	for end > 0 && n[end-1] == ' ' {
		end--
	}
	for _, c := range n[:end] {
		if c <= ' ' || c >= 0x7f || c == '*' || c == '\\' {
			return dst
		}
	}
	return append(dst, n[:end]...)
}

// AppendText appends the name as it is mostly printed: "WORKGROUP<1d>". Bytes
// that aren't printable ASCII stand in angle brackets, too.
func (n Name) AppendText(dst []byte) []byte {
	end := 15
	for end > 0 && n[end-1] == ' ' {
		end--
	}
	for _, c := range n[:end] {
		if c < ' ' || c >= 0x7f || c == '\\' {
			dst = append(dst, '<', hexDigits[c>>4], hexDigits[c&15], '>')
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '<', hexDigits[n[15]>>4], hexDigits[n[15]&15], '>')
}

// parseName reads an encoded name of the message b (RFC 1002 §4.1): 32 letters,
// each of them half a byte, then the labels of a scope. A pointer, as records
// have it, leads to a name further up. next is behind the name; 0 if it is
// malformed.
func parseName(b []byte, at int) (n Name, next int) {
	pos := at
	if pos+2 <= len(b) && b[pos]&0xc0 == 0xc0 {
		pos = int(b[pos]&0x3f)<<8 | int(b[pos+1])
		next = at + 2
		if pos >= at { // only back, and only once
			return n, 0
		}
	}
	if pos+33 > len(b) || b[pos] != 32 {
		return n, 0
	}
	for i := range n {
		high, low := b[pos+1+2*i]-'A', b[pos+2+2*i]-'A'
		if high > 15 || low > 15 {
			return n, 0
		}
		n[i] = high<<4 | low
	}
	for pos += 33; pos < len(b) && b[pos] != 0; pos += 1 + int(b[pos]) {
		if b[pos] > 63 {
			return n, 0
		}
	}
	if pos >= len(b) {
		return n, 0
	}
	if next == 0 {
		next = pos + 1
	}
	return n, next
}
