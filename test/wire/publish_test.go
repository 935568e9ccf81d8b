package wire

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

// hostRecords are what a host says of itself: its addresses on the link, and
// their names.
func hostRecords(_ mdns.Zone, l packet.Link, label string) []mdns.Record {
	var all []mdns.Record
	owner := name(label + ".local")
	for _, p := range l.Prefixes {
		all = append(all, mdns.Record{RR: dnswire.NewAddr(owner, p.Addr(), 0), Unique: true})
		if rev, err := dnssd.ReverseName(p.Addr()); err == nil {
			all = append(all, mdns.Record{RR: dnswire.NewPTR(rev, owner, 0), Unique: true, NoProbe: true})
		}
	}
	return all
}

func host(label string) mdns.Publication {
	return mdns.Publication{Label: label, Rename: mdns.RenameHost, Records: hostRecords}
}

// service is an instance of a type such as "_http._tcp" on a host.
func service(label, typ, target string, port uint16, subtypes []string, txt ...string) mdns.Publication {
	return mdns.Publication{Label: label, Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		return serviceRecords(label, typ, target, port, subtypes, txt...)
	}}
}

func serviceRecords(label, typ, target string, port uint16, subtypes []string, txt ...string) []mdns.Record {
	full, of := instance(label, typ), name(typ+".local")
	text, err := dnswire.NewTXT(full, 0, txt...)
	if err != nil {
		panic(err)
	}
	all := []mdns.Record{
		{RR: dnswire.NewPTR(name("_services._dns-sd._udp.local"), of, 0)},
		{RR: dnswire.NewPTR(of, full, 0)},
		{RR: dnswire.NewSRV(full, dnswire.SRV{Port: port, Target: name(target)}, 0), Unique: true},
		{RR: text, Unique: true},
	}
	for _, sub := range subtypes {
		all = append(all, mdns.Record{RR: dnswire.NewPTR(name(sub+"._sub."+typ+".local"), full, 0)})
	}
	return all
}

func instance(label, typ string) dnswire.Name {
	n, err := name(typ + ".local").Prepend(label)
	if err != nil {
		panic(err)
	}
	return n
}

// publish waits until everything is claimed and returns the labels.
func (r *rig) publish(e *mdns.Engine, all ...mdns.Publication) []*mdns.Published {
	r.t.Helper()
	var made []*mdns.Published
	for _, p := range all {
		made = append(made, e.Publish(p))
	}
	r.claimed(made)
	return made
}

// claimed waits until everything is claimed.
func (r *rig) claimed(made []*mdns.Published) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, p := range made {
		if _, err := p.Established(ctx); err != nil {
			r.t.Fatalf("%s: %v", p.Label(), err)
		}
	}
}

// settled waits until everything that was announced was announced twice, and a second more, for
// which nothing is multicast again.
func (r *rig) settled() {
	r.t.Helper()
	lab.Eventually(r.t, patience, "the end of the announcements", func() error {
		said := map[string]int{}
		var last time.Time
		for _, m := range r.x.Trace().By(r.judge.Is) {
			if !m.Response() || !m.Multicast() {
				continue
			}
			last = m.Time
			for _, x := range m.Records {
				if x.Type != dns.TypeNSEC {
					said[fmt.Sprint(m.Src.Addr().Is4(), x.Key)]++
				}
			}
		}
		for key, n := range said {
			if n < 2 {
				return fmt.Errorf("%s was said once", key)
			}
		}
		if len(said) == 0 || time.Since(last) < 1100*time.Millisecond {
			return fmt.Errorf("%d records, the last a moment ago", len(said))
		}
		return nil
	})
}

// keys returns what the records of a section say, sorted.
func keys(m *judge.Message, sections ...judge.Section) []string {
	var all []string
	for _, x := range m.Records {
		if slices.Contains(sections, x.Section) {
			all = append(all, x.Key)
		}
	}
	slices.Sort(all)
	return all
}

// reply waits for a response of the host under test.
func (r *rig) reply(after time.Time, what string, ok func(*judge.Message) bool) *judge.Message {
	r.t.Helper()
	return r.x.Wait(after, patience, what, func(m *judge.Message) bool { return m.Response() && r.judge.Is(&m.Packet) && ok(m) })
}

// replies returns the responses since a time, by IPv4, that hold the text.
func (r *rig) replies(since time.Time, text string) []*judge.Message {
	var all []*judge.Message
	for _, m := range r.x.Trace().By(r.judge.Is) {
		if m.Response() && m.Time.After(since) && m.Src.Addr().Is4() && strings.Contains(m.Text(), text) {
			all = append(all, m)
		}
	}
	return all
}

func has(text string) func(*judge.Message) bool {
	return func(m *judge.Message) bool { return m.Src.Addr().Is4() && strings.Contains(m.Text(), text) }
}

// probed waits for a probe of a name by IPv4.
func (r *rig) probed(after time.Time, name string) *judge.Message {
	r.t.Helper()
	return r.x.Wait(after, patience, "probe for "+name, func(m *judge.Message) bool {
		return m.Probe() && r.judge.Is(&m.Packet) && m.Src.Addr().Is4() && slices.ContainsFunc(m.Questions, func(q judge.Question) bool { return q.Name == name })
	})
}

// Rows 27 to 29, 36, 37, 58, 59, 61, 62 and 99: probes, announcements and
// goodbyes of a host with services; and again when its link comes up.
func TestClaims(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var made []*mdns.Published
	_, stop := r.engineWith(r.d, func(e *mdns.Engine) { // all at once: before it runs
		for _, p := range []mdns.Publication{host("nas"), service("Web", "_http._tcp", "nas.local", 80, []string{"_printer"}, "a=1"), service("Files", "_smb._tcp", "nas.local", 445, nil)} {
			made = append(made, e.Publish(p))
		}
	})
	r.claimed(made)
	first := r.probed(r.start, "nas.local.")
	if len(first.Questions) != 3 {
		t.Errorf("names are probed apart: %v", first)
	}
	said := r.reply(r.start, "announcement", has("web._http._tcp.local. SRV"))
	again := r.reply(said.Time, "second announcement", has("web._http._tcp.local. SRV"))
	r.gap("second announcement", said.Time, again.Time, time.Second)
	time.Sleep(2500 * time.Millisecond)
	for _, m := range r.replies(again.Time, "web._http._tcp.local. SRV") {
		t.Errorf("announced on: %v", m)
	}
	down := time.Now()
	r.d.Links[0].Down()
	time.Sleep(300 * time.Millisecond)
	r.judge.Ends, r.judge.Starts = []time.Time{down}, []time.Time{time.Now()}
	r.d.Links[0].Up()
	r.probed(down, "nas.local.")
	said = r.reply(down, "announcement", has("web._http._tcp.local. SRV"))
	r.reply(said.Time, "second announcement", has("web._http._tcp.local. SRV"))
	time.Sleep(1100 * time.Millisecond)
	r.judge.Stopped, r.judge.DefaultTTLs = time.Now(), true
	stop()
	r.verdict()
}

// Row 36: nothing is announced periodically.
func TestAnnouncementsEnd(t *testing.T) {
	// Two announcements and their answers are over after five seconds. In full: at
	// most eight announcements, the last 127 s after the first, and then nothing.
	told, idle := 5*time.Second, 10*time.Second
	if soak() {
		told, idle = 140*time.Second, 5*time.Minute
	}
	t.Parallel()
	r := newRig(t)
	r.publish(r.engine(r.d), host("nas"), service("Web", "_http._tcp", "nas.local", 80, nil))
	time.Sleep(told)
	quiet := time.Now()
	time.Sleep(idle)
	for _, m := range r.replies(quiet, "") {
		t.Errorf("%v", m)
	}
	r.verdict()
}

// Rows 42 to 45, 48, 53, 54, 56, 60, 66, 97 and 99: answers to questions of
// many kinds.
func TestAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	only4 := host("only4")
	only4.Records = func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		return []mdns.Record{{RR: dnswire.NewAddr(name(label+".local"), netip.MustParseAddr("10.99.1.10"), 0), Unique: true}}
	}
	quick := host("quick")
	quick.Records = func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		return []mdns.Record{{RR: dnswire.NewAddr(name(label+".local"), netip.MustParseAddr("10.99.1.10"), 8), Unique: true}}
	}
	r.publish(e, host("nas"), only4, quick, service("Web", "_http._tcp", "nas.local", 80, []string{"_printer"}, "a=1"),
		service("Web 2", "_http._tcp", "nas.local", 81, nil), service("Files", "_smb._tcp", "nas.local", 445, nil),
		service("Far", "_far._tcp", "nas.local", 1, nil), service("Half", "_half._tcp", "nas.local", 1, nil), service("Most", "_most._tcp", "nas.local", 1, nil))
	r.settled()
	direct := lab.Datagram{Dst: netip.AddrPortFrom(r.d.Links[0].V4, 5353), To: r.d.Links[0]}
	far := netip.MustParseAddrPort("203.0.113.9:5353")
	const none = time.Duration(0)
	// None asks for what was multicast within the last second.
	for _, c := range []struct {
		name     string
		from     lab.Datagram
		text     string
		min, max time.Duration // none: silence
		unicast  bool
		want     []string // answers and additional records, beside others
	}{
		{"one unique record", lab.Datagram{}, "q; ? nas.local A", 1, 10 * time.Millisecond, false, []string{"nas.local. A 10.99.1.10", "nas.local. AAAA fd99:1::a"}},
		{"of another case", lab.Datagram{}, "q; ? ONLY4.LOCAL A", 1, 10 * time.Millisecond, false, []string{"only4.local. A 10.99.1.10", "only4.local. NSEC only4.local. A"}},
		{"a missing type", lab.Datagram{}, "q; ? quick.local AAAA", 1, 10 * time.Millisecond, false, []string{"quick.local. NSEC quick.local. A"}},
		{"a service", lab.Datagram{}, "q; ? _http._tcp.local PTR", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{
			"_http._tcp.local. PTR web._http._tcp.local.", `_http._tcp.local. PTR web\ 2._http._tcp.local.`, "web._http._tcp.local. SRV 0 0 80 nas.local.", `web._http._tcp.local. TXT "a=1"`}},
		{"a subtype", lab.Datagram{}, "q; ? _printer._sub._http._tcp.local PTR", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{"_printer._sub._http._tcp.local. PTR web._http._tcp.local."}},
		{"types", lab.Datagram{}, "q; ? _services._dns-sd._udp.local PTR", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{"_services._dns-sd._udp.local. PTR _http._tcp.local.", "_services._dns-sd._udp.local. PTR _smb._tcp.local."}},
		{"any type", lab.Datagram{}, "q; ? files._smb._tcp.local ANY QU", 1, 10 * time.Millisecond, true, []string{"files._smb._tcp.local. SRV 0 0 445 nas.local.", `files._smb._tcp.local. TXT ""`}},
		{"several", lab.Datagram{}, "q; ? _smb._tcp.local PTR; ? files._smb._tcp.local TXT; ? nobody.local A; ? quick.local A; ? quick.local AAAA", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{
			"_smb._tcp.local. PTR files._smb._tcp.local.", `files._smb._tcp.local. TXT ""`, "quick.local. A 10.99.1.10"}},
		{"reverse", lab.Datagram{}, "q; ? 10.1.99.10.in-addr.arpa PTR", 1, 10 * time.Millisecond, false, []string{"10.1.99.10.in-addr.arpa. PTR nas.local."}},
		{"known, more than half", lab.Datagram{}, "q; ? _half._tcp.local PTR; = _half._tcp.local. 2250 PTR Half._half._tcp.local.", none, none, false, nil},
		{"known, less than half", lab.Datagram{}, "q; ? _most._tcp.local PTR; = _most._tcp.local. 2249 PTR Most._most._tcp.local.", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{"_most._tcp.local. PTR most._most._tcp.local."}},
		{"straight to it", direct, "q; ? only4.local A", 1, 10 * time.Millisecond, true, []string{"only4.local. A 10.99.1.10"}},
		{"straight to it, from afar", lab.Datagram{Src: far, Dst: direct.Dst, To: direct.To}, "q; ? only4.local A", none, none, false, nil},
		{"QU from afar", lab.Datagram{Src: far}, "q; ? _far._tcp.local PTR QU", 20 * time.Millisecond, 120 * time.Millisecond, false, []string{"_far._tcp.local. PTR far._far._tcp.local."}},
		{"an unknown type", lab.Datagram{}, "q; ? _nothing._tcp.local PTR", none, none, false, nil},
		{"an unknown host", lab.Datagram{}, "q; ? nobody.local A", none, none, false, nil},
		{"another opcode", lab.Datagram{}, "q opcode=2; ? nas.local A QU", none, none, false, nil},
		{"QU, multicast lately", lab.Datagram{}, "q; ? web._http._tcp.local SRV QU", 1, 10 * time.Millisecond, true, []string{"web._http._tcp.local. SRV 0 0 80 nas.local."}},
		{"QU, not multicast for a quarter of its TTL", lab.Datagram{}, "q; ? quick.local A QU", 1, 10 * time.Millisecond, false, []string{"quick.local. A 10.99.1.10"}},
	} {
		if c.name == "QU, not multicast for a quarter of its TTL" {
			time.Sleep(2500 * time.Millisecond)
		}
		asked := time.Now()
		r.sayAs(c.from, c.text)
		if c.max == none {
			time.Sleep(700 * time.Millisecond)
		} else {
			r.reply(asked, "answer: "+c.name, func(m *judge.Message) bool { return strings.Contains(m.Text(), c.want[0]) })
			time.Sleep(50 * time.Millisecond)
		}
		var got []*judge.Message
		for _, m := range r.x.Trace().By(r.judge.Is) {
			if m.Response() && m.Time.After(asked) {
				got = append(got, m)
			}
		}
		if c.max == none {
			if len(got) > 0 {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		var all []string
		for _, m := range got {
			all = append(all, keys(m, judge.Answer, judge.Additional)...)
		}
		for _, want := range c.want {
			if !slices.Contains(all, want) {
				t.Errorf("%s: %s is missing in %q", c.name, want, all)
			}
		}
		r.within(c.name, got[0].Time.Sub(asked), c.min, c.max)
		if got[0].Multicast() == c.unicast {
			t.Errorf("%s: answered to %v", c.name, got[0].Dst)
		}
	}
	r.verdict()
}

// Row 43: what is unique and complete is answered at once.
func TestUniqueAnswersAreImmediate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(r.engine(r.d), host("nas"))
	r.settled()
	var took []time.Duration
	for range 100 {
		asked := time.Now()
		r.say("q; ? nas.local A QU")
		took = append(took, r.reply(asked, "answer", has("nas.local. A")).Time.Sub(asked))
	}
	slices.Sort(took)
	t.Logf("p50 %v, p95 %v", took[50], took[95])
	r.within("p95", took[95], 0, 10*time.Millisecond)
	r.verdict()
}

// Row 55: plain resolvers get a plain answer, dig for one.
func TestLegacyAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(r.engine(r.d), host("nas"), service("Web", "_http._tcp", "nas.local", 80, nil, "a=1"))
	r.settled()
	legacy := lab.Datagram{Src: netip.AddrPortFrom(r.x.Link.V4, 40000)}
	for _, c := range []struct{ text, want string }{
		{"q id=4711 rd; ? nas.local A", "nas.local. A 10.99.1.10 10\n"},
		{"q id=4712 rd; ? _http._tcp.local PTR", "_http._tcp.local. PTR web._http._tcp.local. 10\n"},
		{"q id=4713 rd; ? Web._http._tcp.local SRV", "web._http._tcp.local. SRV 0 0 80 nas.local. 10\n"},
		{"q id=4714 rd; ? nas.local TXT", "nas.local. NSEC"},
	} {
		asked := time.Now()
		r.sayAs(legacy, c.text)
		r.reply(asked, c.text, has(c.want))
	}
	r.verdict()

	// dig takes answers only from whom it asked.
	lab.Require(t, "dig")
	out := r.Host("plain").Join(r.net).Run("dig", "+short", "+tries=1", "+time=20", "-p", "5353", "@10.99.1.10", "nas.local", "A")
	if strings.TrimSpace(out.Stdout) != "10.99.1.10" {
		t.Errorf("dig: exit %d: %s%s", out.Exit, out.Stdout, out.Stderr)
	}
}

// Rows 46 and 49: the answer to a truncated query waits for its known answers.
func TestTruncatedQueriesAreWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(r.engine(r.d), host("nas"), service("One", "_tc._tcp", "nas.local", 1, nil), service("Two", "_tc._tcp", "nas.local", 2, nil))
	r.settled()
	again := func() { time.Sleep(1100 * time.Millisecond) } // what was multicast a second ago may be
	r.attempt("what is known isn't answered", func(n int) bool {
		if n > 0 {
			again()
		}
		asked := time.Now()
		r.say("q tc; ? _tc._tcp.local PTR")
		time.Sleep(100 * time.Millisecond)
		last := time.Now()
		r.say("q tc; = _tc._tcp.local. 4000 PTR One._tc._tcp.local.")
		time.Sleep(100 * time.Millisecond)
		r.say("q; = _tc._tcp.local. 4000 PTR Three._tc._tcp.local.")
		late := time.Since(asked) > 350*time.Millisecond // it waits for 400 ms
		m := r.reply(asked, "answer", has("_tc._tcp.local. PTR two"))
		if late || strings.Contains(m.Text(), "PTR one") {
			return false
		}
		r.within("answer after the last truncated packet", m.Time.Sub(last), 100*time.Millisecond, 500*time.Millisecond)
		return true
	})
	// Nothing follows: 400 to 500 ms after it.
	again()
	asked := time.Now()
	r.say("q tc; ? _tc._tcp.local PTR; = _tc._tcp.local. 4000 PTR Two._tc._tcp.local.")
	m := r.reply(asked, "answer", has("_tc._tcp.local. PTR one"))
	r.within("answer to a truncated query", m.Time.Sub(asked), 400*time.Millisecond, 500*time.Millisecond)
	// Another host that doesn't know it gets it.
	again()
	asked = time.Now()
	r.say("q tc; ? _tc._tcp.local PTR")
	time.Sleep(50 * time.Millisecond)
	r.sayAs(lab.Datagram{Src: netip.MustParseAddrPort("10.99.1.77:5353")}, "q; ? _tc._tcp.local PTR")
	r.say("q; = _tc._tcp.local. 4000 PTR One._tc._tcp.local.; = _tc._tcp.local. 4000 PTR Two._tc._tcp.local.")
	r.reply(asked, "answer for the other", has("_tc._tcp.local. PTR one"))
	r.verdict()
}

// Rows 47, 50, 51 and 52: answers are few.
func TestAnswersAreFew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []mdns.Publication
	for _, c := range "abcdefghij" {
		all = append(all, service("S", "_"+string(c)+"._tcp", "nas.local", 1, nil))
	}
	r.publish(r.engine(r.d), append(all, host("nas"), service("Dup", "_dup._tcp", "nas.local", 1, nil))...)
	r.settled()
	// Each waits at least 20 ms for the next: one packet, and another one after each gap that is
	// longer. The host may be late, too, but not so often.
	asked := time.Now()
	most := 4
	for i, c := range "abcdefghij" {
		before := time.Now()
		if i > 0 {
			time.Sleep(5 * time.Millisecond)
		}
		r.say("q; ? _" + string(c) + "._tcp.local PTR")
		if time.Since(before) > 15*time.Millisecond {
			most++
		}
	}
	for _, c := range "abcdefghij" {
		r.reply(asked, "answer", has("_"+string(c)+"._tcp.local. PTR"))
	}
	if got := r.replies(asked, ""); len(got) > most {
		t.Errorf("%d packets for ten questions: %v", len(got), got)
	}
	// Another host's answer does for ours.
	again := func() { time.Sleep(1100 * time.Millisecond) } // what was multicast a second ago may be
	r.attempt("another host's answer does", func(n int) bool {
		if n > 0 {
			again()
		}
		asked := time.Now()
		r.say("q; ? _dup._tcp.local PTR")
		r.say("r; = _dup._tcp.local. 4500 PTR Dup._dup._tcp.local.")
		if time.Since(asked) > 15*time.Millisecond {
			return false // it may have been too late
		}
		time.Sleep(r.late() + 120*time.Millisecond)
		return len(r.replies(asked, "_dup._tcp.local. PTR")) == 0
	})
	// Twenty questions in a second, one answer; and a probe's defence.
	again()
	asked = time.Now()
	for range 20 {
		r.say("q; ? nas.local A")
		time.Sleep(15 * time.Millisecond)
	}
	r.reply(asked, "answer", has("nas.local. A 10.99.1.10"))
	probe := time.Now()
	r.say("q; ? nas.local ANY QU; ns nas.local. 120 A 10.99.1.99")
	defence := r.reply(probe, "defence", has("nas.local. A 10.99.1.10"))
	r.within("defence", defence.Time.Sub(probe), 0, probeGap)
	multicasts := 0
	for _, m := range r.replies(asked, "nas.local. A 10.99.1.10") {
		if m.Multicast() && m.Time.Before(probe) {
			multicasts++
		}
	}
	if multicasts > 1+int(probe.Sub(asked)/time.Second) {
		t.Errorf("%d answers to 20 questions in %v", multicasts, probe.Sub(asked))
	}
	// Somebody says our record, for less than half of our time.
	again()
	said := time.Now()
	r.say("r; ! Dup._dup._tcp.local. 30 SRV 0 0 1 nas.local.")
	r.reply(said, "announcement", has("dup._dup._tcp.local. SRV 0 0 1 nas.local. 120"))
	r.verdict()
}

// Row 41: only what is its own is answered.
func TestNothingIsAnsweredFromTheCache(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	s := r.subscribe(e, question("other.local", dnswire.TypeA))
	r.publish(e, host("nas"))
	r.say("r; ! other.local. 120 A 10.99.1.50")
	s.wait(mdns.OpAdd, "10.99.1.50")
	asked := time.Now()
	r.say("q; ? other.local A")
	r.say("q; ? other.local A QU")
	time.Sleep(700 * time.Millisecond)
	if got := r.replies(asked, "other.local"); len(got) > 0 {
		t.Errorf("%v", got)
	}
	r.verdict()
}

// Row 38: changed data is announced without probing.
func TestChangedDataIsAnnounced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.engine(r.d)
	txt := make(chan string, 1)
	now := "a=1"
	p := service("Web", "_http._tcp", "nas.local", 80, nil)
	p.Records = func(mdns.Zone, packet.Link, string) []mdns.Record {
		select {
		case now = <-txt:
		default:
		}
		return serviceRecords("Web", "_http._tcp", "nas.local", 80, nil, now)
	}
	pub := r.publish(e, p, host("nas"))[0]
	time.Sleep(2 * time.Second)
	changed := time.Now()
	txt <- "a=2"
	pub.Update()
	first := r.reply(changed, "announcement", has(`"a=2"`))
	second := r.reply(first.Time, "second announcement", has(`"a=2"`))
	r.gap("second announcement", first.Time, second.Time, time.Second)
	for _, m := range r.x.Trace().By(r.judge.Is) {
		if m.Probe() && m.Time.After(changed) {
			t.Errorf("probed: %v", m)
		}
	}
	r.verdict()
}

// Rows 63 to 65: a set of many records, and one record that is too big.
func TestBigAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	many := host("many")
	many.Records = func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		var all []mdns.Record
		for i := range 40 {
			a := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x99, 15: byte(i + 1)})
			all = append(all, mdns.Record{RR: dnswire.NewAddr(name(label+".local"), a, 0), Unique: true})
		}
		return all
	}
	var txt []string
	for range 20 {
		txt = append(txt, strings.Repeat("x", 200))
	}
	r.publish(r.engine(r.d), many, service("Big", "_big._tcp", "many.local", 1, nil, txt...))
	r.settled()
	asked := time.Now()
	r.say("q; ? many.local AAAA")
	m := r.reply(asked, "answer", has("many.local. AAAA"))
	lab.Eventually(t, patience, "all addresses", func() error {
		set := map[string]bool{}
		for _, x := range r.replies(asked, "many.local. AAAA") {
			r.within("burst", x.Time.Sub(m.Time), 0, 100*time.Millisecond)
			for _, k := range keys(x, judge.Answer) {
				set[k] = true
			}
		}
		if len(set) != 40 {
			return fmt.Errorf("%d of 40", len(set))
		}
		return nil
	})
	r.say("q; ? big._big._tcp.local TXT")
	lab.Eventually(t, patience, "the big record", func() error {
		if got := r.replies(asked, "big._big._tcp.local. TXT"); len(got) == 0 || !got[0].Fragmented {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	r.verdict()
}

// Row 57: each link has its own addresses, and no other's.
func TestAddressesOfTheirLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := r.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	r.d.Join(other)
	y := r.Host("other").Join(other).Link(other).Tester()
	r.judge.Is = judge.From(r.d.Addresses()...)
	r.publish(r.engine(r.d), host("nas"))
	r.settled()
	asked := time.Now()
	r.say("q; ? nas.local A")
	y.Send(lab.Datagram{}, pack(t, "q; ? nas.local A"))
	m := r.reply(asked, "answer", has("nas.local. A"))
	n := y.Wait(asked, patience, "answer on the other link", func(m *judge.Message) bool { return m.Response() && has("nas.local. A")(m) })
	for _, c := range []struct {
		m    *judge.Message
		v4   string
		link *lab.Link
	}{{m, "10.99.1.10", r.d.Links[0]}, {n, "10.99.2.10", r.d.Links[1]}} {
		want := []string{"nas.local. A " + c.v4, "nas.local. AAAA " + c.link.V6.String(), "nas.local. AAAA " + c.link.LinkLocal().String()}
		slices.Sort(want)
		var got []string
		for _, x := range c.m.Records {
			if x.Type != dns.TypeNSEC {
				got = append(got, x.Key)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("on %s: %q, want %q", c.link, got, want)
		}
	}
	r.verdict()
}
