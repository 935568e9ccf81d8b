package ca

import (
	"sync"
	"time"
)

// How often one address may fail to enrol: burst times at once, then once in every
// interval.
const (
	burst    = 10
	interval = 10 * time.Second
	maxKnown = 8192 // addresses; beyond them strangers share one account
)

// A limiter counts attempts by who makes them, reverse.Source as a rule. It is told the
// time. The zero value is ready.
type limiter struct {
	mu sync.Mutex
	// until is when an account is level again: each attempt moves it by interval,
	// and burst intervals ahead of now is too far.
	until map[string]time.Time
	swept time.Time // when level accounts were forgotten last
}

// take counts an attempt. It returns how long to wait if there were too many.
func (l *limiter) take(who string, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil {
		l.until = make(map[string]time.Time)
	}
	if _, known := l.until[who]; !known && len(l.until) >= maxKnown {
		l.sweep(now)
		if len(l.until) >= maxKnown {
			who = ""
		}
	}
	level := l.until[who]
	// Nobody waits longer because the clock was set back.
	if level.Before(now) || level.Sub(now) > burst*interval {
		level = now
	}
	if wait := level.Add(interval).Sub(now) - burst*interval; wait > 0 {
		return wait, false
	}
	l.until[who] = level.Add(interval)
	return 0, true
}

// sweep forgets accounts that are level. It looks at all of them, and so not at each
// attempt.
func (l *limiter) sweep(now time.Time) {
	if since := now.Sub(l.swept); 0 <= since && since < interval {
		return
	}
	l.swept = now
	for who, until := range l.until {
		if !until.After(now) {
			delete(l.until, who)
		}
	}
}

// giveBack takes back an attempt that turned out to be welcome.
func (l *limiter) giveBack(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if level, known := l.until[who]; known {
		l.until[who] = level.Add(-interval)
	}
}
