package mdns_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// heardOne injects a response for nas.local A and tells whether it was used.
func (r *rig) heardOne(src string, dst netip.AddrPort, h dnswire.Header, questions ...mdns.Question) bool {
	r.t.Helper()
	s := r.subscribe(q("nas.local", dnswire.TypeA))
	defer s.sub.Close()
	s.all()
	r.inject(src, dst, message(h, questions, addr("nas.local", "10.0.0.9", 120)))
	return slices.ContainsFunc(s.events(), func(ev mdns.Event) bool { return ev.Op == mdns.OpAdd })
}

func TestReceivingRules(t *testing.T) {
	ok := dnswire.Header{Response: true, Authoritative: true}
	us := netip.MustParseAddrPort("10.0.0.1:5353")
	for _, c := range []struct {
		what   string
		src    string
		dst    netip.AddrPort
		header dnswire.Header
		asked  []mdns.Question
		used   bool
		drop   string
	}{
		{what: "an announcement", src: "10.0.0.2:5353", dst: group4, header: ok, used: true},
		{what: "not from port 5353", src: "10.0.0.2:5354", dst: group4, header: ok, drop: "wrong port"},
		{what: "an ID and a question", src: "10.0.0.2:5353", dst: group4, header: dnswire.Header{ID: 7, Response: true},
			asked: []mdns.Question{q("other.local", dnswire.TypeA)}, used: true},
		{what: "an opcode", src: "10.0.0.2:5353", dst: group4, header: dnswire.Header{Response: true, Opcode: 5}, drop: "opcode"},
		{what: "an rcode", src: "10.0.0.2:5353", dst: group4, header: dnswire.Header{Response: true, Rcode: 3}, drop: "rcode"},
		{what: "reserved bits", src: "10.0.0.2:5353", dst: group4, used: true,
			header: dnswire.Header{Response: true, RecursionDesired: true, Zero: true, AuthenticData: true, Truncated: true}},
		{what: "multicast from another subnet", src: "203.0.113.9:5353", dst: group4, header: ok, used: true},
		{what: "unicast from another subnet", src: "203.0.113.9:5353", dst: us, header: ok, drop: "off-link unicast"},
		{what: "unicast that nobody asked for", src: "10.0.0.2:5353", dst: us, header: ok, drop: "unasked unicast"},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.run()
				if got := r.heardOne(c.src, c.dst, c.header, c.asked...); got != c.used {
					t.Errorf("used: %v, want %v", got, c.used)
				}
				want := map[string]uint64{}
				if c.drop != "" {
					want[c.drop] = 1
				}
				if got := r.engine.Stats().Dropped; len(got) != len(want) || got[c.drop] != want[c.drop] {
					t.Errorf("dropped %v, want %v", got, want)
				}
			})
		})
	}
}

func TestUnicastResponseIsUsedForTwoSecondsAfterAQUQuestion(t *testing.T) {
	us := netip.MustParseAddrPort("10.0.0.1:5353")
	nas := response(addr("nas.local", "10.0.0.9", 120))
	for _, c := range []struct {
		what string
		wait time.Duration
		src  string
		msg  []byte
		used bool
	}{
		{"at once", 0, "10.0.0.2:5353", nas, true},
		{"late", 2100 * time.Millisecond, "10.0.0.2:5353", nas, false},
		{"from another subnet", 0, "203.0.113.9:5353", nas, false},
		{"about something else", 0, "10.0.0.2:5353", response(addr("other.local", "10.0.0.9", 120)), false},
		{"that there is none", 0, "10.0.0.2:5353", response(nsec("nas.local", "nas.local", dnswire.TypeAAAA)), true},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.engine.AskUnicast = func(l packet.Link) bool { return l.Name == "eth0" }
				r.run()
				s := r.subscribe(q("nas.local", dnswire.TypeA))
				time.Sleep(130 * time.Millisecond)
				if got := r.queries(); len(got) != 1 || got[0].questions()[0] != "nas.local A QU" {
					t.Fatalf("queries %v, want one for a unicast answer", got)
				}
				time.Sleep(c.wait)
				r.inject(c.src, us, c.msg)
				if got := len(s.all()) > 0; got != c.used {
					t.Errorf("used: %v, want %v", got, c.used)
				}
			})
		})
	}
}

func TestUnicastAnswersAreAskedForOnlyAtTheStart(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.AskUnicast = func(packet.Link) bool { return true }
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(300 * time.Millisecond)
		r.subscribe(q("_smb._tcp.local", dnswire.TypePTR)).sub.Close()
		late := r.subscribe(q("_smb._tcp.local", dnswire.TypePTR))
		time.Sleep(10 * time.Second)
		late.sub.Close()
		r.subscribe(q("_ipp._tcp.local", dnswire.TypePTR))
		time.Sleep(10 * time.Second)
		r.nic.SetUp(false)
		time.Sleep(time.Second)
		r.nic.SetUp(true)
		time.Sleep(3 * time.Second)
		qu := 0
		for i, s := range r.queries() {
			for _, text := range s.questions() {
				if strings.HasSuffix(text, " QU") {
					qu++
					if i != 0 && s.at < 20*time.Second {
						t.Errorf("at %v asked %s; want multicast answers but at the start and when the link came up", s.at, text)
					}
				}
			}
		}
		if qu != 3 {
			t.Errorf("%d questions for unicast answers, want 3: one at the start, two when the link came up", qu)
		}
	})
}

func TestNoUnicastAnswersWhileOthersShareThePort(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.AskUnicast = func(packet.Link) bool { return false }
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(time.Second / 2)
		if got := r.queries(); len(got) != 1 || got[0].questions()[0] != http {
			t.Errorf("queries %v, want one for a multicast answer", got)
		}
	})
}

func nsec(owner, next string, types ...dnswire.Type) dnswire.RR {
	rr := dnswire.NewNSEC(name(owner), name(next), 120, types...)
	rr.Flush = true
	return rr
}

func TestNSECSaysThatThereIsNone(t *testing.T) {
	for _, c := range []struct {
		what string
		rr   dnswire.RR
		want []string
	}{
		{"a type that isn't there", nsec("nas.local", "nas.local", dnswire.TypeA), []string{"0s none AAAA"}},
		{"another next name", nsec("nas.local", "zzz.example", dnswire.TypeA), []string{"0s none AAAA"}},
		{"a type that is there", nsec("nas.local", "nas.local", dnswire.TypeA, dnswire.TypeAAAA), nil},
		{"another name", nsec("ups.local", "ups.local", dnswire.TypeA), nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.run()
				s := r.subscribe(q("nas.local", dnswire.TypeAAAA))
				r.respond(c.rr)
				s.want(c.want...)
				time.Sleep(60 * time.Second)
				if asked := len(r.queries()) > 0; asked != (c.want == nil) {
					t.Errorf("asked: %v, want %v", asked, c.want == nil)
				}
				// A newcomer hears it at once, and after its TTL asking goes on.
				if c.want != nil {
					late := r.subscribe(q("nas.local", dnswire.TypeAAAA))
					late.want("1m0s none AAAA")
					time.Sleep(70 * time.Second)
					if len(r.queries()) == 0 {
						t.Error("no query after the denial's TTL")
					}
				}
			})
		})
	}
}

func TestUnreadableNSECDoesNotHarmItsPacket(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA), q("nas.local", dnswire.TypeNSEC))
		good := response(addr("nas.local", "10.0.0.9", 120), dnswire.RR{
			Name: name("nas.local"), Type: 65000, Class: dnswire.ClassIN, TTL: 120, Data: "\x00\x00\xff",
		})
		i := slices.Index(good, 65000>>8) // the unknown type becomes NSEC
		for ; good[i+1] != 65000&0xff; i++ {
		}
		good[i], good[i+1] = 0, byte(dnswire.TypeNSEC)
		r.inject("10.0.0.2:5353", group4, good)
		s.want("0s add 10.0.0.9")
		if n := r.engine.Stats().Dropped["unreadable NSEC"]; n != 1 {
			t.Errorf("%d unreadable NSEC records counted, want 1", n)
		}
	})
}

func TestNamesCompareByASCIICaseOnly(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("É-box.local", dnswire.TypeA))
		r.respond(addr("é-box.local", "10.0.0.8", 120))
		s.want()
		r.respond(addr("É-BOX.LOCAL", "10.0.0.9", 120))
		s.want("0s add 10.0.0.9")
		// The same data in another case is the same record.
		p := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "Web._http._tcp.local", 120))
		r.respond(ptr("_HTTP._tcp.local", "wEB._http._tcp.local", 120))
		p.want("0s add Web._http._tcp.local")
	})
}

func TestTopBitOfOPTIsNoFlush(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		r.respond(addr("nas.local", "10.0.0.9", 120), dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: 0x9194, TTL: 0x1194})
		s.want("0s add 10.0.0.9")
		if got := r.engine.Stats().Dropped; len(got) != 0 {
			t.Errorf("dropped %v, want nothing", got)
		}
	})
}

func TestMalformedPacketsAreCountedByReason(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		loop := append(response(), 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		loop[7] = 1
		for _, b := range [][]byte{{1, 2, 3}, loop, make([]byte, 9001)} {
			r.inject("10.0.0.2:5353", group4, b)
		}
		got := r.engine.Stats().Dropped
		for _, reason := range []string{"malformed: message ends early", "malformed: pointer not backward", "too large"} {
			if got[reason] != 1 {
				t.Errorf("%q counted %d times, want once (%v)", reason, got[reason], got)
			}
		}
	})
}

func TestOwnPacketsAreIgnoredButNotThoseOfOtherProgramsHere(t *testing.T) {
	inBubble(t, func(r *rig) {
		// Two interfaces on one wire: each hears what the other sends.
		r.host.Attach(r.wire, "eth1", "10.0.0.3/24")
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		time.Sleep(4 * time.Second)
		st := r.engine.Stats()
		if n := len(r.queries()); n != 6 || st.Dropped["own packet"] != 12 || st.Suppressed != 0 {
			t.Errorf("%d queries, %d of our own heard, %d suppressed; want 6, 12 and 0", n, st.Dropped["own packet"], st.Suppressed)
		}
		// Another host may ask in the same words.
		r.inject("10.0.0.77:5353", group4, message(dnswire.Header{}, []mdns.Question{q("nas.local", dnswire.TypeA)}))
		if st := r.engine.Stats(); st.Queries != 2 {
			t.Errorf("%d queries of another host heard on two links, want 2", st.Queries)
		}
		other, err := r.host.ListenMulticast(r.nic.Link(), group4)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.WriteBatch([]packet.Datagram{{Data: response(addr("nas.local", "10.0.0.1", 120))}}); err != nil {
			t.Fatal(err)
		}
		if got := s.all(); len(got) != 2 { // on eth0, and over the wire on eth1
			t.Errorf("events %q, want the other program's record on both links", got)
		}
	})
}
