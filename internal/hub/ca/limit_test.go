package ca

import (
	"net"
	"strconv"
	"testing"
	"time"
)

func TestAttemptsAreLimited(t *testing.T) {
	var l limiter
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for n := range burst {
		if _, ok := l.take("a", now); !ok {
			t.Fatalf("attempt %d is one too many", n+1)
		}
	}
	if wait, ok := l.take("a", now); ok || wait != interval {
		t.Errorf("attempt %d: %v, to wait %s; want %s", burst+1, ok, wait, interval)
	}
	if _, ok := l.take("b", now); !ok {
		t.Error("one's attempts count for another")
	}
	if _, ok := l.take("a", now.Add(interval)); !ok {
		t.Error("time doesn't help")
	}
	if _, ok := l.take("a", now.Add(interval)); ok {
		t.Error("a moment gave room for two")
	}
	l.giveBack("a")
	if _, ok := l.take("a", now.Add(interval)); !ok {
		t.Error("an attempt that was given back counts")
	}
	if _, ok := l.take("a", now.Add(-time.Hour)); !ok {
		t.Error("a clock that was set back shuts one out")
	}
}

// Whoever has many addresses gets no memory for each.
func TestAttemptsOfManyTakeNoMoreMemory(t *testing.T) {
	var l limiter
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	refused := 0
	for n := range 2 * maxKnown {
		if _, ok := l.take(strconv.Itoa(n), now); !ok {
			refused++
		}
	}
	if len(l.until) > maxKnown+1 {
		t.Errorf("%d accounts; want at most %d", len(l.until), maxKnown+1)
	}
	if want := maxKnown - burst; refused != want {
		t.Errorf("%d were refused; want all but %d beyond what is kept, %d", refused, burst, want)
	}
	later := now.Add(time.Hour)
	if _, ok := l.take("new", later); !ok || len(l.until) != 1 {
		t.Errorf("later %v, with %d accounts; the old ones should be gone", ok, len(l.until))
	}
}

func TestWhoseAttemptsCountTogether(t *testing.T) {
	for _, c := range []struct{ ip, want string }{
		{"192.0.2.7", "192.0.2.7"},
		{"::ffff:192.0.2.7", "192.0.2.7"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::9", "2001:db8:1:2::/64"},
		{"::1", "::/64"},
	} {
		if got := account(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 5}); got != c.want {
			t.Errorf("%s: %s; want %s", c.ip, got, c.want)
		}
	}
	if got := account(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 5}); got != "fe80::/64" {
		t.Errorf("a zone: %s", got)
	}
	if got := account(nil); got != "unknown" {
		t.Errorf("nobody: %s", got)
	}
}
