package tged

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiterForgetsSources(t *testing.T) {
	l := newLimiter(10, 0)
	now := int64(time.Hour)
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	for n := range maxSources {
		if l.allow(now, addr(n), false) != pass {
			t.Fatal("a first request was refused")
		}
	}
	// Those beyond that share one count.
	passed := 0
	for n := range 100 {
		if l.allow(now, addr(maxSources+n), false) == pass {
			passed++
		}
	}
	if passed != 10 || len(l.sources) != maxSources {
		t.Errorf("%d of the sources beyond the bound passed; %d are counted", passed, len(l.sources))
	}
	if l.allow(now, addr(5), false) != pass {
		t.Error("a source that is counted is kept out by those that aren't")
	}
	now += int64(200 * time.Millisecond)
	if l.allow(now, addr(maxSources), false) != pass || len(l.sources) > maxSources/2 {
		t.Errorf("%d sources after they had paid", len(l.sources))
	}
}

func TestLimiterIsExact(t *testing.T) {
	l := newLimiter(3, 1000)
	src := netip.MustParseAddr("10.0.0.1")
	passed := 0
	for n := range 10_000 { // 10 s, a request each ms
		if l.allow(int64(time.Hour)+int64(n)*int64(time.Millisecond), src, false) == pass {
			passed++
		}
	}
	if passed < 32 || passed > 33 { // 3 at once and 3 a second
		t.Errorf("%d passed in 10 s at 3/s", passed)
	}
	own := 0
	for n := range 2000 {
		if l.allow(int64(2*time.Hour)+int64(n), src, true) == pass {
			own++
		}
	}
	if own != 1000 {
		t.Errorf("%d of our own passed, the total allows 1000", own)
	}
}

// The server's quick way through a request finds what Parse finds.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n", "TGED discovery 1\nrq : a\nRQ:b", "TGED REPLY 1.0", "TGED INVALID 1.0\r\nRP: INVALID\r\n\r\n",
		"TGED\tFOO 2.0\n", "TGED", "GET / HTTP/1.1", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, why := request(b)
		m, err := Parse(b)
		switch {
		case err == ErrTooLong:
			if why != tooLong {
				t.Fatalf("%d bytes: %d", len(b), why)
			}
		case err == ErrNotTGED:
			if why != notTGED {
				t.Fatalf("%q: %d", b, why)
			}
		case m.Method == Reply || m.Method == Invalid:
			if why != answer {
				t.Fatalf("%q: %d", b, why)
			}
		default:
			want := ""
			if m.Method == Discovery && m.Version.Major == 1 {
				want, _ = m.Get("RQ")
			}
			if why != replied || string(name) != want {
				t.Fatalf("%q: asks for %q, Parse says %q", b, name, want)
			}
		}
	})
}
