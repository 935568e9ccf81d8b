package unicast_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
)

var resolve = dnssd.Browser{Type: "_http._tcp", Resolve: true}

func TestBrowseResolvesAndSettlesWithTheLastAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, web(`Build\ v1\.2\ \\x`, "www", "60", "192.0.2.1", "2001:db8::1")...).delay = 10 * time.Millisecond
		got, err := n.once(n.source(), resolve)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", got, []string{`add Build v1\.2 \\x._http._tcp.example.com www.example.com 192.0.2.1 2001:db8::1`, "settled"})
		if d := time.Since(n.start); d > 100*time.Millisecond {
			t.Errorf("took %v, want three round trips", d)
		}
		asked := n.queries()
		slices.Sort(asked)
		same(t, "queries", asked, []string{
			`Build\ v1\.2\ \\x._http._tcp.example.com SRV udp 53`, `Build\ v1\.2\ \\x._http._tcp.example.com TXT udp 53`,
			"_http._tcp.example.com PTR udp 53", "www.example.com A udp 53", "www.example.com AAAA udp 53",
		})
	})
}

func TestBrowseOfNothingSettlesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, "www A 192.0.2.1")
		got, err := n.once(n.source(), resolve)
		if err != nil || time.Since(n.start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(n.start))
		}
		same(t, "events", got, []string{"settled"})
	})
}

func TestStalePointerDoesNotHoldUpTheRest(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, append(web("Web", "www", "60", "192.0.2.1"), "_http._tcp 60 PTR Gone._http._tcp")...)
		got, err := n.once(n.source(), resolve)
		if err != nil || time.Since(n.start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(n.start))
		}
		slices.Sort(got)
		same(t, "events", got, []string{"add Gone._http._tcp.example.com", "add Web._http._tcp.example.com www.example.com 192.0.2.1", "settled"})
	})
}

func TestAnswersAreAskedAgainBeforeTheyRunOut(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, "_http._tcp 100 PTR Web._http._tcp")
		got := n.during(n.source(), dnssd.Browser{Type: "_http._tcp"}, 1000*time.Second)
		same(t, "events", got, []string{"0s add Web._http._tcp.example.com"})
		if q := len(n.queries()); q < 11 || q > 13 {
			t.Errorf("%d queries in 1000 s for a TTL of 100 s, want 11 to 13", q)
		}
	})
}

func TestNothingIsAskedInALoopWithTTL0(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "_http._tcp 0 PTR Web._http._tcp")
		got := n.during(n.source(), dnssd.Browser{Type: "_http._tcp"}, 100*time.Second)
		same(t, "events", got, []string{"0s add Web._http._tcp.example.com"})
		if q := len(n.queries()); q < 11 || q > 13 {
			t.Errorf("%d queries in 100 s, want one each 8 to 9 s", q)
		}
		s.soa = "example.com. 0 SOA ns. host. 1 60 60 60 0"
		n.change(func() { s.zone = nil })
		n.during(n.source(), dnssd.Browser{Type: "_http._tcp"}, 99*time.Second)
		if q := len(n.queries()); q != 10 {
			t.Errorf("%d queries in 99 s for nothing, want 10", q)
		}
	})
}

func TestNegativeAnswersHoldAsLongAsTheSOASays(t *testing.T) {
	for name, c := range map[string]struct {
		soa   string
		every time.Duration
	}{
		"minimum":             {"example.com. 600 SOA ns. host. 1 60 60 60 50", 50 * time.Second},
		"TTL":                 {"example.com. 40 SOA ns. host. 1 60 60 60 500", 40 * time.Second},
		"no SOA":              {"", 30 * time.Second},
		"of another zone":     {"example.org. 400 SOA ns. host. 1 60 60 60 400", 30 * time.Second},
		"at most an hour":     {"example.com. 4000000 SOA ns. host. 1 60 60 60 4000000", time.Hour},
		"the top bit means 0": {"example.com. 4294967295 SOA ns. host. 1 60 60 60 400", 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				n.serve(first, "www A 192.0.2.1").soa = c.soa
				n.during(n.source(), dnssd.Browser{Type: "_http._tcp"}, 10*c.every-time.Second)
				if q := len(n.queries()); q != 10 {
					t.Errorf("%d queries in %v, want 10", q, 10*c.every)
				}
			})
		})
	}
}

func TestAnswersServeLaterFeeds(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, web("Web", "www", "60", "192.0.2.1")...)
		src := n.source()
		for range 3 {
			if _, err := n.once(src, resolve); err != nil {
				t.Fatal(err)
			}
		}
		if q := len(n.queries()); q != 5 {
			t.Errorf("%d queries, want 5 for three times the same", q)
		}
		time.Sleep(time.Minute)
		n.once(src, resolve)
		if q := len(n.queries()); q != 5 {
			t.Errorf("%d queries after the TTL, want 5", q)
		}
	})
}

func TestWhatIsGoneAtARefreshIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("Web", "www", "60", "192.0.2.1"), "_http._tcp 60 PTR Other._http._tcp")...)
		go func() {
			time.Sleep(100 * time.Second)
			n.change(func() { s.set(t, web("Web", "www", "60", "192.0.2.2")...) })
			time.Sleep(100 * time.Second)
			n.change(func() { s.set(t) })
		}()
		got := n.during(n.source(), resolve, 300*time.Second)
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], " ")
			if f := strings.Fields(got[i]); f[0] == "remove" {
				got[i] = f[0] + " " + f[1]
			}
		}
		slices.Sort(got[:2])
		slices.Sort(got[2:min(4, len(got))])
		same(t, "events", slices.DeleteFunc(got, func(s string) bool { return s == "update Web._http._tcp.example.com" }), []string{
			"add Other._http._tcp.example.com", "add Web._http._tcp.example.com www.example.com 192.0.2.1",
			"remove Other._http._tcp.example.com", "update Web._http._tcp.example.com www.example.com 192.0.2.2",
			"remove Web._http._tcp.example.com",
		})
	})
}

func TestASilentServerIsLeftForTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		a, b := n.serve(first, web("Web", "www", "60", "192.0.2.1")...), n.serve(second, web("Web", "www", "60", "192.0.2.1")...)
		a.down = true
		src := n.source(first, second)
		got, err := n.once(src, resolve)
		if err != nil || len(got) != 2 {
			t.Fatalf("%q, %v", got, err)
		}
		if d := time.Since(n.start); d != 250*time.Millisecond {
			t.Errorf("took %v: the silent server is waited for more than once", d)
		}
		n.queries()
		n.during(src, resolve, 5*time.Minute)
		asked := n.queries()
		to := func(s string) (k int) {
			for _, q := range asked {
				if strings.HasSuffix(q, s) {
					k++
				}
			}
			return k
		}
		if to(" 54") < 15 || to(" 53") == 0 || to(" 53") > 8 {
			t.Errorf("%d queries to the server that works, %d to the other; want it tried now and then", to(" 54"), to(" 53"))
		}
		n.change(func() { a.down, b.down = false, true })
		time.Sleep(10 * time.Minute)
		if got, err := n.once(src, resolve); err != nil || len(got) != 2 {
			t.Errorf("when they swap: %q, %v", got, err)
		}
	})
}

func TestNoServerAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first).down = true
		_, err := n.once(n.source(first, second), resolve)
		if !errors.Is(err, dnssd.ErrTimeout) || !errors.Is(err, unicast.ErrNoAnswer) {
			t.Errorf("error %v, want %v", err, unicast.ErrNoAnswer)
		}
		if d := time.Since(n.start); d != 3*time.Second {
			t.Errorf("took %v, want 1 s and 2 s", d)
		}
		if q := n.queries(); len(q) != 2 {
			t.Errorf("queries %q, want two", q)
		}
		_, err = dnssd.LookupHost(t.Context(), n.source(), "www.example.com")
		if !errors.Is(err, dnssd.ErrTimeout) {
			t.Errorf("look-up: %v", err)
		}
	})
}

func TestAServerThatIsAwayIsAskedLessAndLess(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "_http._tcp 60 PTR Web._http._tcp")
		s.down = true
		go func() {
			time.Sleep(time.Hour)
			n.change(func() { s.down = false })
		}()
		got := n.during(n.source(), dnssd.Browser{Type: "_http._tcp"}, time.Hour+time.Minute)
		if len(got) != 1 {
			t.Errorf("events %q, want it found when the server is back", got)
		}
		if q := len(n.queries()); q < 200 || q > 280 {
			t.Errorf("%d queries in an hour", q)
		}
	})
}

func TestRefusalsAreToldApart(t *testing.T) {
	for code, want := range map[int]string{
		dns.RcodeServerFailure: "SERVFAIL", dns.RcodeRefused: "REFUSED", dns.RcodeNotImplemented: "NOTIMP", dns.RcodeFormatError: "FORMERR",
	} {
		bubble(t, func(t *testing.T, n *network) {
			s := n.serve(first, web("Web", "www", "60", "192.0.2.1")...)
			s.hook = func(_ string, q, a *dns.Msg) *dns.Msg { return a.SetRcode(q, code) }
			_, err := n.once(n.source(), resolve)
			var r *unicast.RcodeError
			if !errors.As(err, &r) || errors.Is(err, dnssd.ErrTimeout) || !strings.HasSuffix(err.Error(), "10.0.0.53:53 says "+want) {
				t.Errorf("error %v, want %s", err, want)
			}
			n.serve(second, web("Web", "www", "60", "192.0.2.1")...)
			if got, err := n.once(n.source(first, second), resolve); err != nil || len(got) != 2 {
				t.Errorf("%s with a server that works: %q, %v", want, got, err)
			}
		})
	}
}

func TestNXDOMAINAndNoDataAreNone(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, `www HINFO "a" "b"`)
		for _, host := range []string{"www.example.com", "nobody.example.com"} {
			if _, err := dnssd.LookupHost(t.Context(), n.source(), host); !errors.Is(err, dnssd.ErrNone) {
				t.Errorf("%s: %v, want %v", host, err, dnssd.ErrNone)
			}
		}
		_, err := dnssd.Resolve(t.Context(), n.source(), dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "example.com"})
		if !errors.Is(err, dnssd.ErrNone) || time.Since(n.start) > time.Second {
			t.Errorf("resolve: %v after %v, want %v", err, time.Since(n.start), dnssd.ErrNone)
		}
	})
}

func TestReferralsAreNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first)
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			a.Rcode, a.Authoritative = 0, false
			ns, _ := dns.NewRR("com. 60 NS ns.example.")
			a.Ns = []dns.RR{ns}
			return a
		}
		if _, err := n.once(n.source(), resolve); err == nil || !strings.Contains(err.Error(), "knows nothing of the domain") {
			t.Errorf("error %v", err)
		}
	})
}

func TestTruncatedAnswersAreFetchedByTCP(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var records []string
		for i := range 300 {
			records = append(records, fmt.Sprintf("_http._tcp 60 PTR Web%d._http._tcp", i))
		}
		s := n.serve(first, records...)
		s.hook = func(network string, q, a *dns.Msg) *dns.Msg {
			if network == "udp" {
				a.Truncate(int(q.IsEdns0().UDPSize()))
			}
			return a
		}
		got, err := n.once(n.source(), dnssd.Browser{Type: "_http._tcp"})
		if err != nil || len(got) != 301 {
			t.Errorf("%d events, %v; want 300 services", len(got), err)
		}
		same(t, "queries", n.queries(), []string{"_http._tcp.example.com PTR udp 53", "_http._tcp.example.com PTR tcp 53"})
	})
}

func TestAnAnswerCutInsideARecordIsFetchedByTCP(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "www 60 A 192.0.2.1")
		s.raw = func(q *dns.Msg) [][]byte {
			var m dns.Msg
			m.SetReply(q)
			m.Truncated = true
			rr, _ := dns.NewRR("www.example.com. 60 A 192.0.2.1")
			m.Answer = []dns.RR{rr}
			b, _ := m.Pack()
			s.raw = nil // whole by TCP
			return [][]byte{b[:len(b)-2]}
		}
		same(t, "answer", ask(t, n.source(), "www.example.com", dnswire.TypeA), []string{"www.example.com A 192.0.2.1"})
		same(t, "queries", n.queries(), []string{"www.example.com A udp 53", "www.example.com A tcp 53"})
	})
}

func TestServersFromBeforeEDNS(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, web("Web", "www", "60", "192.0.2.1")...)
		with := 0
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			if o := q.IsEdns0(); o != nil {
				with++
				if o.UDPSize() != 1232 {
					t.Errorf("EDNS says %d bytes", o.UDPSize())
				}
				return a.SetRcodeFormatError(q)
			}
			return a
		}
		if got, err := n.once(n.source(), resolve); err != nil || len(got) != 2 || with != 1 {
			t.Errorf("%q, %v, %d queries with EDNS; want it remembered", got, err, with)
		}
	})
}

func TestOnlyTheAnswerToTheQueryCounts(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "www 60 A 192.0.2.1")
		s.raw = func(q *dns.Msg) [][]byte {
			forged := func(f func(*dns.Msg)) []byte {
				var m dns.Msg
				m.SetReply(q)
				rr, _ := dns.NewRR("www.example.com. 60 A 192.0.2.66")
				m.Answer = []dns.RR{rr}
				f(&m)
				b, _ := m.Pack()
				return b
			}
			return [][]byte{
				{}, {1, 2, 3},
				forged(func(m *dns.Msg) { m.Id++ }),
				forged(func(m *dns.Msg) { m.Response = false }),
				forged(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
				forged(func(m *dns.Msg) { m.Question[0].Name = "www.example.org." }),
				forged(func(m *dns.Msg) { m.Question[0].Qtype++ }),
				forged(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
				forged(func(m *dns.Msg) { m.Question = nil }),
			}
		}
		if got := ask(t, n.source(), "WWW.example.com", dnswire.TypeA); !slices.Equal(got, []string{"WWW.example.com A 192.0.2.1"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestAFloodOfForgedAnswersEndsTheQuery(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "www 60 A 192.0.2.1")
		s.raw = func(*dns.Msg) [][]byte { return slices.Repeat([][]byte{make([]byte, 12)}, 40) }
		same(t, "outcome", ask(t, n.source(), "www.example.com", dnswire.TypeA), []string{"failed"})
	})
}

func TestOtherNamesInAnAnswerAreNotTaken(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, "www 60 A 192.0.2.1")
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Name != "www.example.com." {
				return a
			}
			evil, _ := dns.NewRR("bank.example.com. 60 A 192.0.2.66")
			chaos, _ := dns.NewRR("www.example.com. 60 CH A 192.0.2.67")
			a.Answer = append(a.Answer, evil, chaos)
			added, _ := dns.NewRR("www.example.com. 60 A 192.0.2.68")
			a.Extra, a.Ns = append(a.Extra, evil, added), append(a.Ns, added)
			return a
		}
		src := n.source()
		same(t, "asked for", ask(t, src, "www.example.com", dnswire.TypeA), []string{"www.example.com A 192.0.2.1"})
		same(t, "the other", ask(t, src, "bank.example.com", dnswire.TypeA), []string{"none"})
	})
}

func TestAliases(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first,
			"_http._tcp 60 CNAME _web._tcp", "_web._tcp 60 PTR Web._http._tcp",
			"loop 60 CNAME loop2", "loop2 60 CNAME loop",
			"away 60 CNAME www.example.org.", "old.www 60 A 192.0.2.9",
		)
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			switch q.Question[0].Name {
			case "www.example.org.":
				a.Rcode, a.Ns = 0, nil
				rr, _ := dns.NewRR("www.example.org. 60 A 192.0.2.5")
				a.Answer = []dns.RR{rr}
			case "a.new.example.com.":
				a.Rcode, a.Ns = 0, nil
				d, _ := dns.NewRR("new.example.com. 60 DNAME old.example.com.")
				rr, _ := dns.NewRR("a.old.example.com. 60 A 192.0.2.6")
				a.Answer = []dns.RR{d, rr}
			case "away.example.com.":
				a.Ns, a.Rcode = nil, 0
			}
			return a
		}
		for name, want := range map[string]string{
			"_http._tcp.example.com": "_http._tcp.example.com PTR Web._http._tcp.example.com",
			"loop.example.com":       "none",
			"away.example.com":       "away.example.com A 192.0.2.5",
			"a.new.example.com":      "a.new.example.com A 192.0.2.6",
		} {
			typ := dnswire.TypeA
			if strings.HasPrefix(name, "_") {
				typ = dnswire.TypePTR
			}
			same(t, name, ask(t, n.source(), name, typ), []string{want})
		}
		if q := n.queries(); len(q) > 12 {
			t.Errorf("%d queries", len(q))
		}
	})
}

func TestUTF8IsAskedForFirstAndALabelsAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, `_http._tcp.xn--bcher-kva 60 PTR B\195\188ro._http._tcp.xn--bcher-kva`, `_http._tcp.b\195\188ro 60 PTR x._http._tcp`)
		src := n.source()
		same(t, "answer", ask(t, src, "_http._tcp.Bücher.example.com", dnswire.TypePTR),
			[]string{"_http._tcp.Bücher.example.com PTR Büro._http._tcp.xn--bcher-kva.example.com"})
		same(t, "queries", n.queries(), []string{
			`_http._tcp.B\195\188cher.example.com PTR udp 53`, "_http._tcp.xn--bcher-kva.example.com PTR udp 53"})
		same(t, "a zone in UTF-8", ask(t, src, "_http._tcp.büro.example.com", dnswire.TypePTR), []string{"_http._tcp.büro.example.com PTR x._http._tcp.example.com"})
		same(t, "queries", n.queries(), []string{`_http._tcp.b\195\188ro.example.com PTR udp 53`})
		s.hook = nil
		same(t, "instance", ask(t, src, "Müll._http._tcp.example.com", dnswire.TypeSRV), []string{"none"})
		same(t, "an instance's name is never an A-label", n.queries(), []string{`M\195\188ll._http._tcp.example.com SRV udp 53`})
	})
}

func TestNamesOfMulticastDNSAreNeverAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first)
		src := n.source()
		for _, name := range []string{
			"local", "nas.LOCAL", "_http._tcp.local", "1.254.169.in-addr.arpa", "254.169.in-addr.arpa",
			"8.e.f.ip6.arpa", "1.0.0.0.b.e.f.ip6.arpa",
		} {
			same(t, name, ask(t, src, name, dnswire.TypePTR), []string{"none"})
		}
		if q := n.queries(); len(q) != 0 {
			t.Errorf("asked %q", q)
		}
		for _, name := range []string{"local.example", "169.254.in-addr.arpa", "1.255.169.in-addr.arpa", "c.e.f.ip6.arpa", "8.f.f.ip6.arpa"} {
			ask(t, src, name, dnswire.TypePTR)
		}
		if q := n.queries(); len(q) != 5 {
			t.Errorf("asked %q, want all five", q)
		}
	})
}

func TestIDsAreNotPredictable(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first)
		ids := map[uint16]bool{}
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg { ids[q.Id] = true; return a }
		src := n.source()
		for i := range 100 {
			ask(t, src, fmt.Sprintf("h%d.example.com", i), dnswire.TypeA)
		}
		if len(ids) < 95 {
			t.Errorf("%d different ids in 100 queries", len(ids))
		}
	})
}

func TestManyServicesAreAskedForInTurns(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var records []string
		for i := range 100 {
			records = append(records, web(fmt.Sprintf("Web%d", i), fmt.Sprintf("h%d", i), "60", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())...)
		}
		s := n.serve(first, records...)
		s.delay = time.Millisecond
		got, err := n.once(n.source(), resolve)
		if err != nil || len(got) != 101 {
			t.Errorf("%d events, %v", len(got), err)
		}
		if d := time.Since(n.start); d > time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestReconfirmedServiceIsAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, web("Web", "www", "3600", "192.0.2.1")...)
		src := n.source()
		in := dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "example.com"}
		go func() {
			time.Sleep(10 * time.Second)
			n.change(func() { s.set(t, web("Web", "www", "3600", "192.0.2.2")...) })
			n.queries()
			for range 100 { // as often as one likes
				if err := dnssd.Reconfirm(src, dnssd.Service{Instance: in}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
			if q := n.queries(); len(q) != 5 {
				t.Errorf("queries %q, want each record asked for once", q)
			}
			time.Sleep(10 * time.Second)
			n.change(func() { s.set(t) })
			if got, err := dnssd.ResolveAgain(t.Context(), src, in); !errors.Is(err, dnssd.ErrNone) {
				t.Errorf("%v, %v; want %v", got, err, dnssd.ErrNone)
			}
		}()
		got := n.during(src, resolve, 30*time.Second)
		if len(got) < 3 || got[1] != "10s update Web._http._tcp.example.com www.example.com 192.0.2.2" || !strings.HasPrefix(got[len(got)-1], "20s remove Web.") {
			t.Errorf("events %q", got)
		}
	})
}

func TestServersCanBeAskedInTurnAndByTCP(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		for _, at := range []netip.AddrPort{first, second} {
			n.serve(at).hook = func(_ string, q, a *dns.Msg) *dns.Msg {
				if q.IsEdns0() != nil {
					t.Error("EDNS is used")
				}
				return a
			}
		}
		src := n.source(first, second)
		src.Rotate, src.TCP, src.NoEDNS = true, true, true
		for i := range 4 {
			ask(t, src, fmt.Sprintf("h%d.example.com", i), dnswire.TypeA)
		}
		same(t, "queries", n.queries(), []string{
			"h0.example.com A tcp 54", "h1.example.com A tcp 53", "h2.example.com A tcp 54", "h3.example.com A tcp 53",
		})
	})
}
