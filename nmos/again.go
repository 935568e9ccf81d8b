package nmos

import (
	"math/rand/v2"
	"time"
)

// Times of asking again.
const (
	// firstPause is the longest pause before the sources are asked again when
	// nothing is left, growth by how much it becomes longer each time,
	// up to lastPause. The pause is drawn between leastPause and that, so that a
	// thousand clients of one API don't all ask at once (full jitter).
	leastPause = 50 * time.Millisecond
	firstPause = time.Second
	lastPause  = 30 * time.Second
	growth     = 1.5
	// maxDoubts bounds the instances that are doubted at a time.
	maxDoubts = 64
)

// retry asks again when it is time, and returns when it is next.
func (s *selector) retry(now time.Time) time.Time {
	if s.retryAt.IsZero() {
		s.retryAt = now.Add(pause(s.rand, s.round))
		s.changed = true
	}
	if s.retryAt.After(now) {
		return s.retryAt
	}
	s.askAgain(now)
	s.round++
	s.retryAt = now.Add(pause(s.rand, s.round))
	s.marks.lapse()
	s.changed = true
	return now // a mark may have ended by that
}

// askAgain has the sources in use asked again for instances. That is little to
// ask of a DNS server; the rest is asked less and less often: multicast DNS, where newcomers
// announce themselves (RFC 6762 §5.2), and what is known of those that failed.
func (s *selector) askAgain(now time.Time) {
	rarely := s.round&(s.round-1) == 0
	for _, l := range s.looks {
		if l.begun && (rarely || l.via != viaMulticast) {
			s.orders = append(s.orders, order{what: askAgain, look: l})
		}
	}
	doubts := 0
	for a := range s.all() {
		if rarely && doubts < maxDoubts && a.Via == viaUnicast && len(s.open(now, a, s.marks.on)) == 0 {
			doubts++
			s.doubt(&a.Found)
		}
	}
}

// doubt has what is known of an instance asked for again.
func (s *selector) doubt(f *Found) {
	for _, l := range s.looks {
		if l.begun && l.via == f.Via && fold(l.service) == fold(f.Service) && fold(l.domain) == fold(f.Domain) {
			s.orders = append(s.orders, order{what: reconfirm, look: l, name: f.Name})
		}
	}
}

// pause draws how long to wait before asking again for the round-th time, from 0.
func pause(r *rand.Rand, round int) time.Duration {
	most := float64(firstPause)
	for range min(round, 64) {
		most = min(most*growth, float64(lastPause))
	}
	draw := rand.Float64
	if r != nil {
		draw = r.Float64
	}
	return leastPause + time.Duration(draw()*(most-float64(leastPause)))
}
