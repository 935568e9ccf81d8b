package lanfolk

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answerFor makes a sighting by which a MAC answers for an address.
func answerFor(key, mac, ip string) Sighting {
	s := sight(key, mac, "ip="+ip)
	s.Type = TypeAnswer
	return s
}

// TestProxies: which addresses are a MAC's own that answers for several. Every case is
// held against the model in every order, as it comes and as it goes.
func TestProxies(t *testing.T) {
	router, other := macN(1), macN(2)
	answers := func(n int) (all []Sighting) {
		for k := range n {
			all = append(all, answerFor(fmt.Sprint("arp/", k), router, fmt.Sprintf("10.0.0.%d", 10+k)))
		}
		return all
	}
	for _, tt := range []struct {
		name string
		s    []Sighting
		want []string
	}{
		{"a host with some addresses has them", append(answers(2), sight("mdns/x", "host=x.local", "ip=10.0.0.10")),
			[]string{"arp/0 arp/1 mdns/x"}},
		{"who answers for more is a proxy, and what an address leads to isn't its", append(answers(3), sight("mdns/x", "host=x.local", "ip=10.0.0.10")),
			[]string{"arp/0 arp/1 arp/2", "mdns/x"}},
		{"the address in whose name it asks is its own", append(answers(4), sight("arp/own", router, "ip=10.0.0.10"), sight("mdns/r", "host=r.local", "ip=10.0.0.10"), sight("mdns/x", "host=x.local", "ip=10.0.0.11")),
			[]string{"arp/0 arp/1 arp/2 arp/3 arp/own mdns/r", "mdns/x"}},
		{"a server that speaks from all of its addresses has them", append(answers(3),
			sight("arp/a", router, "ip=10.0.0.10"), sight("arp/b", router, "ip=10.0.0.11"), sight("arp/c", router, "ip=10.0.0.12"), sight("mdns/x", "host=x.local", "ip=10.0.0.12")),
			[]string{"arp/0 arp/1 arp/2 arp/a arp/b arp/c mdns/x"}},
		{"the host itself is told by its address, whatever the proxy says", append(answers(3), sight("arp/x", other, "ip=10.0.0.11"), sight("mdns/x", "host=x.local", "ip=10.0.0.11")),
			[]string{"arp/0 arp/1 arp/2", "arp/x mdns/x"}},
		{"two proxies for the same hosts lend them to nobody", append(answers(3),
			answerFor("arp/x0", other, "10.0.0.10"), answerFor("arp/x1", other, "10.0.0.11"), answerFor("arp/x2", other, "10.0.0.12"), sight("mdns/x", "host=x.local", "ip=10.0.0.11")),
			[]string{"arp/0 arp/1 arp/2", "arp/x0 arp/x1 arp/x2", "mdns/x"}},
		{"each family counts for itself", append(answers(2), answerFor("ndp/a", router, "fd00::1"), sight("mdns/x", "host=x.local", "ip=fd00::1", "ip=10.0.0.10")),
			[]string{"arp/0 arp/1 mdns/x ndp/a"}},
		{"a proxy for one family has its addresses of the other", append(answers(2), answerFor("ndp/a", router, "fd00::1"), answerFor("ndp/b", router, "fd00::2"),
			sight("mdns/x", "host=x.local", "ip=fd00::1"), sight("mdns/y", "host=y.local", "ip=10.0.0.10")),
			[]string{"arp/0 arp/1 mdns/y ndp/a ndp/b", "mdns/x"}},
		{"a service of that name answers for nobody", []Sighting{
			func() Sighting { s := answerFor("x/1", router, "10.0.0.1"); s.Kind = KindService; return s }(),
			func() Sighting { s := answerFor("x/2", router, "10.0.0.2"); s.Kind = KindService; return s }(),
			func() Sighting { s := answerFor("x/3", router, "10.0.0.3"); s.Kind = KindService; return s }(),
			sight("mdns/x", "host=x.local", "ip=10.0.0.1"),
		}, []string{"mdns/x x/1 x/2 x/3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				c := testCore()
				for _, n := range perm(len(tt.s)) {
					c.observe(t0, tt.s[n])
					c.check(t)
				}
				if diff := cmp.Diff(tt.want, c.groups()); diff != "" {
					t.Fatal(diff)
				}
				again := testCore()
				if err := again.restore(t0, c.snapshot()); err != nil {
					t.Fatal(err)
				}
				again.check(t)
				for _, n := range perm(len(tt.s)) {
					bye := tt.s[n]
					bye.Gone = true
					c.observe(t0, bye)
					c.check(t)
				}
				if len(c.answers) > 0 {
					t.Fatalf("it is still counted what %d MACs answer for", len(c.answers))
				}
			}
		})
	}
}

// TestProxyIsShownAndExplained: a router that answers for the hosts behind it shows its own
// address alone, also after it fell silent; explain says why.
func TestProxyIsShownAndExplained(t *testing.T) {
	c := testCore()
	c.answered4 = maxAnswered4
	c.observe(t0, sight("arp/own", macN(1), "ip=10.0.0.1"), answerFor("arp/me", macN(1), "10.0.0.1"))
	for k := range maxAnswered4 + 1 {
		s := answerFor(fmt.Sprint("arp/", k), macN(1), fmt.Sprintf("10.0.0.%d", 100+k))
		s.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + k)})}
		c.observe(t0, s)
		c.check(t)
		if got, want := len(c.picture(c.devices["d1"]).Addresses), k+2; k < maxAnswered4 && got != want {
			t.Errorf("it answers for %d addresses and shows %d, want %d", k+1, got, want)
		}
	}
	if got := fmt.Sprint(c.picture(c.devices["d1"]).Addresses); got != "[10.0.0.1]" {
		t.Errorf("the proxy shows %s", got)
	}
	told := 0
	for _, e := range c.explain(c.devices["d1"]) {
		if strings.HasSuffix(e.WhyJoined, "isn't its own: a proxy, it answers there for 9 that it never speaks from") {
			told++
		}
	}
	if told != maxAnswered4+1 {
		t.Errorf("explain tells %d addresses to be others': %+v", told, c.explain(c.devices["d1"]))
	}
	if _, err := c.resolve("10.0.0.100"); err == nil {
		t.Error("the proxy is found by the address of a host behind it")
	}
	c.expire(t0.Add(2 * time.Minute))
	if got := fmt.Sprint(c.picture(c.devices["d1"]).Addresses); got != "[10.0.0.1]" {
		t.Errorf("the proxy that fell silent shows %s", got)
	}
}
