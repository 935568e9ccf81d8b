package mdns_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// others injects a query of another host.
func (r *rig) others(src string, msg []byte) { r.inject(src, group4, msg) }

func query(known ...dnswire.RR) []byte {
	return message(dnswire.Header{}, []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}, known...)
}

// at sleeps until the time since the start.
func (r *rig) at(d time.Duration) { time.Sleep(d - time.Since(r.start)) }

func (r *rig) records() int { return r.engine.Stats().Zones[0].Records }

func TestRecordThatOthersAskForInVainGoesAfterTenSeconds(t *testing.T) {
	for _, silent := range []bool{false, true} {
		inBubble(t, func(r *rig) {
			r.engine.Silent = silent
			r.run()
			s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
			r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500), ptr("_http._tcp.local", "b._http._tcp.local", 4500))
			r.at(100 * time.Second)
			r.others("10.0.0.7:5353", query())
			r.at(102 * time.Second)
			r.others("10.0.0.8:5353", query())
			r.at(102100 * time.Millisecond)
			r.respond(ptr("_http._tcp.local", "b._http._tcp.local", 4500))
			r.at(111900 * time.Millisecond)
			s.want("0s add a._http._tcp.local", "0s add b._http._tcp.local")
			r.at(113 * time.Second)
			s.want("1m52s remove a._http._tcp.local")
			if st := r.engine.Stats(); st.Unanswered != 1 || st.Unconfirmed != 0 {
				t.Errorf("%d unanswered, %d unconfirmed; want 1 and 0", st.Unanswered, st.Unconfirmed)
			}
		})
	}
}

func TestAnswerToOthersKeepsTheRecord(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		r.at(100 * time.Second)
		r.others("10.0.0.7:5353", query())
		r.at(102 * time.Second)
		r.others("10.0.0.7:5353", query())
		r.at(109 * time.Second)
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		r.at(200 * time.Second)
		s.want("0s add a._http._tcp.local")
		// The count begins anew.
		r.others("10.0.0.7:5353", query())
		r.at(300 * time.Second)
		s.want()
	})
}

func TestQuestionsThatSayNothingAboutARecordAreNotCounted(t *testing.T) {
	rr := ptr("_http._tcp.local", "a._http._tcp.local", 4500)
	var qu, probe dnswire.Builder
	qu.Reset(nil, dnswire.Header{}, 1400)
	qu.Question(name("_http._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, true)
	probe.Reset(nil, dnswire.Header{}, 1400)
	probe.Question(name("_http._tcp.local"), dnswire.TypeANY, dnswire.ClassIN, false)
	probe.Authority(rr)
	for _, c := range []struct {
		what string
		src  string
		msg  []byte
		gap  time.Duration
		gone bool
	}{
		{what: "two questions", msg: query(), gap: time.Second, gone: true},
		{what: "for any type", msg: message(dnswire.Header{}, []mdns.Question{q("_http._tcp.local", dnswire.TypeANY)}), gap: time.Second, gone: true},
		{what: "listing another record", msg: query(ptr("_http._tcp.local", "b._http._tcp.local", 4500)), gap: time.Second, gone: true},
		{what: "too close", msg: query(), gap: 900 * time.Millisecond},
		{what: "asking for unicast answers", msg: qu.Bytes(), gap: time.Second},
		{what: "more known answers follow", msg: message(dnswire.Header{Truncated: true}, []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}), gap: time.Second},
		{what: "listed as known", msg: query(rr), gap: time.Second},
		{what: "legacy", src: "10.0.0.7:5354", msg: query(), gap: time.Second},
		{what: "a probe", msg: probe.Bytes(), gap: time.Second},
		{what: "another type", msg: message(dnswire.Header{}, []mdns.Question{q("_http._tcp.local", dnswire.TypeTXT)}), gap: time.Second},
		{what: "of who said it", src: "10.0.0.2:5353", msg: query(), gap: time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.run()
				r.respond(rr)
				if c.src == "" {
					c.src = "10.0.0.7:5353"
				}
				r.at(100 * time.Second)
				r.others(c.src, c.msg)
				r.at(100*time.Second + c.gap)
				r.others(c.src, c.msg)
				r.at(130 * time.Second)
				if gone := r.records() == 0; gone != c.gone {
					t.Errorf("gone: %v, want %v", gone, c.gone)
				}
				if n := len(r.queries()); n != 0 {
					t.Errorf("%d queries of our own, want none", n)
				}
			})
		})
	}
}

func TestOwnQuestionsAndThoseAfterAnAnswerAreNotCounted(t *testing.T) {
	inBubble(t, func(r *rig) {
		// Two interfaces on one wire: each hears what the other sends.
		r.host.Attach(r.wire, "eth1", "10.0.0.3/24")
		r.run()
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		r.at(10 * time.Second)
		// A host that asks just after the record was heard gets no second copy.
		for range 4 {
			r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
			time.Sleep(500 * time.Millisecond)
			r.others("10.0.0.7:5353", query())
			time.Sleep(time.Second)
		}
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 40))
		time.Sleep(15 * time.Second)
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR)) // asks in vain, with less than half of the TTL left after five seconds
		time.Sleep(24 * time.Second)
		if got := s.all(); len(got) != 2 || strings.Contains(strings.Join(got, ""), "remove") {
			t.Errorf("events %q, want the record on both links until its TTL ends", got)
		}
		if n := r.engine.Stats().Unanswered; n != 0 {
			t.Errorf("%d records removed by our own questions, want none", n)
		}
	})
}

func TestObservedFailureMakesUsAskNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.9", 1200))
		r.at(10 * time.Second)
		r.queries()
		ask := message(dnswire.Header{}, []mdns.Question{q("nas.local", dnswire.TypeA)})
		for range 3 {
			r.others("10.0.0.7:5353", ask)
			time.Sleep(2 * time.Second)
		}
		r.at(80 * time.Second)
		s.want("0s add 10.0.0.9", "22s remove 10.0.0.9")
		if got := r.queries(); len(got) != 0 {
			t.Errorf("asked %d times, first at %v; want nothing for a minute", len(got), got[0].at)
		}
		r.at(90 * time.Second)
		if n := len(r.queries()); n != 1 {
			t.Errorf("%d queries after a minute, want one", n)
		}
	})
}

func TestSilentEngineNeverSends(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.Silent = true
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR), q("nas.local", dnswire.TypeANY))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 20), addr("nas.local", "10.0.0.9", 1200), addr("ups.local", "10.0.0.8", 1200))
		s.want("0s add a._http._tcp.local", "0s add 10.0.0.9")
		r.at(15 * time.Second)
		r.reconfirm(addr("nas.local", "10.0.0.9", 0))
		r.at(19 * time.Second)
		s.want()
		r.at(30 * time.Second)
		s.want("20s remove a._http._tcp.local")
		// The hint counts like a question of another host; one more is enough.
		r.others("10.0.0.7:5353", message(dnswire.Header{}, []mdns.Question{q("nas.local", dnswire.TypeA), q("ups.local", dnswire.TypeA)}))
		r.at(41 * time.Second)
		s.want("40s remove 10.0.0.9")
		r.nic.SetUp(false)
		time.Sleep(10 * time.Second)
		r.nic.SetUp(true)
		r.subscribe(q("_ipp._tcp.local", dnswire.TypePTR))
		r.engine.Publish(mdns.Publication{Label: "box", Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
			return []mdns.Record{{RR: addr(label+".local", "10.0.0.1", 120), Unique: true}}
		}})
		time.Sleep(10 * time.Minute)
		if got := r.capture.Take(); len(got) != 0 {
			for _, p := range got {
				if p.Host == "dut" {
					t.Fatalf("sent %x to %v", p.Data, p.Dst)
				}
			}
		}
		if st := r.engine.Stats(); st.Sent != 0 {
			t.Errorf("%d packets sent, want none", st.Sent)
		}
	})
}
