package mdns_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

func webAt(instance, host string, ttl uint32) dnswire.RR {
	rr := dnswire.NewSRV(name(instance), dnswire.SRV{Port: 80, Target: name(host)}, ttl)
	rr.Flush = true
	return rr
}

func (r *rig) reconfirm(rr dnswire.RR) {
	r.engine.Reconfirm(mdns.Zone{}, rr)
}

// near says whether the times are as they should be, up to the delay of a first query.
func near(got []time.Duration, want ...time.Duration) bool {
	return slices.EqualFunc(got, want, func(g, w time.Duration) bool { return g >= w && g <= w+130*time.Millisecond })
}

func TestReconfirmedRecordThatNobodyConfirmsGoesAfterTenSeconds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500), ptr("_http._tcp.local", "b._http._tcp.local", 4500))
		time.Sleep(20 * time.Second)
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		s.want("20s add a._http._tcp.local", "20s add b._http._tcp.local")
		time.Sleep(100 * time.Second) // the subscription's own series rests for half a minute
		r.queries()
		r.reconfirm(ptr("_HTTP._tcp.local", "A._http._tcp.local", 1))
		time.Sleep(9900 * time.Millisecond)
		got := r.queries()
		if !near(times(got, http), 120*time.Second, 121*time.Second, 123*time.Second, 127*time.Second) {
			t.Errorf("asked at %v, want after 0, 1, 3 and 7 s, for multicast answers", times(got, http))
		}
		for _, x := range got {
			if k := x.known(); len(k) != 1 || k[0].DataString() != "b._http._tcp.local" {
				t.Errorf("known answers %v, want only the one that isn't doubted", k)
			}
		}
		s.want()
		time.Sleep(300 * time.Millisecond)
		got2 := s.all()
		if len(got2) != 1 || got2[0][len(got2[0])-len("remove a._http._tcp.local"):] != "remove a._http._tcp.local" {
			t.Errorf("events %q, want a's removal alone", got2)
		}
		if st := r.engine.Stats(); st.Unconfirmed != 1 || st.Unanswered != 0 {
			t.Errorf("%d unconfirmed, %d unanswered; want 1 and 0", st.Unconfirmed, st.Unanswered)
		}
	})
}

// A question that goes out for two reasons, because somebody asks and because its answer
// is doubted, rests for a second between them, too (RFC 6762 §5.2).
func TestReconfirmKeepsASecondFromTheSeries(t *testing.T) {
	for late := time.Duration(0); late < 8*time.Second; late += 150 * time.Millisecond {
		inBubble(t, func(r *rig) {
			r.run()
			r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
			time.Sleep(50 * time.Millisecond)
			r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500), ptr("_http._tcp.local", "b._http._tcp.local", 4500))
			time.Sleep(time.Second + late)
			r.reconfirm(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
			time.Sleep(15 * time.Second)
			all := r.queries()
			for i, at := range times(all, http) {
				if i > 0 && at-times(all, http)[i-1] < time.Second {
					t.Errorf("doubted after %v: asked at %v", time.Second+late, times(all, http))
					break
				}
			}
		})
	}
}

func TestReconfirmedRecordThatIsConfirmedStays(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.respond(addr("nas.local", "10.0.0.9", 120))
		sub := r.engine.Subscribe(mdns.SubscribeOptions{Refreshes: true}, q("nas.local", dnswire.TypeA))
		r.t.Cleanup(sub.Close)
		s := recorder{r, sub}
		time.Sleep(5 * time.Second)
		s.want("0s add 10.0.0.9")
		r.reconfirm(addr("nas.local", "10.0.0.9", 120))
		time.Sleep(200 * time.Millisecond)
		if n := len(times(r.queries(), "nas.local A")); n != 1 {
			t.Fatalf("%d queries, want one", n)
		}
		r.respond(addr("nas.local", "10.0.0.9", 120))
		s.want("5.2s update 10.0.0.9")
		time.Sleep(60 * time.Second)
		s.want()
		if got := r.queries(); len(got) != 0 {
			t.Errorf("%d queries after the answer, want none", len(got))
		}
	})
}

func TestReconfirmCascadesFromPointerToAddress(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		const in = "a._http._tcp.local"
		txt, _ := dnswire.NewTXT(name(in), 4500, "x")
		r.respond(ptr("_http._tcp.local", in, 4500), webAt(in, "nas.local", 120), txt, addr("nas.local", "10.0.0.9", 120), addr("nas.local", "fe80::9", 120),
			addr("ups.local", "10.0.0.8", 120))
		time.Sleep(2 * time.Second)
		r.reconfirm(ptr("_http._tcp.local", in, 0))
		time.Sleep(9 * time.Second)
		got := r.queries()
		for _, question := range []string{http, in + " SRV", in + " TXT", "nas.local A", "nas.local AAAA"} {
			if n := len(times(got, question)); n < 2 {
				t.Errorf("%s asked %d times, want twice or more", question, n)
			}
		}
		if len(got) != 4 {
			t.Errorf("%d packets, want 4 that all questions share", len(got))
		}
		time.Sleep(1300 * time.Millisecond)
		if st := r.engine.Stats(); st.Zones[0].Records != 1 || st.Unconfirmed != 5 {
			t.Errorf("%d records left, %d unconfirmed; want the other host's and 5", st.Zones[0].Records, st.Unconfirmed)
		}
		time.Sleep(time.Minute)
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries afterwards though nobody asks, want none", n)
		}
	})
}

func TestReconfirmOfARefusedPortLeavesTheHost(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("a._http._tcp.local", dnswire.TypeSRV), q("nas.local", dnswire.TypeA))
		r.respond(webAt("a._http._tcp.local", "nas.local", 120), addr("nas.local", "10.0.0.9", 120))
		time.Sleep(2 * time.Second)
		// Without data: all records of the name and type.
		r.reconfirm(dnswire.RR{Name: name("a._http._tcp.local"), Type: dnswire.TypeSRV})
		time.Sleep(200 * time.Millisecond)
		r.respond(addr("nas.local", "10.0.0.9", 120)) // the host is there, its service is not
		time.Sleep(11 * time.Second)
		got := s.all()
		if len(got) != 3 || got[2][len(got[2])-len("remove 0 0 80 nas.local"):] != "remove 0 0 80 nas.local" {
			t.Errorf("events %q, want the removal of the SRV record alone", got)
		}
	})
}

func TestReconfirmInALoopDoesNotFlood(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.respond(addr("nas.local", "10.0.0.9", 120), addr("nas.local", "10.0.0.10", 120))
		time.Sleep(2 * time.Second)
		r.queries()
		begin := time.Since(r.start)
		// Somebody insists, and each time the host answers.
		for time.Since(r.start) < begin+30*time.Second {
			for range 10 {
				r.reconfirm(addr("nas.local", "10.0.0.9", 120))
				r.reconfirm(addr("nas.local", "10.0.0.10", 120))
			}
			time.Sleep(100 * time.Millisecond)
			r.respond(addr("nas.local", "10.0.0.9", 120))
		}
		at := times(r.queries(), "nas.local A")
		for i := 1; i < len(at); i++ {
			if at[i]-at[i-1] < time.Second {
				t.Errorf("asked at %v and %v, want a second between", at[i-1], at[i])
			}
		}
		if len(at) < 4 || len(at) > 20 {
			t.Errorf("%d queries in 30 s, want 4 to 20", len(at))
		}
		// A record that isn't in the cache is no reason to ask.
		time.Sleep(20 * time.Second)
		r.queries()
		for i := range 3000 {
			r.reconfirm(addr(fmt.Sprintf("h%d.local", i), "10.0.0.9", 120))
		}
		time.Sleep(20 * time.Second)
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries for what isn't in the cache, want none", n)
		}
	})
}

func TestReconfirmOfManyRecordsIsBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var hosts []dnswire.RR
		for i := range 1000 {
			hosts = append(hosts, addr(fmt.Sprintf("host%d.local", i), "10.0.0.9", 1200))
		}
		for i := 0; i < len(hosts); i += 100 {
			r.respond(hosts[i : i+100]...)
		}
		time.Sleep(2 * time.Second)
		for _, rr := range hosts {
			r.reconfirm(rr)
		}
		time.Sleep(time.Second)
		got := r.queries()
		n := 0
		for _, x := range got {
			n += len(x.questions())
		}
		if n != 512 || len(got) > 20 || r.engine.Stats().Dropped["too many to reconfirm"] != 1000-512 {
			t.Errorf("%d questions in %d packets, dropped %v; want 512 in at most 20", n, len(got), r.engine.Stats().Dropped)
		}
		time.Sleep(20 * time.Second)
		if n := r.engine.Stats().Zones[0].Records; n != 1000-512 {
			t.Errorf("%d records left, want %d", n, 1000-512)
		}
	})
}

func TestReconfirmHeardLateJoinsTheNextSeries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		a, b := addr("nas.local", "10.0.0.9", 120), addr("nas.local", "10.0.0.10", 120)
		r.respond(a, b)
		time.Sleep(2 * time.Second)
		r.reconfirm(a)
		time.Sleep(4 * time.Second) // one query is left of the series
		r.reconfirm(b)
		time.Sleep(6300 * time.Millisecond)
		if n := r.engine.Stats().Zones[0].Records; n != 1 {
			t.Errorf("%d records 10 s after the first was doubted, want 1", n)
		}
		time.Sleep(5 * time.Second)
		at := times(r.queries(), "nas.local A")
		late := 0
		for _, x := range at {
			if x > 6*time.Second {
				late++
			}
		}
		if n := r.engine.Stats().Zones[0].Records; n != 0 || late < 2 {
			t.Errorf("%d records left, %d queries for the second (%v); want 0 and 2 or more", n, late, at)
		}
	})
}
