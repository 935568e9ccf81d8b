package mdns_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

func TestRecordIsRefreshedAt80To97PercentAndRemovedAt100(t *testing.T) {
	for range 20 {
		inBubble(t, func(r *rig) {
			r.run()
			s := r.subscribe(q("nas.local", dnswire.TypeA))
			r.respond(addr("nas.local", "10.0.0.9", 100))
			time.Sleep(99 * time.Second)
			at := times(r.queries(), "nas.local A")
			if len(at) != 4 {
				t.Fatalf("refresh queries at %v, want four", at)
			}
			for i, a := range at {
				from := time.Duration(80+5*i) * time.Second
				if a < from || a > from+2*time.Second+time.Millisecond {
					t.Errorf("refresh %d at %v of 100 s, want %v to 2 s later", i+1, a, from)
				}
			}
			s.want("0s add 10.0.0.9")
			time.Sleep(time.Second)
			s.want("1m40s remove 10.0.0.9")
		})
	}
}

func TestAnswerResetsTTLAndRefreshes(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.9", 100))
		time.Sleep(83 * time.Second)
		if n := len(r.queries()); n != 1 {
			t.Fatalf("%d queries before 83 s, want 1", n)
		}
		r.respond(addr("nas.local", "10.0.0.9", 100))
		time.Sleep(79 * time.Second)
		if got := r.queries(); len(got) != 0 {
			t.Errorf("%d queries in the 79 s after the answer, the first at %v; want none", len(got), got[0].at)
		}
		time.Sleep(4 * time.Second)
		if n := len(r.queries()); n != 1 {
			t.Errorf("%d queries at 80 to 82 %% of the new TTL, want 1", n)
		}
		s.want("0s add 10.0.0.9") // a refresh is no news
	})
}

func TestNoRefreshWithoutASubscriber(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.9", 100))
		time.Sleep(10 * time.Second)
		s.sub.Close()
		time.Sleep(200 * time.Second)
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries for a record that nobody wants, want none", n)
		}
	})
}

func TestUniqueAnswerStopsTheDoublingSeries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("nas.local", dnswire.TypeA))
		time.Sleep(500 * time.Millisecond)
		r.queries()
		r.respond(addr("nas.local", "10.0.0.9", 100))
		time.Sleep(79 * time.Second)
		if got := r.queries(); len(got) != 0 {
			t.Errorf("%d queries after a unique answer, want none", len(got))
		}
		// Nobody answers the refreshes; the series goes on when the record is gone.
		time.Sleep(30 * time.Second)
		late := 0
		for _, s := range r.queries() {
			if s.at > 100500*time.Millisecond {
				late++
			}
		}
		if late < 2 {
			t.Errorf("%d queries after the record expired, want the series to go on", late)
		}
	})
}

func TestSharedAnswerDoesNotStopTheDoublingSeries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		time.Sleep(8 * time.Second)
		if n := len(r.queries()); n != 4 {
			t.Errorf("%d queries in 8 s, want 4", n)
		}
	})
}

func TestRefreshesOfManyRecordsShareQueries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 200 {
			host := fmt.Sprintf("host%d.local", i)
			r.subscribe(q(host, dnswire.TypeA))
			r.respond(addr(host, fmt.Sprintf("10.0.0.%d", i), 120))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Second)
		if n := len(r.queries()); n > 20 {
			t.Errorf("%d packets refresh 200 records, want at most 20", n)
		}
	})
}

func TestGoodbyeRemovesAfterOneSecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		time.Sleep(10 * time.Second)
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 0), ptr("_http._tcp.local", "never there._http._tcp.local", 0))
		time.Sleep(999 * time.Millisecond)
		s.want("0s add a._http._tcp.local")
		time.Sleep(10 * time.Millisecond)
		s.want("11s remove a._http._tcp.local")
	})
}

func TestGoodbyeIsUndoneWithinASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		time.Sleep(10 * time.Second)
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 0))
		time.Sleep(600 * time.Millisecond)
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		time.Sleep(time.Minute)
		s.want("0s add a._http._tcp.local")
	})
}

func TestCacheFlushExpiresRecordsOlderThanASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.1", 120))
		time.Sleep(3 * time.Second)
		r.respond(addr("nas.local", "10.0.0.2", 120))
		time.Sleep(999 * time.Millisecond)
		s.want("0s add 10.0.0.1", "3s add 10.0.0.2")
		time.Sleep(time.Second)
		s.want("4s remove 10.0.0.1")
	})
}

func TestCacheFlushSparesRecordsOfTheSameBurst(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		for i := range 3 {
			r.respond(addr("nas.local", fmt.Sprintf("10.0.0.%d", i+1), 120))
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		s.want("0s add 10.0.0.1", "250ms add 10.0.0.2", "500ms add 10.0.0.3")
		// All three again, in one packet: none of them goes.
		r.respond(addr("nas.local", "10.0.0.1", 120), addr("nas.local", "10.0.0.2", 120), addr("nas.local", "10.0.0.3", 120))
		time.Sleep(10 * time.Second)
		s.want()
	})
}

func TestCacheFlushIsUndoneByAReannouncement(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.1", 120))
		time.Sleep(3 * time.Second)
		r.respond(addr("nas.local", "10.0.0.2", 120))
		time.Sleep(500 * time.Millisecond)
		r.respond(addr("nas.local", "10.0.0.1", 120)) // the same host, on its other side of a bridge
		time.Sleep(10 * time.Second)
		s.want("0s add 10.0.0.1", "3s add 10.0.0.2")
	})
}

func TestExpiryWithinASecondOfASmallTTL(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.1", 5))
		time.Sleep(6 * time.Second)
		s.want("0s add 10.0.0.1", "5s remove 10.0.0.1")
	})
}

func TestTTLIsClampedToADay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.1", 1<<32-1))
		time.Sleep(25 * time.Hour)
		s.want("0s add 10.0.0.1", "24h0m0s remove 10.0.0.1")
	})
}
