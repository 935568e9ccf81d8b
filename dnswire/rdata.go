package dnswire

// layout says what a type's rdata is made of, in this order: fixed bytes,
// strings with a length byte, names, and a tail.
type layout struct {
	known    bool
	compress bool // RFC 6762 §18.14 lets its names be compressed
	fixed    uint8
	strings  uint8 // anyStrings: until the end
	names    uint8
	tail     uint8 // bytes, or anyTail
}

const (
	anyStrings = 0xFF
	anyTail    = 0xFF
)

// layouts holds the types whose rdata is checked: all that may hold compressed
// names by RFC 1035, RFC 3597 §4 or RFC 6762 §18.14, and the plain ones of
// RFC 1035. NSEC has one, too, but is never a reason to reject a message.
var layouts = [...]layout{
	TypeA:     {known: true, fixed: 4},
	TypeNS:    {known: true, compress: true, names: 1},
	TypeMD:    {known: true, names: 1},
	TypeMF:    {known: true, names: 1},
	TypeCNAME: {known: true, compress: true, names: 1},
	TypeSOA:   {known: true, compress: true, names: 2, tail: 20},
	TypeMB:    {known: true, names: 1},
	TypeMG:    {known: true, names: 1},
	TypeMR:    {known: true, names: 1},
	TypePTR:   {known: true, compress: true, names: 1},
	TypeHINFO: {known: true, strings: 2},
	TypeMINFO: {known: true, names: 2},
	TypeMX:    {known: true, compress: true, fixed: 2, names: 1},
	TypeTXT:   {known: true, strings: anyStrings},
	TypeRP:    {known: true, compress: true, names: 2},
	TypeAFSDB: {known: true, compress: true, fixed: 2, names: 1},
	TypeRT:    {known: true, compress: true, fixed: 2, names: 1},
	TypeSIG:   {known: true, fixed: 18, names: 1, tail: anyTail},
	TypePX:    {known: true, compress: true, fixed: 2, names: 2},
	TypeAAAA:  {known: true, fixed: 16},
	TypeNXT:   {known: true, names: 1, tail: anyTail},
	TypeSRV:   {known: true, compress: true, fixed: 6, names: 1},
	TypeNAPTR: {known: true, fixed: 4, strings: 3, names: 1},
	TypeKX:    {known: true, compress: true, fixed: 2, names: 1},
	TypeDNAME: {known: true, compress: true, names: 1},
	TypeNSEC:  {known: true, compress: true, names: 1, tail: anyTail},
}

func layoutOf(t Type) layout {
	if int(t) < len(layouts) {
		return layouts[t]
	}
	if t == TypeSPF {
		return layouts[TypeTXT]
	}
	return layout{}
}

// head returns the offset behind the fixed bytes and strings of an rdata that
// reaches from off to end, or -1.
func head[T string | []byte](l layout, b T, off, end int) int {
	if off += int(l.fixed); off > end {
		return -1
	}
	if l.strings == anyStrings {
		for off < end {
			off += 1 + int(b[off])
		}
		if off > end {
			return -1
		}
		return off
	}
	for range l.strings {
		if off >= end {
			return -1
		}
		if off += 1 + int(b[off]); off > end {
			return -1
		}
	}
	return off
}

// rdata checks the rdata of a type between off and end.
func (p *parser) rdata(t Type, off, end int) bool {
	size := end - off
	switch { // the usual ones first
	case t == TypeA && size == 4 || t == TypeAAAA && size == 16 || t == TypeNSEC:
		return true // of NSEC Record.Malformed tells, RFC 6762 §6.1
	case t == TypePTR:
		return p.lastName(off, end, size)
	case t == TypeSRV && size >= 6:
		return p.lastName(off+6, end, size)
	}
	l := layoutOf(t)
	if !l.known {
		return true
	}
	if off = head(l, p.msg, off, end); off < 0 {
		p.bad(ReasonRDataShort, end, size)
		return false
	}
	for range l.names {
		if off = p.name(off, end); off < 0 {
			return false
		}
	}
	if l.tail != anyTail && off+int(l.tail) != end {
		p.bad(ReasonRDataLength, end, size)
		return false
	}
	return true
}

// lastName checks a name that must reach to the end of rdata of a size.
func (p *parser) lastName(off, end, size int) bool {
	off = p.name(off, end)
	if off >= 0 && off != end {
		off = p.bad(ReasonRDataLength, end, size)
	}
	return off >= 0
}

// validData says whether data is uncompressed rdata of the type.
func validData(t Type, data string) bool {
	l := layoutOf(t)
	switch {
	case len(data) > maxLen:
		return false
	case !l.known:
		return true
	case l.strings == anyStrings && data == "":
		return false // RFC 6763 §6.1
	}
	off := head(l, data, 0, len(data))
	if off < 0 {
		return false
	}
	for range l.names {
		n := wireNameLen(data[off:])
		if n == 0 {
			return false
		}
		off += n
	}
	if t == TypeNSEC {
		return validBitmap(data[off:])
	}
	return l.tail == anyTail || off+int(l.tail) == len(data)
}

// validBitmap checks a type bitmap, RFC 4034 §4.1.2.
func validBitmap[T string | []byte](b T) bool {
	last := -1
	for len(b) > 0 {
		if len(b) < 2 {
			return false
		}
		window, n := int(b[0]), int(b[1])
		if window <= last || n < 1 || n > 32 || len(b) < 2+n {
			return false
		}
		last, b = window, b[2+n:]
	}
	return true
}

// validOptions checks the options of an OPT record, RFC 6891 §6.1.2.
func validOptions(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		n := 4 + (int(b[2])<<8 | int(b[3]))
		if len(b) < n {
			return false
		}
		b = b[n:]
	}
	return true
}
