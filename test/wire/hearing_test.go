package wire

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

// Rows 9, 17 to 20, 23, 69, 78, 79, 81, 86 and 88: what of all that is said is
// believed. Each packet tells of an instance of its own.
func TestWhatIsHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_heard._tcp")
	r.asks(r.start, "_heard._tcp.local", dns.TypePTR)
	time.Sleep(2500 * time.Millisecond) // unicast answers aren't waited for any more
	far := netip.MustParseAddrPort("203.0.113.9:5353")
	unicast := netip.AddrPortFrom(r.d.Links[0].V4, 5353)
	d := r.d.Links[0]
	ptr := func(instance string) string {
		return "_heard._tcp.local. 4500 PTR " + instance + "._heard._tcp.local."
	}
	for _, c := range []struct {
		from    lab.Datagram
		text    string
		name    string
		trusted bool
	}{
		{lab.Datagram{}, "r; = " + ptr("plain"), "plain", true},
		{lab.Datagram{IPv6: true}, "r; = " + ptr("six"), "six", true},
		{lab.Datagram{}, "r id=7; ? other.local A; = " + ptr("id-and-question"), "id-and-question", true},
		{lab.Datagram{}, "r; + " + ptr("additional"), "additional", true},
		{lab.Datagram{}, "r tc; = " + ptr("truncated"), "truncated", true},
		{lab.Datagram{TTL: 1}, "r; = " + ptr("hop-limit-1"), "hop-limit-1", true},
		{lab.Datagram{Src: netip.MustParseAddrPort("10.99.1.11:5354")}, "r; = " + ptr("port-5354"), "", false},
		{lab.Datagram{}, "r opcode=1; = " + ptr("opcode"), "", false},
		{lab.Datagram{}, "r rcode=3; = " + ptr("rcode"), "", false},
		{lab.Datagram{Src: far}, "r; = " + ptr("far"), "far", true},
		{lab.Datagram{Src: far, Dst: unicast, To: d}, "r; = " + ptr("far-unicast"), "", false},
		{lab.Datagram{Dst: unicast, To: d}, "r; = " + ptr("unasked-unicast"), "", false},
		{lab.Datagram{}, "q; ? _heard._tcp.local PTR; = " + ptr("known-answer"), "", false},
		{lab.Datagram{}, "q; ? _heard._tcp.local ANY QU; ns " + ptr("probe"), "", false},
		{lab.Datagram{}, "r; ns " + ptr("authority"), "", false},
		{lab.Datagram{}, "r; = _HEARD._Tcp.LOCAL. 4500 PTR Case._heard._tcp.local.", "Case", true},
		{lab.Datagram{}, "r; = " + ptr(`Build\ v1\.2\ K\195\188che\ \240\159\150\168`), "Build v1.2 Küche 🖨", true},
		{lab.Datagram{}, "r; = " + ptr(`\195\137`), "É", true},
		{lab.Datagram{}, "r; = " + ptr(`\195\169`), "é", true},
		{lab.Datagram{}, "r; = _heard._tcp.local. 4500 CH TXT chaos", "", false},
		{lab.Datagram{}, "r; = gone._heard._tcp.local. 120 NSEC a.very.different.name. TXT; = " + ptr("beside-nsec"), "beside-nsec", true},
	} {
		r.sayAs(c.from, c.text)
		if c.trusted {
			b.wait("add", c.name)
		}
	}
	// The same in other letters is the same instance; and packets that are
	// broken in every place harm nobody.
	r.say("r; = " + ptr("PLAIN"))
	opt, err := (&dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Answer: records(t, ptr("beside-opt")),
		Extra: []dns.RR{&dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 0x9194}, Option: []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 4, Data: []byte("owner")}}}}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	r.x.Send(lab.Datagram{}, opt)
	b.wait("add", "beside-opt")
	good, err := judge.Pack("r; = " + ptr("whole") + "; ! whole._heard._tcp.local. 120 SRV 0 0 80 whole.local.; ! whole.local. 120 NSEC whole.local. A; + " + ptr("whole2"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		r.x.Send(lab.Datagram{}, good[:n])
		for _, bit := range []byte{0xff, 0xc0, 0x40} {
			bad := append([]byte(nil), good...)
			bad[n] ^= bit
			if !strings.Contains(string(bad), "_heard") || n < 12 {
				r.x.Send(lab.Datagram{}, bad)
			}
		}
	}
	r.heard(b, "whole", func() { r.x.Send(lab.Datagram{}, good) })
	for instance := range b.there() {
		switch instance {
		case "port-5354", "opcode", "rcode", "far-unicast", "unasked-unicast", "known-answer", "probe", "authority", "PLAIN":
			t.Errorf("%s is listed", instance)
		}
	}
	r.verdict("known answers")
}

// heard has say say something until the browser has added what it is about: while many packets come
// at once, one may find no room.
func (r *rig) heard(b browser, instance string, say func()) {
	r.t.Helper()
	lab.Eventually(r.t, patience, instance, func() error {
		if _, ok := b.there()[instance]; !ok {
			say()
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("not among %d", len(b.there()))
		}
		return nil
	})
}

func records(t *testing.T, texts ...string) []dns.RR {
	t.Helper()
	var all []dns.RR
	for _, x := range texts {
		rr, err := dns.NewRR(x)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return all
}

// Row 22: what an NSEC record denies is believed, whatever its next name is,
// and one that can't be read harms nothing beside it.
func TestDenials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	unreadable, err := judge.Pack("r; ! broken.local. 120 A 10.99.1.70; +! broken.local. 120 NSEC broken.local. A AAAA")
	if err != nil {
		t.Fatal(err)
	}
	unreadable[len(unreadable)-2] = 0xff // the length of the bitmap
	for _, c := range []struct {
		host   string
		answer []byte
		exit   int
		want   string
	}{
		{"none.local", pack(t, "r; ! none.local. 120 NSEC none.local. TXT"), 5, ""},
		{"next.local", pack(t, "r; ! next.local. 120 NSEC something.else. TXT"), 5, ""},
		{"half.local", pack(t, "r; ! half.local. 120 A 10.99.1.71; +! half.local. 120 NSEC half.local. A"), 0, "10.99.1.71"},
		{"broken.local", unreadable, 0, "10.99.1.70"},
	} {
		start := time.Now()
		p := r.d.Lanfolk("lookup", c.host, "--json", "--timeout", "30s").Start()
		r.asks(start, c.host, dns.TypeA)
		r.x.Send(lab.Datagram{}, c.answer)
		r.x.Send(lab.Datagram{IPv6: true}, c.answer)
		if code := p.Wait(patience); code != c.exit || !strings.Contains(p.Stdout(), c.want) {
			t.Errorf("%s: exit %d, want %d: %s%s", c.host, code, c.exit, p.Stdout(), p.Stderr())
		}
	}
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	b, err := judge.Pack(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answerAlone makes the tester answer what is asked, and nothing beside it,
// until the test ends.
func (r *rig) answerAlone(texts ...string) {
	rrs := records(r.t, texts...)
	stop := make(chan struct{})
	done := make(chan struct{})
	r.t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		type query struct {
			at   time.Time
			from netip.AddrPort
		}
		done := map[query]bool{}
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			for _, m := range r.x.Trace().By(r.judge.Is) {
				q := query{m.Time, m.Src}
				if !m.Query() || done[q] {
					continue
				}
				done[q] = true
				answer := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
				for _, q := range m.Msg.Question {
					for _, rr := range rrs {
						if strings.EqualFold(rr.Header().Name, q.Name) && rr.Header().Rrtype == q.Qtype {
							answer.Answer = append(answer.Answer, rr)
						}
					}
				}
				for all := range slices.Chunk(answer.Answer, 12) {
					answer.Answer = all
					if b, err := answer.Pack(); err == nil {
						r.x.Send(lab.Datagram{IPv6: m.Src.Addr().Is6()}, b)
					}
				}
			}
		}
	}()
}

// Row 24: what doesn't come along is asked for, in few packets.
func TestWhatDoesNotComeAlongIsAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var texts []string
	const hosts = 20
	for i := range hosts {
		in := fmt.Sprintf("i%d._alone._tcp.local.", i)
		texts = append(texts, "_alone._tcp.local. 4500 PTR "+in, fmt.Sprintf("%s 120 SRV 0 0 80 h%d.local.", in, i),
			in+" 4500 TXT n="+strconv.Itoa(i), fmt.Sprintf("h%d.local. 120 A 10.99.1.%d", i, 100+i), fmt.Sprintf("h%d.local. 120 AAAA fd99:1::%x", i, 100+i))
	}
	r.answerAlone(texts...)
	// What isn't answered within a second is asked again, and nothing waits for more than two.
	r.attempt("twenty hosts", func(int) bool {
		start := time.Now()
		out := r.d.Lanfolk("browse", "_alone._tcp", "--once", "--resolve", "--json").Run()
		n := 0
		for i := range hosts {
			if strings.Contains(out.Stdout, fmt.Sprintf(`"10.99.1.%d"`, 100+i)) && strings.Contains(out.Stdout, fmt.Sprintf(`"n":"%d"`, i)) {
				n++
			}
		}
		queries := 0
		for _, m := range r.x.Trace().By(r.judge.Is) {
			if m.Query() && m.Src.Addr().Is4() && m.Time.After(start) {
				queries++
			}
		}
		t.Logf("%d of %d resolved with %d queries", n, hosts, queries)
		r.judge.Starts = append(r.judge.Starts, start)
		return n == hosts && queries <= 10
	})
	r.verdict("QU only at the start") // as many starts as attempts
}

// Rows 25 and 88 to 97 as they are heard: one service out of packets in any
// order; names, texts, subtypes and types of any kind.
func TestServicesAsTheyAreSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_said._tcp", "--resolve")
	sub := r.browse("_I1F._sub._said._tcp")
	types := r.browse()
	r.asks(r.start, "_said._tcp.local", dns.TypePTR)
	r.asks(r.start, "_I1F._sub._said._tcp.local", dns.TypePTR)
	r.asks(r.start, "_services._dns-sd._udp.local", dns.TypePTR)
	r.say("r; ! spread.local. 120 A 10.99.1.90")
	r.say("r; ! Spread._said._tcp.local. 4500 TXT =ignored KEY=first key=second flag empty= bin=a=b\\000\\255")
	r.say("r; ! Spread._said._tcp.local. 120 SRV 0 0 4711 spread.local.")
	r.say("r; = _said._tcp.local. 4500 PTR Spread._said._tcp.local.")
	e := b.waitFor("the service", func(e event) bool { return e.Name == "Spread" && e.Port != 0 && len(e.Addresses) > 0 })
	text := func(key string) string {
		v, ok := e.TXT[key]
		switch {
		case !ok:
			return "absent"
		case v == nil:
			return "no value"
		}
		return *v
	}
	if e.Port != 4711 || e.Host != "spread.local" || text("KEY") != "first" || text("key") != "absent" || text("flag") != "no value" ||
		text("empty") != "" || !strings.HasPrefix(text("bin"), "a=b\x00") || text("") != "absent" {
		t.Errorf("%+v", e)
	}
	r.say(`r; = _said._tcp.local. 4500 PTR a._said._tcp.local.; ! a._said._tcp.local. 120 SRV 0 0 1 spread.local.; ! a._said._tcp.local. 4500 TXT ""; = _I1F._sub._said._tcp.local. 4500 PTR a._said._tcp.local.`)
	if e = b.waitFor("the second", func(e event) bool { return e.Name == "a" && e.Port == 1 }); len(e.TXT) != 0 {
		t.Errorf("an empty text: %+v", e)
	}
	sub.wait("add", "a")
	r.say("r; = _services._dns-sd._udp.local. 4500 PTR _said._tcp.local.; = _services._dns-sd._udp.local. 4500 PTR _other._udp.local.")
	for _, typ := range []string{"_said._tcp", "_other._udp"} {
		types.waitFor(typ, func(e event) bool { return e.Type == typ })
	}
	if _, ok := sub.there()["Spread"]; ok {
		t.Error("found by a subtype that it doesn't have")
	}
	r.verdict("QU only at the start") // three programs
}

// Rows 67, 68, 72 and 79: goodbyes, flushes and the end of a TTL.
func TestRecordsGo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	sub := func(host string) listener { return r.subscribe(e, question(host+".local", dnswire.TypeA)) }
	bye, flushed, short := sub("bye"), sub("flushed"), sub("short")
	r.asks(r.start, "bye.local", dns.TypeA)
	r.say("r; ! bye.local. 120 A 10.99.1.50; ! flushed.local. 120 A 10.99.1.52; ! short.local. 5 A 10.99.1.53")
	said := short.wait(mdns.OpAdd, "10.99.1.53").Time
	// Within a second of the first of a set the others may come, and a goodbye be taken back.
	var rescued, burst listener
	r.attempt("a set and a rescue", func(n int) bool {
		name := func(s string) string { return fmt.Sprintf("%s%d", s, n) }
		rescued, burst = sub(name("rescued")), sub(name("burst"))
		r.say("r; ! " + name("rescued") + ".local. 120 A 10.99.1.51")
		rescued.wait(mdns.OpAdd, "10.99.1.51")
		first := time.Now()
		r.say("r; ! " + name("burst") + ".local. 120 A 10.99.1.61; ! " + name("rescued") + ".local. 0 A 10.99.1.51")
		time.Sleep(400 * time.Millisecond)
		r.say("r; ! " + name("burst") + ".local. 120 A 10.99.1.62; ! " + name("rescued") + ".local. 120 A 10.99.1.51")
		if time.Since(first) > 800*time.Millisecond {
			return false // it was late
		}
		burst.wait(mdns.OpAdd, "10.99.1.61")
		burst.wait(mdns.OpAdd, "10.99.1.62")
		return true
	})
	taken := time.Now()
	r.say("r; ! BYE.local. 0 A 10.99.1.50")
	r.within("goodbye", bye.wait(mdns.OpRemove, "10.99.1.50").Time.Sub(taken), time.Second-early, time.Second)
	time.Sleep(time.Until(said.Add(3 * time.Second)))
	taken = time.Now()
	r.say("r; ! flushed.local. 120 A 10.99.1.54")
	flushed.wait(mdns.OpAdd, "10.99.1.54")
	r.within("flush", flushed.wait(mdns.OpRemove, "10.99.1.52").Time.Sub(taken), time.Second-early, time.Second)
	r.within("end of TTL", short.wait(mdns.OpRemove, "10.99.1.53").Time.Sub(said), 5*time.Second-early, 5*time.Second)
	rescued.none(100 * time.Millisecond)
	burst.none(100 * time.Millisecond)
	r.verdict()
}

// Rows 70, 71 and 85: the same name on two links is two hosts, and a flush acts
// on one; an announcement within a second keeps both sets.
func TestFlushActsOnItsLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	r.d.Join(other)
	y := r.Host("other").Join(other).Link(other).Tester()
	r.judge.Is = judge.From(r.d.Addresses()...)
	e := r.engine(r.d)
	r.attempt("two addresses within a second", func(n int) bool {
		twin := fmt.Sprintf("twin%d.local", n)
		start := time.Now()
		s := r.subscribe(e, question(twin, dnswire.TypeA))
		r.asks(start, twin, dns.TypeA)
		y.Wait(start, patience, "question on the other link", func(m *judge.Message) bool { return r.asking(m, twin, dns.TypeA) })
		y.Send(lab.Datagram{}, pack(t, "r; ! "+twin+". 120 A 10.99.2.50"))
		other := s.wait(mdns.OpAdd, "10.99.2.50").Zone.Link
		r.say("r; ! " + twin + ". 120 A 10.99.1.50")
		if s.wait(mdns.OpAdd, "10.99.1.50").Zone.Link == other {
			t.Error("both links are one")
		}
		time.Sleep(1200 * time.Millisecond)
		first := time.Now()
		r.say("r; ! " + twin + ". 120 A 10.99.1.51")
		time.Sleep(300 * time.Millisecond)
		r.say("r; ! " + twin + ". 120 A 10.99.1.50") // of a bridged network: both stay
		if time.Since(first) > 800*time.Millisecond {
			return false // it was late
		}
		s.wait(mdns.OpAdd, "10.99.1.51")
		s.none(1500 * time.Millisecond)
		// Without that it is gone.
		r.say("r; ! " + twin + ". 120 A 10.99.1.51")
		s.wait(mdns.OpRemove, "10.99.1.50")
		s.none(500 * time.Millisecond)
		return true
	})
	r.verdict()
}

// Rows 73 and 84: a link that loses its carrier, or that flaps, is forgotten
// soon and asked again.
func TestLinkFlaps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_flap._tcp")
	r.asks(r.start, "_flap._tcp.local", dns.TypePTR)
	r.say("r; = _flap._tcp.local. 4500 PTR a._flap._tcp.local.")
	b.wait("add", "a")
	pulled := time.Now()
	r.d.Links[0].Unplug()
	b.wait("remove", "a")
	r.within("forgotten", time.Since(pulled), 0, 7*time.Second)
	for range 50 {
		r.d.Links[0].Unplug()
		r.d.Links[0].Plug()
	}
	r.d.Links[0].Down()
	r.d.Links[0].Up()
	// Its first question may be from before, and the answer too early: the one after
	// a second is from the link as it stays.
	r.asks(time.Now().Add(500*time.Millisecond), "_flap._tcp.local", dns.TypePTR)
	r.heard(b, "b", func() { r.say("r; = _flap._tcp.local. 4500 PTR b._flap._tcp.local.") })
	r.verdict("query gap", "QU only at the start") // fifty starts
}

// Row 87: own packets that come back over a bridge are nobody's.
func TestOwnPacketsComeBackOverABridge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.d.Join(r.net) // a second link to the same subnet
	r.judge.Is = judge.From(r.d.Addresses()...)
	b := r.browse("_back._tcp")
	// Neither link takes the other's question for another host's.
	for _, link := range r.d.Links {
		after := r.start
		var at []time.Time
		for range 2 {
			q := r.x.Wait(after, patience, "question from "+link.Name, func(m *judge.Message) bool {
				return r.asking(m, "_back._tcp.local", dns.TypePTR) && m.Src.Addr() == link.V4
			})
			after, at = q.Time, append(at, q.Time)
		}
		r.gap("second question from "+link.Name, at[0], at[1], time.Second)
	}
	r.say("r; = _back._tcp.local. 4500 PTR a._back._tcp.local.")
	b.wait("add", "a")
}

// Row 80: a million names keep the memory flat.
func TestFloodOfNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_flood._tcp")
	r.asks(r.start, "_flood._tcp.local", dns.TypePTR)
	packets := 4000 // of 20 names
	if soak() {
		packets = 50_000
	}
	for i := range packets {
		m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
		for j := range 20 {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: fmt.Sprintf("h%d-%d.local.", i, j), Rrtype: dns.TypeA, Class: 1, Ttl: 4500}, A: []byte{10, byte(i >> 8), byte(i), byte(j)}})
		}
		data, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		// A host alone may not fill the cache.
		r.x.Send(lab.Datagram{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 1, byte(100 + i%100)}), 5353)}, data)
		if i%20 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	time.Sleep(500 * time.Millisecond)
	r.heard(b, "after", func() { r.say("r; = _flood._tcp.local. 4500 PTR after._flood._tcp.local.") })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			t.Logf("%d MB after %d names", kb>>10, 20*packets)
			if kb > 100<<10 {
				t.Errorf("%d kB resident", kb)
			}
		}
	}
}
