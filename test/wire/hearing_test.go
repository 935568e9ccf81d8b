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
	r.asks(r.start, 5*time.Second, "_heard._tcp.local", dns.TypePTR)
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
			b.wait(3*time.Second, "add", c.name)
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
	b.wait(3*time.Second, "add", "beside-opt")
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
	r.x.Send(lab.Datagram{}, good)
	b.wait(5*time.Second, "add", "whole")
	for instance := range b.there() {
		switch instance {
		case "port-5354", "opcode", "rcode", "far-unicast", "unasked-unicast", "known-answer", "probe", "authority", "PLAIN":
			t.Errorf("%s is listed", instance)
		}
	}
	r.verdict("known answers")
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
		p := r.d.Lanfolk("lookup", c.host, "--json", "--timeout", "3s").Start()
		r.asks(start, 3*time.Second, c.host, dns.TypeA)
		r.x.Send(lab.Datagram{}, c.answer)
		r.x.Send(lab.Datagram{IPv6: true}, c.answer)
		if code := p.Wait(5 * time.Second); code != c.exit || !strings.Contains(p.Stdout(), c.want) {
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
		seen := 0
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			messages := r.x.Trace().Messages
			for _, m := range messages[seen:] {
				if !m.Query() || !r.judge.Is(&m.Packet) {
					continue
				}
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
			seen = len(messages)
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
	out := r.d.Lanfolk("browse", "_alone._tcp", "--once", "--resolve", "--json").Run()
	n := 0
	for i := range hosts {
		if strings.Contains(out.Stdout, fmt.Sprintf(`"10.99.1.%d"`, 100+i)) && strings.Contains(out.Stdout, fmt.Sprintf(`"n":"%d"`, i)) {
			n++
		}
	}
	if n != hosts {
		t.Errorf("%d of %d resolved: %s", n, hosts, out.Stdout)
	}
	queries := 0
	for _, m := range r.x.Trace().By(r.judge.Is) {
		if m.Query() && m.Src.Addr().Is4() {
			queries++
		}
	}
	if queries > 10 {
		t.Errorf("%d query packets for %d hosts", queries, hosts)
	}
	r.verdict()
}

// Rows 25 and 88 to 97 as they are heard: one service out of packets in any
// order; names, texts, subtypes and types of any kind.
func TestServicesAsTheyAreSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_said._tcp", "--resolve")
	sub := r.browse("_I1F._sub._said._tcp")
	types := r.browse()
	r.asks(r.start, 5*time.Second, "_said._tcp.local", dns.TypePTR)
	r.asks(r.start, 5*time.Second, "_I1F._sub._said._tcp.local", dns.TypePTR)
	r.asks(r.start, 5*time.Second, "_services._dns-sd._udp.local", dns.TypePTR)
	r.say("r; ! spread.local. 120 A 10.99.1.90")
	r.say("r; ! Spread._said._tcp.local. 4500 TXT =ignored KEY=first key=second flag empty= bin=a=b\\000\\255")
	r.say("r; ! Spread._said._tcp.local. 120 SRV 0 0 4711 spread.local.")
	r.say("r; = _said._tcp.local. 4500 PTR Spread._said._tcp.local.")
	e := b.waitFor(5*time.Second, "the service", func(e event) bool { return e.Name == "Spread" && e.Port != 0 && len(e.Addresses) > 0 })
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
	if e = b.waitFor(5*time.Second, "the second", func(e event) bool { return e.Name == "a" && e.Port == 1 }); len(e.TXT) != 0 {
		t.Errorf("an empty text: %+v", e)
	}
	sub.wait(5*time.Second, "add", "a")
	r.say("r; = _services._dns-sd._udp.local. 4500 PTR _said._tcp.local.; = _services._dns-sd._udp.local. 4500 PTR _other._udp.local.")
	for _, typ := range []string{"_said._tcp", "_other._udp"} {
		types.waitFor(5*time.Second, typ, func(e event) bool { return e.Type == typ })
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
	bye, rescued, flushed, burst, short := sub("bye"), sub("rescued"), sub("flushed"), sub("burst"), sub("short")
	r.asks(r.start, 5*time.Second, "bye.local", dns.TypeA)
	r.say("r; ! bye.local. 120 A 10.99.1.50; ! rescued.local. 120 A 10.99.1.51; ! flushed.local. 120 A 10.99.1.52; ! short.local. 5 A 10.99.1.53")
	said := short.wait(2*time.Second, mdns.OpAdd, "10.99.1.53").Time
	r.say("r; ! burst.local. 120 A 10.99.1.61")
	time.Sleep(400 * time.Millisecond)
	r.say("r; ! burst.local. 120 A 10.99.1.62")
	taken := time.Now()
	r.say("r; ! BYE.local. 0 A 10.99.1.50; ! rescued.local. 0 A 10.99.1.51")
	time.Sleep(600 * time.Millisecond)
	r.say("r; ! rescued.local. 120 A 10.99.1.51")
	r.within("goodbye", bye.wait(3*time.Second, mdns.OpRemove, "10.99.1.50").Time.Sub(taken), time.Second-early, time.Second)
	time.Sleep(time.Until(said.Add(3 * time.Second)))
	taken = time.Now()
	r.say("r; ! flushed.local. 120 A 10.99.1.54")
	flushed.wait(2*time.Second, mdns.OpAdd, "10.99.1.54")
	r.within("flush", flushed.wait(3*time.Second, mdns.OpRemove, "10.99.1.52").Time.Sub(taken), time.Second-early, time.Second)
	r.within("end of TTL", short.wait(5*time.Second, mdns.OpRemove, "10.99.1.53").Time.Sub(said), 5*time.Second-early, 5*time.Second)
	rescued.wait(time.Second, mdns.OpAdd, "10.99.1.51")
	rescued.none(100 * time.Millisecond)
	burst.wait(time.Second, mdns.OpAdd, "10.99.1.61")
	burst.wait(time.Second, mdns.OpAdd, "10.99.1.62")
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
	e := r.engine(r.d)
	s := r.subscribe(e, question("twin.local", dnswire.TypeA))
	r.asks(r.start, 5*time.Second, "twin.local", dns.TypeA)
	r.say("r; ! twin.local. 120 A 10.99.1.50")
	y.Send(lab.Datagram{}, pack(t, "r; ! twin.local. 120 A 10.99.2.50"))
	links := map[int]bool{}
	links[s.wait(2*time.Second, mdns.OpAdd, "10.99.1.50").Zone.Link] = true
	time.Sleep(1200 * time.Millisecond)
	r.say("r; ! twin.local. 120 A 10.99.1.51")
	time.Sleep(300 * time.Millisecond)
	r.say("r; ! twin.local. 120 A 10.99.1.50") // of a bridged network: both stay
	s.wait(2*time.Second, mdns.OpAdd, "10.99.1.51")
	s.none(1500 * time.Millisecond)
	// Without that it is gone.
	r.say("r; ! twin.local. 120 A 10.99.1.51")
	s.wait(3*time.Second, mdns.OpRemove, "10.99.1.50")
	s.none(500 * time.Millisecond)
	r.verdict()
}

// Rows 73 and 84: a link that loses its carrier, or that flaps, is forgotten
// soon and asked again.
func TestLinkFlaps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_flap._tcp")
	r.asks(r.start, 5*time.Second, "_flap._tcp.local", dns.TypePTR)
	r.say("r; = _flap._tcp.local. 4500 PTR a._flap._tcp.local.")
	b.wait(2*time.Second, "add", "a")
	pulled := time.Now()
	r.d.Links[0].Unplug()
	b.wait(10*time.Second, "remove", "a")
	if took := time.Since(pulled); took > 7*time.Second {
		t.Errorf("forgotten after %v", took)
	}
	for range 50 {
		r.d.Links[0].Unplug()
		r.d.Links[0].Plug()
	}
	r.d.Links[0].Down()
	r.d.Links[0].Up()
	// Its first question may be from before, and the answer too early: the one after
	// a second is from the link as it stays.
	r.asks(time.Now().Add(500*time.Millisecond), 5*time.Second, "_flap._tcp.local", dns.TypePTR)
	r.say("r; = _flap._tcp.local. 4500 PTR b._flap._tcp.local.")
	b.wait(3*time.Second, "add", "b")
	r.verdict("query gap", "QU only at the start") // fifty starts
}

// Row 87: own packets that come back over a bridge are nobody's.
func TestOwnPacketsComeBackOverABridge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.d.Join(r.net) // a second link to the same subnet
	r.judge.Is = judge.From(r.d.Addresses()...)
	b := r.browse("_back._tcp")
	q := r.asks(r.start, 5*time.Second, "_back._tcp.local", dns.TypePTR)
	time.Sleep(time.Until(q.Time.Add(1500 * time.Millisecond)))
	// Neither link takes the other's question for another host's.
	count := map[netip.Addr]int{}
	for _, m := range r.queries("_back._tcp.local", dns.TypePTR) {
		count[m.Src.Addr()]++
	}
	if count[r.d.Links[0].V4] != 2 || count[r.d.Links[1].V4] != 2 {
		t.Errorf("queries of each address: %v", count)
	}
	r.say("r; = _back._tcp.local. 4500 PTR a._back._tcp.local.")
	b.wait(2*time.Second, "add", "a")
}

// Row 80: a million names keep the memory flat.
func TestFloodOfNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b := r.browse("_flood._tcp")
	r.asks(r.start, 5*time.Second, "_flood._tcp.local", dns.TypePTR)
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
	r.say("r; = _flood._tcp.local. 4500 PTR after._flood._tcp.local.")
	b.wait(5*time.Second, "add", "after")
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
