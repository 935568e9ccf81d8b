package store

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

// foldName lowers ASCII letters only, as names compare by RFC 6762 §16 and as
// lower() does it in an index, and takes off a last dot.
func foldName(name string) string {
	b := []byte(strings.TrimSuffix(name, "."))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// keyOf returns 16 bytes that tell lists of strings apart. Whoever sends
// packets chooses most of the strings, so the hash is one against which nobody
// can make two that collide.
func keyOf(parts ...string) []byte {
	b := make([]byte, 0, 256)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return sum[:16]
}

// The times that a column of nanoseconds can hold. A capture file may claim
// any time at all; what lies outside becomes the nearest one.
var (
	firstTime = time.Unix(0, 0)
	lastTime  = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// inRange returns t in UTC, within the times that can be kept. The zero time
// stays zero.
func inRange(t time.Time) time.Time {
	switch {
	case t.IsZero():
		return time.Time{}
	case t.Before(firstTime):
		return firstTime.UTC()
	case t.After(lastTime):
		return lastTime
	}
	return t.UTC()
}

// toNanos returns t in nanoseconds since 1970, 0 for the zero time.
func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return inRange(t).UnixNano()
}

// fromNanos undoes toNanos; 0 is the zero time.
func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// addrText returns a as text that can be read back, "" if it is invalid or
// has a zone that can't.
func addrText(a netip.Addr) string {
	t := a.String()
	if b, err := netip.ParseAddr(t); err != nil || b != a || !text.Plain(t) {
		return ""
	}
	return t
}

// keepable returns the addresses that can be kept as text.
func keepable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if addrText(a) != "" {
			out = append(out, a)
		}
	}
	return out
}
