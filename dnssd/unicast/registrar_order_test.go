package unicast_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// town has Registrars that come, change, go and die in any order, while the server
// is away now and then and loses answers.
type town struct {
	*network
	t     *testing.T
	r     *rand.Rand
	p     *primary
	lives map[string]*citizen
	dead  []*registering
	log   []string
	// lost are hosts of somebody who was killed between the update for the host and
	// the one for the instance: nothing leads to them.
	lost []string
}

type citizen struct {
	*registering
	kill  func()
	offer unicast.Offer
}

func (w *town) offer(name string) unicast.Offer {
	r := w.r
	o := unicast.Offer{
		Port: uint16(80 + r.IntN(3)), TXT: []string{fmt.Sprint("v=", r.IntN(100))}, Host: fmt.Sprintf("h%d.example.com", r.IntN(2)), Off: r.IntN(6) == 0,
		// A host's addresses are those of its machine, whoever registers them.
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	}
	for _, s := range []string{"_a", "_b"} {
		if r.IntN(2) == 0 {
			o.Subtypes = append(o.Subtypes, s)
		}
	}
	w.say("%s offers %d %s %q %q off %v", name, o.Port, o.Host, o.TXT, o.Subtypes, o.Off)
	return o
}

func (w *town) say(format string, args ...any) {
	w.log = append(w.log, time.Since(w.start).Round(time.Second).String()+" "+fmt.Sprintf(format, args...))
}

func (w *town) birth(name string) {
	c := &citizen{offer: w.offer(name)}
	c.registering = w.register(func(r *unicast.Registrar) {
		short(r)
		r.Instance.Name, r.Offer = name, c.offer
		c.kill = mortal(r)
	})
	w.lives[name] = c
}

func (w *town) step() {
	names := []string{"A", "B", "C"}
	name := names[w.r.IntN(len(names))]
	c := w.lives[name]
	switch k := w.r.IntN(10); {
	case k == 0:
		down := !w.p.server.down
		w.say("the server is away: %v", down)
		w.change(func() { w.p.server.down = down })
	case k == 1:
		n := 1 + w.r.IntN(3)
		w.say("%d answers get lost", n)
		w.change(func() { w.p.lose = n })
	case c == nil:
		w.birth(name)
	case k == 2:
		w.say("%s is killed", name)
		c.kill()
		w.lose(name)
		w.dead = append(w.dead, c.registering)
		delete(w.lives, name)
	case k == 3:
		w.say("%s ends", name)
		w.end(c.registering)
		delete(w.lives, name)
	default:
		c.offer = w.offer(name)
		if err := c.Update(c.offer); err != nil {
			w.t.Error(err)
		}
	}
	time.Sleep(time.Duration(w.r.IntN(30_000)) * time.Millisecond)
}

// lose notes the hosts that nothing leads to of somebody who was just killed.
func (w *town) lose(name string) {
	all := w.p.all()
	for _, host := range []string{"h0", "h1"} {
		leads := slices.ContainsFunc(all, func(s string) bool {
			return strings.HasPrefix(s, name+"._http._tcp.@") && strings.HasSuffix(s, " "+host+".@") ||
				strings.HasPrefix(s, "_lease."+name+"._http._tcp.@") && strings.Contains(s, `"host=`+host+`.example.com"`)
		})
		holds := slices.ContainsFunc(all, func(s string) bool {
			return strings.HasPrefix(s, "_lease."+host+".@") && strings.Contains(s, `"for=`+name+`._http._tcp.example.com"`)
		})
		if holds && !leads {
			w.say("nothing leads to %s", host)
			w.lost = append(w.lost, host+".@", "_lease."+host+".@")
		}
	}
}

// found leaves out what was lost.
func (w *town) found(zone []string) []string {
	return slices.DeleteFunc(zone, func(s string) bool {
		return slices.ContainsFunc(w.lost, func(host string) bool { return strings.HasPrefix(s, host) })
	})
}

// want is the zone as it must be when all is quiet.
func (w *town) want() []string {
	out := map[string]struct{}{}
	add := func(format string, args ...any) { out[fmt.Sprintf(format, args...)] = struct{}{} }
	for _, c := range w.lives {
		if c.offer.Off {
			continue
		}
		ev := c.last()
		instance := strings.NewReplacer(" ", `\ `, "(", `\(`, ")", `\)`).Replace(ev.Instance.Name) + "._http._tcp.@"
		host := strings.TrimSuffix(ev.Host, "example.com") + "@"
		add("_services._dns-sd._udp.@ 120 IN PTR _http._tcp.@")
		add("_http._tcp.@ 120 IN PTR %s", instance)
		add("%s 120 IN SRV 0 0 %d %s", instance, c.offer.Port, host)
		add("%s 120 IN TXT %q", instance, c.offer.TXT[0])
		add("%s 120 IN A 192.0.2.1", host)
		for _, s := range c.offer.Subtypes {
			add("%s._sub._http._tcp.@ 120 IN PTR %s", s, instance)
		}
	}
	var list []string
	for s := range out {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func TestRegistrarsInAnyOrder(t *testing.T) {
	seeds := uint64(8)
	if os.Getenv("LANFOLK_SOAK") != "" {
		seeds = 500
	}
	for seed := range seeds {
		bubble(t, func(t *testing.T, n *network) {
			w := &town{network: n, t: t, r: rand.New(rand.NewPCG(seed, 1)), p: n.primary(first), lives: map[string]*citizen{}}
			w.p.after = func() {
				texts := map[string]int{}
				for _, rr := range w.p.server.zone {
					if rr.Header().Rrtype == dns.TypeTXT && !strings.HasPrefix(rr.Header().Name, "_lease.") {
						texts[rr.Header().Name]++
					}
				}
				for name, k := range texts {
					if k > 1 {
						t.Errorf("seed %d: %s has %d TXT records at %v", seed, name, k, time.Since(n.start))
					}
				}
			}
			watchman := n.register(another("Watchman", "watch", "192.0.2.9"))
			for range 40 {
				w.step()
			}
			n.change(func() { w.p.server.down, w.p.lose = false, 0 })
			time.Sleep(15 * time.Minute)
			got := slices.DeleteFunc(w.p.has(), func(s string) bool { return strings.Contains(s, "Watchman") || strings.HasPrefix(s, "watch.") })
			got, want := w.found(got), w.found(w.want())
			if len(want) == 0 {
				want = []string{"_services._dns-sd._udp.@ 120 IN PTR _http._tcp.@"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: the zone has\n\t%s\nwant\n\t%s\nafter\n\t%s", seed, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), strings.Join(w.log, "\n\t"))
			}
			for _, c := range w.lives {
				n.end(c.registering)
			}
			time.Sleep(15 * time.Minute)
			n.end(watchman)
			if got := w.found(w.p.all()); len(got) > 0 {
				t.Errorf("seed %d: left at the end\n\t%s\nafter\n\t%s", seed, strings.Join(got, "\n\t"), strings.Join(w.log, "\n\t"))
			}
			for _, r := range w.dead {
				n.end(r)
			}
		})
		if t.Failed() {
			return
		}
	}
}
