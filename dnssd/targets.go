package dnssd

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// maxTargets bounds the targets of one service.
const maxTargets = 16

// Target is one of the places where a service is: an SRV record and the
// addresses of its host.
type Target struct {
	Host             string // "nas.local", as dnswire.Name prints it
	Port             uint16
	Priority, Weight uint16
	Addresses        []netip.Addr // none if they aren't known
}

func (t Target) same(o Target) bool {
	return t.Host == o.Host && t.Port == o.Port && t.Priority == o.Priority && t.Weight == o.Weight && slices.Equal(t.Addresses, o.Addresses)
}

// Order returns the service's targets in the order in which to try them
// (RFC 6763 §5, RFC 2782): by priority and, where that is the same, by chance
// with weight. Every client should ask for an order of its own. Chance comes
// from r, or from the runtime if r is nil. A service that isn't resolved has
// none.
func (s *Service) Order(r *rand.Rand) []Target {
	targets := slices.Clone(s.Targets)
	if len(targets) == 0 && s.Host != "" {
		targets = []Target{{Host: s.Host, Port: s.Port, Priority: s.Priority, Weight: s.Weight, Addresses: s.Addresses}}
	}
	// A target "." says that the service is decidedly not there (RFC 2782).
	targets = slices.DeleteFunc(targets, func(t Target) bool { return t.Host == "." })
	OrderTargets(targets, r)
	return targets
}

// OrderTargets puts targets into the order in which to try them, as
// Service.Order says.
func OrderTargets(targets []Target, r *rand.Rand) {
	draw := rand.IntN
	if r != nil {
		draw = r.IntN
	}
	// Within a priority those without weight come first: so a draw of 0 finds
	// them, and that is their small chance.
	slices.SortStableFunc(targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	for len(targets) > 0 {
		n := 1
		for n < len(targets) && targets[n].Priority == targets[0].Priority {
			n++
		}
		shuffle(targets[:n], draw)
		targets = targets[n:]
	}
}

// shuffle orders targets of one priority, those without weight first, as
// RFC 2782 has it: draw from 0 to the sum of weights, and take the first whose
// running sum reaches that.
func shuffle(targets []Target, draw func(int) int) {
	sum := 0
	for _, t := range targets {
		sum += int(t.Weight)
	}
	for ; len(targets) > 1; targets = targets[1:] {
		at, run := draw(sum+1), 0
		i := slices.IndexFunc(targets, func(t Target) bool {
			run += int(t.Weight)
			return run >= at
		})
		t := targets[i]
		copy(targets[1:i+1], targets[:i]) // the order of the others stays
		targets[0] = t
		sum -= int(t.Weight)
	}
}

// targets fills in the targets of a service that has several. It returns
// whether all that there is to know about them is known.
func (c *catalog) targets(now time.Time, s *service, pic *Service) bool {
	facts := s.self.of(dnswire.TypeSRV)
	if c.replaces(now, s, facts) {
		return true // what was told stays
	}
	pic.Targets = nil
	list := bySRV(facts)
	if len(list) < 2 {
		c.depend(s, nil)
		return true
	}
	complete := true
	for i, n := range c.depend(s, list) {
		srv := list[i]
		addresses, _ := n.addresses()
		complete = complete && (len(addresses) > 0 || n.bothFamilies())
		pic.Targets = append(pic.Targets, Target{
			Host: srv.Target.String(), Port: srv.Port, Priority: srv.Priority, Weight: srv.Weight, Addresses: addresses,
		})
	}
	return complete
}

// replaces says whether one of a service's records perhaps stands in the place of
// older ones, which go soon (RFC 6762 §10.2). Then the service is looked at again.
func (c *catalog) replaces(now time.Time, s *service, facts []*fact) bool {
	until := replacedUntil(facts)
	if c.definite || !until.After(now) {
		return false
	}
	if at, waits := c.replacing[s]; !waits || until.Before(at) {
		c.replacing[s] = until
	}
	return true
}

// replacedUntil returns until when it isn't known whether a record stands
// beside older ones or in their place: the records of one burst come within a
// second, and what they replace goes a second later (RFC 6762 §10.2).
func replacedUntil(facts []*fact) time.Time {
	var newest int64
	for _, f := range facts {
		newest = max(newest, f.since)
	}
	for _, f := range facts {
		if newest-f.since > int64(time.Second) {
			return time.Unix(0, newest).Add(replaceWait)
		}
	}
	return time.Time{}
}

// replaceWait is the second after which a record goes that another replaced,
// and a little for the news of it.
const replaceWait = 1100 * time.Millisecond

// bySRV returns the SRV records in their order, the heavier of one priority first.
func bySRV(facts []*fact) []dnswire.SRV {
	if len(facts) < 2 {
		return nil
	}
	var list []dnswire.SRV
	for _, f := range facts {
		if srv, ok := f.rr.SRV(); ok {
			list = append(list, srv)
		}
	}
	slices.SortFunc(list, func(a, b dnswire.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	return list[:min(len(list), maxTargets)]
}

// depend has the service depend on the hosts of its targets, beside s.host, and
// no longer on those that it had. It returns their nodes, in order.
func (c *catalog) depend(s *service, list []dnswire.SRV) []*node {
	var nodes []*node
	old := s.others
	s.others = nil
	for _, srv := range list {
		n := c.use(s, s.key.link, srv.Target)
		nodes = append(nodes, n)
		if n != s.host && !slices.Contains(s.others, n) {
			s.others = append(s.others, n)
		}
	}
	for _, n := range old {
		if n != s.host && !slices.Contains(s.others, n) {
			c.release(s, n)
		}
	}
	for _, n := range s.others {
		c.askHost(s, n)
	}
	return nodes
}
