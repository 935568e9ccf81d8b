package hello

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/lanfolk/lanfolk/passive/internal/recent"
)

const hashDigits = 12

// lists remembers the hashes of lists. A hash takes most of the time that a
// fingerprint does, and the same few programs begin nearly all connections.
type lists struct {
	recent.Map[[hashDigits]byte]
	key []byte
}

// ciphersHash returns the hash of the cipher suites in ascending order.
func (h *Hello) ciphersHash() [hashDigits]byte {
	l := &h.lists
	l.key = append(l.key[:0], 'c')
	for _, x := range h.Ciphers {
		l.key = binary.BigEndian.AppendUint16(l.key, x)
	}
	sum, ok := l.Find(l.key)
	if !ok {
		h.sorted = append(h.sorted[:0], h.Ciphers...)
		slices.Sort(h.sorted)
		h.scratch = appendHex(h.scratch[:0], h.sorted)
		sum = hash(h.scratch)
		l.Put(string(l.key), sum, hashDigits)
	}
	return sum
}

// extensionsHash returns the hash of the extensions in ascending order and of the
// signature algorithms in theirs. Browsers shuffle their extensions, so the key for
// them is a set: a bit for each of the small numbers, then the others in order.
func (h *Hello) extensionsHash() [hashDigits]byte {
	l := &h.lists
	h.sorted = h.sorted[:0]
	var set uint64
	n := 0
	for _, x := range h.Extensions {
		switch {
		case x == extServerName || x == extALPN:
			continue
		case x < 64 && set>>x&1 == 0:
			set |= 1 << x
		default: // or one that is there twice
			h.sorted = append(h.sorted, x)
		}
		n++
	}
	slices.Sort(h.sorted)
	l.key = binary.BigEndian.AppendUint64(append(l.key[:0], 'e', byte(len(h.sorted)>>8), byte(len(h.sorted))), set)
	for _, list := range [...][]uint16{h.sorted, h.Signatures} {
		for _, x := range list {
			l.key = binary.BigEndian.AppendUint16(l.key, x)
		}
	}
	sum, ok := l.Find(l.key)
	if !ok {
		for x := range uint16(64) {
			if set>>x&1 != 0 {
				h.sorted = append(h.sorted, x)
			}
		}
		slices.Sort(h.sorted)
		h.scratch = appendHex(h.scratch[:0], h.sorted)
		if len(h.Signatures) > 0 && n > 0 {
			h.scratch = appendHex(append(h.scratch, '_'), h.Signatures)
		}
		sum = hash(h.scratch)
		l.Put(string(l.key), sum, hashDigits)
	}
	return sum
}

// hash returns 12 digits of a list's SHA-256, zeros for an empty list.
func hash(list []byte) (digit [hashDigits]byte) {
	var sum [sha256.Size]byte
	if len(list) > 0 {
		sum = sha256.Sum256(list)
	}
	for i, c := range sum[:hashDigits/2] {
		digit[2*i], digit[2*i+1] = digits[c>>4], digits[c&15]
	}
	return digit
}
