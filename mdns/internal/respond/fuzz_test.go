package respond

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// FuzzResponder feeds messages to a responder: each is a byte that says how long
// after the last it comes and from whom, a byte with its length in units of four
// bytes, and its bytes. Whatever comes, what is sent must keep to the limits of
// RFC 6762 §6, §17 and §18, and what waits must stay bounded.
func FuzzResponder(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.Unix(1e9, 0)
		r := New(NewBook(), new(Counters))
		r.Headers, r.Unicast = 28, true
		r.Open(now)
		labels := map[*Claim]int{}
		for range 3 {
			c := r.NewClaim(nil)
			labels[c] = 0
			r.Set(now, c, fuzzRecords(len(labels), 0), false)
		}
		judge := newJudge(t, r)
		run := func(until time.Time) {
			for steps := 0; ; steps++ {
				if steps > 10000 {
					t.Fatal("the responder is never done")
				}
				for _, ev := range r.Events() {
					if ev.State == Conflicted && ev.Claim.State() == Conflicted {
						labels[ev.Claim]++
						r.Set(now, ev.Claim, fuzzRecords(1, labels[ev.Claim]%3), true)
					}
				}
				at := r.Next()
				if at.IsZero() || at.After(until) {
					break
				}
				if at.After(now) {
					now = at
				}
				r.Advance(now)
				judge.sent(now, nil)
			}
			now = until
		}
		run(now.Add(2 * time.Second))
		for n := 0; len(b) > 2 && n < 48; n++ {
			how, size := b[0], min(int(b[1])*4, len(b)-2)
			data := b[2 : 2+size]
			b = b[2+size:]
			run(now.Add(time.Duration(how>>3) * 37 * time.Millisecond))
			p, err := dnswire.Parse(data)
			if err != nil {
				continue
			}
			m := Message{Time: now, Message: &p, OnLink: true, Dst: netip.MustParseAddrPort("224.0.0.251:5353")}
			m.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2 + how&1}), groupPort)
			switch how >> 1 & 3 {
			case 1:
				m.Src = netip.AddrPortFrom(m.Src.Addr(), 4444)
			case 2:
				m.Unicast, m.Dst = true, netip.MustParseAddrPort("10.0.0.1:5353")
			case 3:
				m.OnLink = false
			}
			if p.Response {
				if how&4 != 0 {
					r.OwnElsewhere(now, &p)
				} else {
					r.Response(&m)
				}
				judge.sent(now, nil)
			} else {
				r.Query(&m)
				r.Advance(now)
				judge.sent(now, &m)
			}
			if len(r.pending) > maxPending+2 || r.items > 4*r.records+1024+64 || len(r.series) > 64 {
				t.Fatalf("%d responses with %d records wait, and %d series", len(r.pending), r.items, len(r.series))
			}
		}
		run(now.Add(time.Minute))
		if len(r.pending) > 0 || r.items != 0 || len(r.out) > 0 {
			t.Fatalf("after a minute %d responses, %d records and %d packets wait", len(r.pending), r.items, len(r.out))
		}
		for c := range labels {
			r.Remove(now, c)
		}
		r.Advance(now)
		judge.sent(now, nil)
		if len(r.names) != 0 || r.records != 0 || len(r.claims) != 0 || len(r.book.own) != 0 {
			t.Fatalf("%d names and %d records are left", len(r.names), r.records)
		}
	})
}

// fuzzRecords are what the i'th claim has under its label.
func fuzzRecords(i, label int) []Record {
	name := parseName([]string{"x.local", "y.local", "z.local"}[label])
	shared := parseName("_t._tcp.local")
	rr := []Record{
		{RR: dnswire.NewPTR(shared, name, 0)},
		{RR: dnswire.NewSRV(name, dnswire.SRV{Port: uint16(i), Target: name}, 0), Unique: true},
		{RR: dnswire.NewAddr(name, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 0), Unique: true},
		{RR: dnswire.NewPTR(parseName("_services._dns-sd._udp.local"), shared, 0)},
	}
	for k := range 12 {
		rr = append(rr, Record{RR: dnswire.NewPTR(shared, parseName(string(rune('a'+k))+"._t._tcp.local"), 0)})
	}
	return rr
}

// judge checks what a responder sends.
type judge struct {
	t    *testing.T
	r    *Responder
	last map[string]time.Time // when a record was multicast
}

func newJudge(t *testing.T, r *Responder) *judge { return &judge{t, r, map[string]time.Time{}} }

func (j *judge) sent(now time.Time, to *Message) {
	for _, d := range j.r.Take(now) {
		m, err := dnswire.Parse(d.Data)
		if err != nil {
			j.t.Fatalf("sent %x: %v", d.Data, err)
		}
		records := int(m.ANCount) + int(m.NSCount) + int(m.ARCount)
		switch {
		case len(d.Data) > maxMessage-28, m.Response && len(d.Data) > 1472 && records > 1:
			j.t.Fatalf("%d bytes with %d records", len(d.Data), records)
		case m.Rcode != 0 || m.Opcode != 0 || m.Zero || m.RecursionDesired || m.RecursionAvailable:
			j.t.Fatalf("header %+v", m.Header)
		case !m.Response:
			if d.Dst.IsValid() || m.ID != 0 || m.NSCount == 0 || m.Truncated {
				j.t.Fatalf("sent a query that is no probe: %+v to %v", m.Header, d.Dst)
			}
			continue
		case !m.Authoritative || m.NSCount > 0:
			j.t.Fatalf("header %+v", m.Header)
		}
		legacy := d.Dst.IsValid() && d.Dst.Port() != groupPort
		if !legacy && (m.ID != 0 || m.QDCount != 0 || m.Truncated) {
			j.t.Fatalf("header %+v to %v", m.Header, d.Dst)
		}
		if legacy && m.QDCount == 0 {
			j.t.Fatalf("no question in an answer to %v", d.Dst)
		}
		if d.Dst.IsValid() && !(netip.MustParsePrefix("10.0.0.0/24")).Contains(d.Dst.Addr()) {
			j.t.Fatalf("sent to %v", d.Dst)
		}
		for v := range m.Records() {
			rr := v.RR()
			if want := !legacy && rr.Type != dnswire.TypePTR; rr.Flush != want {
				j.t.Fatalf("%v has flush bit %v", rr, rr.Flush)
			}
			if legacy && rr.TTL > legacyTTL {
				j.t.Fatalf("%v has TTL %d", rr, rr.TTL)
			}
			if d.Dst.IsValid() || rr.TTL == 0 {
				continue
			}
			key := string(rr.Name.Fold()) + rr.Type.String() + rr.Data
			least := limitAnswer
			if to != nil && to.NSCount > 0 {
				least = limitProbe
			}
			if at, ok := j.last[key]; ok && now.Sub(at) < least {
				j.t.Fatalf("%v was multicast %v after the last time", rr, now.Sub(at))
			}
			j.last[key] = now
		}
	}
}

// fuzzSeeds are sequences of messages as FuzzResponder reads them.
func fuzzSeeds() [][]byte {
	record := func(how byte, data []byte) []byte {
		for len(data)%4 != 0 {
			data = append(data, 0) // bytes after a message mean nothing
		}
		return append([]byte{how, byte(len(data) / 4)}, data...)
	}
	var b dnswire.Builder
	query := func(h dnswire.Header, name string, t dnswire.Type, qu bool, known ...dnswire.RR) []byte {
		b.Reset(nil, h, 1000)
		if name != "" {
			b.Question(parseName(name), t, dnswire.ClassIN, qu)
		}
		for _, rr := range known {
			b.Answer(rr)
		}
		return append([]byte(nil), b.Bytes()...)
	}
	probe := func(rr dnswire.RR) []byte {
		b.Reset(nil, dnswire.Header{}, 1000)
		b.Question(rr.Name, dnswire.TypeANY, dnswire.ClassIN, true)
		b.Authority(rr)
		return append([]byte(nil), b.Bytes()...)
	}
	response := func(rr dnswire.RR) []byte {
		return query(dnswire.Header{Response: true}, "", 0, false, rr)
	}
	known := dnswire.NewPTR(parseName("_t._tcp.local"), parseName("a._t._tcp.local"), 4500)
	var seeds [][]byte
	seq := func(parts ...[]byte) {
		var s []byte
		for _, p := range parts {
			s = append(s, p...)
		}
		seeds = append(seeds, s)
	}
	browse := query(dnswire.Header{}, "_t._tcp.local", dnswire.TypePTR, false)
	seq(record(8, browse), record(9, browse), record(255, browse))
	seq(record(2, browse), record(4, query(dnswire.Header{}, "x.local", dnswire.TypeANY, true)))
	seq(record(6, query(dnswire.Header{}, "x.local", dnswire.TypeAAAA, true)), record(8, query(dnswire.Header{}, "x.local", dnswire.TypeAAAA, false)))
	seq(record(8, query(dnswire.Header{Truncated: true}, "_t._tcp.local", dnswire.TypePTR, false)), record(8, query(dnswire.Header{}, "", 0, false, known)))
	seq(record(8, probe(address("10.0.0.9"))), record(16, probe(address("10.0.0.1"))), record(16, probe(address("10.0.0.9"))))
	seq(record(8, response(flushed(address("10.0.0.9")))), record(16, response(flushed(address("10.0.0.9")))), record(250, browse))
	gone := flushed(address("10.0.0.1"))
	gone.TTL = 0
	seq(record(8, response(gone)), record(12, response(gone)), record(8, browse), record(8, response(known)))
	return seeds
}

func TestFuzzSeedsParse(t *testing.T) {
	seeds := fuzzSeeds()
	if len(seeds) < 5 {
		t.Fatal("no seeds for FuzzResponder")
	}
	for i, s := range seeds {
		for len(s) > 2 {
			end := 2 + 4*int(s[1])
			if _, err := dnswire.Parse(s[2:end]); err != nil {
				t.Errorf("seed %d: %v", i+1, err)
			}
			s = s[end:]
		}
	}
}
