package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/test/lab"
)

// zoneServices is how many services the benchmarks' zone has.
const zoneServices = 1000

// benchZone returns a zone with a thousand services in hundred types.
func benchZone(b *testing.B) *zone.Zone {
	z, err := zone.New(zone.Config{Domain: "bench.test", Nameservers: []dnssd.Host{{Name: "ns", Addresses: []netip.Addr{netip.MustParseAddr("10.99.0.10")}}}}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for i := range zoneServices {
		err := z.Put(time.Now(), fmt.Sprint(i), zone.Service{
			Name: fmt.Sprintf("Service number %d", i), Type: fmt.Sprintf("_type%d._tcp", i%100), TTL: 10 * time.Second,
			Targets: []dnssd.Target{{Host: fmt.Sprintf("host%d", i), Port: 80, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 99, byte(i / 250), byte(1 + i%250)})}}},
			TXT:     []dnssd.TXT{{"txtvers=1", "path=/", "version=1.2.3"}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return z
}

// zoneQuery is a name and a type that somebody asks for.
type zoneQuery struct {
	name string
	typ  uint16
}

// zoneMixes are what is asked: about single services, where all servers answer the
// same, and for the ten services of a type, where ours adds what is asked next.
func zoneMixes(b *testing.B, run func(b *testing.B, queries [][]byte)) {
	for _, mix := range []struct {
		name    string
		queries func(i int) []zoneQuery
	}{
		{"ask=services", func(i int) []zoneQuery {
			return []zoneQuery{
				{fmt.Sprintf("Service\\ number\\ %d._type%d._tcp.bench.test.", i, i), dns.TypeSRV},
				{fmt.Sprintf("Service\\ number\\ %d._type%d._tcp.bench.test.", i, i), dns.TypeTXT},
				{fmt.Sprintf("host%d.bench.test.", i), dns.TypeA},
				{fmt.Sprintf("nobody%d.bench.test.", i), dns.TypeA},
			}
		}},
		{"ask=types", func(i int) []zoneQuery { return []zoneQuery{{fmt.Sprintf("_type%d._tcp.bench.test.", i), dns.TypePTR}} }},
	} {
		b.Run(mix.name, func(b *testing.B) { run(b, zoneQueries(b, mix.queries)) })
	}
}

func zoneQueries(b *testing.B, about func(i int) []zoneQuery) (out [][]byte) {
	for i := range 64 {
		for _, q := range about(i) {
			m := new(dns.Msg)
			m.SetQuestion(q.name, q.typ)
			m.SetEdns0(1232, false)
			p, err := m.Pack()
			if err != nil {
				b.Fatal(err)
			}
			out = append(out, p)
		}
	}
	return out
}

// plain answers as a program on miekg/dns does at its simplest: a map of the
// records, and what is asked next for SRV alone.
type plain struct {
	records map[string]map[uint16][]dns.RR
	soa     dns.RR
}

func newPlain(b *testing.B, z *zone.Zone) *plain {
	var text bytes.Buffer
	if _, err := z.WriteTo(&text); err != nil {
		b.Fatal(err)
	}
	p := &plain{records: map[string]map[uint16][]dns.RR{}}
	parser := dns.NewZoneParser(&text, "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		if p.records[name] == nil {
			p.records[name] = map[uint16][]dns.RR{}
		}
		p.records[name][rr.Header().Rrtype] = append(p.records[name][rr.Header().Rrtype], rr)
		if rr.Header().Rrtype == dns.TypeSOA {
			p.soa = rr
		}
	}
	if err := parser.Err(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *plain) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.Compress = true, true
	m.SetEdns0(1232, false)
	sets, ok := p.records[strings.ToLower(q.Question[0].Name)]
	m.Answer = sets[q.Question[0].Qtype]
	for _, rr := range m.Answer {
		if srv, ok := rr.(*dns.SRV); ok {
			m.Extra = append(m.Extra, p.records[strings.ToLower(srv.Target)][dns.TypeA]...)
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{p.soa}
		if !ok {
			m.Rcode = dns.RcodeNameError
		}
	}
	m.Truncate(1232)
	return m
}

// BenchmarkZoneAnswer makes the answers to a browser's queries: ours with all that is
// asked next (RFC 6763 §12), and those of a plain map on miekg/dns, which reads the
// query and writes the answer, with addresses for SRV alone.
func BenchmarkZoneAnswer(b *testing.B) { zoneMixes(b, answerZone) }

func answerZone(b *testing.B, queries [][]byte) {
	z := benchZone(b)
	plain := newPlain(b, z)
	var ours, theirs time.Duration
	n := 0
	a := zone.Answerer{Zones: []*zone.Zone{z}, Limiter: zone.NewLimiter(1 << 30)}
	out, from, now := make([]byte, 0, 1232), netip.MustParseAddrPort("10.99.0.11:4000"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		for _, q := range queries {
			answer, v := a.Answer(out, zone.Asked{Query: q, From: from, Time: now})
			if answer == nil || v > zone.NoName {
				b.Fatal(v)
			}
			out = answer[:0]
		}
		ours += time.Since(begin)
		b.StopTimer() // miekg's allocations aren't ours
		begin = time.Now()
		for _, q := range queries {
			m := new(dns.Msg)
			if err := m.Unpack(q); err != nil {
				b.Fatal(err)
			}
			if _, err := plain.answer(m).Pack(); err != nil {
				b.Fatal(err)
			}
		}
		theirs += time.Since(begin)
		n += len(queries)
		b.StartTimer()
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(n), "ns/query")
	b.ReportMetric(float64(theirs.Nanoseconds())/float64(n), "miekg-ns/query")
	b.ReportMetric(float64(theirs)/float64(ours), "x-miekg")
}

// BenchmarkZoneServer asks three servers in turn, in a network namespace, with sixteen
// queries under way: ours, one on miekg/dns, and BIND with one thread, which all
// have the same zone. The asking side shares the machine's processors with them, so
// that the ratios say less than the servers' own costs.
func BenchmarkZoneServer(b *testing.B) {
	lab.Require(b, "root", "ip", "named")
	zoneMixes(b, serveZone)
}

func serveZone(b *testing.B, queries [][]byte) {
	l := lab.New(b)
	a := l.Subnet("a", "10.99.0.0/16")
	server, bindHost, desk := l.Host("server").Join(a), l.Host("bind").Join(a), l.Host("desk").Join(a)
	z := benchZone(b)
	plain := newPlain(b, z)
	var records []string
	var text bytes.Buffer
	if _, err := z.WriteInclude(&text); err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		records = append(records, strings.TrimSuffix(line, "\n"))
	}
	bindHost.BIND(lab.BIND{Zones: []lab.Zone{{Name: "bench.test", Records: records}}})

	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	listen := func(at string) (c net.PacketConn) {
		if err := server.Do(func() (err error) {
			c, err = net.ListenPacket("udp", at)
			return err
		}); err != nil {
			b.Fatal(err)
		}
		return c
	}
	ours, theirs := listen("10.99.0.10:53"), listen("10.99.0.10:54")
	s := &zone.Server{Zones: []*zone.Zone{z}, Limiter: zone.NewLimiter(1 << 30)}
	for range 2 {
		serving.Go(func() {
			if err := s.ServePacket(ctx, ours); err != nil {
				b.Error(err)
			}
		})
	}
	m := &dns.Server{PacketConn: theirs, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(plain.answer(q)) // the asker has ended
	})}
	serving.Go(func() {
		if err := m.ActivateAndServe(); err != nil {
			b.Error(err)
		}
	})
	defer func() { _ = m.Shutdown() }()

	servers := []string{"10.99.0.10:53", "10.99.0.10:54", "10.99.0.11:53"}
	const round = 700 * time.Millisecond
	var answered [3]uint64
	rounds := 0
	for b.Loop() {
		for i, to := range servers {
			answered[i] += flood(b, desk, to, queries, round)
		}
		rounds++
	}
	per := func(i int) float64 { return float64(answered[i]) / (float64(rounds) * round.Seconds()) }
	b.ReportMetric(per(0), "queries/s")
	b.ReportMetric(per(1), "miekg-queries/s")
	b.ReportMetric(per(2), "bind-queries/s")
	b.ReportMetric(per(0)/per(1), "x-miekg")
	b.ReportMetric(per(0)/per(2), "x-bind")
	b.ReportMetric(0, "ns/op")
}

// flood asks a server for a while, one query after another on each of sixteen
// sockets, and returns how many answers came.
func flood(b *testing.B, h *lab.Host, to string, queries [][]byte, d time.Duration) uint64 {
	var got atomic.Uint64
	var asking sync.WaitGroup
	end := time.Now().Add(d)
	for w := range 16 {
		var c net.Conn
		if err := h.Do(func() (err error) {
			c, err = net.Dial("udp", to)
			return err
		}); err != nil {
			b.Fatal(err)
		}
		asking.Go(func() {
			defer c.Close()
			if err := c.SetDeadline(end); err != nil {
				b.Error(err)
			}
			buf := make([]byte, 4096)
			for i := w; ; i++ {
				if _, err := c.Write(queries[i%len(queries)]); err != nil {
					return
				}
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if n < 40 || buf[2]&0x80 == 0 {
					b.Errorf("%s answers %x", to, buf[:n])
					return
				}
				got.Add(1)
			}
		})
	}
	asking.Wait()
	return got.Load()
}
