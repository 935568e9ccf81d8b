package reflector_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

// probe asks for every record of a name and says which one its sender wants.
func probe(host, a string) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 9000)
	b.Question(name(host), dnswire.TypeANY, dnswire.ClassIN, true)
	rr := addr(host, a, 120)
	rr.Flush = false
	b.Authority(rr)
	return slices.Clone(b.Bytes())
}

// known is a query for a type with known answers; tc says that more follow.
func known(tc bool, rrs ...dnswire.RR) []byte {
	return message(dnswire.Header{Truncated: tc}, []question{{"_ipp._tcp.local", dnswire.TypePTR, false}}, rrs...)
}

// F1
func TestCopiesLeaveFromOurAddressOnTheLinkFromPort5353WithTTL255(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		r.a.say("[fe80::5]:5353", response(addr("nas.local", "fe80::5", 120), addr("nas.local", "2001:db8::5", 120)))
		got := r.b.packets()
		if len(got) != 2 {
			t.Fatalf("%d packets, want 2", len(got))
		}
		for i, src := range []string{"10.0.2.1:5353", "[fe80::b1]:5353"} {
			if p := got[i]; p.Src.String() != src || p.TTL != 255 || p.Dst.Port() != 5353 || !p.Dst.Addr().IsMulticast() {
				t.Errorf("%v with TTL %d, want from %s to the group with 255", p, p.TTL, src)
			}
		}
	})
}

// slow makes packets take a while, as they do.
func (r *rig) slow() {
	for _, w := range []*wire{r.a, r.b} {
		w.SetConditions(lantest.Conditions{Latency: latency})
	}
}

const latency = 50 * time.Microsecond

// second adds another router with a reflector of ours between the same wires.
func (r *rig) second() *reflector.Reflector {
	r.slow()
	h := r.net.Host("second")
	h.Attach(r.a.Wire, "a", "10.0.1.2/24", "fe80::a2/64")
	h.Attach(r.b.Wire, "b", "10.0.2.2/24", "fe80::b2/64")
	refl := &reflector.Reflector{}
	r.runEngine(engineOf(h, refl))
	return refl
}

// copyRaw adds a host that copies everything that isn't its own, as plain
// copiers do.
func (r *rig) copyRaw() {
	r.slow()
	h := r.net.Host("copier")
	nics := []*lantest.NIC{h.Attach(r.a.Wire, "a", "10.0.1.3/24"), h.Attach(r.b.Wire, "b", "10.0.2.3/24")}
	var conns []*lantest.Conn
	for _, nic := range nics {
		c, err := h.ListenMulticast(nic.Link(), group4)
		if err != nil {
			r.t.Fatal(err)
		}
		conns = append(conns, c)
		r.t.Cleanup(func() { c.Close() })
	}
	for i, c := range conns {
		go func() {
			in := make([]packet.Datagram, 32)
			for {
				n, err := c.ReadBatch(in)
				if err != nil {
					return
				}
				for _, d := range in[:n] {
					if !nics[i].Link().Has(d.Src.Addr()) {
						_ = conns[1-i].WriteTo(d.Data, group4)
					}
				}
			}
		}()
	}
	synctest.Wait()
}

// F2
func TestTwoReflectorsOnTheSameLinksMakeAtMostTwoCopies(t *testing.T) {
	messages := map[string][]byte{
		"response": response(addr("nas.local", "10.0.1.5", 120), ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)),
		"goodbye":  response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", 0)),
		"query":    query(question{"_ipp._tcp.local", dnswire.TypePTR, false}),
		"QU":       query(question{"_ipp._tcp.local", dnswire.TypePTR, true}),
		"probe":    probe("nas.local", "10.0.1.5"),
		"known":    known(false, ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)),
	}
	for what, msg := range messages {
		for _, other := range []string{"ours", "a plain copier"} {
			t.Run(what+" beside "+other, func(t *testing.T) {
				inBubble(t, func(r *rig) {
					r.run()
					if other == "ours" {
						r.second()
					} else {
						r.copyRaw()
					}
					r.a.say("10.0.1.5:5353", msg)
					time.Sleep(2 * time.Second)
					if n := len(r.b.packets()); n > 2 || n == 0 {
						t.Errorf("%d copies on the other link, want 1 or 2", n)
					}
					if back := r.a.sent(); other == "ours" && len(back) > 0 || len(back) > 1 {
						t.Errorf("back on the link that it came from: %q", back)
					}
				})
			})
		}
	}
}

// F2: on a busy machine another reflector's copies come when both the record
// and its goodbye have crossed. Taken for news they would go round for ever.
func TestLateCopiesOfARecordAndItsGoodbyeStay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		said := [][]byte{response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)), response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", 0))}
		for _, msg := range said {
			r.a.say("10.0.1.5:5353", msg)
		}
		if n := len(r.b.packets()); n != 2 {
			t.Errorf("%d of 2 crossed", n)
		}
		for range 10 {
			for _, msg := range said {
				time.Sleep(5 * time.Millisecond)
				r.b.say("10.0.2.2:5353", msg)
			}
		}
		r.want(r.a)
	})
}

// F2: the goodbye's copy is there before the goodbye. It doesn't cross then, so
// that the original does: what it takes back crossed the same way.
func TestGoodbyeBehindItsCopyCrosses(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		gone := response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", 0))
		r.a.say("10.0.1.5:5353", response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)))
		r.b.packets()
		r.b.say("10.0.2.2:5353", gone)
		r.a.say("10.0.1.5:5353", gone)
		r.want(r.a)
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 _ipp._tcp.local PTR a._ipp._tcp.local 0")
	})
}

// F2: copies that go round come to an end, whatever each reflector took them for.
func TestRecordThatComesAndGoesIsBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 100 {
			r.a.say("10.0.1.5:5353", response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", uint32(i%2*4500))))
			time.Sleep(5 * time.Millisecond)
		}
		if n := len(r.b.packets()); n > 4 {
			t.Errorf("%d crossed within half a second, want 4 at most", n)
		}
	})
}

// sluggish is a Conn whose reader gets to it only every now and then.
type sluggish struct{ *lantest.Conn }

func (s sluggish) ReadBatch(d []packet.Datagram) (int, error) {
	for {
		time.Sleep(733 * time.Microsecond)
		n, err := s.TryReadBatch(d)
		for i := range d[:n] {
			d[i].Data = bytes.Clone(d[i].Data)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s sluggish) PollBatch(d []packet.Datagram) (int, error) { return s.ReadBatch(d) }

// F2, F7: the other reflector's copy is there before we came to read the original.
func TestCopyThatIsReadBeforeItsOriginalIsKnownForOne(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.Listen = func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := r.router.ListenMulticast(l, g)
			if err == nil && l.Name == "a" {
				return sluggish{c}, nil
			}
			return c, err
		}
		r.run()
		r.second()
		for i := range 30 {
			r.a.say("10.0.1.5:5353", response(addr(fmt.Sprint("h", i, ".local"), "10.0.1.5", 120)))
			r.a.say("10.0.1.5:5353", query(question{fmt.Sprint("h", i, ".local"), dnswire.TypeA, false}))
			time.Sleep(3 * time.Millisecond)
		}
		r.want(r.a)
		if n := len(r.b.packets()); n != 2*60 {
			t.Errorf("%d copies by two reflectors, want 120", n)
		}
	})
}

// late is a Conn whose packets wait for a while before they can be read, each
// link's for as long as others.
type late struct {
	mdns.Conn
	by time.Duration
}

func (l late) ReadBatch(d []packet.Datagram) (int, error) {
	n, err := l.Conn.ReadBatch(d[:1])
	for i := range d[:n] {
		d[i].Data = bytes.Clone(d[i].Data)
	}
	time.Sleep(l.by)
	return n, err
}

// F2: a host that comes and goes, beside two reflectors on machines so busy that
// each reads packets in an order of its own. What they make of it ends.
func TestBusyReflectorsNeverFeedEachOther(t *testing.T) {
	for _, by := range [][4]int{{1, 1, 1, 1}, {9, 1, 1, 1}, {1, 9, 9, 1}, {9, 1, 1, 9}, {20, 1, 20, 1}, {1, 30, 9, 4}} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				i := 0
				busy := func(e *mdns.Engine, h *lantest.Host) {
					e.Family = mdns.IPv4
					e.Listen = func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
						c, err := h.ListenMulticast(l, g)
						i++
						return late{c, time.Duration(by[(i-1)%4]) * time.Millisecond}, err
					}
					r.runEngine(e)
				}
				busy(r.engine, r.router)
				h := r.net.Host("second")
				h.Attach(r.a.Wire, "a", "10.0.1.2/24")
				h.Attach(r.b.Wire, "b", "10.0.2.2/24")
				busy(engineOf(h, &reflector.Reflector{}), h)
				r.slow()
				for n := range 4 {
					r.a.say("10.0.1.5:5353", response(ptr("_ipp._tcp.local", "a._ipp._tcp.local", uint32((n+1)%2*4500))))
					time.Sleep(3 * time.Millisecond)
				}
				time.Sleep(5 * time.Second)
				copies := r.b.packets()
				if n := len(copies) + len(r.a.packets()); n > 8 {
					t.Errorf("%d packets made of 4, want 2 of each at most", n)
				}
				if n := len(copies); n == 0 || !strings.HasSuffix(text(copies[n-1]), " 0") {
					t.Errorf("the goodbye isn't the last of %d that crossed", n)
				}
			})
		})
	}
}

// F2
func TestOtherReflectorIsRecognised(t *testing.T) {
	inBubble(t, func(r *rig) {
		var log bytes.Buffer
		r.refl.Log = slog.New(slog.NewTextHandler(&log, nil))
		r.run()
		r.second()
		for i := range 10 {
			r.a.say("10.0.1.5:5353", response(addr(fmt.Sprint("h", i, ".local"), "10.0.1.5", 120)))
			time.Sleep(time.Millisecond)
		}
		var found []netip.Addr
		for _, s := range r.refl.Stats().Sides {
			found = append(found, s.Reflectors...)
		}
		if want := []netip.Addr{netip.MustParseAddr("10.0.2.2")}; !slices.Equal(found, want) {
			t.Errorf("reflectors %v, want %v", found, want)
		}
		if n := strings.Count(log.String(), "another reflector"); n != 1 {
			t.Errorf("logged %d times: %s", n, &log)
		}
	})
}

// F2, F7: a probe is sent three times, 250 ms apart, and each crosses.
func TestProbesCrossAtTheirPaceAndNeverComeBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.second()
		start := time.Now()
		for range 3 {
			r.a.say("10.0.1.5:5353", probe("nas.local", "10.0.1.5"))
			time.Sleep(250 * time.Millisecond)
		}
		var at []string
		for _, p := range r.b.packets() {
			if p.Host == "router" {
				at = append(at, (p.Time.Sub(start) - latency).String())
			}
		}
		if want := []string{"0s", "250ms", "500ms"}; !slices.Equal(at, want) {
			t.Errorf("probes crossed at %v, want %v", at, want)
		}
		r.want(r.a)
		// Another host that wants the same name elsewhere is a conflict: it crosses.
		r.b.say("10.0.2.9:5353", probe("nas.local", "10.0.2.9"))
		time.Sleep(time.Millisecond)
		got := r.a.sent()
		slices.Sort(got)
		if want := []string{"10.0.1.1:5353 > 224.0.0.251:5353 nas.local ANY?QU nas.local A 10.0.2.9 120",
			"10.0.1.2:5353 > 224.0.0.251:5353 nas.local ANY?QU nas.local A 10.0.2.9 120"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// F3
func TestRecordCrossesOnceASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		msg := response(addr("nas.local", "10.0.1.5", 120))
		for range 25_000 { // 5,000 a second
			r.a.Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.0.1.5:5353"), Dst: group4, Data: msg})
			time.Sleep(200 * time.Microsecond)
		}
		if n := len(r.b.packets()); n < 5 || n > 6 {
			t.Errorf("%d copies in 5 s, want one a second", n)
		}
		s := r.refl.Stats()
		if n := s.Sides[0].Stopped; n["repeated too soon"]+n["rate of one source"] < 24_990 || s.Pairs[0].Passed > 6 {
			t.Errorf("counters: %+v", s)
		}
	})
}

// F3: RFC 6762 §8.3 has announcements a second apart, and packets wobble.
func TestAnnouncementsASecondApartCross(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for _, d := range []time.Duration{0, 950 * time.Millisecond, 2 * time.Second} {
			time.Sleep(d)
			r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		}
		if n := len(r.b.packets()); n != 3 {
			t.Errorf("%d of 3 crossed", n)
		}
	})
}

// F3
func TestProbeIsAnsweredAfter250Milliseconds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		answer := response(addr("nas.local", "10.0.1.5", 120))
		r.a.say("10.0.1.5:5353", answer)
		time.Sleep(100 * time.Millisecond)
		r.b.say("10.0.2.9:5353", probe("nas.local", "10.0.2.9"))
		r.b.packets()
		r.a.say("10.0.1.5:5353", answer) // too soon even for a defence
		r.want(r.b)
		time.Sleep(200 * time.Millisecond)
		r.a.say("10.0.1.5:5353", answer)
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush")
		for range 100 {
			r.a.say("10.0.1.5:5353", answer)
			time.Sleep(2 * time.Millisecond)
		}
		if n := len(r.b.packets()); n > 1 {
			t.Errorf("%d more within 200 ms", n)
		}
	})
}

// F3
func TestTokenBucketsLetALoadPassAndStopAStorm(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		send := func(source, n int) {
			r.a.Inject(packet.Datagram{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + source)}), 5353), Dst: group4,
				Data: response(addr(fmt.Sprint("host-", source, "-", n, ".local"), "10.0.1.5", 120))})
		}
		for n := range 20_000 { // in a second, from 200 hosts
			send(n%200, n)
			if n%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if n := len(r.b.packets()); n != 20_000 {
			t.Errorf("%d of 20,000 crossed", n)
		}
		time.Sleep(10 * time.Second)
		for n := range 50_000 { // in half a second, from one host
			send(1, 100_000+n)
			if n%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if n, limit := len(r.b.packets()), reflector.DefaultSourceBurst+reflector.DefaultSourceRate; n > limit {
			t.Errorf("%d of a storm crossed, want %d at most", n, limit)
		}
	})
}

// F4
func TestLegacyQueryIsAnsweredByUnicast(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprint("alone on port 5353: ", alone), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.engine.AskUnicast = func(packet.Link) bool { return alone }
				r.run()
				r.a.say("10.0.1.5:40001", message(dnswire.Header{ID: 77, RecursionDesired: true, AuthenticData: true},
					[]question{{"nas.local", dnswire.TypeA, false}}))
				got := r.b.packets()
				if len(got) != 1 {
					t.Fatalf("%d queries crossed, want 1", len(got))
				}
				m, _ := dnswire.Parse(got[0].Data)
				if m.ID == 77 || m.ID == 0 || m.RecursionDesired || m.AuthenticData || got[0].Src.String() != "10.0.2.1:5353" {
					t.Errorf("crossed as %s, %+v", text(got[0]), m.Header)
				}
				for q := range m.Questions() {
					if q.Unicast != alone {
						t.Errorf("asks for unicast answers: %v", q.Unicast)
					}
				}
				answer := response(addr("nas.local", "10.0.2.9", 120))
				want := "10.0.1.1:5353 > 10.0.1.5:40001 id 77 nas.local A? nas.local A 10.0.2.9 10"
				if alone {
					binary.BigEndian.PutUint16(answer, m.ID)
					r.b.sayTo("10.0.2.9:5353", "10.0.2.1:5353", answer)
					r.want(r.a, want)
				} else {
					r.b.say("10.0.2.9:5353", answer)
					r.want(r.a, want, "10.0.1.1:5353 > 224.0.0.251:5353 nas.local A 10.0.2.9 120 flush")
				}
				// Nobody waits any more.
				time.Sleep(3 * time.Second)
				r.b.say("10.0.2.9:5353", response(addr("nas.local", "10.0.2.9", 120)))
				r.want(r.a, "10.0.1.1:5353 > 224.0.0.251:5353 nas.local A 10.0.2.9 120 flush")
				r.b.sayTo("10.0.2.9:5353", "10.0.2.1:5353", answer)
				r.want(r.a)
			})
		})
	}
}

// F4
func TestFourThousandLegacyQueriesMayWait(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		const n = 4096
		for i := range n {
			r.a.Inject(packet.Datagram{Src: netip.AddrPortFrom(netip.MustParseAddr("10.0.1.5"), uint16(10000+i)), Dst: group4,
				Data: message(dnswire.Header{ID: uint16(i)}, []question{{fmt.Sprint("h", i, ".local"), dnswire.TypeA, false}})})
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		if got := len(r.b.packets()); got != n {
			t.Fatalf("%d of %d queries crossed", got, n)
		}
		for i := range n {
			r.b.Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.0.2.9:5353"), Dst: group4, Data: response(addr(fmt.Sprint("h", i, ".local"), "10.0.2.9", 120))})
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		answered := 0
		for _, p := range r.a.packets() {
			if m, _ := dnswire.Parse(p.Data); p.Dst.Port() != 5353 && p.Dst.Port() == 10000+m.ID {
				answered++
			}
		}
		if answered != n {
			t.Errorf("%d of %d were answered", answered, n)
		}
	})
}

// F5
func TestQUIsAnsweredByUnicastOnTheAskersSubnet(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		answer := response(addr("nas.local", "10.0.2.9", 120))
		r.b.say("10.0.2.9:5353", answer)
		r.a.packets()
		time.Sleep(300 * time.Millisecond)
		r.a.say("10.0.1.5:5353", query(question{"nas.local", dnswire.TypeA, true}))
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A?QU")
		// By unicast, since it was multicast lately (RFC 6762 §5.4).
		r.b.sayTo("10.0.2.9:5353", "10.0.2.1:5353", answer)
		r.want(r.a, "10.0.1.1:5353 > 10.0.1.5:5353 nas.local A 10.0.2.9 120 flush")
		// Once: two reflectors that had asked each other would go on for ever.
		r.b.sayTo("10.0.2.9:5353", "10.0.2.1:5353", answer)
		r.want(r.a)
		// By multicast, which the asker hears as everybody does.
		time.Sleep(time.Second)
		r.b.say("10.0.2.9:5353", answer)
		r.want(r.a, "10.0.1.1:5353 > 224.0.0.251:5353 nas.local A 10.0.2.9 120 flush")
	})
}

// F5: a second host that asks is answered, too, whoever asked before.
func TestQUOfEachHostIsAnswered(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 3 {
			r.a.say(fmt.Sprintf("10.0.1.%d:5353", 5+i), query(question{"nas.local", dnswire.TypeA, true}))
			if n := len(r.b.packets()); n != []int{1, 0, 1}[i] {
				t.Errorf("question %d: %d packets", i, n)
			}
			time.Sleep(time.Duration(i) * 100 * time.Millisecond) // 0, 100, 200
		}
		r.b.sayTo("10.0.2.9:5353", "10.0.2.1:5353", response(addr("nas.local", "10.0.2.9", 120)))
		if n := len(r.a.packets()); n != 3 {
			t.Errorf("%d of 3 askers were answered", n)
		}
	})
}

// F5
func TestQUCrossesAsQMWhereAnotherProgramMayGetTheAnswer(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.AskUnicast = nil
		r.run()
		r.a.say("10.0.1.5:5353", query(question{"nas.local", dnswire.TypeA, true}))
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A?")
	})
}

// F6
func TestKnownAnswersOfOneAskerDoNotSuppressThoseForAnother(t *testing.T) {
	const crossed = "10.0.2.1:5353 > 224.0.0.251:5353 _ipp._tcp.local PTR?"
	one, two := ptr("_ipp._tcp.local", "one._ipp._tcp.local", 4500), ptr("_ipp._tcp.local", "two._ipp._tcp.local", 4500)
	inBubble(t, func(r *rig) {
		r.run()
		r.a.say("10.0.1.5:5353", known(false, one))
		r.want(r.b, crossed+" _ipp._tcp.local PTR one._ipp._tcp.local 4500")
		time.Sleep(60 * time.Millisecond)
		// To hosts on b both come from one address: what the second knows would
		// count for the first.
		r.a.say("10.0.1.6:5353", known(false, two))
		r.want(r.b, crossed)
		// What everybody is told already isn't asked again.
		r.a.say("10.0.1.7:5353", known(false, one, two))
		r.want(r.b)
		time.Sleep(1200 * time.Millisecond)
		r.a.say("10.0.1.6:5353", known(false, two))
		r.want(r.b, crossed+" _ipp._tcp.local PTR two._ipp._tcp.local 4500")
	})
}

// F6
func TestKnownAnswersInSeveralPacketsStayTogether(t *testing.T) {
	one, two := ptr("_ipp._tcp.local", "one._ipp._tcp.local", 4500), ptr("_ipp._tcp.local", "two._ipp._tcp.local", 4500)
	more := message(dnswire.Header{}, nil, two)
	const first = "10.0.2.1:5353 > 224.0.0.251:5353 TC _ipp._tcp.local PTR? _ipp._tcp.local PTR one._ipp._tcp.local 4500"
	const rest = "10.0.2.1:5353 > 224.0.0.251:5353 _ipp._tcp.local PTR two._ipp._tcp.local 4500"
	inBubble(t, func(r *rig) {
		r.run()
		r.a.say("10.0.1.5:5353", known(true, one))
		r.a.say("10.0.1.6:5353", more) // of whom no query is known
		r.a.say("10.0.1.5:5353", more)
		r.a.say("10.0.1.5:5353", more) // the chain has ended
		r.want(r.b, first, rest)
		time.Sleep(3 * time.Second)
		// A second asker in between: the rest of the first one's list would
		// suppress answers to the second.
		r.a.say("10.0.1.5:5353", known(true, one))
		r.a.say("10.0.1.6:5353", known(false, two))
		r.a.say("10.0.1.5:5353", more)
		r.want(r.b, first, "10.0.2.1:5353 > 224.0.0.251:5353 _ipp._tcp.local PTR?")
	})
}

// F8
func TestTTLGoodbyeAndFlushBitStay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		const to = "10.0.2.1:5353 > 224.0.0.251:5353 "
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 77), ptr("_ipp._tcp.local", "a._ipp._tcp.local", 4500)))
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 0)))
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 77)))
		r.want(r.b, to+"nas.local A 10.0.1.5 77 flush _ipp._tcp.local PTR a._ipp._tcp.local 4500",
			to+"nas.local A 10.0.1.5 0 flush", to+"nas.local A 10.0.1.5 77 flush")
	})
}

// F14
func TestSourceOutsideTheSubnetIsAccepted(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.a.say("203.0.113.9:5353", response(addr("nas.local", "203.0.113.9", 120)))
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 203.0.113.9 120 flush")
		r.a.say("203.0.113.9:5353", query(question{"nas.local", dnswire.TypeA, true}))
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A?QU")
		// But by unicast it may not answer (RFC 6762 §11).
		r.b.sayTo("203.0.113.7:5353", "10.0.2.1:5353", response(addr("nas.local", "10.0.2.9", 120)))
		r.want(r.a)
	})
}

// faulty is a Conn whose writes fail while told to.
type faulty struct {
	*lantest.Conn
	err *atomic.Pointer[error]
}

func (f faulty) TryWriteBatch(d []packet.Datagram) (int, error) {
	if err := f.err.Load(); err != nil {
		return 0, *err
	}
	return f.Conn.TryWriteBatch(d)
}

// F15
func TestErrorsNeverEndItNorFloodTheLog(t *testing.T) {
	inBubble(t, func(r *rig) {
		var log bytes.Buffer
		var fault atomic.Pointer[error]
		r.refl.Log = slog.New(slog.NewTextHandler(&log, nil))
		r.engine.Listen = func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := r.router.ListenMulticast(l, g)
			return faulty{c, &fault}, err
		}
		r.run()
		n := 0
		say := func() {
			n++
			r.a.say("10.0.1.5:5353", response(addr(fmt.Sprint("h", n, ".local"), "10.0.1.5", 120)))
		}
		for _, err := range []error{syscall.EPERM, syscall.EAGAIN, syscall.ENOBUFS, syscall.ENETDOWN} {
			fault.Store(&err)
			for range 100 {
				say()
			}
			fault.Store(nil)
			say()
			if got := len(r.b.packets()); got != 1 {
				t.Errorf("after %v %d packets crossed, want 1", err, got)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 4 {
			t.Errorf("%d lines in the log, want 4:\n%s", lines, &log)
		}
		if got := r.refl.Stats().Pairs[0].Packets["not sent"]; got != 400 {
			t.Errorf("%d counted as not sent, want 400", got)
		}
	})
}

// F15
func TestLinksFlapComeAndGoWhileItRuns(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		n := 0
		crosses := func(w *wire, from string) {
			t.Helper()
			n++
			r.a.say("10.0.1.5:5353", response(addr(fmt.Sprint("h", n, ".local"), "10.0.1.5", 120)))
			r.want(w, fmt.Sprintf("%s:5353 > 224.0.0.251:5353 h%d.local A 10.0.1.5 120 flush", from, n))
		}
		for range 50 {
			r.b.nic.SetUp(false)
			r.a.say("10.0.1.5:5353", response(addr("lost.local", "10.0.1.5", 120)))
			r.b.nic.SetUp(true)
			synctest.Wait()
			r.b.packets()
			crosses(r.b, "10.0.2.1")
		}
		r.b.nic.SetAddresses("10.0.2.77/24")
		synctest.Wait()
		crosses(r.b, "10.0.2.77")
		c := r.attach("c", "10.0.3.1/24")
		synctest.Wait()
		crosses(c, "10.0.3.1")
		r.b.nic.Remove()
		synctest.Wait()
		r.b.packets()
		crosses(c, "10.0.3.1")
	})
}

// F16
func TestIPv4AndIPv6StayApartUnlessAskedFor(t *testing.T) {
	for _, cross := range []bool{false, true} {
		inBubble(t, func(r *rig) {
			r.refl.CrossFamilies = cross
			r.run()
			r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
			r.a.say("[fe80::5]:5353", response(addr("nas.local", "10.0.1.5", 120)))
			want := []string{"10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush", "[fe80::b1]:5353 > [ff02::fb]:5353 nas.local A 10.0.1.5 120 flush"}
			r.want(r.b, want...) // each once, with and without crossing
			r.want(r.a)
		})
	}
}

func TestMalformedPacketsAreCountedAndStay(t *testing.T) {
	for _, forward := range []bool{false, true} {
		inBubble(t, func(r *rig) {
			r.refl.ForwardMalformed = forward
			r.run()
			for range 2 { // the second is a repetition
				r.a.say("10.0.1.5:5353", []byte{0, 0, 0x84, 0, 0, 0, 0, 9, 0, 0, 0, 0, 1})
			}
			n := 0
			if forward {
				n = 1
			}
			if got := len(r.b.packets()); got != n {
				t.Errorf("forward %v: %d crossed", forward, got)
			}
			if s := r.refl.Stats().Sides[0].Stopped; s["malformed"]+s["repeated too soon"] != uint64(2-n) {
				t.Errorf("counted %v", s)
			}
		})
	}
}

func TestUselessAndForeignPacketsStay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		answer := addr("nas.local", "10.0.1.5", 120)
		r.a.say("10.0.1.5:5354", response(answer)) // RFC 6762 §6
		r.a.say("10.0.1.5:5353", message(dnswire.Header{Response: true, Rcode: 3}, nil, answer))
		r.a.say("10.0.1.5:5353", message(dnswire.Header{Opcode: 4}, []question{{"nas.local", dnswire.TypeA, false}}))
		r.a.say("10.0.1.5:5353", response())
		r.a.say("10.0.1.1:5353", response(answer)) // another program here
		r.a.sayTo("10.0.1.5:5353", "10.0.1.1:5353", query(question{"nas.local", dnswire.TypeA, false}))
		r.a.sayTo("10.0.1.5:5353", "10.0.1.1:5353", response(answer))
		r.want(r.b)
		want := map[string]uint64{"no use to anybody": 4, "own packet": 1, "unicast": 2}
		if got := r.refl.Stats().Sides[0].Stopped; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("counted %v, want %v", got, want)
		}
	})
}

func TestOPTAndNSECAndUnknownTypesPassUnchanged(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{Response: true, Authoritative: true, Truncated: true}, 9000)
		a := addr("nas.local", "10.0.1.5", 120)
		b.Answer(a)
		b.Answer(dnswire.RR{Name: name("nas.local"), Type: 4711, Class: dnswire.ClassIN, TTL: 9, Data: "\xc0\x0c\x00"})
		b.Additional(dnswire.RR{Name: name("nas.local"), Type: dnswire.TypeNSEC, Class: dnswire.ClassIN, Flush: true, TTL: 120, Data: string(name("nas.local")) + "\x00\x01\x40"})
		b.Additional(dnswire.RR{Name: dnswire.Root, Type: dnswire.TypeOPT, Class: 1440, TTL: 0x1194, Data: "\x00\x04\x00\x02ab"})
		r.a.say("10.0.1.5:5353", b.Bytes())
		got := r.b.packets()
		if len(got) != 1 || !bytes.Equal(got[0].Data, b.Bytes()) {
			t.Errorf("crossed as %v", got)
		}
	})
}

// What we copied from a to b is no news on b, and none of a's on a.
func TestEngineDoesNotHearOurCopies(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.engine.Subscribe(mdns.SubscribeOptions{}, mdns.Question{Name: name("nas.local"), Type: dnswire.TypeA})
		defer s.Close()
		synctest.Wait()
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Millisecond)
		defer cancel()
		var zones []string
		for {
			events, err := s.Next(ctx)
			if err != nil {
				break
			}
			for _, ev := range events {
				if ev.Op == mdns.OpAdd {
					zones = append(zones, ev.Zone.String())
				}
			}
		}
		if want := []string{"a IPv4"}; !slices.Equal(zones, want) {
			t.Errorf("cached in %v, want %v", zones, want)
		}
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush")
	})
}

func TestDryRunSendsNothingAndCounts(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.refl.DryRun = true
		r.run()
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		r.want(r.b)
		if p := r.refl.Stats().Pairs[0]; p.Passed != 1 || p.From != "a" || p.To != "b" {
			t.Errorf("counted %+v", p)
		}
	})
}

func TestOnlyTheNamedLinksTakePart(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.refl.Links = []string{"a", "c"}
		c := r.attach("c", "10.0.3.1/24")
		r.run()
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		r.b.say("10.0.2.5:5353", response(addr("tv.local", "10.0.2.5", 120)))
		r.want(r.a)
		r.want(r.b)
		r.want(c, "10.0.3.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush")
	})
}
