package unicast

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// along is a set of records that a server sent along with an answer, which
// needn't be asked for then (RFC 6763 §12): the SRV and TXT records of the
// instances that a PTR answer names, and the addresses of the hosts that SRV records name.
//
// It is believed as much as the answer that it came with, for it came from the same server in
// the same message, and it is about a name to which that answer leads; anything
// else in the additional section is ignored. Servers leave whole sets out where
// there is no room for them, but never send half of one (RFC 2181 §9).
type along struct {
	key     key
	name    dnswire.Name
	records []dnswire.RR // none: see denial
	ttl     time.Duration
	// denial says that addresses of the other family came and none of this one:
	// most likely there are none. It is asked for later.
	denial bool
}

// mostAlong bounds the sets that are taken from one message.
const mostAlong = 4 * 1024

// cameAlong takes from a message what its server sent along with the answer to
// a question of a type.
func cameAlong(m *dnswire.Message, t dnswire.Type, answer []dnswire.RR) []along {
	if m.ARCount == 0 || m.Truncated || t != dnswire.TypePTR && t != dnswire.TypeSRV {
		return nil
	}
	x := extras{at: map[key]int{}}
	for _, rr := range answer {
		x.lead(rr)
	}
	// SRV records that came along lead on to hosts.
	if t == dnswire.TypePTR {
		x.collect(m, dnswire.TypeSRV, dnswire.TypeTXT)
		for _, s := range x.sets {
			for _, rr := range s.records {
				x.lead(rr)
			}
		}
	}
	x.collect(m, dnswire.TypeA, dnswire.TypeAAAA)
	return x.told()
}

// extras are the sets for which there is a reason, those without records so far too.
type extras struct {
	at   map[key]int
	sets []along
}

// lead notes what may come along with a record.
func (x *extras) lead(rr dnswire.RR) {
	if to, ok := rr.PTR(); ok {
		x.expect(to, dnswire.TypeSRV)
		x.expect(to, dnswire.TypeTXT)
	} else if srv, ok := rr.SRV(); ok {
		x.expect(srv.Target, dnswire.TypeA)
		x.expect(srv.Target, dnswire.TypeAAAA)
	}
}

func (x *extras) expect(n dnswire.Name, t dnswire.Type) {
	k := key{n.Fold(), t}
	if _, dup := x.at[k]; dup || len(x.sets) >= mostAlong || Multicast(n) {
		return
	}
	x.at[k] = len(x.sets)
	x.sets = append(x.sets, along{key: k, name: n, ttl: longest})
}

// collect takes the records of two types that are expected.
func (x *extras) collect(m *dnswire.Message, types ...dnswire.Type) {
	for r := range m.Records() {
		if r.Section != dnswire.Additional || r.Class != dnswire.ClassIN || r.Type != types[0] && r.Type != types[1] {
			continue
		}
		name := r.Name.Name()
		i, ok := x.at[key{name.Fold(), r.Type}]
		if !ok || len(x.sets[i].records) >= maxRecords {
			continue
		}
		s := &x.sets[i]
		rr := r.RR()
		rr.Flush = false
		s.records = append(s.records, rr)
		s.ttl = min(s.ttl, seconds(r.TTL))
	}
}

// told returns the sets that the message says something about.
func (x *extras) told() []along {
	var out []along
	for _, s := range x.sets {
		if len(s.records) == 0 {
			other, ok := otherFamily[s.key.typ]
			i, expected := x.at[key{s.key.name, other}]
			if !ok || !expected || len(x.sets[i].records) == 0 {
				continue
			}
			s.denial, s.ttl = true, x.sets[i].ttl
		}
		out = append(out, s)
	}
	return out
}

var otherFamily = map[dnswire.Type]dnswire.Type{dnswire.TypeA: dnswire.TypeAAAA, dnswire.TypeAAAA: dnswire.TypeA}

// origin says how the cache came to know an answer.
type origin uint8

const (
	direct  origin = iota // it was asked for
	came                  // it came along with another
	guessed               // it is none, since addresses of the other family came alone
)

const (
	// Addresses of the other family are asked for when the first look is over,
	// spread a bit.
	laterLeast  = time.Second
	laterSpread = 4 * time.Second
)

// takeAlong takes in what came along with an answer. What was asked for itself is
// only replaced when it is about to be asked for again.
func (c *cache) takeAlong(now time.Time, server netip.AddrPort, x along) {
	e := c.entries[x.key]
	size := sizeOf(x.records)
	switch {
	case e == nil && len(c.entries) >= maxQuestions, c.bytes+size > maxBytes:
		return // nothing makes room for it
	case e == nil:
		e = &entry{key: x.key, name: x.name, users: map[user]*interest{}, place: -1}
		c.entries[x.key] = e
		c.idle++
	case e.flying, x.denial, e.known && e.origin == direct && now.Before(e.heard.Add(e.expires.Sub(e.heard)*8/10)):
		return
	case len(e.users) > 0:
		c.spared++
	}
	a := answer{verdict: found, records: x.records, ttl: x.ttl, server: server}
	how := came
	if x.denial {
		a.verdict, how = noData, guessed
	}
	c.take(now, e, a, how)
}
