package syncthing

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Devices new to the server that one prefix may announce: some at once, and then
// one a second. It bounds the part of the directory that one prefix can fill.
const (
	freshBurst = 256
	freshEvery = time.Second
)

// limiter bounds what one prefix may ask for: a /24 of IPv4, a /64 of IPv6. It is told
// the time.
//
// A meter is the time up to which what passed is paid for (the generic cell rate
// algorithm): each pass adds its price, and none may get further ahead of now than the
// burst. Meters are found by a hash of the prefix that nobody outside can foretell. Two
// prefixes may share one, and no flood of made-up sources needs more memory or
// takes anything from more than a few others.
type limiter struct {
	price  time.Duration // of a request
	meters []meter
	seed   maphash.Seed
}

// meter is of a prefix, in nanoseconds. Several readers use it at the same time.
type meter struct{ requests, fresh atomic.Int64 }

const meters = 1 << 16

// newLimiter makes a limiter that lets a number of requests a second pass for
// each prefix, and as many at once.
func newLimiter(perSecond int) *limiter {
	return &limiter{price: time.Second / time.Duration(perSecond), meters: make([]meter, meters), seed: maphash.MakeSeed()}
}

// request counts a request and says whether it may be served. A nil limiter has no limits.
func (l *limiter) request(now int64, src netip.Addr) bool {
	return l == nil || take(&l.meter(src).requests, now, l.price, time.Second)
}

// fresh counts a device new to the server and says whether it may be taken in.
func (l *limiter) fresh(now int64, src netip.Addr) bool {
	return l == nil || take(&l.meter(src).fresh, now, freshEvery, freshBurst*freshEvery)
}

func (l *limiter) meter(src netip.Addr) *meter {
	b := src.As16()
	key := b[:8]
	if src = src.Unmap(); src.Is4() {
		key = b[8:] // ::ffff:192.0.2.7
		b[15] = 0
	}
	h := maphash.Bytes(l.seed, key)
	return &l.meters[h%meters]
}

// take lets one pass if the meter doesn't get further ahead than the burst.
func take(at *atomic.Int64, now int64, price, burst time.Duration) bool {
	for {
		was := at.Load()
		ahead := max(was, now) + int64(price)
		if ahead-now > int64(burst) {
			return false
		}
		if at.CompareAndSwap(was, ahead) {
			return true
		}
	}
}
