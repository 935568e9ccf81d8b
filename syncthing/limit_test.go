package syncthing

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := newLimiter(100)
	burst := func(at time.Duration, src string) (n int) {
		for l.request(int64(at), netip.MustParseAddr(src)) && n < 1000 {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   time.Duration
		src  string
		want int
		why  string
	}{
		{0, "192.0.2.1", 100, "a second's worth at once"},
		{0, "192.0.2.254", 0, "the same /24"},
		{0, "::ffff:192.0.2.7", 0, "the same, in IPv6 form"},
		{0, "192.0.3.1", 100, "the next /24"},
		{0, "2001:db8::1", 100, "a /64"},
		{0, "2001:db8::ffff:1:2:3", 0, "the same /64"},
		{0, "2001:db8:0:1::1", 100, "the next /64"},
		{10 * time.Millisecond, "192.0.2.9", 1, "a hundredth of a second later"},
		{time.Hour, "192.0.2.9", 100, "an hour later, no more than a burst"},
	} {
		if got := burst(c.at, c.src); got != c.want {
			t.Errorf("%v, %s: %d, want %d (%s)", c.at, c.src, got, c.want, c.why)
		}
	}
	if (*limiter)(nil).request(0, netip.Addr{}) != true {
		t.Error("no limiter limits")
	}
}

func TestLimiterOfNewDevices(t *testing.T) {
	l := newLimiter(100)
	n := 0
	for l.fresh(0, netip.MustParseAddr("192.0.2.1")) {
		n++
	}
	if n != 256 || l.fresh(int64(time.Second-1), netip.MustParseAddr("192.0.2.2")) || !l.fresh(int64(time.Second), netip.MustParseAddr("192.0.2.2")) {
		t.Error(n)
	}
}

// A flood from made-up prefixes leaves nearly all others alone.
func TestLimiterUnderAFlood(t *testing.T) {
	l := newLimiter(100)
	for i := range 200_000 {
		l.request(0, netip.AddrFrom4([4]byte{byte(i>>16) + 11, byte(i >> 8), byte(i), 1}))
	}
	limited := 0
	for i := range 200 {
		src := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 8), byte(i)})
		for range 50 {
			if !l.request(0, src) {
				limited++
				break
			}
		}
	}
	if limited > 10 {
		t.Errorf("%d of 200 prefixes limited", limited)
	}
}
