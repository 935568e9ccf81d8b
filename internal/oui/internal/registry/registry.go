// Package registry is the packed form of the list that says to whom a block of
// MAC addresses was assigned.
//
// The file is compressed with DEFLATE. Inside, every number is an unsigned
// varint, and a text is its length and its bytes:
//
//	"OUI1"
//	edition                           a text: where the list comes from
//	number of names, each a text      sorted, no two the same
//	for 24, 28 and 36 bits:
//	  number of blocks
//	  each block's prefix less the one before it, all of them
//	  each block's name, as its place among the names, all of them
package registry

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bits are the sizes of prefixes that are assigned: MA-L, MA-M and MA-S (with
// the older IAB).
var Bits = [3]int{24, 28, 36}

// Block is a prefix of Bits[i] bits, right-aligned, with whom it was assigned to.
type Block struct {
	Prefix uint64
	Vendor string
}

// Blocks are all assignments; Blocks[i] holds those of Bits[i] bits, sorted by
// prefix, none twice.
type Blocks [len(Bits)][]Block

const (
	magic = "OUI1"
	// limit bounds what is unpacked, in bytes.
	limit = 16 << 20
)

// Pack returns blocks in the packed form.
func Pack(edition string, blocks Blocks) ([]byte, error) {
	var names []string
	for _, list := range blocks {
		for _, b := range list {
			names = append(names, b.Vendor)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)

	raw := []byte(magic)
	text := func(s string) {
		raw = binary.AppendUvarint(raw, uint64(len(s)))
		raw = append(raw, s...)
	}
	text(edition)
	raw = binary.AppendUvarint(raw, uint64(len(names)))
	for _, n := range names {
		text(n)
	}
	for i, list := range blocks {
		raw = binary.AppendUvarint(raw, uint64(len(list)))
		var before uint64
		for j, b := range list {
			if b.Prefix>>Bits[i] != 0 || (j > 0 && b.Prefix <= before) {
				return nil, fmt.Errorf("registry: prefix %x of %d bits after %x", b.Prefix, Bits[i], before)
			}
			raw = binary.AppendUvarint(raw, b.Prefix-before)
			before = b.Prefix
		}
		for _, b := range list {
			at, _ := slices.BinarySearch(names, b.Vendor)
			raw = binary.AppendUvarint(raw, uint64(at))
		}
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Table is the list as it is searched. It holds about a megabyte.
type Table struct {
	Edition string
	names   string   // all names, one behind the other
	ends    []uint32 // where each one ends
	lists   [len(Bits)]list
}

type list struct {
	prefixes []uint64
	names    []uint16
}

// Raw returns the packed form without its compression.
func Raw(packed []byte) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), limit))
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return raw, nil
}

// Unpack reads the packed form.
func Unpack(packed []byte) (*Table, error) {
	raw, err := Raw(packed)
	if err != nil {
		return nil, err
	}
	r := reader{b: raw}
	if string(r.bytes(uint64(len(magic)))) != magic {
		return nil, errors.New("registry: not a packed list")
	}
	t := &Table{Edition: string(r.bytes(r.number()))}
	names := make([]byte, 0, len(raw))
	for range r.count() {
		names = append(names, r.bytes(r.number())...)
		t.ends = append(t.ends, uint32(len(names)))
	}
	t.names = string(names)
	for i := range t.lists {
		n := r.count()
		l := list{prefixes: make([]uint64, 0, n), names: make([]uint16, 0, n)}
		var prefix uint64
		for range n {
			prefix += r.number()
			l.prefixes = append(l.prefixes, prefix)
		}
		for range n {
			at := r.number()
			if at >= uint64(len(t.ends)) || at > 0xffff {
				r.short = true
			}
			l.names = append(l.names, uint16(at))
		}
		t.lists[i] = l
	}
	if r.short || len(r.b) > 0 {
		return nil, errors.New("registry: the packed list is broken")
	}
	return t, nil
}

// Lookup returns to whom the block of an address was assigned, "" if that isn't
// known; the smallest block that holds the address counts. It allocates nothing.
func (t *Table) Lookup(mac [6]byte) string {
	addr := Number(mac)
	for i := len(Bits) - 1; i >= 0; i-- {
		l := &t.lists[i]
		if at, ok := slices.BinarySearch(l.prefixes, addr>>(48-Bits[i])); ok {
			return t.name(l.names[at])
		}
	}
	return ""
}

// Len returns how many blocks there are.
func (t *Table) Len() (n int) {
	for _, l := range t.lists {
		n += len(l.prefixes)
	}
	return n
}

func (t *Table) name(i uint16) string {
	begin := uint32(0)
	if i > 0 {
		begin = t.ends[i-1]
	}
	return t.names[begin:t.ends[i]]
}

// Number returns an address as a number of 48 bits.
func Number(mac [6]byte) uint64 {
	return uint64(mac[0])<<40 | uint64(mac[1])<<32 | uint64(mac[2])<<24 | uint64(mac[3])<<16 | uint64(mac[4])<<8 | uint64(mac[5])
}

// reader reads from b; once something is missing it stays short.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.short, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many entries follow: each takes a byte at least.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}
