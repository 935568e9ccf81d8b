package ca

import (
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
