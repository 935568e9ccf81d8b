package mdns_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

const one, two = "10.0.0.2:5353", "10.0.0.3:5353" // hosts that ask

var unicast = netip.MustParseAddrPort("10.0.0.1:5353") // the host under test

// records is a publication of the records that are given.
func records(rr ...mdns.Record) mdns.Publication {
	return mdns.Publication{Label: "x", Records: func(mdns.Zone, packet.Link, string) []mdns.Record { return rr }}
}

// from has the host under test hear a message of the host, to the group.
func (r *rig) from(src string, p packetOf) { r.inject(src, group4, p.bytes()) }

// answers waits and returns the responses.
func (r *rig) answers(wait time.Duration) []sent {
	r.t.Helper()
	time.Sleep(wait)
	return responses(r.queries())
}

func TestOnlyOwnRecordsAreAnswered(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA), q("_http._tcp.local", dnswire.TypePTR))
		r.publish(web("Web"))
		r.respond(addr("nas.local", "10.0.0.9", 120), ptr("_http._tcp.local", "Nas._http._tcp.local", 4500))
		s.all()
		r.ask(one, q("nas.local", dnswire.TypeA), q("_http._tcp.local", dnswire.TypePTR))
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].has("nas") || all[0].has("Nas") || !all[0].has("PTR 4500 Web._http") {
			t.Errorf("answered %v, want what is our own and nothing from the cache", all)
		}
	})
}

func TestMatchingRules(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(records(
			mdns.Record{RR: addr("Dut.local", "10.0.0.1", 0), Unique: true},
			mdns.Record{RR: txt("Dut.local", "x"), Unique: true},
			mdns.Record{RR: dnswire.RR{Name: name("alias.local"), Type: dnswire.TypeCNAME, Data: string(name("dut.local"))}, Unique: true},
		))
		for _, c := range []struct {
			name  string
			typ   dnswire.Type
			class dnswire.Class
			want  string
		}{
			{"dUT.LOCAL", dnswire.TypeA, dnswire.ClassIN, "A"},
			{"dut.local", dnswire.TypeANY, dnswire.ClassIN, "A TXT"},
			{"dut.local", dnswire.TypeTXT, dnswire.ClassANY, "TXT"},
			{"dut.local", dnswire.TypeTXT, dnswire.ClassCH, ""},
			{"alias.local", dnswire.TypeAAAA, dnswire.ClassIN, "CNAME"},
			{"alias.local", dnswire.TypeCNAME, dnswire.ClassIN, "CNAME"},
			{"other.local", dnswire.TypeANY, dnswire.ClassIN, ""},
			{"a.dut.local", dnswire.TypeA, dnswire.ClassIN, ""},
		} {
			var b dnswire.Builder
			b.Reset(nil, dnswire.Header{}, 0)
			b.Question(name(c.name), c.typ, c.class, false)
			r.inject(one, group4, slices.Clone(b.Bytes()))
			var got []string
			for _, s := range r.answers(2 * time.Second) {
				for rr := range s.msg.Records() {
					if rr.Section == dnswire.Answer {
						got = append(got, rr.Type.String())
					}
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s %s %s: answers %q, want %q", c.name, c.class, c.typ, s, c.want)
			}
		}
	})
}

func TestUniqueAnswerComesAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		for range 100 {
			r.start = time.Now()
			r.ask(one, q("dut.local", dnswire.TypeA))
			if all := r.answers(1001 * time.Millisecond); len(all) != 1 || all[0].at != 0 {
				t.Fatalf("answers %v, want one at once", all)
			}
		}
		r.probeBy(one, addr("dut.local", "10.0.0.2", 120))
		if all := r.answers(0); len(all) != 1 {
			t.Errorf("a probe was answered with %v, want an answer at once", all)
		}
	})
}

func TestSharedAnswersAreDelayed20To120ms(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"))
		var quarter [4]int
		for range 400 {
			r.start = time.Now()
			r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
			all := r.answers(2 * time.Second)
			if len(all) != 1 || all[0].at < 20*time.Millisecond || all[0].at > 120*time.Millisecond {
				t.Fatalf("answers %v, want one after 20 to 120 ms", all)
			}
			quarter[min(3, (all[0].at-20*time.Millisecond)/(25*time.Millisecond))]++
		}
		for i, n := range quarter {
			if n < 60 || n > 140 {
				t.Errorf("%d of 400 answers in quarter %d of the window, want 15 to 35 %%", n, i+1)
			}
		}
	})
}

func TestSeveralQuestionsAreAnsweredTogetherAfter20To120ms(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		r.ask(one, q("dut.local", dnswire.TypeA), q("Web._http._tcp.local", dnswire.TypeSRV), q("nothing.local", dnswire.TypeA),
			q("Web._http._tcp.local", dnswire.TypeTXT), q("_services._dns-sd._udp.local", dnswire.TypePTR))
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].at < 20*time.Millisecond || all[0].at > 120*time.Millisecond || all[0].msg.ANCount != 4 {
			t.Errorf("answers %v, want four in one packet after 20 to 120 ms", all)
		}
	})
}

func TestTruncatedQueryIsAnswered400To500msAfterItsLastPacket(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), web("Other"), web("Third"))
		known := func(label string) dnswire.RR {
			return ptr("_http._tcp.local", label+"._http._tcp.local", 4500)
		}
		for range 20 {
			r.start = time.Now()
			r.from(one, packetOf{header: dnswire.Header{Truncated: true}, ask: []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}})
			time.Sleep(100 * time.Millisecond)
			r.from(one, packetOf{header: dnswire.Header{Truncated: true}, answer: []dnswire.RR{known("Web")}})
			time.Sleep(100 * time.Millisecond)
			r.from(one, packetOf{answer: []dnswire.RR{known("Other")}})
			all := r.answers(2 * time.Second)
			if len(all) != 1 || all[0].at < 500*time.Millisecond || all[0].at > 600*time.Millisecond {
				t.Fatalf("answers %v, want one 400 to 500 ms after the last truncated packet", all)
			}
			if all[0].msg.ANCount != 1 || !all[0].has("answer _http._tcp.local PTR 4500 Third") {
				t.Errorf("answers %q, want the one that isn't known", all[0].lines())
			}
		}
	})
}

func TestKnownAnswersInFollowingPacketsCountForTheirSourceOnly(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), web("Other"))
		ask := []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}
		known := []dnswire.RR{ptr("_http._tcp.local", "Web._http._tcp.local", 4500)}
		r.from(one, packetOf{header: dnswire.Header{Truncated: true}, ask: ask})
		time.Sleep(10 * time.Millisecond)
		r.from(two, packetOf{answer: known}) // of another host: means nothing
		if all := r.answers(time.Second); len(all) != 1 || all[0].msg.ANCount != 2 {
			t.Errorf("answers %v, want both", all)
		}
		time.Sleep(time.Second)
		r.from(one, packetOf{header: dnswire.Header{Truncated: true}, ask: ask})
		r.from(two, packetOf{ask: ask}) // wants both
		r.from(one, packetOf{answer: known})
		if all := r.answers(2 * time.Second); len(all) != 1 || all[0].msg.ANCount != 2 {
			t.Errorf("answers %v, want both for the host that knows none", all)
		}
	})
}

func TestAnswersAreAggregated(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var pubs []mdns.Publication
		for i := range 10 {
			pubs = append(pubs, records(mdns.Record{RR: ptr(fmt.Sprintf("_t%d._tcp.local", i), fmt.Sprintf("x._t%d._tcp.local", i), 0)}))
		}
		r.publish(pubs...)
		for i := range 10 {
			r.ask(one, q(fmt.Sprintf("_t%d._tcp.local", i), dnswire.TypePTR))
			time.Sleep(5 * time.Millisecond)
		}
		all := r.answers(time.Second)
		n := 0
		for _, s := range all {
			n += int(s.msg.ANCount)
			if s.at > 620*time.Millisecond {
				t.Errorf("an answer came after %v", s.at)
			}
		}
		if len(all) > 2 || n != 10 {
			t.Errorf("%d answers in %d packets, want ten in two at most", n, len(all))
		}
		// However many come, none waits longer than 500 ms more.
		r.start = time.Now()
		for i := range 100 {
			r.ask(one, q(fmt.Sprintf("_t%d._tcp.local", i%10), dnswire.TypePTR))
			time.Sleep(10 * time.Millisecond)
		}
		if all := r.answers(time.Second); len(all) == 0 || all[0].at > 620*time.Millisecond {
			t.Errorf("the first answer came as %v", all)
		}
	})
}

func TestKnownAnswersAreNotGivenAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		for _, c := range []struct {
			rr   dnswire.RR
			want int
		}{
			{ptr("_http._tcp.local", "Web._http._tcp.local", 2250), 0},
			{ptr("_HTTP._tcp.local", "web._http._tcp.LOCAL", 2250), 0},
			{ptr("_http._tcp.local", "Web._http._tcp.local", 2249), 1},
			{ptr("_http._tcp.local", "Other._http._tcp.local", 4500), 1},
			{addr("dut.local", "10.0.0.1", 60), 0},
			{addr("dut.local", "10.0.0.1", 59), 1},
			{addr("dut.local", "10.0.0.9", 120), 1},
		} {
			ask := mdns.Question{Name: c.rr.Name, Type: c.rr.Type}
			known := c.rr
			known.Flush = false
			r.from(one, packetOf{ask: []mdns.Question{ask}, answer: []dnswire.RR{known}})
			if all := r.answers(2 * time.Second); len(all) != c.want {
				t.Errorf("known %v: %d answers, want %d", c.rr, len(all), c.want)
			}
		}
	})
}

func TestAnswerOfAnotherHostDoesForOurs(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"))
		for _, c := range []struct {
			ttl  uint32
			want int
		}{{4500, 0}, {9000, 0}, {4499, 1}} {
			r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
			time.Sleep(5 * time.Millisecond)
			r.inject(two, group4, response(ptr("_http._tcp.local", "Web._http._tcp.local", c.ttl)))
			if all := r.answers(2 * time.Second); len(all) != c.want {
				t.Errorf("another host's answer has TTL %d: %d of ours, want %d", c.ttl, len(all), c.want)
			}
		}
	})
}

func TestRecordIsNotMulticastTwiceWithinASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		for range 20 {
			r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
			r.ask(two, q("dut.local", dnswire.TypeA))
			time.Sleep(40 * time.Millisecond)
		}
		all := r.answers(2 * time.Second)
		if len(all) != 2 {
			t.Errorf("%d answers to two questions asked twenty times, want 2", len(all))
		}
		r.start = time.Now()
		r.ask(one, q("dut.local", dnswire.TypeA))
		probe := func() { r.probeByQM(two, addr("dut.local", "10.0.0.3", 120)) }
		time.Sleep(200 * time.Millisecond)
		probe()
		time.Sleep(100 * time.Millisecond)
		probe()
		all = r.answers(time.Second)
		if len(all) != 2 || all[0].at != 0 || all[1].at != 300*time.Millisecond {
			t.Errorf("answers %v, want one and, 300 ms later, a defence", all)
		}
	})
}

// probeByQM is a probe that is to be answered by multicast.
func (r *rig) probeByQM(src string, rr dnswire.RR) {
	rr.Flush = false
	r.from(src, packetOf{ask: []mdns.Question{{Name: rr.Name, Type: dnswire.TypeANY}}, auth: []dnswire.RR{rr}})
}

func TestRecordWithTooShortATTLIsAnnouncedAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		for _, c := range []struct {
			rr   dnswire.RR
			want int
		}{
			{unique(srv("Web._http._tcp.local", "dut.local", 80), 30), 1},
			{unique(srv("Web._http._tcp.local", "dut.local", 80), 59), 1},
			{unique(srv("Web._http._tcp.local", "dut.local", 80), 60), 0},
			{addr("dut.local", "10.0.0.1", 0), 1}, // another host's goodbye
			{ptr("_http._tcp.local", "Web._http._tcp.local", 10), 1},
		} {
			r.start = time.Now()
			r.inject(two, group4, response(c.rr))
			if all := r.answers(3 * time.Second); len(all) != c.want || c.want > 0 && all[0].at > 120*time.Millisecond {
				t.Errorf("another host's %v: %v", c.rr, all)
			}
		}
		// However often it comes, ours go out once a second at most.
		for range 100 {
			r.inject(two, group4, response(addr("dut.local", "10.0.0.1", 1)))
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(r.answers(2 * time.Second)); n < 8 || n > 11 {
			t.Errorf("%d announcements in ten seconds", n)
		}
	})
}

func TestUnicastAnswersWhereTheyAreAskedFor(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut")) // announced ten seconds ago
		qu := packetOf{qu: true, ask: []mdns.Question{q("dut.local", dnswire.TypeA)}}
		r.from(one, qu)
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].dst.String() != one || !all[0].has("answer dut.local A flush 120 10.0.0.1") || all[0].msg.QDCount != 0 || all[0].msg.ID != 0 {
			t.Errorf("answers %v, want one to the asker", all)
		}
		time.Sleep(20 * time.Second) // a quarter of 120 s is over
		for i, to := range []string{group4.String(), one} {
			r.from(one, qu)
			if all := r.answers(5 * time.Second); len(all) != 1 || all[0].dst.String() != to {
				t.Errorf("question %d: answers %v, want one to %s", i+1, all, to)
			}
		}
		time.Sleep(time.Minute)
		r.probeBy(one, addr("dut.local", "10.0.0.9", 120))
		if all := r.answers(time.Second); len(all) != 1 || all[0].dst.String() != one {
			t.Errorf("a probe's answers %v, want one to the prober", all)
		}
	})
}

func TestDirectUnicastQuery(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		m := packetOf{ask: []mdns.Question{q("dut.local", dnswire.TypeA)}}
		r.inject(one, unicast, m.bytes())
		if all := r.answers(time.Second); len(all) != 1 || all[0].dst.String() != one || all[0].src != unicast {
			t.Errorf("answers %v, want one to the asker", all)
		}
		for _, src := range []string{"203.0.113.9:5353", "203.0.113.9:4444"} {
			r.inject(src, unicast, m.bytes())
			if all := r.answers(time.Second); len(all) != 0 {
				t.Errorf("answers %v to a host elsewhere", all)
			}
		}
	})
}

func TestQUFromAnotherSubnetIsAnsweredByMulticast(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		r.from("203.0.113.9:5353", packetOf{qu: true, ask: []mdns.Question{q("dut.local", dnswire.TypeA)}})
		if all := r.answers(time.Second); len(all) != 1 || all[0].dst != group4 {
			t.Errorf("answers %v, want one by multicast", all)
		}
		r.from("203.0.113.9:4444", packetOf{ask: []mdns.Question{q("dut.local", dnswire.TypeA)}})
		if all := r.answers(2 * time.Second); len(all) != 0 {
			t.Errorf("answers %v to a legacy query from elsewhere", all)
		}
	})
}

func TestLegacyQueryIsAnsweredAsUnicastDNS(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		ask := []mdns.Question{q("web._http._tcp.local", dnswire.TypeSRV)}
		r.from("10.0.0.2:4444", packetOf{header: dnswire.Header{ID: 0xBEEF, RecursionDesired: true}, ask: ask})
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].dst.String() != "10.0.0.2:4444" || all[0].src.Port() != 5353 {
			t.Fatalf("answers %v", all)
		}
		s := all[0]
		if h := s.msg.Header; h.ID != 0xBEEF || !h.Response || !h.Authoritative || h.RecursionDesired || h.Truncated || h.Rcode != 0 {
			t.Errorf("header %+v", h)
		}
		if got := s.questions(); !slices.Equal(got, []string{"web._http._tcp.local SRV"}) {
			t.Errorf("questions %q", got)
		}
		for rr := range s.msg.Records() {
			if rr.TTL > 10 || rr.Flush {
				t.Errorf("record %v with TTL %d, flush bit %v", rr.RR(), rr.TTL, rr.Flush)
			}
			if rr.Type == dnswire.TypeSRV && !strings.HasSuffix(string(rr.RData()), "\x03dut\x05local\x00") {
				t.Errorf("the SRV target is compressed: %x", rr.RData())
			}
		}
		if !s.has("answer Web._http._tcp.local SRV 10 0 0 80 dut.local") || !s.has("additional dut.local A 10 10.0.0.1") {
			t.Errorf("answers %q", s.lines())
		}
	})
}

func TestLegacyAnswerThatIsTooLongIsTruncated(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var rr []mdns.Record
		for i := range 200 {
			rr = append(rr, mdns.Record{RR: ptr("_http._tcp.local", fmt.Sprintf("instance %d._http._tcp.local", i), 0)})
		}
		r.publish(records(rr...))
		r.from("10.0.0.2:4444", packetOf{ask: []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}})
		all := r.answers(time.Second)
		if len(all) != 1 || !all[0].msg.Truncated || all[0].msg.ANCount < 40 {
			t.Errorf("answers %v, want one packet with TC", all)
		}
	})
}

func TestMissingTypeIsDenied(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(records(
			mdns.Record{RR: addr("Dut.local", "10.0.0.1", 0), Unique: true},
			mdns.Record{RR: dnswire.RR{Name: name("Dut.local"), Type: dnswire.TypeCAA, Data: "\x00\x05issue;"}, Unique: true},
		))
		for _, c := range []struct {
			typ dnswire.Type
			ttl uint32
		}{{dnswire.TypeAAAA, 120}, {dnswire.TypeTXT, 4500}, {dnswire.TypeNSEC, 4500}} {
			r.start = time.Now()
			r.ask(one, q("dut.local", c.typ))
			all := r.answers(2 * time.Second)
			if len(all) != 1 || all[0].at != 0 {
				t.Fatalf("%s: answers %v, want one at once", c.typ, all)
			}
			for rr := range all[0].msg.Records() {
				if rr.Section != dnswire.Answer {
					continue
				}
				next, types, ok := rr.NSEC()
				if !ok || !next.Equal(name("dut.local")) || rr.TTL != c.ttl || !rr.Flush {
					t.Errorf("%s: %v", c.typ, rr.RR())
				}
				if got := slices.Collect(types.Types()); !slices.Equal(got, []dnswire.Type{dnswire.TypeA}) {
					t.Errorf("%s: types %v, want A alone: no NSEC, none above 255", c.typ, got)
				}
			}
		}
	})
}

func TestAddressesOfTheLinkAlone(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := r.net.Wire("other")
		captured := other.Capture()
		r.host.Attach(other, "eth1", "10.1.0.1/24", "fd00::1/64", "2001:db8::1/64", "fe80::1/64")
		r.engine.Family = mdns.IPv4
		r.run()
		r.publish(host("dut"))
		r.ask(one, q("dut.local", dnswire.TypeA))
		all := r.answers(time.Second)
		want := []string{"answer dut.local A flush 120 10.0.0.1", "additional dut.local NSEC flush 120 dut.local A"}
		if len(all) != 1 || !slices.Equal(all[0].lines(), want) {
			t.Errorf("eth0: answers %v, want %q", all, want)
		}
		captured.Take()
		other.Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.1.0.2:5353"), Dst: group4, Data: packetOf{ask: []mdns.Question{q("dut.local", dnswire.TypeA)}}.bytes()})
		time.Sleep(time.Second)
		var got []string
		for _, p := range captured.Take() {
			if m, err := dnswire.Parse(p.Data); err == nil && p.Host == "dut" {
				got = append(got, sent{msg: m}.lines()...)
			}
		}
		want = []string{
			"answer dut.local A flush 120 10.1.0.1",
			"additional dut.local AAAA flush 120 fd00::1", "additional dut.local AAAA flush 120 2001:db8::1", "additional dut.local AAAA flush 120 fe80::1",
		}
		if !slices.Equal(got, want) {
			t.Errorf("eth1: answers %q, want %q", got, want)
		}
	})
}

func TestAdditionalRecords(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"), host("dut"))
		r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
		all := r.answers(2 * time.Second)
		want := []string{
			"answer _http._tcp.local PTR 4500 Web._http._tcp.local",
			"additional Web._http._tcp.local SRV flush 120 0 0 80 dut.local",
			"additional dut.local A flush 120 10.0.0.1",
			"additional dut.local NSEC flush 120 dut.local A",
			`additional Web._http._tcp.local TXT flush 4500 "path=/"`,
		}
		if len(all) != 1 || !slices.Equal(all[0].lines(), want) {
			t.Errorf("PTR: %v, want %q", all, want)
		}
		r.ask(one, q("Web._http._tcp.local", dnswire.TypeSRV))
		all = r.answers(2 * time.Second)
		want = []string{
			"answer Web._http._tcp.local SRV flush 120 0 0 80 dut.local",
			"additional dut.local A flush 120 10.0.0.1",
			"additional dut.local NSEC flush 120 dut.local A",
		}
		if len(all) != 1 || !slices.Equal(all[0].lines(), want) {
			t.Errorf("SRV: %v, want %q", all, want)
		}
	})
}

func TestResponseHeader(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		r.from(one, packetOf{header: dnswire.Header{ID: 77, RecursionDesired: true}, ask: []mdns.Question{q("dut.local", dnswire.TypeA)}})
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].src.Port() != 5353 || all[0].dst != group4 {
			t.Fatalf("answers %v", all)
		}
		want := dnswire.Header{Response: true, Authoritative: true, ANCount: 1, ARCount: 1}
		if all[0].msg.Header != want || all[0].ttl != 255 {
			t.Errorf("header %+v and IP TTL %d, want %+v and 255", all[0].msg.Header, all[0].ttl, want)
		}
	})
}

func TestWholeRRsetGoesInOneBurst(t *testing.T) {
	for _, n := range []int{40, 200} { // in one packet, and in several
		inBubble(t, func(r *rig) {
			r.run()
			var rr []mdns.Record
			for i := range n {
				rr = append(rr, mdns.Record{RR: addr("dut.local", fmt.Sprintf("fd00::%x", i+1), 0), Unique: true})
			}
			r.publish(records(rr...))
			r.ask(one, q("dut.local", dnswire.TypeAAAA))
			count := 0
			all := r.answers(time.Second)
			for _, s := range all {
				for v := range s.msg.Records() {
					if v.Type == dnswire.TypeAAAA && v.Flush {
						count++
					}
				}
			}
			if count != n || all[0].at != all[len(all)-1].at || n == 40 && len(all) != 1 {
				t.Errorf("%d of %d addresses in %d packets", count, n, len(all))
			}
		})
	}
}

func TestLargeRecordGoesAloneInALargerPacket(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		large := strings.Split(strings.Repeat(strings.Repeat("x", 255)+" ", 16), " ")[:16]
		r.publish(
			records(mdns.Record{RR: txt("big.local", large...), Unique: true}, mdns.Record{RR: addr("big.local", "10.0.0.1", 0), Unique: true}),
			records(mdns.Record{RR: txt("huge.local", append(append(large, large...), large...)...), Unique: true}), // more than 9000 bytes: never
		)
		r.ask(one, q("big.local", dnswire.TypeANY))
		all := r.answers(time.Second)
		records := 0
		for _, s := range all {
			n := 0
			for range s.msg.Records() {
				n++
			}
			records += n
			if s.size > 1472 && n > 1 || s.size > 9000-28 {
				t.Errorf("%d records in a packet of %d bytes", n, s.size)
			}
		}
		if records < 2 || !slices.ContainsFunc(all, func(s sent) bool { return s.size > 4096 }) {
			t.Errorf("%d records, want all", records)
		}
		r.ask(one, q("huge.local", dnswire.TypeANY))
		if all := r.answers(time.Second); len(all) != 0 {
			t.Errorf("sent %d bytes", all[0].size)
		}
	})
}

func TestNamesAreCompressedWhereTheyMay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var pubs []mdns.Publication
		for i := range 10 {
			pubs = append(pubs, web(fmt.Sprintf("Web %d", i)))
		}
		r.publish(append(pubs, records(mdns.Record{RR: dnswire.RR{ // the type isn't known: its rdata stays as it is
			Name: name("dut.local"), Type: 65280, Data: string(name("_http._tcp.local")),
		}, Unique: true}))...)
		r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
		all := r.answers(time.Second)
		if len(all) != 1 || all[0].msg.ANCount != 10 || all[0].msg.ARCount != 21 || all[0].size > 12+28+10*22+10*24+10*20+200 {
			t.Errorf("answers %v with %d bytes", all, all[0].size)
		}
		r.ask(one, q("dut.local", 65280))
		for _, s := range r.answers(time.Second) {
			for v := range s.msg.Records() {
				if v.Type == 65280 && string(v.RData()) != string(name("_http._tcp.local")) {
					t.Errorf("rdata of an unknown type %x", v.RData())
				}
			}
		}
	})
}

func TestNothingIsSaidOfUnknownNames(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(web("Web"))
		r.ask(one, q("_ipp._tcp.local", dnswire.TypePTR))
		r.ask(one, q("_http._tcp.local", dnswire.TypeSRV)) // a shared name: others may have it
		r.ask("10.0.0.2:4444", q("nas.local", dnswire.TypeA))
		if all := r.answers(time.Second); len(all) != 0 {
			t.Errorf("answers %v, want silence", all)
		}
	})
}

func TestOtherProgramOnThisHostIsAnsweredByMulticast(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		r.from("10.0.0.1:5353", packetOf{qu: true, ask: []mdns.Question{q("dut.local", dnswire.TypeA)}})
		if all := r.answers(time.Second); len(all) != 1 || all[0].dst != group4 {
			t.Errorf("answers %v, want one by multicast: by unicast it could come to us", all)
		}
	})
}
