package unicast_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

func lines(f unicast.Found) []string {
	var out []string
	for _, d := range f.Domains {
		out = append(out, fmt.Sprintf("%s%v%v%v%v", d.Name, d.Kinds, d.From, d.Via, d.Multicast))
	}
	return append(out, f.Warnings...)
}

func TestDomainsAreFoundInSearchDomainsAndByAddress(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first,
			"b._dns-sd._udp 60 PTR example.com.", "b._dns-sd._udp 60 PTR Dienste", "db._dns-sd._udp 60 PTR example.com.",
			"lb._dns-sd._udp 60 PTR example.com.", "r._dns-sd._udp 60 PTR dyn", "dr._dns-sd._udp 60 PTR dyn",
			"b._dns-sd._udp.0.2.0.192.in-addr.arpa. 60 PTR EXAMPLE.com.", "db._dns-sd._udp.0.2.0.192.in-addr.arpa. 60 PTR floor2",
			"b._dns-sd._udp.0.2.0.192.in-addr.arpa. 60 PTR local.",
		)
		e := unicast.Enumeration{
			Unicast: n.source(), Search: []string{"example.com", "local", "example.com.", "a..b"},
			Addresses: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("169.254.3.4/16"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("127.0.0.1/8"),
			},
		}
		got, err := e.Domains(t.Context())
		if err != nil || time.Since(n.start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(n.start))
		}
		same(t, "domains", lines(got), []string{
			"dienste.example.com[b][example.com][unicast]false",
			"dyn.example.com[r dr][example.com][unicast]false",
			"example.com[b db lb][0.2.0.192.in-addr.arpa example.com][unicast]false",
			"floor2.example.com[db][0.2.0.192.in-addr.arpa][unicast]false",
			"local[b][0.2.0.192.in-addr.arpa][unicast]true",
			"local is among the domains to search by unicast DNS, but belongs to multicast DNS: no server is asked (RFC 6762 §3)",
			`the domain to search "a..b" is none: dnswire: name "a..b" has an empty label`,
			"more than one domain is recommended as the default (db): example.com (by 0.2.0.192.in-addr.arpa, example.com), floor2.example.com (by 0.2.0.192.in-addr.arpa); all are used",
			"a DNS server recommends local, which belongs to multicast DNS: it is looked for there alone (RFC 6762 §3)",
		})
		if q := sortedSet(n.queries()); len(q) != 10 {
			t.Errorf("queries %q, want five in each of two domains", q)
		}
	})
}

// local is a source that hears answers for as long as one listens, as multicast
// DNS does.
type local struct{ events []mdns.Event }

func (*local) Via() string             { return "mdns" }
func (l *local) Feed(bool) dnssd.Feed  { return l }
func (*local) Forget(...mdns.Question) {}
func (*local) Close()                  {}
func (l *local) Ask(qs ...mdns.Question) {
	for _, q := range qs {
		if q.Name.String() == "b._dns-sd._udp.local" {
			to, _ := dnswire.ParseName("example.com")
			l.events = append(l.events, mdns.Event{Op: mdns.OpAdd, RR: dnswire.NewPTR(q.Name, to, 60)})
		}
	}
}

func (l *local) Next(ctx context.Context) ([]mdns.Event, error) {
	if out := l.events; len(out) > 0 {
		l.events = nil
		return out, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestDomainsThatTheLinkRecommends(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first, "b._dns-sd._udp 60 PTR example.com.")
		got, err := unicast.Enumeration{Multicast: &local{}, Unicast: n.source(), Search: []string{"example.com"}}.Domains(t.Context())
		if d := time.Since(n.start); err != nil || d > time.Second {
			t.Errorf("%v after %v", err, d)
		}
		same(t, "domains", lines(got), []string{"example.com[b][example.com local][mdns unicast]false"})
		got, err = unicast.Enumeration{Multicast: &local{}}.Domains(t.Context())
		if err != nil {
			t.Error(err)
		}
		same(t, "without a server", lines(got), []string{"example.com[b][local][mdns]false"})
	})
}

func TestDomainsWhenNoServerAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve(first).down = true
		got, err := unicast.Enumeration{Unicast: n.source(), Search: []string{"example.com"}}.Domains(t.Context())
		if !errors.Is(err, dnssd.ErrTimeout) || len(got.Domains) != 0 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestReverseDomain(t *testing.T) {
	for p, want := range map[string]string{
		"192.0.2.7/24":        "0.2.0.192.in-addr.arpa",
		"10.9.8.7/12":         "0.0.0.10.in-addr.arpa",
		"192.0.2.7/32":        "7.2.0.192.in-addr.arpa",
		"2001:db8::7/64":      "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
		"::ffff:10.0.0.1/104": "0.0.0.10.in-addr.arpa",
		"169.254.1.2/16":      "", "fe80::1/64": "", "127.0.0.1/8": "", "::1/128": "", "224.0.0.1/4": "", "0.0.0.0/0": "",
	} {
		n, ok := unicast.ReverseDomain(netip.MustParsePrefix(p))
		if ok != (want != "") || ok && n.String() != want {
			t.Errorf("%s: %s, %v; want %s", p, n, ok, want)
		}
	}
}
