package dnswire

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// String returns the record as a line for people:
// "nas.local 120 IN A 10.0.0.5", with "flush" behind the class where the bit is set.
func (r RR) String() string {
	flush := ""
	if r.Flush {
		flush = " flush"
	}
	return fmt.Sprintf("%s %d %s%s %s %s", r.Name, r.TTL, r.Class, flush, r.Type, r.DataString())
}

// DataString returns the rdata as people read it: "0 0 8080 nas.local" for an SRV
// record, strings in quotes for TXT. Types without a form of their own, and data
// that isn't valid, come as in RFC 3597 §5: `\# 4 0a000005`.
func (r RR) DataString() string {
	l := layoutOf(r.Type)
	if !l.known || !validData(r.Type, r.Data) {
		return r.generic()
	}
	switch r.Type {
	case TypeA, TypeAAAA:
		a, _ := r.Addr()
		return a.String()
	case TypeSIG, TypeNXT:
		return r.generic()
	}
	var b []byte
	space := func() {
		if len(b) > 0 {
			b = append(b, ' ')
		}
	}
	off := 0
	for ; off < int(l.fixed); off += 2 { // all of the fixed fields left are 16-bit numbers
		space()
		b = strconv.AppendUint(b, uint64(be16(r.Data[off:])), 10)
	}
	for i := 0; l.strings == anyStrings && off < len(r.Data) || l.strings != anyStrings && i < int(l.strings); i++ {
		end := off + 1 + int(r.Data[off])
		space()
		b = appendQuoted(b, r.Data[off+1:end])
		off = end
	}
	for range l.names {
		end := off + wireNameLen(r.Data[off:])
		space()
		b = Name(r.Data[off:end]).AppendText(b)
		off = end
	}
	switch r.Type {
	case TypeSOA:
		for ; off < len(r.Data); off += 4 {
			b = append(b, ' ')
			b = strconv.AppendUint(b, uint64(be16(r.Data[off:]))<<16|uint64(be16(r.Data[off+2:])), 10)
		}
	case TypeNSEC:
		for t := range (Bitmap{[]byte(r.Data[off:])}).Types() {
			b = append(b, ' ')
			b = append(b, t.String()...)
		}
	}
	return string(b)
}

func (r RR) generic() string {
	if r.Data == "" {
		return `\# 0`
	}
	return `\# ` + strconv.Itoa(len(r.Data)) + " " + hex.EncodeToString([]byte(r.Data))
}

// appendQuoted appends a string in quotes: those inside get a backslash, as do
// backslashes; control characters and what is no UTF-8 become \DDD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for s != "" {
		// Up to the next character that names and strings treat differently.
		i := 0
		for i < len(s) && s[i] != '.' && s[i] != '"' {
			i++
		}
		b = appendLabelText(b, s[:i])
		if i < len(s) {
			if s[i] == '"' {
				b = append(b, '\\')
			}
			b = append(b, s[i])
			i++
		}
		s = s[i:]
	}
	return append(b, '"')
}
