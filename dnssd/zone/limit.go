package zone

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limiter bounds how many answers a network gets by UDP, so that nobody has us
// flood a host under whose address he asks. Half of what is over the limit is
// dropped, half is answered with nothing but TC: who is really there asks again
// by TCP.
type Limiter struct {
	rate, burst float64
	seed        maphash.Seed

	mu      sync.Mutex
	buckets []bucket
}

// bucket is what one network has left.
type bucket struct {
	network netip.Prefix
	left    float64
	at      time.Time
	over    uint64 // how many were over the limit
}

// The networks of a Limiter: those that an attacker can't choose from freely.
const (
	networkIPv4 = 24
	networkIPv6 = 56
)

// How many networks a Limiter knows at a time, and in how many places one may stand.
const (
	maxNetworks = 1 << 14
	ways        = 8
)

// NewLimiter returns a limiter of rate answers a second for each network, and
// twice as many at once.
func NewLimiter(rate int) *Limiter {
	return &Limiter{rate: float64(rate), burst: 2 * float64(rate), seed: maphash.MakeSeed(), buckets: make([]bucket, maxNetworks)}
}

// ruling is what becomes of an answer.
type ruling uint8

const (
	pass ruling = iota
	drop
	slip
)

// take takes an answer from what the asker's network has left.
func (l *Limiter) take(now time.Time, from netip.Addr) ruling {
	from = from.Unmap().WithZone("")
	bits := networkIPv4
	if from.Is6() {
		bits = networkIPv6
	}
	network, err := from.Prefix(bits)
	if err != nil {
		return drop // an address of no family
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.find(now, network)
	b.left = min(l.burst, b.left+max(0, now.Sub(b.at).Seconds())*l.rate)
	b.at = now
	if b.left >= 1 {
		b.left--
		return pass
	}
	b.over++
	if b.over%2 == 0 {
		return slip
	}
	return drop
}

// find returns the bucket of a network. A new one takes the place of the one that
// was idle for longest, of those that it may stand in.
func (l *Limiter) find(now time.Time, network netip.Prefix) *bucket {
	first := int(maphash.Comparable(l.seed, network) % maxNetworks)
	oldest := &l.buckets[first]
	for i := range ways {
		b := &l.buckets[(first+i)%maxNetworks]
		if b.network == network {
			return b
		}
		if b.at.Before(oldest.at) {
			oldest = b
		}
	}
	*oldest = bucket{network: network, left: l.burst, at: now}
	return oldest
}
