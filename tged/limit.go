package tged

import (
	"net/netip"
	"time"
)

// maxSources bounds the sources of which the limiter keeps a count. A flood with
// more than that has made-up addresses, and shares one count.
const maxSources = 1 << 14

// limiter says whether one more request may be answered. It is told the time.
//
// A meter is the time up to which what passed is paid for (the generic cell rate
// algorithm): each pass adds 1/rate, and none may reach a second ahead of now, so that
// a second's worth may pass at once.
type limiter struct {
	perSource, total time.Duration // 1/rate; 0: no limit
	sources          map[netip.Addr]int64
	others           int64 // the meter of sources that sources has no room for
	all              int64
	swept            int64 // when sources was last gone through
}

// verdict is what the limiter says.
type verdict uint8

const (
	pass verdict = iota
	sourceLimit
	totalLimit
)

// newLimiter makes a limiter of two rates, in answers a second; 0: no limit.
func newLimiter(perSource, total int) *limiter {
	l := &limiter{sources: map[netip.Addr]int64{}}
	if perSource > 0 {
		l.perSource = time.Second / time.Duration(perSource)
	}
	if total > 0 {
		l.total = time.Second / time.Duration(total)
	}
	return l
}

// allow counts one request. Those of the machine itself (own) are counted in the total only.
func (l *limiter) allow(now int64, src netip.Addr, own bool) verdict {
	if l.perSource > 0 && !own && !l.allowSource(now, src) {
		return sourceLimit
	}
	if l.total > 0 && !take(&l.all, now, l.total) {
		return totalLimit
	}
	return pass
}

func (l *limiter) allowSource(now int64, src netip.Addr) bool {
	at, known := l.sources[src]
	if !known && len(l.sources) >= maxSources {
		l.sweep(now)
		if len(l.sources) >= maxSources {
			return take(&l.others, now, l.perSource)
		}
	}
	ok := take(&at, now, l.perSource)
	l.sources[src] = at
	return ok
}

// sweep forgets sources that have nothing to pay for, at most once in 100 ms.
func (l *limiter) sweep(now int64) {
	if now-l.swept < int64(100*time.Millisecond) {
		return
	}
	l.swept = now
	for src, at := range l.sources {
		if at <= now {
			delete(l.sources, src)
		}
	}
}

// take lets one pass if the meter isn't a second ahead.
func take(at *int64, now int64, each time.Duration) bool {
	ahead := max(*at, now)
	if ahead+int64(each)-now > int64(time.Second) {
		return false
	}
	*at = ahead + int64(each)
	return true
}
