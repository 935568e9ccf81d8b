package respond

import (
	"maps"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

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

// pastRecords is how many records that are no longer published are remembered
// before old ones are looked for.
const pastRecords = 256

// leftBehind remembers of a record that is taken out when it was multicast: it
// may come back before it may be multicast again. Of a unique set fold is "".
func (r *Responder) leftBehind(now time.Time, name string, t dnswire.Type, fold string, last time.Time) {
	if last.IsZero() || now.Sub(last) >= limitAnswer {
		return
	}
	if len(r.past) >= pastRecords {
		maps.DeleteFunc(r.past, func(_ pastKey, at time.Time) bool { return now.Sub(at) >= limitAnswer })
	}
	r.past[pastKey{name, t, fold}] = last
}

// remember returns what leftBehind noted, the zero time if nothing.
func (r *Responder) remember(name string, t dnswire.Type, fold string) time.Time {
	return r.past[pastKey{name, t, fold}]
}

type pastKey struct {
	name string
	typ  dnswire.Type
	fold string
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
