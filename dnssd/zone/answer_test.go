package zone_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
)

// hexMessage reads a message that is written as hex with blanks and comments.
func hexMessage(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	out, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What isn't a query that can be answered.
func TestQueriesThatGetNoRecords(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	const question = "03 6c616e 07 6578616d706c65 03 636f6d 00 0006 0001 # lan.example.com SOA IN\n"
	const opt = "00 0029 04d0 00000000 0000\n"
	for _, c := range []struct {
		name, query, want string // the answer's header, "" for none
		verdict           zone.Verdict
	}{
		{"nothing", "", "", zone.Ignored},
		{"half a header", "1234 0000 0001", "", zone.Ignored},
		{"an answer", "1234 8000 0001 0000 0000 0000" + question, "", zone.Ignored},
		{"a question that ends early", "1234 0100 0001 0000 0000 0000 03 6c61", "1234 8101 0000 0000 0000 0000", zone.Malformed},
		{"no question", "1234 0000 0000 0000 0000 0000", "1234 8001 0000 0000 0000 0000", zone.Malformed},
		{"two questions", "1234 0000 0002 0000 0000 0000" + question + question, "1234 8001 0000 0000 0000 0000", zone.Malformed},
		{"a question with an answer", "1234 0000 0001 0001 0000 0000" + question + "00 0001 0001 00000000 0004 01020304", "1234 8001 0001 0000 0000 0000" + question, zone.Malformed},
		{"a pointer to itself", "1234 0000 0001 0000 0000 0000 c00c 0001 0001", "1234 8001 0000 0000 0000 0000", zone.Malformed},
		{"a status query", "1234 1000 0001 0000 0000 0000" + question, "1234 9004 0001 0000 0000 0000" + question, zone.NotKnown},
		{"an update", "1234 2800 0001 0000 0000 0000" + question, "1234 a804 0001 0000 0000 0000" + question, zone.NotKnown},
		{"class CH", "1234 0100 0001 0000 0000 0000 00 0010 0003", "1234 8105 0001 0000 0000 0000 00 0010 0003", zone.Refused},
		{"the root", "1234 0000 0001 0000 0000 0000 00 0002 0001", "1234 8005 0001 0000 0000 0000 00 0002 0001", zone.Refused},
		{"type TSIG", "1234 0000 0001 0000 0000 0000" + strings.Replace(question, "0006", "00fa", 1), "1234 8004 0001 0000 0000 0000" + strings.Replace(question, "0006", "00fa", 1), zone.NotKnown},
		{"two OPTs", "1234 0000 0001 0000 0000 0002" + question + opt + opt, "1234 8001 0001 0000 0000 0001" + question + opt, zone.Malformed},
		{"an OPT with a name", "1234 0000 0001 0000 0000 0001" + question + "01 61" + opt, "1234 8001 0001 0000 0000 0000" + question, zone.Malformed},
		{"EDNS version 1", "1234 0000 0001 0000 0000 0001" + question + "00 0029 04d0 00018000 0000", // DO comes back
			"1234 8000 0001 0000 0000 0001" + question + "00 0029 04d0 01008000 0000", zone.Malformed},
		{"a transfer by UDP", "1234 0000 0001 0000 0000 0000" + strings.Replace(question, "0006", "00fc", 1),
			"1234 8005 0001 0000 0000 0000" + strings.Replace(question, "0006", "00fc", 1), zone.Refused},
	} {
		a := zone.Answerer{Zones: []*zone.Zone{z}}
		got, v := a.Answer(nil, zone.Asked{Query: hexMessage(t, c.query), From: netip.MustParseAddrPort("192.0.2.99:53"), Time: start})
		want := hexMessage(t, c.want)
		if string(want) == "" {
			want = nil
		}
		if string(got) != string(want) || v != c.verdict {
			t.Errorf("%s: %x, %v; want %x, %v", c.name, got, v, want, c.verdict)
		}
	}
}

func TestSizes(t *testing.T) {
	z := newZone(t)
	for i := range 12 {
		put(t, z, web(i))
	}
	s := laser()
	s.TXT = []dnssd.TXT{{strings.Repeat("a", 255), strings.Repeat("b", 255), strings.Repeat("c", 255), strings.Repeat("d", 255), strings.Repeat("e", 40)}}
	put(t, z, s)
	for _, c := range []struct {
		name    string
		typ     uint16
		size    uint16 // 0 for no EDNS
		answers int
		extra   bool // some, not all
		tc      bool
	}{
		{"_http._tcp", dns.TypePTR, 0, 12, true, false},
		{"_http._tcp", dns.TypePTR, 100, 12, true, false}, // less than 512 means 512
		{"_http._tcp", dns.TypePTR, 1232, 12, true, false},
		{"_http._tcp", dns.TypePTR, 65535, 12, true, false}, // no more than we find fit for the path
		{instance, dns.TypeTXT, 1232, 1, false, false},
		{instance, dns.TypeTXT, 512, 0, false, true},
		{"_ipp._tcp", dns.TypePTR, 512, 1, true, false}, // the SRV record fits, the TXT record doesn't
	} {
		name := c.name
		if !strings.HasSuffix(name, ".") {
			name += ".lan.example.com."
		}
		m := new(dns.Msg)
		m.SetQuestion(name, c.typ)
		if c.size > 0 {
			m.SetEdns0(c.size, false)
		}
		q, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		a := &zone.Answerer{Zones: []*zone.Zone{z}}
		b, _ := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.99:4000"), Time: start})
		got := new(dns.Msg)
		if err := got.Unpack(b); err != nil || len(b) > min(max(int(c.size), 512), 1232) {
			t.Errorf("%s with %d: %d bytes, %v", c.name, c.size, len(b), err)
		}
		extra := len(got.Extra)
		if got.IsEdns0() != nil {
			extra--
		}
		if (got.IsEdns0() != nil) != (c.size > 0) || len(got.Answer) != c.answers || got.Truncated != c.tc || (extra > 0) != c.extra {
			t.Errorf("%s with %d: %d answers, %d more, truncated %v", c.name, c.size, len(got.Answer), extra, got.Truncated)
		}
	}
	// By TCP there is everything.
	if got := ask(t, z, "_http._tcp.lan.example.com", dns.TypePTR); len(got.Answer) != 12 || len(got.Extra) != 36 {
		t.Errorf("by TCP %d answers and %d more", len(got.Answer), len(got.Extra))
	}
}

// A set of records that comes along is whole (RFC 2181 §5).
func TestAdditionalSetsAreWhole(t *testing.T) {
	z := newZone(t)
	s := laser()
	for i := range 30 {
		s.Targets[0].Addresses = append(s.Targets[0].Addresses, netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}))
	}
	put(t, z, s)
	for size := uint16(512); size < 1232; size += 16 {
		got := ask(t, z, instance, dns.TypeSRV, size)
		count := map[uint16]int{}
		for _, rr := range got.Extra {
			count[rr.Header().Rrtype]++
		}
		if a := count[dns.TypeA]; len(got.Answer) != 1 || got.Truncated || a != 0 && a != 31 || count[dns.TypeAAAA] > 1 || size > 700 && a != 31 {
			t.Fatalf("with %d: %d answers, %v", size, len(got.Answer), count)
		}
	}
}

// ANY gets one set of records by UDP, all by TCP (RFC 8482).
func TestAny(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	for name, all := range map[string]int{instance: 2, "laser.lan.example.com": 2, "lan.example.com": 1} {
		if got := ask(t, z, name, dns.TypeANY, 1232); len(got.Answer) != 1 || got.Truncated {
			t.Errorf("%s by UDP: %v", name, got)
		}
		if got := ask(t, z, name, dns.TypeANY); len(got.Answer) != all {
			t.Errorf("%s by TCP: %v", name, got)
		}
	}
}

// Of zones that lie in each other the inner one answers.
func TestZonesInEachOther(t *testing.T) {
	outer := newZone(t)
	inner := newZone(t, func(c *zone.Config) { c.Domain, c.Nameservers = "floor1.lan.example.com", nil })
	put(t, inner, laser())
	a := &zone.Answerer{Zones: []*zone.Zone{outer, inner}}
	for name, want := range map[string]string{"laser.floor1.lan.example.com.": "", "x.floor1.lan.example.com.": "floor1.lan.example.com.", "laser.lan.example.com.": "lan.example.com."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		got, _ := answer(t, a, m, false)
		switch {
		case want == "" && len(got.Answer) != 1:
			t.Errorf("%s: %v", name, got)
		case want != "" && (len(got.Ns) != 1 || got.Ns[0].Header().Name != want):
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A host under whose address somebody asks isn't flooded, and can still ask.
func TestRateLimit(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	a := &zone.Answerer{Zones: []*zone.Zone{z}, Limiter: zone.NewLimiter(10)}
	count := func(from string, at time.Duration, tcp bool, n int) map[string]int {
		out := map[string]int{}
		for i := range n {
			m := new(dns.Msg)
			m.SetQuestion(fmt.Sprintf("x%d.lan.example.com.", i), dns.TypeA)
			q, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			b, v := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort(from), TCP: tcp, Time: start.Add(at)})
			switch {
			case b == nil:
				out["dropped"]++
			case v == zone.Limited:
				if b[2]&2 == 0 || b[3]&15 != 0 || len(b) != len(q) {
					t.Fatalf("%x", b)
				}
				out["truncated"]++
			default:
				out["answered"]++
			}
		}
		return out
	}
	// What is no good query counts, too, and gets no more than was sent.
	broken := hexMessage(t, "1234 0000 0001 0000 0000 0000 c00c 0001 0001")
	for i := range 30 {
		b, _ := a.Answer(nil, zone.Asked{Query: broken, From: netip.MustParseAddrPort("198.51.100.1:1"), Time: start})
		if (b != nil) != (i < 20) || len(b) > len(broken) {
			t.Errorf("the answer %d to what is no query: %x", i, b)
		}
	}
	for _, c := range []struct {
		from string
		at   time.Duration
		tcp  bool
		want string
	}{
		{"192.0.2.1:1", 0, false, "map[answered:20 dropped:10 truncated:10]"},
		{"192.0.2.200:1", 0, false, "map[dropped:20 truncated:20]"}, // the same network
		{"192.0.3.1:1", 0, false, "map[answered:20 dropped:10 truncated:10]"},
		{"192.0.2.1:1", 0, true, "map[answered:40]"},
		{"192.0.2.1:1", time.Second, false, "map[answered:10 dropped:15 truncated:15]"},
		{"[2001:db8::1]:1", 0, false, "map[answered:20 dropped:10 truncated:10]"},
		{"[2001:db8:0:ff::1]:1", 0, false, "map[dropped:20 truncated:20]"},
		{"[2001:db8:0:100::1]:1", 0, false, "map[answered:20 dropped:10 truncated:10]"},
	} {
		if got := fmt.Sprint(count(c.from, c.at, c.tcp, 40)); got != c.want {
			t.Errorf("%s at %v: %s, want %s", c.from, c.at, got, c.want)
		}
	}
}

// An answer costs no allocation once there is room for it.
func TestAnswersDontAllocate(t *testing.T) {
	z := newZone(t)
	put(t, z, laser())
	a := &zone.Answerer{Zones: []*zone.Zone{z}, Limiter: zone.NewLimiter(1_000_000)}
	out := make([]byte, 0, 1232)
	for _, name := range []string{"_ipp._tcp.lan.example.com.", instance, "nobody.lan.example.com.", "example.org."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypePTR)
		m.SetEdns0(1232, false)
		q, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		in := zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.99:53"), Time: start}
		if n := testing.AllocsPerRun(100, func() { a.Answer(out, in) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	z := newZone(f, func(c *zone.Config) {
		c.Secondaries = []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53")}, {Key: testKey()}}
	})
	put(f, z, laser())
	for i := range 3 {
		put(f, z, web(i))
	}
	for _, q := range []struct {
		name string
		typ  uint16
	}{
		{"_ipp._tcp.lan.example.com.", dns.TypePTR}, {instance, dns.TypeSRV}, {"lan.example.com.", dns.TypeSOA}, {"lan.example.com.", dns.TypeANY},
		{"x.lan.example.com.", dns.TypeA}, {"lan.example.com.", dns.TypeAXFR}, {"lan.example.com.", dns.TypeIXFR}, {".", dns.TypeNS},
	} {
		m := new(dns.Msg)
		m.SetQuestion(q.name, q.typ)
		m.SetEdns0(4096, true)
		for range 2 {
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, false)
			f.Add(b, true)
			m.SetTsig("transfer.example.com.", dns.HmacSHA256, 300, start.Unix())
			signed, _, err := dns.TsigGenerate(m, testSecret, "", false)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(signed, true)
			m.Extra = m.Extra[:1]
			m.Question[0].Qclass = 0x8001
		}
	}
	f.Add([]byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), true)
	f.Fuzz(func(t *testing.T, q []byte, tcp bool) {
		a := zone.Answerer{Zones: []*zone.Zone{z}}
		in := zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.53:53"), TCP: tcp, Time: start}
		out, v := a.Answer(nil, in)
		room := 1232
		if tcp {
			room = 65535
		}
		switch {
		case v == zone.Ignored || v == zone.Transfer:
			if out != nil {
				t.Fatalf("%v, and %x", v, out)
			}
			for msg := range a.Transfer(in) {
				check(t, q, msg, 65535)
			}
		default:
			check(t, q, out, room)
		}
	})
}

// check wants an answer that others can read.
func check(t *testing.T, q, out []byte, room int) {
	t.Helper()
	if len(out) < 12 || len(out) > room || out[2]&0x80 == 0 || string(out[:2]) != string(q[:2]) {
		t.Fatalf("%d bytes: %x", len(out), out)
	}
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		t.Fatalf("%v: %x", err, out)
	}
}
