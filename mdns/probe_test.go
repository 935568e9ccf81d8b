package mdns_test

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

func TestNamesAreProbedAndAnnouncedAtTheStartAndAfterALinkChange(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(web("Web"))
		time.Sleep(5 * time.Second)
		check := func(when string) {
			t.Helper()
			all := r.queries()
			if p, a := len(probes(all)), len(responses(all)); p != 3 || a != 2 {
				t.Errorf("%s: %d probes and %d announcements, want 3 and 2", when, p, a)
			}
		}
		check("at the start")
		r.nic.SetCarrier(false)
		time.Sleep(time.Minute)
		if all := r.queries(); len(all) != 0 {
			t.Errorf("%d packets while the link was down", len(all))
		}
		r.nic.SetCarrier(true)
		time.Sleep(5 * time.Second)
		check("when the link came up")
	})
}

func TestThreeProbes250msApartForAllNamesTogether(t *testing.T) {
	var first []time.Duration
	for range 30 {
		inBubble(t, func(r *rig) {
			r.alone()
			r.run()
			r.engine.Publish(web("Web"))
			r.engine.Publish(web("Other"))
			r.engine.Publish(host("dut"))
			time.Sleep(5 * time.Second)
			all := probes(r.queries())
			if len(all) != 3 {
				t.Fatalf("%d probes, want 3", len(all))
			}
			for i, s := range all {
				if got, want := s.questions(), []string{"Web._http._tcp.local ANY QU", "Other._http._tcp.local ANY QU", "dut.local ANY QU"}; !slices.Equal(got, want) {
					t.Errorf("questions %q, want %q", got, want)
				}
				if i > 0 && s.at-all[i-1].at != 250*time.Millisecond {
					t.Errorf("probe %d came %v after the one before", i+1, s.at-all[i-1].at)
				}
			}
			first = append(first, all[0].at)
		})
	}
	low, high := slices.Min(first), slices.Max(first)
	if high > 250*time.Millisecond || low > 60*time.Millisecond || high < 190*time.Millisecond {
		t.Errorf("first probes after %v to %v, want anything from 0 to 250 ms", low, high)
	}
}

func TestProbesDoNotAskForUnicastWhileOthersShareThePort(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(host("dut"))
		time.Sleep(time.Second)
		if got := probes(r.queries())[0].questions(); !slices.Equal(got, []string{"dut.local ANY"}) {
			t.Errorf("questions %q", got)
		}
	})
}

func TestProbeHoldsAllProposedRecordsWithoutTheFlushBit(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "2001:db8::1/64")
		r.engine.Family = mdns.IPv4
		r.run()
		r.engine.Publish(web("Web"))
		r.engine.Publish(host("dut"))
		time.Sleep(time.Second)
		want := []string{
			`authority Web._http._tcp.local TXT 4500 "path=/"`,
			"authority Web._http._tcp.local SRV 120 0 0 80 dut.local",
			"authority dut.local A 120 10.0.0.1",
			"authority dut.local AAAA 120 2001:db8::1",
		}
		for _, s := range probes(r.queries()) {
			if got := s.lines(); !slices.Equal(got, want) {
				t.Errorf("probe with\n%q, want\n%q", got, want)
			}
		}
	})
}

func TestResponsesBeforeTheFirstProbeAreIgnored(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.engine.Publish(host("dut"))
		r.respond(addr("dut.local", "10.0.0.9", 120))
		time.Sleep(5 * time.Second)
		if l := p.Label(); l != "dut" {
			t.Errorf("label %q", l)
		}
	})
}

func TestNameThatAnotherHostHasIsGivenUp(t *testing.T) {
	for after := 1; after <= 3; after++ {
		for _, unicast := range []bool{false, true} {
			inBubble(t, func(r *rig) {
				r.alone()
				r.run()
				var events []mdns.PublicationEvent
				pub := host("dut")
				pub.Changed = func(e mdns.PublicationEvent) { events = append(events, e) }
				p := r.engine.Publish(pub)
				for seen := 0; seen < after; time.Sleep(time.Millisecond) {
					seen += len(probes(r.queries()))
				}
				if unicast {
					r.inject("10.0.0.9:5353", netip.MustParseAddrPort("10.0.0.1:5353"), response(unique(txt("dut.local", "mine"), 4500)))
				} else {
					r.inject("10.0.0.9:5353", group4, response(unique(txt("dut.local", "mine"), 4500)))
				}
				if l := p.Label(); l != "dut-2" {
					t.Fatalf("label %q after a denial of probe %d, unicast %v", l, after, unicast)
				}
				if l, err := p.Established(r.t.Context()); err != nil || l != "dut-2" {
					t.Fatal(l, err)
				}
				for _, s := range responses(r.queries()) {
					if s.has(" dut.local") {
						t.Errorf("the name that was given up is announced: %q", s.lines())
					}
				}
				var states []string
				for _, e := range events {
					states = append(states, e.Label+" "+e.State.String())
				}
				if want := []string{"dut probing", "dut conflicted", "dut-2 probing", "dut-2 announced"}; !slices.Equal(states, want) {
					t.Errorf("events %q, want %q", states, want)
				}
				if len(events) > 1 && events[1].Rival != netip.MustParseAddr("10.0.0.9") {
					t.Errorf("rival %v", events[1].Rival)
				}
			})
		}
	}
}

func TestLaterDataWinsTheTieBreak(t *testing.T) {
	for _, c := range []struct {
		own, other string
		wins       bool
	}{
		{"169.254.200.50", "169.254.99.200", true}, // the RFC's example: bytes are unsigned
		{"169.254.99.200", "169.254.200.50", false},
	} {
		inBubble(t, func(r *rig) {
			r.nic.SetAddresses(c.own + "/16")
			r.run()
			p := r.engine.Publish(host("dut"))
			for len(probes(r.queries())) == 0 {
				time.Sleep(time.Millisecond)
			}
			lost := time.Since(r.start)
			r.probeBy("10.0.0.9:5353", addr("dut.local", c.other, 120))
			time.Sleep(999 * time.Millisecond)
			if n := len(probes(r.queries())); c.wins && n != 2 || !c.wins && n != 0 {
				t.Errorf("%v against %v: %d probes in the second after the tie-break", c.own, c.other, n)
			}
			time.Sleep(3 * time.Second)
			if all := probes(r.queries()); !c.wins && (len(all) != 3 || all[0].at != lost+time.Second) {
				t.Errorf("%v against %v: probes again %v, want three from %v on", c.own, c.other, all, lost+time.Second)
			}
			if l := p.Label(); l != "dut" {
				t.Errorf("label %q: who loses a tie-break asks for the same name again", l)
			}
		})
	}
}

func TestOwnStaleProbeIsNoConflict(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.engine.Publish(host("dut"))
		for len(probes(r.queries())) == 0 {
			time.Sleep(time.Millisecond)
		}
		for range 3 { // from a machine that stored it, say an access point
			r.probeBy("10.0.0.7:5353", addr("dut.local", "10.0.0.1", 120))
		}
		time.Sleep(2 * time.Second)
		r.probeBy("10.0.0.7:5353", addr("dut.local", "10.0.0.1", 120))
		// An older one, with an address that the host had a moment ago.
		r.nic.SetAddresses("10.0.0.77/24")
		time.Sleep(2 * time.Second)
		r.probeBy("10.0.0.7:5353", addr("dut.local", "10.0.0.1", 120))
		r.inject("10.0.0.7:5353", group4, response(addr("dut.local", "10.0.0.1", 120)))
		time.Sleep(2 * time.Second)
		if l, n := p.Label(), len(probes(r.queries())); l != "dut" || n != 2 {
			t.Errorf("label %q and %d more probes, want %q and 2", l, n, "dut")
		}
		if s := r.engine.Stats(); s.Conflicts != 0 || s.TieBreaksLost != 0 {
			t.Errorf("%d conflicts and %d lost tie-breaks, want none", s.Conflicts, s.TieBreaksLost)
		}
	})
}

func TestFifteenConflictsInTenSecondsSlowProbingDown(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(host("dut"))
		var at []time.Duration
		for time.Since(r.start) < time.Minute {
			for _, s := range probes(r.queries()) {
				at = append(at, s.at)
				for q := range s.msg.Questions() {
					r.respond(addr(q.Name.String(), "10.0.0.9", 120))
				}
			}
			time.Sleep(time.Millisecond)
		}
		if len(at) < 16 {
			t.Fatalf("%d probes in a minute of denials", len(at))
		}
		for i := 15; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 5*time.Second {
				t.Errorf("probe %d comes %v after the one before, want at least 5 s", i+1, gap)
			}
		}
		if n := len(at); n > 15+12 {
			t.Errorf("%d probes in a minute", n)
		}
	})
}

func TestReversePTRAndProxiedNamesAreNotProbed(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		reverse := ptr("1.0.0.10.in-addr.arpa", "dut.local", 0)
		r.engine.Publish(mdns.Publication{Label: "dut", Records: func(mdns.Zone, packet.Link, string) []mdns.Record {
			return []mdns.Record{
				{RR: reverse, Unique: true, NoProbe: true},
				{RR: addr("sleeper.local", "10.0.0.99", 0), Unique: true, NoProbe: true},
			}
		}})
		time.Sleep(5 * time.Second)
		all := r.queries()
		if len(probes(all)) != 0 || len(responses(all)) != 2 {
			t.Fatalf("%d packets, want two announcements", len(all))
		}
		if !all[0].has("1.0.0.10.in-addr.arpa PTR flush 120 dut.local") || !all[0].has("sleeper.local A flush 120") {
			t.Errorf("announced %q", all[0].lines())
		}
	})
}

func TestConflictAfterTheClaimIsProbedAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.publish(web("Web"), host("dut"))[0]
		rival := unique(srv("Web._http._tcp.local", "rival.local", 80), 120)
		r.respond(rival)
		all := r.queries()
		if len(all) != 1 || !slices.Equal(all[0].questions(), []string{"Web._http._tcp.local ANY"}) || all[0].at != 0 {
			t.Fatalf("after the conflict came %v, want a probe at once", all)
		}
		r.ask("10.0.0.2:5353", q("Web._http._tcp.local", dnswire.TypeSRV))
		if all := r.queries(); len(all) != 0 {
			t.Errorf("answered for a name that is in doubt: %q", all[0].lines())
		}
		r.respond(rival) // defends it
		if l := p.Label(); l != "Web (2)" {
			t.Fatalf("label %q", l)
		}
		if l, err := p.Established(r.t.Context()); err != nil || l != "Web (2)" {
			t.Fatal(l, err)
		}
		synctest.Wait()
		ann := responses(r.queries())
		if len(ann) != 1 || !ann[0].has("PTR 4500 Web (2)._http._tcp.local") || ann[0].has("Web._http") {
			t.Errorf("announced %v", ann)
		}
		if s := r.engine.Stats(); s.Renamed != 1 || s.Conflicts != 2 {
			t.Errorf("%d renamed, %d conflicts", s.Renamed, s.Conflicts)
		}
	})
}

func TestConflictOverANameThatWasNotProbed(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		pub := mdns.Publication{Label: "sleeper", Rename: mdns.RenameHost, Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
			return []mdns.Record{
				{RR: addr(label+".local", "10.0.0.99", 0), Unique: true, NoProbe: true},
				{RR: ptr("99.0.0.10.in-addr.arpa", label+".local", 0), Unique: true, NoProbe: true},
			}
		}}
		p := r.publish(pub)[0]
		r.respond(unique(ptr("99.0.0.10.in-addr.arpa", "other.local", 0), 120)) // no name would end it
		if all := r.queries(); len(all) != 0 {
			t.Errorf("sent %v", all)
		}
		rival := addr("sleeper.local", "10.0.0.9", 120)
		r.respond(rival)
		if all := r.queries(); len(all) != 1 || len(probes(all)) != 1 {
			t.Fatalf("sent %v, want a probe at once", all)
		}
		r.respond(rival)
		if l := p.Label(); l != "sleeper-2" {
			t.Errorf("label %q", l)
		}
		if all := r.answers(time.Second); len(all) != 2 && len(all) != 1 || !all[0].has("sleeper-2.local A flush") {
			t.Errorf("announced %v", all)
		}
	})
}

func TestConflictThatNobodyDefendsLeavesTheName(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.publish(host("dut"))[0]
		r.respond(addr("dut.local", "10.0.0.9", 120))
		time.Sleep(5 * time.Second)
		all := r.queries()
		if p.Label() != "dut" || len(probes(all)) != 3 || len(responses(all)) != 2 {
			t.Errorf("label %q, %d probes, %d announcements", p.Label(), len(probes(all)), len(responses(all)))
		}
	})
}

func TestIdenticalRecordOfAnotherHostIsNoConflict(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		r.respond(addr("DUT.local", "10.0.0.1", 120))
		time.Sleep(5 * time.Second)
		if all := r.queries(); len(all) != 0 {
			t.Errorf("sent %q %q", all[0].questions(), all[0].lines())
		}
	})
}

func TestTwoPublicationsWithOneNameDoNotShareIt(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		other := web("Web")
		records := other.Records
		other.Records = func(z mdns.Zone, l packet.Link, label string) []mdns.Record {
			out := records(z, l, label)
			out[2].RR = srv(label+"._http._tcp.local", "dut.local", 81)
			return out
		}
		third, fourth := other, web("Web")
		third.Records = func(z mdns.Zone, l packet.Link, label string) []mdns.Record { return records(z, l, label)[2:3] }
		third.Label = "Third"
		p := r.publish(other, web("Web"), third, fourth)
		var labels []string
		for _, x := range p {
			labels = append(labels, x.Label())
		}
		// The last one is the same as the second: nothing to quarrel about.
		if want := []string{"Web", "Web (2)", "Third", "Web (2)"}; !slices.Equal(labels, want) {
			t.Errorf("labels %q, want %q", labels, want)
		}
	})
}

func TestPublicationWithoutAnotherLabelGivesUp(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		pub := host("dut")
		pub.Rename = func(string) string { return "" }
		p := r.engine.Publish(pub)
		for len(probes(r.queries())) == 0 {
			time.Sleep(time.Millisecond)
		}
		r.respond(addr("dut.local", "10.0.0.9", 120))
		if _, err := p.Established(r.t.Context()); err != mdns.ErrConflict {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Minute)
		if all := r.queries(); len(all) != 0 {
			t.Errorf("%d packets after the name was given up", len(all))
		}
	})
}

func TestRename(t *testing.T) {
	long := "a name of sixty bytes with two-byte letters at its end éééé"
	for _, c := range []struct{ from, service, host string }{
		{"Web", "Web (2)", "Web-2"},
		{"Web (2)", "Web (3)", "Web (2)-2"},
		{"Web (9)", "Web (10)", "Web (9)-2"},
		{"nas-2", "nas-2 (2)", "nas-3"},
		{"nas-x", "nas-x (2)", "nas-x-2"},
		{"Web (1)", "Web (1) (2)", "Web (1)-2"},
		{"Web (02)", "Web (02) (2)", "Web (02)-2"},
		{"-2", "-2 (2)", "-2-2"},
		{long, "a name of sixty bytes with two-byte letters at its end éé (2)", "a name of sixty bytes with two-byte letters at its end éé-2"},
	} {
		if got := mdns.RenameService(c.from); got != c.service && len(c.from) < 60 || len(got) > 63 {
			t.Errorf("service %q becomes %q, want %q", c.from, got, c.service)
		}
		if got := mdns.RenameHost(c.from); got != c.host && len(c.from) < 60 || len(got) > 63 {
			t.Errorf("host %q becomes %q, want %q", c.from, got, c.host)
		}
	}
}

func TestTwoInterfacesOnOneLinkAreNoConflict(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.host.Attach(r.wire, "eth1", "10.0.0.3/24")
		r.run()
		p := r.engine.Publish(host("dut"))
		w := r.engine.Publish(web("Web"))
		time.Sleep(60 * time.Second)
		if p.Label() != "dut" || w.Label() != "Web" {
			t.Errorf("labels %q and %q", p.Label(), w.Label())
		}
		all := r.queries()
		if n := len(responses(all)); n < 4 || n > 9 || len(probes(all)) != 6 {
			t.Errorf("%d probes and %d responses of two interfaces in a minute", len(probes(all)), n)
		}
		r.start = time.Now()
		// What one interface says of itself flushes what the other said from
		// caches: the other says it again, once.
		r.ask("10.0.0.2:5353", q("dut.local", dnswire.TypeA))
		time.Sleep(30 * time.Second)
		all = responses(r.queries())
		if len(all) != 2 {
			t.Errorf("%d responses, want one of each interface", len(all))
		}
	})
}
