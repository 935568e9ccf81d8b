package reverse

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// IDLen is the length of a command's id.
const IDLen = 26

// crockford are the digits of Douglas Crockford's Base32: in order of their
// character codes, without I, L, O and U.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// IDs makes the ids of commands: 26 characters that sort by the time at which
// they were made (the form of ULID: 48 bits of milliseconds since 1970, 80 bits
// of chance). Ids of one IDs rise strictly, even while the clock goes back. It
// may be used by many goroutines.
type IDs struct {
	// Random is where chance comes from; crypto/rand.Reader as a rule.
	Random io.Reader

	mu   sync.Mutex
	ms   uint64
	last [10]byte
}

// Next returns a new id, made at the time now.
func (g *IDs) Next(now time.Time) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ms := uint64(max(0, now.UnixMilli()))
	if ms > g.ms {
		if _, err := io.ReadFull(g.Random, g.last[:]); err != nil {
			return "", fmt.Errorf("reverse: make an id: %w", err)
		}
		// Room for many more in the same millisecond.
		g.last[0] &= 0x7f
		g.ms = ms
	} else if !increment(&g.last) {
		g.ms, g.last = g.ms+1, [10]byte{}
	}
	var b [16]byte
	for i := range 6 {
		b[i] = byte(g.ms >> (40 - 8*i))
	}
	copy(b[6:], g.last[:])
	return base32(b), nil
}

// increment adds one, and returns false if that is one too many.
func increment(b *[10]byte) bool {
	for i := len(b) - 1; i >= 0; i-- {
		b[i]++
		if b[i] != 0 {
			return true
		}
	}
	return false
}

// base32 writes 128 bits as 26 digits; the first has three bits.
func base32(b [16]byte) string {
	var out [IDLen]byte
	var bits, n uint
	at := len(out) - 1
	for i := len(b) - 1; i >= 0; i-- {
		bits |= uint(b[i]) << n
		for n += 8; n >= 5; n -= 5 {
			out[at] = crockford[bits&31]
			bits >>= 5
			at--
		}
	}
	out[at] = crockford[bits&31]
	return string(out[:])
}

// ErrID is what CheckID returns for what is no id.
var ErrID = errors.New("reverse: a command's id has 26 digits of Crockford's Base32")

// CheckID returns an error that is ErrID unless s has the form of a command's id.
func CheckID(s string) error {
	if len(s) != IDLen || s[0] > '7' {
		return fmt.Errorf("%w: %q", ErrID, clip(s))
	}
	for i := range len(s) {
		c := s[i]
		if ('0' > c || c > '9') && ('A' > c || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U') {
			return fmt.Errorf("%w: %q", ErrID, clip(s))
		}
	}
	return nil
}
