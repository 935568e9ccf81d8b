package respond

import (
	"net/netip"
	"slices"
	"time"
)

// State is how far a Claim is.
type State uint8

// The states of a Claim.
const (
	Idle       State = iota // the zone has no socket, or there are no records
	Probing                 // asking whether the names are free (RFC 6762 §8.1)
	Announced               // the names are ours
	Conflicted              // another host has one of the names
)

// Claim is a set of records in one zone that are probed, announced and taken
// back together.
type Claim struct {
	// Owner is whatever the caller wants to find again in an Event.
	Owner any

	entries []entry
	holds   []hold
	state   State
	probe   *series   // its probes, nil when none are under way
	told    *series   // its latest announcements
	slow    bool      // too many conflicts: waits before each attempt
	probed  time.Time // when its names were last probed
}

// State returns how far the claim is.
func (c *Claim) State() State { return c.state }

// Empty says whether the claim has no records.
func (c *Claim) Empty() bool { return len(c.entries) == 0 }

// entry is one record of a claim.
type entry struct {
	rec     *record
	noProbe bool
	live    bool
	left    uint8 // announcements that are still to be sent
}

// hold is a claim's hold on a name.
type hold struct {
	name    *name
	noProbe bool // it is claimed without probing, and probed only after a conflict
	claimed bool
}

// Event tells of a change of a claim's state.
type Event struct {
	Claim *Claim
	State State
	// Rival is who has the name that a Conflicted claim lost. The zero address
	// means another claim of this host.
	Rival netip.Addr
}

// NewClaim returns a claim without records.
func (r *Responder) NewClaim(owner any) *Claim {
	c := &Claim{Owner: owner}
	r.claims[c] = struct{}{}
	return c
}

// Set gives the claim its records. New names are probed, changed records of
// names that are claimed are announced at once (RFC 6762 §8.4), and what is no
// longer among them is taken back. renamed says that the claim lost its names:
// then nothing of the old is taken back, since it is another host's now. It returns
// how many of the records can't be published: they aren't valid or too long.
func (r *Responder) Set(now time.Time, c *Claim, records []Record, renamed bool) (bad int) {
	old := c.entries
	was := make(map[*record]*entry, len(old))
	for i := range old {
		was[old[i].rec] = &old[i]
	}
	changed, stays := map[*set]bool{}, map[*set]bool{}
	c.entries = make([]entry, 0, len(records))
	seen := make(map[*record]bool, len(records))
	for _, rec := range records {
		rec = rec.normal()
		if !r.fits(rec.RR) {
			bad++
			continue
		}
		x := r.acquire(rec)
		if seen[x] {
			r.release(now, x)
			continue
		}
		seen[x] = true
		stays[x.set] = true
		e := entry{rec: x, noProbe: rec.NoProbe}
		if o := was[x]; o != nil {
			e.live, e.left = o.live, o.left
			if x.rr.TTL != rec.RR.TTL || x.rr.Name != rec.RR.Name || x.rr.Data != rec.RR.Data { // or another case
				x.rr = rec.RR
				e.left = announcements
				changed[x.set] = true
			}
		}
		c.entries = append(c.entries, e)
	}
	for i := range old {
		x := old[i].rec
		if old[i].live && !seen[x] {
			x.setLive(false)
			switch {
			case x.live > 0 || renamed:
			case x.set.unique && (x.set.live > 0 || stays[x.set]):
				changed[x.set] = true // the announcement of the others flushes this one
			default:
				r.goodbyes = append(r.goodbyes, x.wire())
			}
		}
		r.release(now, x)
	}
	r.sendGoodbyes()
	for i := range c.entries {
		if e := &c.entries[i]; e.live && changed[e.rec.set] && e.rec.set.unique {
			e.left = announcements
		}
	}
	fresh := r.hold(c, renamed)
	switch {
	case !r.open:
	case len(c.entries) == 0:
		r.leave(c)
		c.state = Idle
	case fresh:
		r.begin(now, c)
	case c.probe == nil:
		r.finish(now, c)
	}
	return bad
}

// hold takes the names of the claim's probed records and says whether they must
// be probed now: because there are new ones, or because the data of those that
// are being probed changed.
func (r *Responder) hold(c *Claim, anew bool) (fresh bool) {
	old := make(map[*name]hold, len(c.holds))
	for _, h := range c.holds {
		old[h.name] = h
	}
	c.holds = nil
	r.listing++
	for _, probed := range [...]bool{true, false} {
		for i := range c.entries {
			e := &c.entries[i]
			n := e.rec.set.name
			if !e.rec.set.unique || e.noProbe == probed || n.listed == r.listing || e.noProbe && n.reverse() {
				continue
			}
			n.listed = r.listing
			was, held := old[n]
			if !held {
				n.claims = append(n.claims, c)
			}
			delete(old, n)
			h := hold{name: n, noProbe: e.noProbe, claimed: e.noProbe}
			if held && !anew && was.noProbe == h.noProbe {
				h.claimed = was.claimed
			}
			fresh = fresh || !h.claimed
			c.holds = append(c.holds, h)
		}
	}
	for n := range old {
		n.drop(c)
	}
	return fresh
}

// reverse says whether the name leads back from an address. Two hosts that
// disagree about one quarrel over the address, which no other name would end.
func (n *name) reverse() bool { return reverseName(n.key) }

func (n *name) drop(c *Claim) {
	n.claims = slices.DeleteFunc(n.claims, func(o *Claim) bool { return o == c })
}

// Remove takes the claim back. Others are told that its records are gone
// (RFC 6762 §10.1).
func (r *Responder) Remove(now time.Time, c *Claim) {
	if _, ok := r.claims[c]; !ok {
		return
	}
	r.Set(now, c, nil, !r.open)
	r.leave(c)
	delete(r.claims, c)
}

// reset makes the claim one that has nothing yet, without a word to anyone.
func (r *Responder) reset(c *Claim) {
	r.leave(c)
	for i := range c.entries {
		e := &c.entries[i]
		if e.live {
			e.rec.setLive(false)
		}
		e.live, e.left = false, 0
	}
	for i := range c.holds {
		c.holds[i].claimed = c.holds[i].noProbe
	}
}

// leave takes the claim out of its series.
func (r *Responder) leave(c *Claim) {
	for _, s := range [...]*series{c.probe, c.told} {
		if s != nil {
			s.claims = slices.DeleteFunc(s.claims, func(o *Claim) bool { return o == c })
		}
	}
	c.probe, c.told = nil, nil
}

// finish is called when all of the claim's names are its own: what isn't live
// yet becomes so and is announced.
func (r *Responder) finish(now time.Time, c *Claim) {
	if r.localRival(c) {
		r.lose(now, c, netip.Addr{})
		return
	}
	c.probe = nil
	for i := range c.holds {
		c.holds[i].claimed = true
	}
	announce := false
	for i := range c.entries {
		e := &c.entries[i]
		if !e.live {
			e.live, e.left = true, announcements
			e.rec.setLive(true)
		}
		announce = announce || e.left > 0
	}
	if c.state != Announced {
		c.state, c.slow = Announced, false
		r.events = append(r.events, Event{Claim: c, State: Announced})
	}
	if announce {
		r.announce(now, c)
	}
}

// localRival says whether another claim of this host already has other records
// where this one wants to be unique.
func (r *Responder) localRival(c *Claim) bool {
	for i := range c.entries {
		s := c.entries[i].rec.set
		if c.entries[i].live || c.entries[i].noProbe || !s.unique || s.live == 0 {
			continue
		}
		for _, x := range s.records {
			if x.live > 0 && !slices.ContainsFunc(c.entries, func(e entry) bool { return e.rec == x }) {
				return true
			}
		}
	}
	return false
}
