package passive

import (
	"net/netip"
	"strconv"
)

// Bounds of one text, in bytes off the wire.
const (
	maxFieldText = 512 // of a field
	maxPartText  = 96  // of a fingerprint's part
)

// safeText returns text off the wire, made safe.
func (d *Decoder) safeText(v []byte) string {
	v = trimZero(v)
	d.buf = appendSafe(d.buf[:0], v[:min(len(v), maxFieldText)])
	return d.text.get(d.buf)
}

// fieldSafe adds a field with text off the wire, unless there is none.
func (d *Decoder) fieldSafe(key string, v []byte) {
	if s := d.safeText(v); s != "" {
		d.field(key, s)
	}
}

// fieldNumber adds a number, unless it is 0.
func (d *Decoder) fieldNumber(key string, n uint64) {
	if n != 0 {
		d.fieldText(key, strconv.AppendUint(d.buf[:0], n, 10))
	}
}

// fieldAddrs adds addresses with commas, unless there are none.
func (d *Decoder) fieldAddrs(key string, all []netip.Addr) {
	if len(all) == 0 {
		return
	}
	t := d.buf[:0]
	for _, a := range all {
		t = a.AppendTo(comma(t))
	}
	d.buf = t
	d.fieldText(key, t)
}

// fieldBits adds the names of bits with commas, unless none is set.
func (d *Decoder) fieldBits(key string, bits uint32, names []string) {
	if d.buf = appendBits(d.buf[:0], bits, names, ','); len(d.buf) > 0 {
		d.fieldText(key, d.buf)
	}
}

// appendBits appends the names of bits, the lowest first.
func appendBits(t []byte, bits uint32, names []string, sep byte) []byte {
	first := true
	for i, name := range names {
		if bits>>i&1 == 0 {
			continue
		}
		if !first {
			t = append(t, sep)
		}
		first = false
		t = append(t, name...)
	}
	return t
}

// appendPart appends a part of a fingerprint, unless it is empty.
func appendPart(t []byte, key string, v []byte) []byte {
	if v = trimZero(v); len(v) == 0 {
		return t
	}
	return appendFingerprintValue(append(t, key...), v[:min(len(v), maxPartText)])
}
