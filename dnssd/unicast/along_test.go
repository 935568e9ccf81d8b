package unicast_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// generous has a server send records of its zone along with PTR and SRV answers,
// as BIND does with addresses, or with chains as RFC 6763 §12.1 has it.
func (s *server) generous(chains bool, families ...uint16) {
	s.hook = func(network string, q, a *dns.Msg) *dns.Msg {
		add := func(name string, types ...uint16) {
			for _, rr := range s.zone {
				if h := rr.Header(); strings.EqualFold(h.Name, name) && slices.Contains(types, h.Rrtype) {
					a.Extra = append(a.Extra, rr)
				}
			}
		}
		for _, rr := range a.Answer {
			if p, ok := rr.(*dns.PTR); ok && chains {
				add(p.Ptr, dns.TypeSRV, dns.TypeTXT)
			}
		}
		for _, rr := range slices.Concat(a.Answer, a.Extra) {
			if srv, ok := rr.(*dns.SRV); ok {
				add(srv.Target, families...)
			}
		}
		if network == "udp" && a.Len() > 1232 {
			a.Truncated, a.Answer, a.Extra = true, nil, nil
		}
		return a
	}
}

var both = []uint16{dns.TypeA, dns.TypeAAAA}

func TestAddressesThatCameAlongAreNotAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, web("Web", "WWW", "60", "192.0.2.1", "2001:db8::1")...).generous(false, both...)
		src := n.source()
		got, err := n.once(src, resolve)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", got, []string{"add Web._http._tcp.example.com WWW.example.com 192.0.2.1 2001:db8::1", "settled"})
		asked := n.queries()
		slices.Sort(asked)
		same(t, "queries", asked, []string{"Web._http._tcp.example.com SRV udp 53", "Web._http._tcp.example.com TXT udp 53", "_http._tcp.example.com PTR udp 53"})
		if s := src.Stats(); s.Spared != 2 || s.Queries != 3 || s.Sent != 3 || s.ByTCP != 0 {
			t.Errorf("%+v", s)
		}
		// Who asks for the host gets the server's own answer (RFC 2181 §5.4.1).
		if _, err := dnssd.LookupHost(t.Context(), src, "www.example.com"); err != nil {
			t.Error(err)
		}
		same(t, "queries for the host", sortedSet(n.queries()), []string{"WWW.example.com A udp 53", "WWW.example.com AAAA udp 53"})
	})
}

// A server that knows of DNS-SD is asked once, however many services there are:
// here by UDP in vain, and by TCP.
func TestChainsThatCameAlongAreNotAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var records []string
		for i := range 200 {
			records = append(records, web(fmt.Sprintf("Web%d", i), fmt.Sprintf("h%d", i), "60", fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("2001:db8::%d", i))...)
		}
		n.serve(first, records...).generous(true, both...)
		src := n.source()
		got, err := n.once(src, resolve)
		if err != nil || len(got) != 201 || strings.Count(strings.Join(got, "\n"), "2001:db8::") != 200 {
			t.Errorf("%v: %d events: %q", err, len(got), got[:min(3, len(got))])
		}
		same(t, "queries", n.queries(), []string{"_http._tcp.example.com PTR udp 53", "_http._tcp.example.com PTR tcp 53"})
		if s := src.Stats(); s.Spared != 800 || s.Queries != 1 || s.Sent != 2 || s.ByTCP != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Addresses of one family came along and none of the other: most likely there
// are none. Nobody waits for the server's word on that.
func TestTheOtherFamilyIsAskedForLater(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, append(web("Web", "www", "600", "192.0.2.1", "2001:db8::1"), web("Old", "old", "600", "192.0.2.2")...)...).generous(true, dns.TypeA)
		src := n.source()
		b := resolve
		b.Source, b.Domain = src, "example.com"
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Second)
		defer cancel()
		var got []string
		for ev, err := range b.Events(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, text(ev))
			d := time.Since(n.start)
			if now := d < 100*time.Millisecond; now != (ev.Op != dnssd.Update) || ev.Op == dnssd.Update && (d < time.Second || d > 6*time.Second) {
				t.Errorf("%s after %v", ev.Op, d)
			}
		}
		slices.Sort(got)
		same(t, "events", got, []string{
			"add Old._http._tcp.example.com old.example.com 192.0.2.2", "add Web._http._tcp.example.com www.example.com 192.0.2.1",
			"settled", "update Web._http._tcp.example.com www.example.com 192.0.2.1 2001:db8::1",
		})
		asked := n.queries()
		slices.Sort(asked)
		// The negative answer holds 20 s, and the family isn't waited for.
		same(t, "queries", asked, []string{"_http._tcp.example.com PTR udp 53", "old.example.com AAAA udp 53", "www.example.com AAAA udp 53"})
	})
}

// What came along comes along again when what it came with is refreshed, and no
// TTL makes a loop of it.
func TestWhatCameAlongIsRefreshedAlong(t *testing.T) {
	for ttl, most := range map[string]int{"100": 13, "0": 126} {
		bubble(t, func(t *testing.T, n *network) {
			n.serve(first, web("Web", "www", ttl, "192.0.2.1", "2001:db8::1")...).generous(false, both...)
			b := resolve
			b.Refreshes = true
			got := n.during(n.source(), b, 1000*time.Second)
			if len(got) < 10 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "remove") }) {
				t.Errorf("TTL %s: %d events: %q", ttl, len(got), got[:min(3, len(got))])
			}
			count := map[string]int{}
			for _, q := range n.queries() {
				count[strings.Fields(q)[1]]++
			}
			for typ, c := range count {
				if address := typ[0] == 'A'; address || c > most {
					t.Errorf("TTL %s: %d queries for %s in 1000 s, want at most %d and none for addresses", ttl, c, typ, most)
				}
			}
		})
	}
}

// A server adds whatever it likes. Only what the answer leads to is taken.
func TestOnlyWhatTheAnswerLeadsToIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, append(web("Web", "www", "60", "192.0.2.1"), "bank A 192.0.2.9", "Other._http._tcp SRV 0 0 80 other", "other A 192.0.2.10", "www AAAA 2001:db8::1")...)
		poison := []string{
			"bank 600 A 203.0.113.66", "Other._http._tcp 600 SRV 0 0 666 evil", "other 600 A 203.0.113.66", "evil 600 A 203.0.113.66",
			"host.local. 600 A 203.0.113.66", "www 600 CH A \\# 4 cb007142", "www.example.com.evil. 600 A 203.0.113.66", "_http._tcp 600 PTR Fake._http._tcp",
		}
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			for _, p := range poison {
				rr, err := dns.NewRR("$ORIGIN example.com.\n" + p)
				if err != nil {
					t.Fatal(err)
				}
				a.Extra = append(a.Extra, rr)
				if q.Question[0].Qtype != dns.TypePTR {
					a.Ns = append(a.Ns, rr)
				}
			}
			return a
		}
		src := n.source()
		got, err := n.once(src, resolve)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", got, []string{"add Web._http._tcp.example.com www.example.com 192.0.2.1 2001:db8::1", "settled"})
		if asked := n.queries(); len(asked) != 5 {
			t.Errorf("queries %q", asked)
		}
		if s := src.Stats(); s.Questions != 5 || s.Spared != 0 {
			t.Errorf("%+v", s)
		}
		same(t, "bank", ask(t, src, "bank.example.com", dnswire.TypeA), []string{"bank.example.com A 192.0.2.9"})
	})
}

// What was asked for itself stands against what comes along later.
func TestWhatCameAlongDoesNotReplaceAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		s := n.serve(first, web("Web", "www", "600", "192.0.2.1")...)
		src := n.source()
		same(t, "host", ask(t, src, "www.example.com", dnswire.TypeA), []string{"www.example.com A 192.0.2.1"})
		s.hook = func(_ string, q, a *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeSRV {
				rr, _ := dns.NewRR("www.example.com. 600 A 203.0.113.66")
				a.Extra = append(a.Extra, rr)
			}
			return a
		}
		got, err := n.once(src, resolve)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", got, []string{"add Web._http._tcp.example.com www.example.com 192.0.2.1", "settled"})
	})
}

// A service that didn't work is asked for again with no more queries than at first.
func TestReconfirmedServiceComesAlongAgain(t *testing.T) {
	for chains, want := range map[bool]int{false: 3, true: 1} {
		bubble(t, func(t *testing.T, n *network) {
			s := n.serve(first, web("Web", "www", "3600", "192.0.2.1", "2001:db8::1")...)
			s.generous(chains, both...)
			src := n.source()
			time.AfterFunc(10*time.Second, func() {
				n.queries()
				n.change(func() { s.set(t, web("Web", "new", "3600", "192.0.2.2", "2001:db8::2")...) })
				if err := dnssd.Reconfirm(src, dnssd.Service{Instance: dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "example.com"}}); err != nil {
					t.Error(err)
				}
			})
			got := n.during(src, resolve, 30*time.Second)
			same(t, "events", got, []string{
				"0s add Web._http._tcp.example.com www.example.com 192.0.2.1 2001:db8::1", "10s update Web._http._tcp.example.com new.example.com 192.0.2.2 2001:db8::2",
			})
			if q := n.queries(); len(q) != want {
				t.Errorf("%d queries, want %d: %q", len(q), want, q)
			}
		})
	}
}
