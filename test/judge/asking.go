package judge

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// queryGap: a question isn't asked twice within a second, unless the host
// started anew between.
func queryGap(b *bench) {
	last := map[string]*Message{}
	for _, m := range b.own {
		if !m.Query() {
			continue
		}
		for _, q := range m.Questions {
			key := m.family() + q.Name + " " + dns.TypeToString[q.Type]
			if l := last[key]; l != nil && l != m {
				gap := m.Time.Sub(l.Time)
				if gap < time.Second-b.early(l) && !between(b.anew(), l.Time.Add(-firstDelay-b.Late), m.Time) {
					b.fault(m, "%s asked again after %v", key, gap)
				}
			}
			last[key] = m
		}
	}
}

// anew returns when the host begins to ask from the beginning.
func (b *bench) anew() []time.Time { return slices.Concat(b.Starts, b.Changes) }

const (
	// firstDelay is the longest delay of a first query.
	firstDelay = 120 * time.Millisecond
	// quWindow is how long after a start unicast answers may be asked for: the
	// delay of first queries, and a second for questions that come with the start.
	quWindow = time.Second + firstDelay
)

// unicastQuestions: unicast answers are asked for when the host starts, and
// once for each question.
func unicastQuestions(b *bench) {
	asked := map[string]time.Time{}
	starts := b.anew()
	for _, m := range b.own {
		if !m.Query() {
			continue
		}
		if b.Whole && len(starts) == 0 {
			starts = []time.Time{m.Time}
		}
		for _, q := range m.Questions {
			if !q.Unicast {
				continue
			}
			key := m.family() + q.Name + " " + dns.TypeToString[q.Type]
			if !between(starts, m.Time.Add(-quWindow-b.Late), m.Time) {
				b.fault(m, "unicast answers to %s asked for long after the start", key)
			}
			if at, again := asked[key]; again && !between(starts, at, m.Time) {
				b.fault(m, "unicast answers to %s asked for again after %v", key, m.Time.Sub(at))
			}
			asked[key] = m.Time
		}
	}
}

// heard is one time that a record was said by others.
type heard struct {
	at  time.Time
	ttl uint32
}

// knownAnswers: those listed were heard from somebody, with more than half of
// their TTL left, have the TTL that is left, answer a question, and have no
// flush bit.
func knownAnswers(b *bench) {
	said := map[string][]heard{}
	published := map[string]uint32{} // TTLs of what the host says itself
	addresses := map[netip.Addr]bool{}
	for _, m := range b.own {
		addresses[m.Src.Addr()] = true
	}
	var open []Question // of a query whose known answers go on in more packets
	for _, m := range b.Messages {
		own := b.Is(&m.Packet)
		switch {
		case m.Response() && !own && (m.Multicast() || addresses[m.Dst.Addr()]):
			for _, r := range m.Records {
				// Older ones can't be what a known answer comes from.
				list := said[m.family()+r.Key]
				if len(list) > 8 {
					list = list[1:]
				}
				said[m.family()+r.Key] = append(list, heard{m.Time, r.TTL})
			}
		case own && m.Response():
			for _, r := range m.Records {
				published[m.family()+r.Key] = max(published[m.family()+r.Key], r.TTL)
			}
		case own && m.Query():
			if len(m.Questions) > 0 {
				open = m.Questions
			}
			for _, r := range m.Records {
				if r.Section != Answer {
					b.fault(m, "%s stands in another section", r.Key)
					continue
				}
				key := m.family() + r.Key
				b.knownAnswer(m, &r, open, said[key], published[key])
			}
		}
	}
}

func (b *bench) knownAnswer(m *Message, r *Record, open []Question, said []heard, own uint32) {
	if r.Flush {
		b.fault(m, "%s has the flush bit", r.Key)
	}
	asked := Message{Questions: open}
	if !asked.Asks(r) {
		b.fault(m, "%s answers no question", r.Key)
	}
	if r.TTL > 0 && r.TTL <= own {
		return
	}
	best := time.Duration(-1)
	for _, h := range said {
		if h.ttl == 0 {
			continue
		}
		left := time.Duration(h.ttl)*time.Second - m.Time.Sub(h.at)
		off := max(left-time.Duration(r.TTL)*time.Second, time.Duration(r.TTL)*time.Second-left)
		if off <= time.Second+b.Late && 2*left >= time.Duration(h.ttl)*time.Second-b.Late {
			return
		}
		if best < 0 || off < best {
			best = off
		}
	}
	if best < 0 && b.Whole {
		b.fault(m, "nobody said %s", r.Key)
	} else if best >= 0 {
		b.fault(m, "%s is listed with TTL %d: not what is left of it, or less than half", r.Key, r.TTL)
	}
}

// truncation: what is announced with TC follows at once, without questions, and
// the last has no TC.
func truncation(b *bench) {
	open := map[string]*Message{}
	for _, m := range b.own {
		if !m.Query() {
			continue
		}
		before := open[m.family()]
		more := len(m.Questions) == 0
		switch {
		case more && before == nil:
			b.fault(m, "a query without a question follows none that is truncated")
		case more && m.Time.Sub(before.Time) > 20*time.Millisecond+b.Late:
			b.fault(m, "more known answers after %v", m.Time.Sub(before.Time))
		case !more && before != nil:
			b.fault(before, "no more known answers follow")
		}
		delete(open, m.family())
		if m.Msg.Truncated {
			open[m.family()] = m
		}
	}
	for _, m := range open {
		b.fault(m, "no more known answers follow")
	}
}
