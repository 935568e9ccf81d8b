package respond

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Response compares another host's response with what we have: whether it has a
// name that we probe for, other data for what is ours (RFC 6762 §8.1, §9), or the
// same data (§6.6, §7.4).
func (r *Responder) Response(m *Message) {
	if !r.open || len(r.names) == 0 {
		return
	}
	for v := range m.Records() {
		if v.Section == dnswire.Authority || v.Class != dnswire.ClassIN || v.Type == dnswire.TypeOPT {
			continue
		}
		n := r.find(v.Name)
		if n == nil {
			continue
		}
		if x := r.own(&v); x != nil {
			if !m.Unicast {
				r.heardAnswer(m.Time, x, v.TTL)
			}
			continue
		}
		if v.TTL > 0 && len(n.claims) > 0 && !r.ours(m.Time, n, &v) {
			r.rival(m, n, &v)
		}
	}
}

// ours says whether the record is one that we publish, if only on another link, or
// propose to.
func (r *Responder) ours(now time.Time, n *name, v *dnswire.Record) bool {
	r.fold = foldedData(r.fold[:0], v)
	if s := n.set(v.Type); s != nil && s.find(r.fold) != nil {
		return true
	}
	return r.book.has(now, n.key, v.Type, r.fold)
}

// rival is called when another host has a record, not the same as ours, under a
// name that our claims hold.
func (r *Responder) rival(m *Message, n *name, v *dnswire.Record) {
	for _, c := range slices.Clone(n.claims) {
		switch i := slices.IndexFunc(c.holds, func(h hold) bool { return h.name == n }); {
		case i < 0:
		case !c.holds[i].claimed:
			// Any record of the name says that it is taken (RFC 6762 §8.1). What
			// was said before our first probe doesn't count.
			if c.probe != nil && c.probe.step > 0 {
				r.lose(m.Time, c, m.Src.Addr())
			}
		default:
			if s := n.set(v.Type); s != nil && s.unique && s.live > 0 {
				r.contest(m.Time, c, n)
			}
		}
	}
}

// contest puts a claim back to probing at once: another host has other data for
// one of its names, and the probes will show whose it is (RFC 6762 §9).
func (r *Responder) contest(now time.Time, c *Claim, n *name) {
	r.countConflict(now, c)
	r.reset(c)
	for i := range c.holds {
		c.holds[i].claimed = c.holds[i].claimed && c.holds[i].name != n
	}
	r.probeFrom(now, c, now, 0)
}

// lose gives the claim up to another host. Its records are no longer ours, so
// there is nothing to take back.
func (r *Responder) lose(now time.Time, c *Claim, to netip.Addr) {
	r.countConflict(now, c)
	r.reset(c)
	c.state, c.probed = Conflicted, time.Time{} // its next names are others
	r.events = append(r.events, Event{Claim: c, State: Conflicted, Rival: to})
}

func (r *Responder) countConflict(now time.Time, c *Claim) {
	r.count.Conflicts.Add(1)
	if r.book.conflict(now) {
		c.slow = true
	}
}

// OwnElsewhere is called with a response of ours that was sent on another link
// and came in on this one: the two are one. If it made others flush records of
// this link they are announced again, unless that has just been done
// (RFC 6762 §10.2, §14).
func (r *Responder) OwnElsewhere(now time.Time, m *dnswire.Message) {
	if !r.open || !m.Response {
		return
	}
	for v := range m.Records() {
		if !v.Flush || v.TTL == 0 {
			continue
		}
		n := r.find(v.Name)
		if n == nil {
			continue
		}
		s := n.set(v.Type)
		if s == nil || !s.unique || s.live == 0 {
			continue
		}
		r.fold = foldedData(r.fold[:0], &v)
		if s.find(r.fold) == nil && !r.limited(now, s.records[0], limitAnswer) {
			r.repair(now, s.records[0])
		}
	}
}

// Expects says whether the unicast response may be one to a probe of ours: of
// names that are being probed.
func (r *Responder) Expects(now time.Time, m *dnswire.Message) bool {
	if r.lastQU.IsZero() || now.Sub(r.lastQU) > unicastWindow {
		return false
	}
	for v := range m.Records() {
		if n := r.find(v.Name); n != nil && len(n.claims) > 0 {
			return true
		}
	}
	return false
}

// unicastWindow is how long after a probe unicast responses are listened to
// (RFC 6762 §6).
const unicastWindow = 2 * time.Second
