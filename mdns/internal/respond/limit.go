package respond

import "time"

const (
	// A record isn't multicast again within a second, or a quarter of one when
	// a name is defended against a probe (RFC 6762 §6).
	limitAnswer = time.Second
	limitProbe  = 250 * time.Millisecond
)

// limited says whether the record was multicast so lately that it mustn't be
// multicast now.
func (r *Responder) limited(now time.Time, x *record, limit time.Duration) bool {
	last := x.multicast()
	return !last.IsZero() && now.Sub(last) < limit
}

const (
	// Unicast answers have no such limit; so a host that asks for a large one
	// over and over, or in another's name, gets so many packets at most.
	unicastRate  = 2000 // a second
	unicastBurst = 2000
)

// bucket lets through so many packets a second. What takes more than there is
// makes up for it later.
type bucket struct {
	tokens float64
	at     time.Time
}

// ready says whether something may be taken.
func (b *bucket) ready(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = unicastBurst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*unicastRate, unicastBurst)
	}
	b.at = now
	return b.tokens >= 1
}

func (b *bucket) take(n int) { b.tokens -= float64(n) }
