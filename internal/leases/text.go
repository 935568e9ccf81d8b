package leases

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"time"
)

// lines yields the lines of a file with their numbers, without their ends. What
// comes after the last end is a line that is still being written.
func lines(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for n := 1; ; n++ {
			line, rest, ended := bytes.Cut(data, []byte{'\n'})
			if !ended || !yield(n, bytes.TrimSuffix(line, []byte{'\r'})) {
				return
			}
			data = rest
		}
	}
}

// partial says whether the last line of a file has no end.
func partial(data []byte) bool { return len(data) > 0 && data[len(data)-1] != '\n' }

// clip shortens a value that is shown in an error.
func clip[T ~string | ~[]byte](s T) string {
	const most = 40
	if len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(s)
}

// octets reads bytes as two hexadecimal digits each, with colons between them. No text is no bytes.
func octets(s string, most int) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > 3*most || (len(s)+1)%3 != 0 {
		return nil, fmt.Errorf("%q isn't bytes with colons between them", clip(s))
	}
	b := make([]byte, 0, (len(s)+1)/3)
	for i := 0; i < len(s); i += 3 {
		if i > 0 && s[i-1] != ':' {
			return nil, fmt.Errorf("%q isn't bytes with colons between them", clip(s))
		}
		x, err := hex.DecodeString(s[i : i+2])
		if err != nil {
			return nil, fmt.Errorf("%q isn't bytes with colons between them", clip(s))
		}
		b = append(b, x[0])
	}
	return b, nil
}

// ethernet returns the address if it is one that names a device on a link of the
// Ethernet kind, else nil.
func ethernet(b []byte) []byte {
	if len(b) != 6 || b[0]&1 != 0 || bytes.Equal(b, make([]byte, 6)) {
		return nil
	}
	return b
}

// address reads one that a client can have.
func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "" || a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%q is no address", clip(s))
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, fmt.Errorf("%s is no host's address", a)
	}
	return a, nil
}

// maxSeconds since 1970 are the year 9999; what ends later never does.
const maxSeconds = 253402300799

var errTime = errors.New("no time in seconds")

// seconds reads a number of seconds.
func seconds(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", clip(s), errTime)
	}
	return n, nil
}

// at is the time so many seconds after 1970, zero for one that nobody lives to see.
func at(s uint64) time.Time {
	if s > maxSeconds {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}
