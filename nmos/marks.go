package nmos

import "time"

// Times of marks.
const (
	// DefaultInvalidFor is how long an API that failed is left alone while
	// others are left; it doubles with each failure in a row.
	DefaultInvalidFor = 30 * time.Second
	maxInvalid        = 10 * time.Minute
	// leastInvalid is how long one is left alone though nothing else is left. It
	// doubles with each failure in a row, up to mostLeast: so an API that stays dead
	// is tried five times in the first half a minute.
	leastInvalid = time.Second
	mostLeast    = 15 * time.Second
	// forgetAfter is how long after its end a mark counts as the last failure.
	forgetAfter = 2 * time.Minute
	// maxMarks bounds the marks. The oldest goes.
	maxMarks = 1024
)

// mark says that an API didn't work.
type mark struct {
	at, until time.Time
	// again is when it may be tried again though it is marked, while all are;
	// the zero time for not before until.
	again    time.Time
	failures int // in a row
	why      error
}

// end is when it may be tried again.
func (x *mark) end() time.Time { return earliest(x.again, x.until) }

// marks are those that didn't work, by their place.
type marks map[place]*mark

// put marks a place.
func (m marks) put(now time.Time, at place, why error, life time.Duration) {
	x := m[at]
	if x == nil {
		if len(m) >= maxMarks {
			m.dropOldest()
		}
		x = &mark{}
		m[at] = x
	}
	x.failures++
	x.at, x.why, x.again = now, why, time.Time{}
	x.until = now.Add(min(life<<min(x.failures-1, 16), max(maxInvalid, life)))
}

func (m marks) dropOldest() {
	var oldest place
	for at, x := range m {
		if o := m[oldest]; o == nil || x.at.Before(o.at) {
			oldest = at
		}
	}
	delete(m, oldest)
}

// on returns the mark that a place has now, nil for none.
func (m marks) on(now time.Time, at place) *mark {
	if x := m[at]; x != nil && x.until.After(now) {
		return x
	}
	return nil
}

// shut is on, but for places that may be tried again because all are marked.
func (m marks) shut(now time.Time, at place) *mark {
	if x := m.on(now, at); x != nil && x.end().After(now) {
		return x
	}
	return nil
}

// lapse lets places be tried again early, for nothing else is left: each after a
// time that grows with its failures.
func (m marks) lapse() {
	for _, x := range m {
		x.again = x.at.Add(min(leastInvalid<<min(x.failures-1, 16), mostLeast))
	}
}

// expire forgets what ended long ago and returns when the next place may be
// tried again, the zero time for never.
func (m marks) expire(now time.Time) (next time.Time) {
	for at, x := range m {
		switch {
		case x.end().After(now):
			next = earliest(next, x.end())
		case x.until.After(now):
			next = earliest(next, x.until)
		case !x.until.Add(forgetAfter).After(now):
			delete(m, at)
		}
	}
	return next
}

// earliest returns the earlier of two times, the zero time standing for never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
