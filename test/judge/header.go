package judge

import (
	"net/netip"

	"github.com/miekg/dns"
)

func readable(b *bench) {
	for _, m := range b.own {
		if m.Err != nil {
			b.fault(m, "%v", m.Err)
		}
	}
}

// toLegacy says whether a message answers a host that doesn't speak mDNS.
func (m *Message) toLegacy() bool { return m.Response() && m.Dst.Port() != 5353 }

func header(b *bench) {
	for _, m := range b.own {
		h := &m.Msg.MsgHdr
		switch {
		case m.Err != nil:
			continue
		case h.Opcode != 0 || h.Rcode != 0 || h.RecursionAvailable || h.Zero || h.AuthenticatedData || h.CheckingDisabled:
		case h.Id != 0 && !m.toLegacy():
		case h.RecursionDesired && !m.toLegacy():
		case h.Response != h.Authoritative:
		case h.Response && h.Truncated && !m.toLegacy():
		default:
			continue
		}
		b.fault(m, "%s", h.String())
	}
}

func port(b *bench) {
	for _, m := range b.own {
		if m.Src.Port() != 5353 {
			b.fault(m, "sent from port %d", m.Src.Port())
		}
	}
}

func group(b *bench) {
	for _, m := range b.own {
		if !m.Multicast() {
			if m.Err == nil && !m.Msg.Response {
				b.fault(m, "a query to one host")
			}
			continue
		}
		want := group4
		if m.Dst.Addr().Is6() {
			want = group6
		}
		if netip.AddrPortFrom(m.Dst.Addr().WithZone(""), m.Dst.Port()) != want {
			b.fault(m, "sent to %v", m.Dst)
		}
	}
}

func hops(b *bench) {
	for _, m := range b.own {
		if m.TTL != 255 {
			b.fault(m, "TTL or hop limit %d", m.TTL)
		}
	}
}

// maxPacket bounds a packet with its IP header (RFC 6762 §17).
const maxPacket = 9000

func size(b *bench) {
	for _, m := range b.own {
		n := len(m.Data) + 28
		if m.Src.Addr().Is6() {
			n += 20
		}
		switch records := len(m.Msg.Answer) + len(m.Msg.Ns) + len(m.Msg.Extra); {
		case n > maxPacket:
			b.fault(m, "%d bytes", n)
		case m.Probe(): // proposes all that a name is to have, in one packet (§8.2)
		case (n > b.MTU || m.Fragmented) && (records != 1 || len(m.Questions) > 0):
			b.fault(m, "%d bytes in fragments hold %d records and %d questions", n, records, len(m.Questions))
		}
	}
}

func noQuestion(b *bench) {
	for _, m := range b.own {
		if m.Response() && !m.toLegacy() && len(m.Questions) > 0 {
			b.fault(m, "%d questions", len(m.Questions))
		}
	}
}

func noDoubles(b *bench) {
	for _, m := range b.own {
		questions := map[Question]bool{}
		for _, q := range m.Questions {
			if questions[q] {
				b.fault(m, "%s %s is asked twice", q.Name, dns.TypeToString[q.Type])
			}
			questions[q] = true
		}
		keys := map[string]bool{}
		for _, r := range m.Records {
			if keys[r.Key] {
				b.fault(m, "%s stands there twice", r.Key)
			}
			keys[r.Key] = true
		}
	}
}

// compression: owner names and the names in PTR records are compressed at least
// as well as the library does it. Names in the data of types that an
// implementation might not know never are; legacy sees to SRV.
func compression(b *bench) {
	for _, m := range b.own {
		if m.Err != nil || m.toLegacy() {
			continue
		}
		m.Msg.Compress = true
		packed, err := m.Msg.Pack()
		if err != nil {
			b.fault(m, "%v", err)
			continue
		}
		if len(m.Data) > len(packed) {
			b.fault(m, "%d bytes, %d would do", len(m.Data), len(packed))
		}
	}
}
