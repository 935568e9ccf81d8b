package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Trace is a capture that was read.
type Trace struct {
	Messages []*Message // in order of time
}

// Message is a packet and what it says. Err says why it can't be read; then
// the rest is empty.
type Message struct {
	Packet
	Msg       dns.Msg
	Err       error
	Questions []Question
	Records   []Record // of all sections, but for OPT

	zero time.Time // of the trace, for String
}

// Question is one entry of a question section. Its name is folded.
type Question struct {
	Name    string
	Type    uint16
	Class   uint16 // without the top bit
	Unicast bool
}

// Section is where in a message a record stands.
type Section uint8

// The sections of a message.
const (
	Answer Section = iota
	Authority
	Additional
)

// Record is one record of a message.
type Record struct {
	dns.RR
	Section Section
	Name    string // folded
	Type    uint16
	TTL     uint32 // seconds
	Flush   bool   // the top bit of its class
	// Key is the same for two records with the same name, type and data.
	Key string
}

// Read reads a capture. Packets to and from other ports than 5353 are left out.
func Read(packets []Packet) *Trace {
	t := &Trace{}
	for _, p := range packets {
		if p.Src.Port() != 5353 && p.Dst.Port() != 5353 {
			continue
		}
		m := &Message{Packet: p}
		m.read()
		t.Messages = append(t.Messages, m)
	}
	slices.SortStableFunc(t.Messages, func(a, b *Message) int { return a.Time.Compare(b.Time) })
	for _, m := range t.Messages {
		m.zero = t.Messages[0].Time
	}
	return t
}

func (m *Message) read() {
	if m.Err = m.Msg.Unpack(m.Data); m.Err != nil {
		m.Msg = dns.Msg{}
		return
	}
	for _, q := range m.Msg.Question {
		m.Questions = append(m.Questions, Question{fold(q.Name), q.Qtype, q.Qclass &^ topBit, q.Qclass&topBit != 0})
	}
	for i, section := range [][]dns.RR{m.Msg.Answer, m.Msg.Ns, m.Msg.Extra} {
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype == dns.TypeOPT {
				continue
			}
			r := Record{RR: rr, Section: Section(i), Name: fold(h.Name), Type: h.Rrtype, TTL: h.Ttl, Flush: h.Class&topBit != 0}
			r.Key = r.Name + " " + dns.TypeToString[r.Type] + " " + data(rr)
			m.Records = append(m.Records, r)
		}
	}
}

// topBit is that of a class: unicast answers are wanted (RFC 6762 §18.12), or
// the cache is to be flushed (§18.13).
const topBit = 1 << 15

// fold makes the ASCII letters of a name small (RFC 6762 §16). The library
// writes bytes beyond ASCII as \DDD.
func fold(name string) string { return strings.ToLower(name) }

// data returns a record's data as text, equal for equal data: names in it are
// folded.
func data(rr dns.RR) string {
	text := strings.TrimPrefix(rr.String(), rr.Header().String())
	switch rr := rr.(type) {
	case *dns.PTR, *dns.SRV, *dns.CNAME:
		return fold(text)
	case *dns.NSEC:
		return fold(rr.NextDomain) + strings.TrimPrefix(text, rr.NextDomain)
	}
	return text
}

// By returns the messages that is is true of.
func (t *Trace) By(is func(*Packet) bool) []*Message {
	var own []*Message
	for _, m := range t.Messages {
		if is(&m.Packet) {
			own = append(own, m)
		}
	}
	return own
}

// Multicast says whether the message went to the whole link.
func (m *Message) Multicast() bool { return m.Dst.Addr().IsMulticast() }

// Probe says whether the message claims names (RFC 6762 §8.1).
func (m *Message) Probe() bool {
	return m.Err == nil && !m.Msg.Response && slices.ContainsFunc(m.Records, func(r Record) bool { return r.Section == Authority })
}

// Query says whether the message asks, and isn't a probe.
func (m *Message) Query() bool { return m.Err == nil && !m.Msg.Response && !m.Probe() }

// Response says whether the message answers or announces.
func (m *Message) Response() bool { return m.Err == nil && m.Msg.Response }

// Asks says whether a message has a question that the record answers.
func (m *Message) Asks(r *Record) bool {
	return slices.ContainsFunc(m.Questions, func(q Question) bool {
		return q.Name == r.Name && (q.Type == r.Type || q.Type == dns.TypeANY)
	})
}

// Text tells all records of the message, each with its TTL, as a zone file has
// them but for their class.
func (m *Message) Text() string {
	var s strings.Builder
	for _, r := range m.Records {
		fmt.Fprintf(&s, "%s %d\n", r.Key, r.TTL)
	}
	return s.String()
}

// String tells the message in one line: when since the capture's beginning,
// who to whom, and what.
func (m *Message) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%.3fs %s", m.Time.Sub(m.zero).Seconds(), m.Src)
	if m.Host != "" {
		fmt.Fprintf(&s, " (%s)", m.Host)
	}
	fmt.Fprintf(&s, " > %s", m.Dst)
	if m.Err != nil {
		fmt.Fprintf(&s, " %x: %v", m.Data, m.Err)
		return s.String()
	}
	if m.Msg.Response {
		s.WriteString(" response")
	}
	if m.Msg.Truncated {
		s.WriteString(" TC")
	}
	for _, q := range m.Questions {
		unicast := ""
		if q.Unicast {
			unicast = " QU"
		}
		fmt.Fprintf(&s, " [%s %s%s?]", q.Name, dns.TypeToString[q.Type], unicast)
	}
	for i, r := range m.Records {
		if i == 6 {
			fmt.Fprintf(&s, " … %d more", len(m.Records)-i)
			break
		}
		flush := ""
		if r.Flush {
			flush = " flush"
		}
		key := r.Key
		if len(key) > 80 {
			key = key[:80] + "…"
		}
		fmt.Fprintf(&s, " %s[%s %d%s]", [...]string{"", "ns", "+"}[r.Section], key, r.TTL, flush)
	}
	return s.String()
}

// Shared says whether others may have records of this name and type, too
// (RFC 6762 §2): those that list services and types. All other records of mDNS
// and DNS-SD are unique.
func (r *Record) Shared() bool { return r.Type == dns.TypePTR && !reverse(r.Name) }

// reverse says whether a name is that of an address.
func reverse(name string) bool {
	return strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa.")
}

// family tells the two zones of a link apart (RFC 6762 §20).
func (m *Message) family() string {
	if m.Src.Addr().Unmap().Is4() {
		return "4 "
	}
	return "6 "
}

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)
