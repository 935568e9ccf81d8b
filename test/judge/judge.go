// Package judge says whether what a host sent on a link keeps to RFC 6762. It
// is given a capture and knows nothing of the host: packets are read by a DNS
// library that lanfolk's own mDNS doesn't use, so that it can bear witness for
// or against it.
//
//	trace := judge.Read(packets)
//	for _, f := range trace.Judge(judge.Subject{Is: judge.From(addr)}) { t.Error(f) }
//
// Each [Rule] holds whatever the host was doing, so that one capture is held
// against all of them. What a test alone can know, such as that a question was
// to be answered, the test looks for itself with [Trace.By].
//
// A capture is of one link. Its times are those of a noisy machine:
// [Subject] says how far they may be off.
package judge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Packet is one UDP datagram, put together where it came in fragments.
type Packet struct {
	Time     time.Time
	Host     string // who sent it, where the capture knows that
	Src, Dst netip.AddrPort
	TTL      int // IP TTL or hop limit
	// Fragmented says that it came in more than one IP packet.
	Fragmented bool
	Data       []byte
}

// Subject is the host that is judged.
type Subject struct {
	// Is says whether the host sent a packet.
	Is func(*Packet) bool
	// MTU is the link's in bytes, 0 for 1500.
	MTU int
	// Early and Late are how much too early and too late a packet may seem.
	Early, Late time.Duration
	// Lag, if not nil, says by how much the machine was late at a time: a packet
	// that was sent late makes the gap to the next one shorter.
	Lag func(time.Time) time.Duration
	// Whole says that the capture began before the host first spoke.
	Whole bool
	// DefaultTTLs says that its records have the TTLs that §10 recommends.
	DefaultTTLs bool
	// Starts are when the host started, woke, or its link came up, beside the
	// time of its first packet.
	Starts []time.Time
	// Changes are when it got other addresses: it asks anew, but what it has
	// claimed stays claimed (§8.4).
	Changes []time.Time
	// Ends are when it fell silent without a word: it crashed, or lost its link.
	Ends []time.Time
	// Stopped is when it was told to stop, after which the capture went on
	// until it had. The zero time: it wasn't.
	Stopped time.Time
}

// From makes a Subject's Is for a host with these addresses.
func From(addrs ...netip.Addr) func(*Packet) bool {
	return func(p *Packet) bool { return slices.Contains(addrs, p.Src.Addr().WithZone("")) }
}

// Fault is one breach of a rule.
type Fault struct {
	Rule    string
	Section string // of RFC 6762
	Message *Message
	Text    string
}

// String tells the fault with the packet that has it.
func (f Fault) String() string {
	return fmt.Sprintf("%s (§%s): %s\n\t%s", f.Rule, f.Section, f.Text, f.Message)
}

// Summary tells faults in as many lines as there are rules and packets that
// break them.
func Summary(faults []Fault) []string {
	type where struct {
		rule string
		m    *Message
	}
	count := map[where]int{}
	for _, f := range faults {
		count[where{f.Rule, f.Message}]++
	}
	var lines []string
	for _, f := range faults {
		w := where{f.Rule, f.Message}
		switch n := count[w]; n {
		case 0:
			continue
		case 1:
			lines = append(lines, f.String())
		default:
			lines = append(lines, fmt.Sprintf("%s, and %d more like it", f, n-1))
		}
		count[w] = 0
	}
	return lines
}

// Rule is something that holds for every packet of every host.
type Rule struct {
	Name    string
	Section string // of RFC 6762
	check   func(*bench)
}

// Rules returns all of them.
func Rules() []Rule {
	return []Rule{
		{"readable", "18", readable},
		{"header", "18", header},
		{"port", "5.2, 6", port},
		{"group", "3", group},
		{"hops", "11", hops},
		{"size", "17", size},
		{"no question in a response", "6", noQuestion},
		{"no rival records in a message", "18", noDoubles},
		{"compression", "18.14", compression},
		{"query gap", "5.2", queryGap},
		{"QU only at the start", "5.4", unicastQuestions},
		{"known answers", "7.1", knownAnswers},
		{"truncation", "7.2", truncation},
		{"probe content", "8.1, 8.2", probeContent},
		{"probe spacing", "8.1", probeSpacing},
		{"probe first", "8.1", probeFirst},
		{"announced twice", "8.3", announcedTwice},
		{"flush bit", "10.2", flushBit},
		{"TTL", "10", ttls},
		{"record rate", "6", recordRate},
		{"shared answer delay", "6", sharedDelay},
		{"unicast answer was asked for", "5.4, 6.7", unicastAsked},
		{"legacy answer", "6.7", legacy},
		{"NSEC", "6.1", nsec},
		{"goodbye", "10.1", goodbye},
	}
}

// bench is one trial: one rule, one subject.
type bench struct {
	*Trace
	Subject
	own    []*Message // the subject's
	rule   Rule
	faults []Fault
}

// early is how much too early a packet may seem that follows another of the host.
func (b *bench) early(after *Message) time.Duration {
	if b.Lag == nil {
		return b.Early
	}
	return b.Early + b.Lag(after.Time)
}

// busy says whether the machine was late when the packet was sent.
func (b *bench) busy(m *Message) bool { return b.Lag != nil && b.Lag(m.Time) > 0 }

func (b *bench) fault(m *Message, format string, args ...any) {
	b.faults = append(b.faults, Fault{b.rule.Name, b.rule.Section, m, fmt.Sprintf(format, args...)})
}

// between says whether one of the times lies after from and not after to.
func between(times []time.Time, from, to time.Time) bool {
	return slices.ContainsFunc(times, func(t time.Time) bool { return t.After(from) && !t.After(to) })
}

// Judge holds the subject's packets against the rules, all but those named in
// except.
func (t *Trace) Judge(s Subject, except ...string) []Fault {
	s.MTU = cmp.Or(s.MTU, 1500)
	own := t.By(s.Is)
	var all []Fault
	for _, r := range Rules() {
		if slices.Contains(except, r.Name) {
			continue
		}
		b := &bench{Trace: t, Subject: s, own: own, rule: r}
		r.check(b)
		all = append(all, b.faults...)
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return a.Message.Time.Compare(b.Message.Time) })
	return all
}
