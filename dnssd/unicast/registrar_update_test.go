package unicast_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// whole has the test fail if the instance is ever without its records, or has two
// of what it must have one of.
func (p *primary) whole(name string) {
	p.net.change(func() {
		p.after = func() {
			count := map[uint16]int{}
			for _, rr := range p.server.zone {
				if strings.HasPrefix(rr.Header().Name, name) {
					count[rr.Header().Rrtype]++
				}
			}
			if count[dns.TypeSRV] != 1 || count[dns.TypeTXT] != 1 {
				p.t.Errorf("after %v %s has %d SRV and %d TXT records", time.Since(p.net.start), name, count[dns.TypeSRV], count[dns.TypeTXT])
			}
		}
	})
}

func (r *registering) update(t *testing.T, change func(*unicast.Offer)) {
	t.Helper()
	o := r.Offer
	change(&o)
	if err := r.Update(o); err != nil {
		t.Error(err)
	}
}

func TestOfferChangesWhileItIsRegistered(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(nil)
		time.Sleep(time.Second)
		p.whole("Web.")
		for i, c := range []struct {
			change func(*unicast.Offer)
			want   []string
		}{
			{func(o *unicast.Offer) { o.TXT = []string{"path=/new", "x"} }, []string{
				"Web._http._tcp.@ 120 IN SRV 0 0 80 www.@", `Web._http._tcp.@ 120 IN TXT "path=/new" "x"`, "_admin._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@", "www.@ 120 IN A 192.0.2.1",
			}},
			{func(o *unicast.Offer) { o.Port, o.Subtypes = 81, []string{"_b", "_c"} }, []string{
				"Web._http._tcp.@ 120 IN SRV 0 0 81 www.@", `Web._http._tcp.@ 120 IN TXT "path=/"`,
				"_b._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@", "_c._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@", "www.@ 120 IN A 192.0.2.1",
			}},
			{func(o *unicast.Offer) {
				o.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
			}, []string{
				"Web._http._tcp.@ 120 IN SRV 0 0 80 www.@", `Web._http._tcp.@ 120 IN TXT "path=/"`, "_admin._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@",
				"www.@ 120 IN A 192.0.2.7", "www.@ 120 IN AAAA 2001:db8::7",
			}},
			{func(o *unicast.Offer) { o.Addresses = nil }, []string{
				"Web._http._tcp.@ 120 IN SRV 0 0 80 www.@", `Web._http._tcp.@ 120 IN TXT "path=/"`, "_admin._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@",
			}},
			{func(o *unicast.Offer) { o.Host, o.Priority, o.Weight = "new.example.com", 1, 2 }, []string{
				"Web._http._tcp.@ 120 IN SRV 1 2 80 new.@", `Web._http._tcp.@ 120 IN TXT "path=/"`, "_admin._sub._http._tcp.@ 120 IN PTR Web._http._tcp.@", "new.@ 120 IN A 192.0.2.1",
			}},
		} {
			r.update(t, c.change)
			time.Sleep(time.Second)
			want := append(c.want, "_http._tcp.@ 120 IN PTR Web._http._tcp.@", "_services._dns-sd._udp.@ 120 IN PTR _http._tcp.@")
			slices.Sort(want)
			if got := p.has(); !slices.Equal(got, want) || r.last().State != unicast.Registered || r.last().Instance.Name != "Web" {
				t.Errorf("%d: %+v\n%q, want\n%q", i, r.last(), got, want)
			}
		}
		n.change(func() { p.after = nil })
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

// Changes that come while answers are lost, or the server is away, lead to the last one.
func TestOfferChangesWhileTheServerIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(nil)
		time.Sleep(time.Second)
		p.whole("Web.")
		for port := range uint16(5) {
			n.change(func() { p.lose = 3 }) // all that it tries at one time, so that it doesn't know
			r.update(t, func(o *unicast.Offer) {
				o.Port, o.Addresses = 1000+port, []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + port)})}
			})
			time.Sleep(5 * time.Second)
		}
		n.change(func() { p.lose, p.server.down = 0, true })
		r.update(t, func(o *unicast.Offer) { o.Port = 2000 })
		time.Sleep(10 * time.Second)
		r.update(t, func(o *unicast.Offer) { o.Port, o.TXT = 2001, []string{"last"} })
		n.change(func() { p.server.down = false })
		time.Sleep(10 * time.Minute)
		if got := p.has(); len(got) != 6 || !slices.Contains(got, "Web._http._tcp.@ 120 IN SRV 0 0 2001 www.@") || !slices.Contains(got, `Web._http._tcp.@ 120 IN TXT "last"`) || r.last().Instance.Name != "Web" {
			t.Errorf("zone %q, state %+v", got, r.last())
		}
		n.change(func() { p.after = nil })
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

// A host that is left and come back to before the server heard of it stays.
func TestHostThatIsComeBackToStays(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(nil)
		time.Sleep(time.Second)
		p.whole("Web.")
		whole := p.after
		n.change(func() {
			p.server.down = true
			p.after = func() {
				whole()
				if !slices.ContainsFunc(p.server.zone, func(rr dns.RR) bool { return rr.Header().Name == "www.example.com." && rr.Header().Rrtype == dns.TypeA }) {
					t.Errorf("after %v the host has no address", time.Since(n.start))
				}
			}
		})
		for _, host := range []string{"new.example.com", "third.example.com", "www.example.com"} {
			r.update(t, func(o *unicast.Offer) { o.Host = host })
			time.Sleep(10 * time.Second)
		}
		n.change(func() { p.server.down = false })
		time.Sleep(10 * time.Minute)
		if got := p.has(); len(got) != 6 || r.last().State != unicast.Registered || r.last().Host != "www.example.com" {
			t.Errorf("zone %q, state %+v", got, r.last())
		}
		n.change(func() { p.after = nil })
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}

func TestOfferThatIsOffIsTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(func(r *unicast.Registrar) { r.Off = true })
		time.Sleep(time.Minute)
		if got := p.all(); len(got) != 0 || r.last().State != unicast.Withdrawn || r.last().Err != nil {
			t.Errorf("zone before %q, state %+v", got, r.last())
		}
		r.update(t, func(o *unicast.Offer) { o.Off = false })
		time.Sleep(time.Second)
		if got := p.has(); len(got) != 6 || r.last().State != unicast.Registered {
			t.Errorf("zone %q, state %+v", got, r.last())
		}
		// It goes even if the server is away at that time.
		n.change(func() { p.server.down = true })
		r.update(t, func(o *unicast.Offer) { o.Off = true })
		time.Sleep(20 * time.Second)
		if ev := r.last(); ev.State != unicast.Withdrawn || ev.Err == nil {
			t.Errorf("state %+v", ev)
		}
		n.change(func() { p.server.down = false })
		time.Sleep(2 * time.Minute)
		if got := p.all(); len(got) != 0 || r.last().State != unicast.Withdrawn || r.last().Err != nil {
			t.Errorf("zone after %q, state %+v", got, r.last())
		}
		n.end(r)
	})
}

func TestWrongOfferIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first)
		r := n.register(nil)
		time.Sleep(time.Second)
		before := p.has()
		for want, change := range map[string]func(*unicast.Offer){
			"unicast: register: www.local belongs to multicast DNS (RFC 6762 §3)": func(o *unicast.Offer) { o.Host = "www.local" },
			`unicast: register: host: dnswire: name "" is empty`:                  func(o *unicast.Offer) { o.Host = "" },
		} {
			o := r.Offer
			change(&o)
			if err := r.Update(o); err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		}
		time.Sleep(time.Second)
		same(t, "zone", p.has(), before)
		n.end(r)
	})
}

// kept is a dnssd.Keeper in memory.
type kept struct {
	mu    sync.Mutex
	names map[string]string
}

func (k *kept) Kept(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.names[name]
}

func (k *kept) Keep(name, label string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names[name] = label
}

func TestChangedNamesAreKept(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		p := n.primary(first, "Web._http._tcp 60 SRV 0 0 80 other", "www 60 A 192.0.2.99")
		keeper := &kept{names: map[string]string{}}
		r := n.register(func(r *unicast.Registrar) { r.Keeper = keeper })
		time.Sleep(time.Second)
		n.end(r)
		if want := map[string]string{"Web._http._tcp.example.com": "Web (2)", "www.example.com": "www-2"}; !maps.Equal(keeper.names, want) {
			t.Errorf("kept %q, want %q", keeper.names, want)
		}
		n.change(func() { p.server.set(t) })
		r = n.register(func(r *unicast.Registrar) { r.Keeper = keeper })
		time.Sleep(time.Second)
		if ev := r.last(); ev.State != unicast.Registered || ev.Instance.Name != "Web (2)" || ev.Host != "www-2.example.com" {
			t.Errorf("state %+v", ev)
		}
		n.end(r)
		same(t, "zone at the end", p.all(), nil)
	})
}
