package enrol

import (
	"testing"
	"time"
)

// A Renewer's plan step by step: when it is due, after failures, and while the clock
// jumps.
func TestWhenToRenew(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := Status{Gateway: "g", RenewAfter: begin.Add(20 * 24 * time.Hour), Expires: begin.Add(30 * 24 * time.Hour)}
	due := s.RenewAfter
	for _, c := range []struct {
		name string
		plan plan
		now  time.Time
		want time.Duration
	}{
		{"long before it looks again in an hour", plan{}, begin, time.Hour},
		{"shortly before it waits for the moment", plan{}, due.Add(-time.Minute), time.Minute},
		{"due", plan{}, due, 0},
		{"long overdue", plan{}, due.Add(time.Hour * 1000), 0},
		{"apart from others", plan{chance: 0.5}, due, 30 * time.Minute},
		{"paused", plan{pause: due.Add(5 * time.Minute)}, due.Add(time.Minute), 4 * time.Minute},
		{"paused by a clock that was ahead", plan{pause: due.Add(100 * time.Hour)}, due.Add(time.Minute), 0},
		{"a machine that doesn't know the time", plan{}, time.Unix(0, 0), time.Hour},
	} {
		if got := c.plan.wait(c.now, s); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
	short := Status{Gateway: "g", RenewAfter: due, Expires: due.Add(20 * time.Minute)}
	if got := (&plan{chance: 1}).wait(due, short); got != 5*time.Minute {
		t.Errorf("a certificate that lives but an hour is renewed after %s more", got)
	}
	if got := (&plan{}).wait(begin, Status{}); got != time.Hour {
		t.Errorf("without a hub it waits %s", got)
	}
	var p plan
	for n, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
		p.done(due, false, 0)
		if got := p.wait(due, s); got != want {
			t.Errorf("after failure %d it waits %s; want %s", n+1, got, want)
		}
	}
	for range 100 {
		p.done(due, false, 0.999999)
	}
	if pause := p.pause.Sub(due); pause > longPause || pause < longPause*9/10 {
		t.Errorf("after 103 failures it waits %s; want %s at most", pause, longPause)
	}
	if p.done(due, true, 0); p.wait(due, s) != 0 || p.failed != 0 {
		t.Error("a success doesn't end the pauses")
	}
}
