package access

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// How often somebody may guess wrong: burst times at once, then once in every interval.
// Who knows the password isn't counted, but for signIns.
const (
	guessBurst    = 10
	guessInterval = 10 * time.Second
	// A name from addresses that it never signed in from: slower, as there are many
	// addresses.
	nameInterval = time.Minute
	// signIns bounds the sessions that one user begins.
	signInBurst    = 60
	signInInterval = time.Minute
	// maxChecking bounds the passwords of strangers that wait to be checked; those who
	// signed in before from where they are have as many places more.
	maxChecking = 16
	// slots is how many accounts each table has. Two that fall into one slot share it:
	// so memory is bounded, and nobody can push another's account out by making many.
	slots = 4096
)

// A level counts what costs something: it is when the account is level again, in Unix
// nanoseconds. Each count moves it by interval, and burst intervals ahead of now is too
// far. The zero value is ready.
type level int64

// take counts once, or returns how long to wait until that can be.
func (l *level) take(now time.Time, burst int, interval time.Duration) (wait time.Duration) {
	at, full := level(now.UnixNano()), level(burst)*level(interval)
	// Nobody waits longer because the clock was set back.
	if *l < at || *l-at > full {
		*l = at
	}
	if over := *l + level(interval) - at - full; over > 0 {
		return time.Duration(over)
	}
	*l += level(interval)
	return 0
}

func (l *level) giveBack(interval time.Duration) { *l -= level(interval) }

// A meter is a table of levels.
type meter [slots]level

func (m *meter) of(key uint64) *level { return &m[key%slots] }

// guesses bounds how fast passwords can be tried. A name is slowed down for addresses
// that it never signed in from, and each address that guesses is: so whoever knows a
// name can't keep its user out from where he works. The zero value is ready.
type guesses struct {
	mu       sync.Mutex
	seeded   bool
	seed     maphash.Seed // so that nobody can aim at another's slot
	address  meter
	name     meter
	pair     meter // a name at an address that it signed in from
	signIns  meter
	known    [slots]uint64 // those pairs; a new one takes its slot's place
	checking int
}

// key is a name's or address's place in the tables. The mutex is held.
func (g *guesses) key(parts ...string) uint64 {
	if !g.seeded {
		g.seed, g.seeded = maphash.MakeSeed(), true
	}
	var h maphash.Hash
	h.SetSeed(g.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0) // names hold none
	}
	return h.Sum64()
}

// begin counts a guess at a name's password from an address. It returns what to call
// once it is known whether it was right, or ErrTooMany.
func (g *guesses) begin(name, addr string, now time.Time) (end func(right bool), err error) {
	from := account(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	pair, address, user := g.key(name, from), g.key(from), g.key(name)
	known := g.known[pair%slots] == pair
	if g.checking >= 2*maxChecking || !known && g.checking >= maxChecking {
		return nil, tooMany(time.Second)
	}
	if known {
		if wait := g.pair.of(pair).take(now, guessBurst, guessInterval); wait > 0 {
			return nil, tooMany(wait)
		}
	} else {
		if wait := g.address.of(address).take(now, guessBurst, guessInterval); wait > 0 {
			return nil, tooMany(wait)
		}
		if wait := g.name.of(user).take(now, guessBurst, nameInterval); wait > 0 {
			return nil, tooMany(wait)
		}
	}
	g.checking++
	return func(right bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.checking--
		switch {
		case !right:
		case known:
			g.pair.of(pair).giveBack(guessInterval)
		default:
			g.address.of(address).giveBack(guessInterval)
			g.name.of(user).giveBack(nameInterval)
			g.known[pair%slots] = pair
		}
	}, nil
}

// signIn counts a session that a user begins.
func (g *guesses) signIn(name string, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.signIns.of(g.key(name)).take(now, signInBurst, signInInterval); wait > 0 {
		return tooMany(wait)
	}
	return nil
}

// TooSoon is an ErrTooMany that ends by itself.
type TooSoon struct {
	Wait time.Duration // at least so long
}

// Error implements error.
func (e TooSoon) Error() string {
	return fmt.Sprintf("%v tries; wait %s", ErrTooMany, max(e.Wait.Round(time.Second), time.Second))
}

// Unwrap makes it an ErrTooMany.
func (e TooSoon) Unwrap() error { return ErrTooMany }

func tooMany(wait time.Duration) error { return TooSoon{wait} }

// account returns whose guesses count together: those of one IPv4 address, and of one
// /64 of IPv6, as a machine has all of it. addr is "host:port".
func account(addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	ip := at.Addr().Unmap().WithZone("")
	if prefix, err := ip.Prefix(64); err == nil && ip.Is6() {
		return prefix.String()
	}
	return ip.String()
}

// refused bounds what the audit hears of people who aren't recognised. The zero value
// is ready.
type refused struct {
	mu       sync.Mutex
	level    level
	unlisted int
}

const (
	refusedBurst    = 60
	refusedInterval = time.Minute
)

// list says whether one more is listed, and how many before it weren't.
func (r *refused) list(now time.Time) (unlisted int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.level.take(now, refusedBurst, refusedInterval) > 0 {
		r.unlisted++
		return 0, false
	}
	unlisted, r.unlisted = r.unlisted, 0
	return unlisted, true
}
