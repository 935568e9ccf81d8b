package mdns_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

func TestRepeatedQueryCarriesKnownAnswersWithRemainingTTL(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(500 * time.Millisecond)
		r.queries()
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500), ptr("_http._tcp.local", "b._http._tcp.local", 10))
		heard := time.Since(r.start)
		time.Sleep(7 * time.Second)
		got := r.queries()
		if len(got) != 3 {
			t.Fatalf("%d queries, want 3", len(got))
		}
		for _, s := range got {
			left := uint32((4500*time.Second - (s.at - heard)) / time.Second)
			want := fmt.Sprint("a._http._tcp.local ", left)
			if short := 10*time.Second - (s.at - heard); short > 5*time.Second {
				want += fmt.Sprint(" b._http._tcp.local ", uint32(short/time.Second))
			}
			text := ""
			for _, rr := range s.known() {
				target, _ := rr.PTR()
				if text += fmt.Sprint(" ", target, " ", rr.TTL); rr.Flush {
					t.Errorf("known answer %v has the cache-flush bit", rr)
				}
			}
			if text != " "+want {
				t.Errorf("at %v known answers %q, want %q", s.at, text, want)
			}
		}
	})
}

func TestNoKnownAnswerWithLessThanHalfItsTTL(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 20))
		time.Sleep(14 * time.Second)
		for _, s := range r.queries() {
			if want := s.at < 10*time.Second; (len(s.known()) == 1) != want {
				t.Errorf("at %v of 20 s: %d known answers, want one: %v", s.at, len(s.known()), want)
			}
		}
	})
}

func TestKnownAnswersHaveNoCacheFlushBit(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("nas.local", dnswire.TypeANY))
		r.respond(addr("nas.local", "10.0.0.9", 120))
		time.Sleep(time.Second / 2)
		got := r.queries()
		if len(got) != 1 || len(got[0].known()) != 1 {
			t.Fatalf("queries %v, want one with one known answer", got)
		}
		if rr := got[0].known()[0]; rr.Flush || rr.Class != dnswire.ClassIN {
			t.Errorf("known answer %+v, want class IN and no cache-flush bit", rr)
		}
	})
}

// What a host publishes itself it knows: if it asked for it and nobody answered,
// those who watch would take it for dead (RFC 6762 §10.5).
func TestKnownAnswersHoldOwnRecords(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Ours"))
		time.Sleep(5 * time.Second)
		r.respond(ptr("_http._tcp.local", "Theirs._http._tcp.local", 4500), ptr("_services._dns-sd._udp.local", "_http._tcp.local", 4500))
		r.queries()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR), q("_services._dns-sd._udp.local", dnswire.TypePTR))
		time.Sleep(time.Second / 2)
		got := r.queries()
		if len(got) != 1 {
			t.Fatalf("queries %v, want one", got)
		}
		var known []string
		for _, rr := range got[0].known() {
			known = append(known, fmt.Sprint(rr.DataString(), " ", rr.TTL > 4490))
		}
		slices.Sort(known)
		// The second, that both have, stands there once.
		if want := []string{"Ours._http._tcp.local true", "Theirs._http._tcp.local true", "_http._tcp.local true"}; !slices.Equal(known, want) {
			t.Errorf("known answers %q, want %q", known, want)
		}
	})
}

func TestKnownAnswerOverflowSetsTCAndFollowsWithoutQuestions(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var rrs []dnswire.RR
		for i := range 400 {
			rrs = append(rrs, ptr("_http._tcp.local", fmt.Sprintf("Instance number %d._http._tcp.local", i), 4500))
		}
		for i := 0; i < len(rrs); i += 50 {
			r.respond(rrs[i : i+50]...)
		}
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(500 * time.Millisecond)
		got := r.queries()
		seen := map[string]bool{}
		for i, s := range got {
			if want := i == 0; (len(s.questions()) == 1) != want {
				t.Errorf("packet %d has questions %q", i+1, s.questions())
			}
			if want := i < len(got)-1; s.msg.Truncated != want {
				t.Errorf("packet %d of %d has TC %v, want %v", i+1, len(got), s.msg.Truncated, want)
			}
			if s.at != got[0].at {
				t.Errorf("packet %d follows after %v, want at once", i+1, s.at-got[0].at)
			}
			for _, rr := range s.known() {
				seen[rr.Data] = true
			}
		}
		if len(got) < 2 || len(seen) != 400 {
			t.Errorf("%d packets with %d known answers, want several with 400", len(got), len(seen))
		}
	})
}

func TestKnownAnswersOfOthersAreNotCached(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.inject("10.0.0.2:5353", group4, message(dnswire.Header{}, []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)},
			ptr("_http._tcp.local", "bogus._http._tcp.local", 4500)))
		time.Sleep(time.Second)
		s.want()
	})
}

func TestNothingFromAProbeIsCached(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{}, 1400)
		b.Question(name("nas.local"), dnswire.TypeANY, dnswire.ClassIN, true)
		b.Authority(addr("nas.local", "10.0.0.66", 120))
		r.inject("10.0.0.2:5353", group4, b.Bytes())
		// Nor from a response's authority section.
		b.Reset(nil, dnswire.Header{Response: true}, 1400)
		b.Authority(addr("nas.local", "10.0.0.67", 120))
		r.inject("10.0.0.2:5353", group4, b.Bytes())
		time.Sleep(time.Second)
		s.want()
	})
}

func TestDuplicateQuestionIsSuppressed(t *testing.T) {
	known := ptr("_http._tcp.local", "a._http._tcp.local", 4500)
	alien := ptr("_http._tcp.local", "b._http._tcp.local", 4500)
	ask := []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}
	var qu dnswire.Builder
	qu.Reset(nil, dnswire.Header{}, 1400)
	qu.Question(ask[0].Name, ask[0].Type, dnswire.ClassIN, true)
	for _, c := range []struct {
		what   string
		msg    []byte
		silent bool
	}{
		{"the same question", message(dnswire.Header{}, ask), true},
		{"with an answer that we know", message(dnswire.Header{}, ask, known), true},
		{"with an answer that we don't know", message(dnswire.Header{}, ask, alien), false},
		{"with more known answers to follow", message(dnswire.Header{Truncated: true}, ask), false},
		{"asking for a unicast answer", qu.Bytes(), false},
		{"another question", message(dnswire.Header{}, []mdns.Question{q("_ipp._tcp.local", dnswire.TypePTR)}), false},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.run()
				r.subscribe(ask[0])
				r.respond(known)
				time.Sleep(800 * time.Millisecond)
				first := r.queries()[0].at
				time.Sleep(first + 950*time.Millisecond - time.Since(r.start))
				r.inject("10.0.0.2:5353", group4, c.msg) // 50 ms before the second query
				time.Sleep(time.Second)
				if got := len(r.queries()) == 0; got != c.silent {
					t.Errorf("stayed silent: %v, want %v", got, c.silent)
				}
				time.Sleep(2 * time.Second) // the third comes in any case
				if len(r.queries()) != 1 {
					t.Error("no query two seconds later")
				}
			})
		})
	}
}

// A TXT record whose strings are cut short is told, so that who asked learns of it,
// but never said again: the known answers beside it stay in one packet.
func TestNoKnownAnswerThatCannotBeRead(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("a.local", dnswire.TypeTXT))
		good := dnswire.RR{Name: name("a.local"), Type: dnswire.TypeTXT, Class: dnswire.ClassIN, TTL: 4500, Data: "\x01a"}
		again := good
		again.Data = "\x01b"
		bad := response(good, good, again)
		// The middle one's string is said to have 2 bytes of 1: behind its length come a
		// byte, and two bytes of a pointer, ten of fields and two of rdata.
		bad[len(bad)-2-12-2] = 2
		r.inject("10.0.0.2:5353", group4, bad)
		time.Sleep(5 * time.Second)
		if got := len(s.all()); got != 3 {
			t.Errorf("%d records were told, want 3", got)
		}
		for _, m := range r.queries() {
			if m.at > time.Second && (len(m.known()) != 2 || m.msg.Truncated) {
				t.Errorf("at %v: %d known answers, truncated: %v", m.at, len(m.known()), m.msg.Truncated)
			}
		}
	})
}
