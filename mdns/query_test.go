package mdns_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

const http = "_http._tcp.local PTR"

func TestQuerierFirstQueryDelayed20To120ms(t *testing.T) {
	var quarter [4]int
	for range 400 {
		inBubble(t, func(r *rig) {
			r.run()
			r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
			time.Sleep(200 * time.Millisecond)
			at := times(r.queries(), http)
			if len(at) != 1 || at[0] < 20*time.Millisecond || at[0] > 120*time.Millisecond {
				t.Fatalf("first query at %v, want one between 20 and 120 ms", at)
			}
			quarter[min(3, (at[0]-20*time.Millisecond)/(25*time.Millisecond))]++
		})
	}
	for i, n := range quarter {
		if n < 60 || n > 140 {
			t.Errorf("quarter %d of the window has %d of 400 first queries, want about 100", i+1, n)
		}
	}
}

// Who waits for an answer from all zones waits for the slowest: so none of them
// waits longer than another.
func TestFirstQueriesGoOutInAllZonesAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(200 * time.Millisecond)
		if at := times(r.queries(), http); len(at) != 2 || at[0] != at[1] {
			t.Errorf("first queries at %v, want two at once", at)
		}
	})
}

func TestQuerierGapsDoubleUpToAnHour(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(12 * time.Hour)
		at := times(r.queries(), http)
		want := time.Second
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < want || gap > want+5*time.Millisecond {
				t.Errorf("gap %d is %v, want %v", i, gap, want)
			}
			want = min(2*want, time.Hour)
		}
		if len(at) < 20 {
			t.Errorf("%d queries in 12 hours, want at least 20", len(at))
		}
	})
}

func TestQuerySentFromPort5353ToTheGroup(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(time.Second / 2)
		got := r.queries()
		if len(got) != 2 {
			t.Fatalf("%d queries, want one by IPv4 and one by IPv6", len(got))
		}
		for _, s := range got {
			if s.src.Port() != 5353 || s.dst != group4 && s.dst != group6 {
				t.Errorf("query from %v to %v, want from port 5353 to the group", s.src, s.dst)
			}
			h := s.msg.Header
			if h != (dnswire.Header{QDCount: 1}) {
				t.Errorf("header %+v, want zeros but for one question", h)
			}
		}
	})
}

func TestQuestionsShareOnePacket(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR), q("_ipp._tcp.local", dnswire.TypePTR))
		r.subscribe(q("nas.local", dnswire.TypeA))
		time.Sleep(8 * time.Second)
		got := r.queries()
		want := []string{http, "_ipp._tcp.local PTR", "nas.local A"}
		if len(got) != 4 {
			t.Fatalf("%d packets in 8 s, want 4", len(got))
		}
		for _, s := range got {
			qs := s.questions()
			slices.Sort(qs)
			if !slices.Equal(qs, want) {
				t.Errorf("questions %q, want %q", qs, want)
			}
		}
	})
}

func TestSubscriptionsToOneQuestionShareItsQueries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		first := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.subscribe(q("_HTTP._tcp.local", dnswire.TypePTR))
		time.Sleep(10 * time.Second)
		if n := len(r.queries()); n != 4 {
			t.Errorf("%d queries in 10 s, want 4", n)
		}
		first.sub.Close()
		time.Sleep(10 * time.Second)
		if n := len(r.queries()); n != 1 {
			t.Errorf("%d queries in the next 10 s, want 1", n)
		}
	})
}

func TestUnsubscribingEndsTheQueries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(2 * time.Second)
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 100))
		r.queries()
		s.sub.Close()
		time.Sleep(time.Hour)
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries after the last subscriber left, want none", n)
		}
	})
}

func TestNewSubscriptionGetsWhatIsCachedAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.respond(addr("nas.local", "10.0.0.9", 120))
		time.Sleep(10 * time.Second)
		s := r.subscribe(q("NAS.local", dnswire.TypeA))
		s.want("10s add 10.0.0.9")
		time.Sleep(80 * time.Second)
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries though the unique answer is cached, want none", n)
		}
	})
}

// Who gives a question up and asks it again within a second doesn't have it asked
// twice in that time (RFC 6762 §5.2).
func TestQuestionAskedAnewRestsForASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.engine.Subscribe(mdns.SubscribeOptions{}, q("nas.local", dnswire.TypeA))
		time.Sleep(200 * time.Millisecond)
		first := times(r.queries(), "nas.local A")
		s.Close()
		time.Sleep(100 * time.Millisecond)
		r.subscribe(q("NAS.local", dnswire.TypeA), q("other.local", dnswire.TypeA))
		time.Sleep(2500 * time.Millisecond)
		sent := r.queries()
		again := times(sent, "NAS.local A")
		if len(first) != 1 || len(again) < 1 || again[0]-first[0] < time.Second || again[0]-first[0] > 1100*time.Millisecond {
			t.Errorf("asked at %v, and again at %v", first, again)
		}
		if other := times(sent, "other.local A"); len(other) < 2 || other[0] > 500*time.Millisecond {
			t.Errorf("another question is asked at %v", other)
		}
	})
}
