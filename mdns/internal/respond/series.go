package respond

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// Probes wait for up to 250 ms, so that hosts that are switched on together
	// don't probe together; three follow each other after 250 ms, and 250 ms
	// later the names are ours (RFC 6762 §8.1).
	probeWait  = 250 * time.Millisecond
	probeGap   = 250 * time.Millisecond
	probeCount = 3
	// Who loses a tie-break probes again after a second (§8.2).
	deferWait = time.Second
	// Announcements are sent twice, a second apart (§8.3).
	announcements = 2
	announceGap   = time.Second
	// Some are put off because a record was multicast less than a second ago,
	// but no more than so many are sent (§8.3).
	announcementsMax = 8
)

// series is a row of probes or of announcements that some claims go through
// together: one message for all their names (RFC 6762 §8.1).
type series struct {
	at       time.Time
	announce bool
	step     int // how many were sent
	claims   []*Claim
}

// begin has the claim probe for its names from the beginning, soon.
func (r *Responder) begin(now time.Time, c *Claim) {
	r.probeFrom(now, c, now, probeWait)
}

// probeFrom has the claim's first probe sent between from and window later, with
// others' first probes if some are due then.
func (r *Responder) probeFrom(now time.Time, c *Claim, from time.Time, window time.Duration) {
	if c.probe != nil {
		c.probe.claims = slices.DeleteFunc(c.probe.claims, func(o *Claim) bool { return o == c })
		c.probe = nil
	}
	if c.slow {
		if at := now.Add(conflictWait); at.After(from) {
			from = at
		}
	}
	if !slices.ContainsFunc(c.holds, func(h hold) bool { return !h.claimed }) {
		r.finish(now, c)
		return
	}
	if at := c.probed.Add(probeGap); at.After(from) {
		from = at // begun anew, since the link changed: the pace stays
	}
	c.probe = r.join(from, window)
	c.probe.claims = append(c.probe.claims, c)
	if c.state != Probing {
		c.state = Probing
		r.events = append(r.events, Event{Claim: c, State: Probing})
	}
}

// join returns a series of probes that begins between from and window later.
func (r *Responder) join(from time.Time, window time.Duration) *series {
	to := from.Add(window)
	for _, s := range r.series {
		if !s.announce && s.step == 0 && !s.at.Before(from) && !s.at.After(to) {
			return s
		}
	}
	at := from
	if window > 0 {
		at = from.Add(rand.N(window + 1))
	}
	s := &series{at: at}
	r.series = append(r.series, s)
	return s
}

// announce has the claim's records announced now, and once more.
func (r *Responder) announce(now time.Time, c *Claim) {
	if c.told != nil && c.told.step == 0 && !c.told.at.After(now) {
		return // is about to be
	}
	for _, s := range r.series {
		if s.announce && s.step == 0 && s.at.Equal(now) {
			c.told = s
			s.claims = append(s.claims, c)
			return
		}
	}
	c.told = &series{at: now, announce: true, claims: []*Claim{c}}
	r.series = append(r.series, c.told)
}

// advanceSeries sends the probes and announcements that are due.
func (r *Responder) advanceSeries(now time.Time) {
	for {
		i := slices.IndexFunc(r.series, func(s *series) bool { return !s.at.After(now) })
		if i < 0 {
			return
		}
		s := r.series[i]
		switch {
		case len(s.claims) == 0:
			r.series = slices.Delete(r.series, i, i+1)
		case s.announce:
			r.sendAnnouncements(now, s)
			if s.step++; s.step >= announcements && !s.left() || s.step == announcementsMax {
				r.series = slices.Delete(r.series, i, i+1)
				for _, c := range s.claims {
					if c.told == s {
						c.told = nil
					}
				}
			}
			s.at = now.Add(announceGap)
		case s.step < probeCount:
			if s.step == 0 {
				r.settleLocally(now, s)
			}
			r.sendProbes(now, s)
			s.step++
			s.at = now.Add(probeGap)
		default:
			r.series = slices.Delete(r.series, i, i+1)
			claims := s.claims
			s.claims = nil // who loses to another of them leaves nothing behind
			for _, c := range claims {
				if c.probe == s {
					r.finish(now, c)
				}
			}
		}
	}
}

// settleLocally takes the claims out of the series that another claim of this
// host stands in the way of.
func (r *Responder) settleLocally(now time.Time, s *series) {
	for _, c := range slices.Clone(s.claims) {
		if r.localRival(c) {
			r.lose(now, c, netip.Addr{})
		}
	}
}

// sendProbes sends one probe for all names of the series' claims: a question for
// each, of type ANY, and all records that are proposed in the authority section
// (RFC 6762 §8.1, §8.2). A name's question and its records share a packet.
func (r *Responder) sendProbes(now time.Time, s *series) {
	r.listing++
	var names []*name
	for _, c := range s.claims {
		c.probed = now
		for _, h := range c.holds {
			if !h.claimed && h.name.listed != r.listing {
				h.name.listed = r.listing
				names = append(names, h.name)
			}
		}
	}
	if r.Unicast && len(names) > 0 {
		r.lastQU = now
	}
	for len(names) > 0 {
		n := r.probePacket(names)
		names = names[n:]
	}
}

// probePacket queues a probe for the first few of the names, as many as fit, and
// returns how many those are.
func (r *Responder) probePacket(names []*name) int {
	limit := r.limit()
	n := min(len(names), 1+r.probesFit(names, limit))
	for ; n > 1; n-- {
		if r.buildProbe(names[:n], limit) {
			r.push(packetTo{})
			return n
		}
	}
	if r.buildProbe(names[:1], limit) || r.buildProbe(names[:1], r.maximum()) {
		r.push(packetTo{})
	}
	return 1
}

// probesFit returns how many probes after the first surely don't exceed the
// limit, or a few more.
func (r *Responder) probesFit(names []*name, limit int) int {
	size := headerLen + firstNames
	var parent string
	for i, n := range names {
		label := 1 + int(n.key[0])
		if n.key[label:] != parent {
			parent = n.key[label:]
			size += len(parent)
		}
		size += label + 2 + 4
		for _, s := range n.sets {
			for _, x := range s.records {
				if s.unique {
					size += 2 + cost(x)
				}
			}
		}
		if size > limit {
			return i
		}
	}
	return len(names) - 1
}

func (r *Responder) buildProbe(names []*name, limit int) bool {
	r.builder.Legacy = false
	r.builder.Reset(r.buffer, dnswire.Header{}, limit)
	for _, n := range names {
		if !r.builder.Question(n.name, dnswire.TypeANY, dnswire.ClassIN, r.Unicast) {
			return false
		}
	}
	for _, n := range names {
		for _, rr := range n.proposed() {
			if !r.builder.Authority(rr) {
				return false
			}
		}
	}
	return true
}

// proposed returns the name's unique records, in the order of the tie-break.
func (n *name) proposed() []dnswire.RR {
	var out []dnswire.RR
	for _, s := range n.sets {
		if s.unique {
			for _, x := range s.records {
				out = append(out, x.rr)
			}
		}
	}
	slices.SortFunc(out, compareRecords)
	return out
}

// left says whether there is something that the series has still to announce.
func (s *series) left() bool {
	for _, c := range s.claims {
		if slices.ContainsFunc(c.entries, func(e entry) bool { return e.live && e.left > 0 }) {
			return true
		}
	}
	return false
}

// sendAnnouncements multicasts what the series' claims have to announce: unique
// sets whole, with the cache-flush bit (RFC 6762 §8.3).
func (r *Responder) sendAnnouncements(now time.Time, s *series) {
	r.listing++
	var units []unit
	for _, c := range s.claims {
		for i := range c.entries {
			e := &c.entries[i]
			if !e.live || e.left == 0 || r.limited(now, e.rec, limitAnswer) {
				continue
			}
			e.left--
			units = r.list(units, e.rec)
		}
	}
	r.multicast(now, units)
}
