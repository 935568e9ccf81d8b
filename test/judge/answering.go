package judge

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// flushBit: unique records have it in responses, shared ones never, and no
// record that goes to a legacy host.
func flushBit(b *bench) {
	for _, m := range b.own {
		if !m.Response() {
			continue
		}
		for _, r := range m.Records {
			if want := !r.Shared() && !m.toLegacy(); r.Flush != want {
				b.fault(m, "flush bit of %s is %v", r.Key, r.Flush)
			}
		}
	}
}

// ttls: 120 s for what holds a host's name, 75 minutes for the rest.
func ttls(b *bench) {
	if !b.DefaultTTLs {
		return
	}
	for _, m := range b.own {
		if !m.Response() || m.toLegacy() {
			continue
		}
		for _, r := range m.Records {
			want := uint32(4500)
			switch r.Type {
			case dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeHINFO:
				want = 120
			case dns.TypeNSEC:
				if r.TTL == 120 || r.TTL == 4500 {
					continue
				}
			case dns.TypePTR:
				if !r.Shared() {
					want = 120
				}
			}
			if r.TTL != 0 && r.TTL != want {
				b.fault(m, "%s has TTL %d", r.Key, r.TTL)
			}
		}
	}
}

// recordRate: a record isn't multicast again within a second, or within 250 ms
// in defence against a probe.
func recordRate(b *bench) {
	last := map[string]*Message{}
	lastTTL := map[string]uint32{}
	probed := map[string]time.Time{}
	for _, m := range b.Messages {
		if !b.Is(&m.Packet) {
			if m.Probe() {
				for _, q := range m.Questions {
					probed[m.family()+q.Name] = m.Time
				}
			}
			continue
		}
		if !m.Response() || !m.Multicast() {
			continue
		}
		for _, r := range m.Records {
			key := m.family() + r.Key
			l := last[key]
			// A goodbye is news, and so is what comes after one.
			if l != nil && l != m && (lastTTL[key] == 0) == (r.TTL == 0) && !between(b.Starts, l.Time, m.Time) {
				least := time.Second
				if at, ok := probed[m.family()+r.Name]; ok && m.Time.Sub(at) < time.Second {
					least = probeGap
				}
				if gap := m.Time.Sub(l.Time); gap < least-b.early(l) {
					b.fault(m, "%s multicast again after %v", r.Key, gap)
				}
			}
			last[key], lastTTL[key] = m, r.TTL
		}
	}
}

// The delays of answers to which others may have some, too.
const (
	sharedMin = 20 * time.Millisecond
	// A delay from a question to its answer only gets longer on a busy machine.
	clockNoise = time.Millisecond
	// How long before an answer its question can have been at most: 500 ms for
	// the known answers of a truncated query, and as much for others to share
	// the packet with.
	askedBefore = 1120 * time.Millisecond
)

// sharedDelay: a shared record is multicast in answer to a question 20 ms after
// it at the earliest.
func sharedDelay(b *bench) {
	type times []time.Time
	asked := map[string]times{} // by family, name and type
	first := map[string]time.Time{}
	for _, m := range b.Messages {
		if !b.Is(&m.Packet) {
			if m.Query() && m.Src.Port() == 5353 {
				for _, q := range m.Questions {
					key := m.family() + q.Name
					list := asked[key]
					for len(list) > 0 && m.Time.Sub(list[0]) > askedBefore+b.Late {
						list = list[1:]
					}
					asked[key] = append(list, m.Time)
				}
			}
			continue
		}
		if !m.Response() || !m.Multicast() {
			continue
		}
		for _, r := range m.Records {
			if !r.Shared() || r.Section != Answer || r.TTL == 0 {
				continue
			}
			key := m.family() + r.Key
			if _, ok := first[key]; !ok || between(b.Starts, first[key], m.Time) {
				first[key] = m.Time
			}
			// An announcement, and not an answer.
			if m.Time.Sub(first[key]) <= 3*time.Second+b.Late {
				continue
			}
			soonest := time.Duration(-1)
			for _, at := range asked[m.family()+r.Name] {
				if d := m.Time.Sub(at); d <= askedBefore+b.Late {
					soonest = max(soonest, d)
				}
			}
			if soonest >= 0 && soonest < sharedMin-clockNoise {
				b.fault(m, "%s answered after %v", r.Key, soonest)
			}
		}
	}
}

// unicastAsked: a response to one host alone answers a question of that host's,
// asked with the QU bit, by unicast, from another port, or by a probe.
func unicastAsked(b *bench) {
	for _, m := range b.own {
		if !m.Response() || m.Multicast() {
			continue
		}
		if b.askedBy(m) == nil {
			b.fault(m, "a unicast response to no question")
		}
	}
}

// askedBy returns the last message that a unicast response can be for.
func (b *bench) askedBy(m *Message) *Message {
	// Virtual time may stand still from question to answer.
	i, _ := slices.BinarySearchFunc(b.Messages, m.Time.Add(1), func(x *Message, t time.Time) int { return x.Time.Compare(t) })
	for i--; i >= 0; i-- {
		q := b.Messages[i]
		if m.Time.Sub(q.Time) > askedBefore+b.Late {
			return nil
		}
		if q.Src != m.Dst || q.Err != nil || q.Msg.Response || m.toLegacy() && q.Msg.Id != m.Msg.Id {
			continue
		}
		unicast := !q.Multicast() || q.Src.Port() != 5353 || slices.ContainsFunc(q.Questions, func(x Question) bool { return x.Unicast })
		if unicast && slices.ContainsFunc(m.Records, func(r Record) bool { return q.Asks(&r) || r.Type == dns.TypeNSEC }) {
			return q
		}
	}
	return nil
}

// legacy: the answer to a host that doesn't speak mDNS looks like that of a
// plain name server.
func legacy(b *bench) {
	for _, m := range b.own {
		if !m.toLegacy() {
			continue
		}
		q := b.askedBy(m)
		if q == nil {
			b.fault(m, "no query with ID %d", m.Msg.Id)
			continue
		}
		if len(m.Msg.Question) != len(q.Msg.Question) {
			b.fault(m, "%d questions, %d were asked", len(m.Msg.Question), len(q.Msg.Question))
		}
		for i, x := range m.Questions {
			if i < len(q.Questions) && (x.Name != q.Questions[i].Name || x.Type != q.Questions[i].Type) {
				b.fault(m, "question %d isn't the one that was asked", i+1)
			}
		}
		for _, r := range m.Records {
			if r.TTL > 10 {
				b.fault(m, "%s has TTL %d", r.Key, r.TTL)
			}
			if srv, ok := r.RR.(*dns.SRV); ok && int(srv.Hdr.Rdlength) != 6+len(srv.Target)+1-escapes(srv.Target) {
				b.fault(m, "the target of %s is compressed", r.Key)
			}
		}
	}
}

// escapes returns by how many bytes a name is longer as text than on the wire,
// where each label has a byte for its length in place of the dot behind it.
func escapes(name string) int {
	n := 0
	for i := 0; i < len(name); i++ {
		if name[i] != '\\' {
			continue
		}
		if i+1 < len(name) && name[i+1] >= '0' && name[i+1] <= '9' {
			n, i = n+3, i+3
		} else {
			n, i = n+1, i+1
		}
	}
	return n
}

// nsec: of itself, of block 0, without its own bit, and with the types that the
// host has.
func nsec(b *bench) {
	has := map[string]map[uint16]time.Time{}
	for _, m := range b.own {
		if !m.Response() {
			continue
		}
		for _, r := range m.Records {
			if r.Type == dns.TypeNSEC || r.TTL == 0 || r.Shared() {
				continue
			}
			key := m.family() + r.Name
			if has[key] == nil {
				has[key] = map[uint16]time.Time{}
			}
			has[key][r.Type] = m.Time.Add(time.Duration(r.TTL) * time.Second)
		}
		for _, r := range m.Records {
			rr, ok := r.RR.(*dns.NSEC)
			if !ok {
				continue
			}
			if fold(rr.NextDomain) != r.Name {
				b.fault(m, "the next name of %s is another", r.Key)
			}
			for _, typ := range rr.TypeBitMap {
				if typ == dns.TypeNSEC || typ > 255 {
					b.fault(m, "%s lists %s", r.Key, dns.TypeToString[typ])
				}
			}
			for typ := range has[m.family()+r.Name] {
				same := slices.ContainsFunc(m.Records, func(x Record) bool { return x.Name == r.Name && x.Type == typ && x.TTL > 0 })
				if same && !slices.Contains(rr.TypeBitMap, typ) {
					b.fault(m, "%s denies %s, which is there", r.Key, dns.TypeToString[typ])
				}
			}
		}
	}
}

// goodbye: a host that is told to stop takes everything back that it said.
func goodbye(b *bench) {
	if b.Stopped.IsZero() {
		return
	}
	live := map[string]*Message{}
	ttl := map[string]uint32{}
	for _, m := range b.own {
		if !m.Response() || !m.Multicast() {
			continue
		}
		fresh := map[string]bool{}
		for _, r := range m.Records {
			fresh[m.family()+r.Key] = true
		}
		for _, r := range m.Records {
			key := m.family() + r.Key
			if r.Type == dns.TypeNSEC {
				continue
			}
			if r.TTL == 0 {
				delete(live, key)
				continue
			}
			live[key], ttl[key] = m, r.TTL
			if !r.Flush {
				continue
			}
			for k, l := range live {
				if !fresh[k] && strings.HasPrefix(k, m.family()+r.Name+" "+dns.TypeToString[r.Type]+" ") && m.Time.Sub(l.Time) > time.Second {
					delete(live, k)
				}
			}
		}
	}
	for key, m := range live {
		if m.Time.Add(time.Duration(ttl[key]) * time.Second).After(b.Stopped) {
			b.fault(m, "no goodbye for %s", key)
		}
	}
}
