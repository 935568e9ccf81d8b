package dnssd_test

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

const picks = 10_000

func TestTargetsAreOrderedByPriorityAndByChanceWithWeight(t *testing.T) {
	s := dnssd.Service{Targets: []dnssd.Target{
		{Host: "late.local", Priority: 20, Weight: 60000}, {Host: "never.local", Priority: 10}, {Host: "seldom.local", Priority: 10, Weight: 100},
		{Host: "often.local", Priority: 10, Weight: 300}, {Host: ".", Priority: 1}, {Host: "half.local", Priority: 10, Weight: 600},
	}}
	r := rand.New(rand.NewPCG(1, 2))
	first, second := map[string]float64{}, map[string]float64{}
	for range picks {
		got := s.Order(r)
		if len(got) != 5 || got[4].Host != "late.local" {
			t.Fatalf("order %v, want five with the higher priority number last", got)
		}
		first[got[0].Host]++
		second[got[1].Host]++
	}
	for host, want := range map[string]float64{"seldom.local": 0.1, "often.local": 0.3, "half.local": 0.6, "never.local": 0.001} {
		// Four standard deviations.
		if got, most := first[host]/picks, 4*math.Sqrt(want*(1-want)/picks); math.Abs(got-want) > most {
			t.Errorf("%s is first in %.4f of %d picks, want %.3f ± %.4f", host, got, picks, want, most)
		}
	}
	// Of those left after the first: half behind often and seldom, and so on.
	want := 0.3*0.6/0.7 + 0.1*0.6/0.9
	if got := second["half.local"] / picks; math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/picks) {
		t.Errorf("half.local is second in %.4f of picks, want %.4f", got, want)
	}
	if s.Targets[0].Host != "late.local" {
		t.Error("Order changed the service")
	}
}

func TestOrderCanBeSeeded(t *testing.T) {
	s := dnssd.Service{}
	for i := range 8 {
		s.Targets = append(s.Targets, dnssd.Target{Host: string(rune('a'+i)) + ".local", Weight: 10})
	}
	text := func(seed uint64) string {
		var b strings.Builder
		for _, x := range s.Order(rand.New(rand.NewPCG(seed, 0))) {
			b.WriteString(x.Host)
		}
		return b.String()
	}
	once, again, other := text(7), text(7), text(8)
	if once != again || once == other {
		t.Errorf("orders %q, %q and %q; want the same for the same seed alone", once, again, other)
	}
	if one := (&dnssd.Service{Host: "nas.local", Port: 80}); len(one.Order(nil)) != 1 || one.Order(nil)[0].Port != 80 {
		t.Errorf("a service with one target: %v", one.Order(nil))
	}
	if none := new(dnssd.Service).Order(nil); len(none) != 0 {
		t.Errorf("a service without: %v", none)
	}
	equal := map[string]int{}
	for range 1000 {
		x := []dnssd.Target{{Host: "a"}, {Host: "b"}}
		dnssd.OrderTargets(x, nil)
		equal[x[0].Host]++
	}
	if equal["a"] != 1000 {
		t.Errorf("without weights %v are first, want the order kept", equal)
	}
}

func weighted(instance, host string, port, priority, weight uint16) dnswire.RR {
	return unique(dnswire.NewSRV(name(instance), dnswire.SRV{Priority: priority, Weight: weight, Port: port, Target: name(host)}, 120))
}

func TestServiceWithSeveralSRVRecordsHasSeveralTargets(t *testing.T) {
	inBubble(t, func(r *rig) {
		const in = "db._http._tcp.local"
		r.respond(r.wire, "one", "10.0.0.9/16", false,
			ptr("_http._tcp.local", in), weighted(in, "one.local", 81, 10, 5), weighted(in, "two.local", 82, 10, 90), weighted(in, "spare.local", 83, 20, 0),
			txt(in, "x"), addr("one.local", "10.0.0.9"), addr("two.local", "10.0.0.10"), addr("spare.local", "10.0.0.11"))
		got, err := dnssd.Resolve(r.t.Context(), r.source, dnssd.Instance{Name: "db", Service: "_http._tcp"})
		if err != nil || len(got) != 1 {
			r.t.Fatalf("%v, %v", got, err)
		}
		s := got[0]
		var text []string
		for _, x := range s.Targets {
			text = append(text, x.Host)
			if len(x.Addresses) != 1 {
				r.t.Errorf("%s has addresses %v", x.Host, x.Addresses)
			}
		}
		same(r.t, "targets", text, []string{"two.local", "one.local", "spare.local"})
		if s.Host != "two.local" || s.Port != 82 {
			r.t.Errorf("host %s:%d, want the first target's", s.Host, s.Port)
		}
	})
}

// A record that replaces another stands beside it for a second: that's no second target.
func TestReplacedSRVRecordIsNoSecondTarget(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "web", "10.0.0.9/16", true, web("Web", "web.local", 80, "10.0.0.9")...)
		go func() {
			time.Sleep(5 * time.Second)
			x.become(web("Web", "web.local", 8080, "10.0.0.9"))
			x.send([]dnswire.RR{srv("Web._http._tcp.local", "web.local", 8080)}, nil)
			time.Sleep(5 * time.Second)
			// Now there are two.
			x.send([]dnswire.RR{weighted("Web._http._tcp.local", "web.local", 8080, 0, 0), weighted("Web._http._tcp.local", "web.local", 8081, 5, 0)}, nil)
		}()
		b := dnssd.Browser{Source: r.source, Type: "_http._tcp", Resolve: true}
		var got []int
		ctx, cancel := context.WithTimeout(r.t.Context(), 15*time.Second)
		defer cancel()
		for ev, err := range b.Events(ctx) {
			if err != nil {
				r.t.Fatal(err)
			}
			if ev.Op == dnssd.Add || ev.Op == dnssd.Update {
				got = append(got, int(ev.Port), len(ev.Targets))
			}
		}
		if len(got) != 6 || got[0] != 80 || got[1] != 0 || got[2] != 8080 || got[3] != 0 || got[4] != 8080 || got[5] != 2 {
			r.t.Errorf("ports and numbers of targets %v, want 80 0 8080 0 8080 2", got)
		}
	})
}
