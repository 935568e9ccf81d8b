package dnssd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// publisher returns a publisher on the rig's own host.
func (r *rig) publisher() *dnssd.Publisher {
	return &dnssd.Publisher{Engine: r.engine, Host: "dut"}
}

// publish announces a service and waits until it can be found.
func (r *rig) publish(p *dnssd.Publisher, a dnssd.Announcement) *dnssd.Published {
	r.t.Helper()
	s, err := p.Publish(a)
	if err != nil {
		r.t.Fatal(err)
	}
	r.established(s)
	return s
}

func (r *rig) established(s *dnssd.Published) dnssd.Standing {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	now, err := s.Established(ctx)
	if err != nil {
		r.t.Fatalf("not established: %v: %+v", err, now)
	}
	return now
}

// neighbour is another host that looks for services.
func (r *rig) neighbour() *rig {
	n := *r
	n.host = r.net.Host("neighbour")
	n.nic = n.host.Attach(r.wire, "eth0", "10.0.0.99/16", "fe80::99/64")
	n.engine = n.newEngine(n.host)
	n.source = dnssd.Multicast(n.engine)
	n.run(n.engine)
	return &n
}

// record is one record that was seen on the wire.
type record struct {
	section dnswire.Section
	rr      dnswire.RR
	probe   bool // a query's
	family  mdns.Family
}

func (x record) String() string {
	return fmt.Sprintf("%s %s %s %d %s", x.section, x.rr.Name, x.rr.Type, x.rr.TTL, x.rr.DataString())
}

// sent returns the records that the rig's own host has sent since the last call.
func (r *rig) sent() []record {
	r.t.Helper()
	var out []record
	for _, p := range r.capture.Take() {
		if p.Host != "dut" {
			continue
		}
		m, err := dnswire.Parse(p.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		family := mdns.IPv4
		if p.Dst.Addr().Is6() {
			family = mdns.IPv6
		}
		for v := range m.Records() {
			if m.Response || v.Section == dnswire.Authority {
				out = append(out, record{v.Section, v.RR(), !m.Response, family})
			}
		}
	}
	return out
}

func only(all []record, ok func(record) bool) []record {
	return slices.DeleteFunc(slices.Clone(all), func(x record) bool { return !ok(x) })
}

// texts writes records a line each.
func texts(all []record) string {
	var b strings.Builder
	for _, x := range all {
		fmt.Fprintln(&b, x)
	}
	return b.String()
}

// picture returns what the last line about each instance says of it: a host's
// addresses come by IPv4 and by IPv6, and may be told as two events.
func picture(lines []string) []string {
	last := map[string]string{}
	for _, l := range lines {
		op, rest, _ := strings.Cut(l, " ")
		if name, _, _ := strings.Cut(rest, ".local "); op == string(dnssd.Add) || op == string(dnssd.Update) {
			last[name] = rest
		}
	}
	return slices.Sorted(maps.Values(last))
}

// distinct returns the records as text without sections and repetitions, in order.
func distinct(all []record) []string {
	var out []string
	for _, x := range all {
		out = append(out, fmt.Sprintf("%s %s %d %s", x.rr.Name, x.rr.Type, x.rr.TTL, x.rr.DataString()))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ask sends one question from a host that isn't there otherwise, and returns the
// records of the answers.
func (r *rig) ask(name string, t dnswire.Type) []record {
	r.t.Helper()
	time.Sleep(10 * time.Second) // announcements are over
	r.capture.Take()
	n, err := dnswire.ParseName(name)
	if err != nil {
		r.t.Fatal(err)
	}
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 1400)
	b.Question(n, t, dnswire.ClassIN, false)
	r.wire.Inject(packet.Datagram{Data: b.Bytes(), Src: netip.MustParseAddrPort("10.0.0.77:5353"), Dst: mdns.IPv4.Group()})
	time.Sleep(time.Second)
	return only(r.sent(), func(x record) bool { return !x.probe })
}

func TestPublishedServiceIsFoundAndTakenBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		n := r.neighbour()
		s := r.publish(r.publisher(), dnssd.Announcement{Name: "Build v1.2", Type: "_http._tcp", Port: 8080, TXT: dnssd.TXT{"path=/", "ro"}})
		same(t, "found", picture(n.once(resolveHTTP)), []string{`Build v1\.2._http._tcp.local dut.local:8080 [10.0.0.1 fe80::1] ["path=/" "ro"] on eth0`})
		names, err := dnssd.LookupAddr(r.t.Context(), n.source, netip.MustParseAddr("10.0.0.1"))
		if err != nil || len(names) != 1 || names[0].Host != "dut.local" {
			t.Errorf("the name behind the address: %+v, %v", names, err)
		}
		go func() {
			time.Sleep(3 * time.Second)
			s.Withdraw()
			<-s.Done()
		}()
		got := n.during(resolveHTTP, 10*time.Second)
		if len(got) < 2 || !strings.Contains(got[0], ` add Build v1\.2._http._tcp.local`) || !strings.Contains(got[len(got)-1], ` remove Build v1\.2._http._tcp.local`) {
			t.Errorf("events %q, want it to come and go", got)
		}
		if _, err := dnssd.LookupHost(r.t.Context(), n.source, "dut.local"); err == nil {
			t.Error("the host is published with no service left")
		}
	})
}

// Row 92: TXT is always there, never of length zero.
func TestPublishedTXTIsNeverEmpty(t *testing.T) {
	for _, txt := range []dnssd.TXT{nil, {}, {""}} {
		inBubble(t, func(r *rig) {
			r.publish(r.publisher(), dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, TXT: txt})
			texts := only(r.sent(), func(x record) bool { return x.rr.Type == dnswire.TypeTXT })
			if len(texts) == 0 {
				t.Fatal("no TXT record")
			}
			for _, x := range texts {
				if x.rr.Data != "\x00" {
					t.Errorf("%s: rdata %q, want one zero byte", x, x.rr.Data)
				}
			}
		})
	}
}

// Row 95: what is too large is refused, what is large is told.
func TestPublishRefusesALargeTXT(t *testing.T) {
	inBubble(t, func(r *rig) {
		var log strings.Builder
		p := r.publisher()
		p.Log = slog.New(slog.NewTextHandler(&log, nil))
		a := dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80}
		for range 2 {
			a.TXT = append(a.TXT, fmt.Sprintf("k%d=%s", len(a.TXT), strings.Repeat("x", 196))) // 200 bytes each
		}
		if _, err := p.Publish(a); err != nil || log.Len() > 0 {
			t.Errorf("400 bytes: %v, log %q", err, &log)
		}
		a.TXT[0] += "x"
		a.Name = "Web 2"
		if _, err := p.Publish(a); err != nil || !strings.Contains(log.String(), `msg="a large TXT record" service="Web 2" type=_http._tcp n=401`) {
			t.Errorf("401 bytes: %v, log %q", err, &log)
		}
		for len(a.TXT) < 7 {
			a.TXT = append(a.TXT, fmt.Sprintf("k%d=%s", len(a.TXT), strings.Repeat("x", 196)))
		}
		if _, err := p.Publish(a); fmt.Sprint(err) != "dnssd: the TXT record has 1401 bytes, more than 1300" {
			t.Errorf("1401 bytes: %v", err)
		}
		p.MaxTXT = 8000
		if _, err := p.Publish(a); err != nil {
			t.Errorf("1401 bytes of 8000: %v", err)
		}
	})
}

// Row 96: Matter has subtypes of its own kind, and any bytes are allowed.
func TestPublishedSubtypesFindTheInstance(t *testing.T) {
	inBubble(t, func(r *rig) {
		n := r.neighbour()
		r.capture.Take()
		subtypes := []string{"_I0123456789ABCDEF", "\x00\xff ."}
		s := r.publish(r.publisher(), dnssd.Announcement{Name: "FE02-1234", Type: "_matter._tcp", Port: 5540, Subtypes: subtypes})
		const found = `add FE02-1234._matter._tcp.local`
		for _, sub := range append([]string{""}, subtypes...) {
			got := n.once(dnssd.Browser{Type: "_matter._tcp", Subtype: sub})
			if len(got) != 2 || !strings.HasPrefix(got[0], found) {
				t.Errorf("by subtype %q: %q", sub, got)
			}
		}
		// Announcement and goodbye cover them; the probe is for the instance.
		r.capture.Take()
		s.Withdraw()
		<-s.Done()
		time.Sleep(time.Second)
		got := distinct(r.sent())
		for _, want := range []string{
			"_I0123456789ABCDEF._sub._matter._tcp.local PTR 0 FE02-1234._matter._tcp.local",
			`\000\255 \.._sub._matter._tcp.local PTR 0 FE02-1234._matter._tcp.local`,
			"_matter._tcp.local PTR 0 FE02-1234._matter._tcp.local",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no goodbye %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
		if got := n.once(dnssd.Browser{Type: "_matter._tcp", Subtype: subtypes[0]}); len(got) != 1 {
			t.Errorf("after the goodbye: %q", got)
		}
	})
}

// Row 97: each type is listed once, subtypes aren't.
func TestPublishedTypesAreListedOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.publisher()
		web := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, Subtypes: []string{"_printer"}})
		r.publish(p, dnssd.Announcement{Name: "Web 2", Type: "_HTTP._tcp", Port: 81})
		r.publish(p, dnssd.Announcement{Name: "Mail", Type: "_imap._tcp", Port: 143})
		types := func() []string {
			var out []string
			for _, x := range r.ask("_services._dns-sd._udp.local", dnswire.TypePTR) {
				if x.section == dnswire.Answer {
					out = append(out, strings.ToLower(x.rr.DataString()))
				}
			}
			slices.Sort(out)
			return out
		}
		same(t, "types", types(), []string{"_http._tcp.local", "_imap._tcp.local"})
		// One instance less, and the type is still there.
		web.Withdraw()
		<-web.Done()
		same(t, "types with one instance of two", types(), []string{"_http._tcp.local", "_imap._tcp.local"})
	})
}

// Row 99: who asks for instances gets the rest, too.
func TestPublishedPointerBringsTheRest(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.publish(r.publisher(), dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, TXT: dnssd.TXT{"path=/"}})
		got := r.ask("_http._tcp.local", dnswire.TypePTR)
		for _, want := range []string{
			"answer _http._tcp.local PTR 4500 Web._http._tcp.local",
			"additional Web._http._tcp.local SRV 120 0 0 80 dut.local",
			`additional Web._http._tcp.local TXT 4500 "path=/"`,
			"additional dut.local A 120 10.0.0.1",
			"additional dut.local AAAA 120 fe80::1",
		} {
			if !slices.ContainsFunc(got, func(x record) bool { return x.String() == want }) {
				t.Errorf("no %s in\n%s", want, texts(got))
			}
		}
		got = r.ask("Web._http._tcp.local", dnswire.TypeSRV)
		for _, want := range []string{
			"answer Web._http._tcp.local SRV 120 0 0 80 dut.local",
			"additional dut.local A 120 10.0.0.1",
			"additional dut.local AAAA 120 fe80::1",
		} {
			if !slices.ContainsFunc(got, func(x record) bool { return x.String() == want }) {
				t.Errorf("no %s in\n%s", want, texts(got))
			}
		}
	})
}

// Row 100: the other protocols' names are held by records that nobody browses
// to, and all of them are renamed together.
func TestPlaceholdersHoldTheFlagshipsName(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "rival", "10.0.0.9/16", false, srv("Laser._pdl-datastream._tcp.local", "rival.local", 9100))
		s, err := r.publisher().Publish(dnssd.Announcement{
			Name: "Laser", Type: "_ipp._tcp", Port: 631, Placeholders: []string{"_printer._tcp", "_pdl-datastream._tcp"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if now := r.established(s); now.Instance.Name != "Laser (2)" {
			t.Errorf("established as %q, want it renamed for a name that is held by another", now.Instance.Name)
		}
		time.Sleep(3 * time.Second)
		got := distinct(only(r.sent(), func(x record) bool { return !x.probe && strings.HasPrefix(x.rr.Name.String(), "Laser (2)") }))
		same(t, "records", got, []string{
			"Laser (2)._ipp._tcp.local SRV 120 0 0 631 dut.local",
			`Laser (2)._ipp._tcp.local TXT 4500 ""`,
			"Laser (2)._pdl-datastream._tcp.local SRV 120 0 0 0 dut.local",
			"Laser (2)._printer._tcp.local SRV 120 0 0 0 dut.local",
		})
		for _, typ := range []string{"_printer._tcp.local", "_pdl-datastream._tcp.local"} {
			if got := r.ask(typ, dnswire.TypePTR); len(got) > 0 {
				t.Errorf("%s leads to\n%s", typ, texts(got))
			}
		}
	})
}

// RFC 6762 §9: after a restart the name that was found is tried first.
func TestRenamedServiceKeepsItsNameOverARestart(t *testing.T) {
	keeper := &memory{}
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "rival", "10.0.0.9/16", false, web("Web", "rival.local", 80, "10.0.0.9")...)
		p := r.publisher()
		p.Keeper = keeper
		s, err := p.Publish(dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 8080})
		if err != nil {
			t.Fatal(err)
		}
		if now := r.established(s); now.Instance.Name != "Web (2)" {
			t.Errorf("established as %q", now.Instance.Name)
		}
	})
	inBubble(t, func(r *rig) {
		p := r.publisher()
		p.Keeper = keeper
		s := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 8080})
		if now, _ := s.Standing(); now.Instance.Name != "Web (2)" {
			t.Errorf("after the restart it is %q", now.Instance.Name)
		}
		for _, x := range r.sent() {
			if strings.HasPrefix(x.rr.Name.String(), "Web.") {
				t.Errorf("the old name was tried: %s", x)
			}
		}
	})
}

// RFC 6762 §9: the services of a host that is renamed lead to its new name, and
// aren't probed for anew.
func TestRenamedHostChangesTheTargetsOfItsServices(t *testing.T) {
	keeper := &memory{}
	inBubble(t, func(r *rig) {
		n := r.neighbour()
		p := r.publisher()
		p.Keeper = keeper
		s := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80})
		time.Sleep(5 * time.Second)
		r.sent()
		rival := r.respond(r.wire, "rival", "10.0.0.9/16", false, addr("dut.local", "10.0.0.9"))
		rival.send(rival.records, nil)
		time.Sleep(5 * time.Second)
		if now := r.established(s); now.Host != "dut-2.local" || now.Instance.Name != "Web" {
			t.Errorf("it stands as %+v", now)
		}
		all := r.sent()
		if probes := only(all, func(x record) bool { return x.probe && x.rr.Type == dnswire.TypeSRV }); len(probes) > 0 {
			t.Errorf("probes for the service:\n%s", texts(probes))
		}
		if told := only(all, func(x record) bool { return !x.probe && x.rr.DataString() == "0 0 80 dut-2.local" }); len(told) == 0 {
			t.Errorf("the new target isn't announced:\n%s", texts(all))
		}
		got, err := dnssd.Resolve(r.t.Context(), n.source, dnssd.Instance{Name: "Web", Service: "_http._tcp"})
		if err != nil || len(got) != 1 || got[0].Host != "dut-2.local" {
			t.Errorf("a neighbour resolves %+v, %v", got, err)
		}
	})
	if got := keeper.Kept("dut.local"); got != "dut-2" {
		t.Errorf("%q is kept", got)
	}
}

// RFC 6762 §8.4: other data for a name that is ours needs no probe.
func TestUpdateIsAnnouncedWithoutProbing(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, TXT: dnssd.TXT{"n=0"}, Subtypes: []string{"_a"}}
		s := r.publish(r.publisher(), a)
		time.Sleep(5 * time.Second)
		r.sent()
		a.TXT, a.Port, a.Subtypes = dnssd.TXT{"n=1"}, 81, []string{"_b"}
		if err := s.Update(a); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		all := r.sent()
		if probes := only(all, func(x record) bool { return x.probe }); len(probes) > 0 {
			t.Errorf("probes:\n%s", texts(probes))
		}
		got := distinct(all)
		for _, want := range []string{
			`Web._http._tcp.local TXT 4500 "n=1"`, "Web._http._tcp.local SRV 120 0 0 81 dut.local",
			"_b._sub._http._tcp.local PTR 4500 Web._http._tcp.local", "_a._sub._http._tcp.local PTR 0 Web._http._tcp.local",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
		// Many changes: few packets, and the last one wins.
		for i := range 100 {
			a.TXT = dnssd.TXT{fmt.Sprintf("n=%d", i+2)}
			if err := s.Update(a); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		told := only(r.sent(), func(x record) bool { return x.rr.Type == dnswire.TypeTXT && x.family == mdns.IPv4 })
		changes := map[string]bool{}
		for _, x := range told {
			changes[x.rr.Data] = true
		}
		if len(changes) > 10 {
			t.Errorf("%d changes were announced within 10 s, want at most 10", len(changes))
		}
		time.Sleep(time.Minute)
		if got := distinct(r.ask("Web._http._tcp.local", dnswire.TypeTXT)); !slices.Contains(got, `Web._http._tcp.local TXT 4500 "n=101"`) {
			t.Errorf("in the end it is\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestUpdateKeepsNameTypeAndHost(t *testing.T) {
	inBubble(t, func(r *rig) {
		a := dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80}
		s := r.publish(r.publisher(), a)
		for _, c := range []struct {
			change func(*dnssd.Announcement)
			want   string
		}{
			{func(a *dnssd.Announcement) { a.Name = "Other" }, "dnssd: an update keeps name and type"},
			{func(a *dnssd.Announcement) { a.Type = "_ipp._tcp" }, "dnssd: an update keeps name and type"},
			{func(a *dnssd.Announcement) { a.Host.Name = "laser" }, "dnssd: an update keeps the host"},
			{func(a *dnssd.Announcement) { a.Host.Name = "dut.local" }, ""},
			{func(a *dnssd.Announcement) { a.TXT = dnssd.TXT{"="} }, `dnssd: TXT string 1 has no key before its "="`},
		} {
			b := a
			c.change(&b)
			if err := s.Update(b); c.want == "" && err != nil || c.want != "" && fmt.Sprint(err) != c.want {
				t.Errorf("%+v: %v, want %q", b, err, c.want)
			}
		}
		s.Withdraw()
		if err := s.Update(a); fmt.Sprint(err) != "dnssd: update of a service that was withdrawn" {
			t.Errorf("after Withdraw: %v", err)
		}
	})
}

// Row 35: nobody else speaks for a proxied host, so its name isn't probed.
func TestProxiedHostIsPublishedWithoutProbing(t *testing.T) {
	inBubble(t, func(r *rig) {
		n := r.neighbour()
		p := r.publisher()
		laser := dnssd.Host{Name: "laser", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.50"), netip.MustParseAddr("fe80::50")}}
		s := r.publish(p, dnssd.Announcement{Name: "Laser", Type: "_http._tcp", Port: 631, Host: laser})
		all := r.sent()
		if probes := only(all, func(x record) bool { return x.probe && x.rr.Type != dnswire.TypeSRV && x.rr.Type != dnswire.TypeTXT }); len(probes) > 0 {
			t.Errorf("probes:\n%s", texts(probes))
		}
		same(t, "found", picture(n.once(resolveHTTP)), []string{`Laser._http._tcp.local laser.local:631 [10.0.0.50 fe80::50] [] on eth0`})
		names, err := dnssd.LookupAddr(r.t.Context(), n.source, netip.MustParseAddr("10.0.0.50"))
		if err != nil || len(names) != 1 || names[0].Host != "laser.local" {
			t.Errorf("the name behind the address: %+v, %v", names, err)
		}
		if got := only(all, func(x record) bool { return strings.HasPrefix(x.rr.Name.String(), "dut.") }); len(got) > 0 {
			t.Errorf("this machine's name is published, too:\n%s", texts(got))
		}
		// A second service with one more address.
		laser.Addresses = append(laser.Addresses, netip.MustParseAddr("10.0.0.51"))
		more := r.publish(p, dnssd.Announcement{Name: "Scanner", Type: "_scanner._tcp", Port: 1, Host: laser})
		time.Sleep(2 * time.Second) // what was multicast a moment ago isn't yet again
		got, err := dnssd.LookupHost(r.t.Context(), n.source, "laser.local")
		if err != nil || len(got) != 3 {
			t.Errorf("addresses %+v, %v; want 3", got, err)
		}
		time.Sleep(2 * time.Second)
		more.Withdraw()
		time.Sleep(4 * time.Second)
		if got, err := dnssd.LookupHost(r.t.Context(), n.source, "laser.local"); err != nil || len(got) != 2 {
			t.Errorf("addresses %+v, %v; want 2", got, err)
		}
		s.Withdraw()
		if _, err := p.Publish(dnssd.Announcement{Name: "x", Type: "_x._udp", Host: dnssd.Host{Name: "dut", Addresses: laser.Addresses}}); fmt.Sprint(err) != "dnssd: host dut.local is this machine: its addresses are those of its links" {
			t.Errorf("this machine's own name: %v", err)
		}
	})
}

// A service that leads to a machine that publishes itself.
func TestServiceOfAHostThatPublishesItself(t *testing.T) {
	inBubble(t, func(r *rig) {
		n := r.neighbour()
		r.respond(r.wire, "nas", "10.0.0.9/16", false, addr("nas.local", "10.0.0.9"))
		r.publish(r.publisher(), dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, Host: dnssd.Host{Name: "nas"}})
		same(t, "found", picture(n.once(resolveHTTP)), []string{`Web._http._tcp.local nas.local:80 [10.0.0.9] [] on eth0`})
	})
}

func TestServicesOfOneNameGetDifferentOnes(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.publisher()
		var got []string
		r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80}).Withdraw() // and the name is free again
		for range 3 {
			s := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80})
			now, _ := s.Standing()
			got = append(got, now.Instance.Name)
		}
		other := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_ipp._tcp", Port: 80})
		now, _ := other.Standing()
		same(t, "names", append(got, now.Instance.Name), []string{"Web", "Web (2)", "Web (3)", "Web"})
	})
}

// Rows 57 and 85: each link hears the addresses that hold there, and only what
// is meant for it.
func TestServiceOnChosenLinks(t *testing.T) {
	inBubble(t, func(r *rig) {
		second := r.net.Wire("second")
		r.host.Attach(second, "eth1", "192.168.7.1/24")
		heard := second.Capture()
		p := r.publisher()
		s := r.publish(p, dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80, Links: []string{"eth0"}})
		time.Sleep(5 * time.Second)
		if got := heard.Take(); len(got) > 0 {
			t.Errorf("%d packets on the other link", len(got))
		}
		if now, _ := s.Standing(); fmt.Sprint(now.Announced) != "[eth0 IPv4 eth0 IPv6]" || fmt.Sprint(now.Interfaces()) != "[eth0]" {
			t.Errorf("announced in %v", now.Announced)
		}
		r.publish(p, dnssd.Announcement{Name: "Mail", Type: "_imap._tcp", Port: 143, Links: []string{"eth1"}})
		time.Sleep(5 * time.Second)
		for _, x := range heard.Take() {
			for _, bad := range []string{"\x0a\x00\x00\x01", "\x03Web"} {
				if strings.Contains(string(x.Data), bad) {
					t.Errorf("%q on the other link", bad)
				}
			}
		}
		// The link of one goes and comes back.
		r.nic.SetCarrier(false)
		time.Sleep(2 * time.Second)
		if now, _ := s.Standing(); len(now.Announced)+len(now.Probing) > 0 {
			t.Errorf("without its link: %+v", now)
		}
		r.nic.SetCarrier(true)
		if now := r.established(s); fmt.Sprint(now.Interfaces()) != "[eth0]" {
			t.Errorf("announced on %v", now.Interfaces())
		}
	})
}

func TestManyServicesAreAnnouncedSoon(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.publisher()
		var all []*dnssd.Published
		for i := range 500 {
			s, err := p.Publish(dnssd.Announcement{Name: fmt.Sprintf("Web %d", i), Type: "_http._tcp", Port: 80})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
		for _, s := range all {
			r.established(s)
		}
		if d := time.Since(r.start); d > 10*time.Second {
			t.Errorf("500 services took %v", d)
		}
	})
}

func TestPublishOnAnEngineThatEnded(t *testing.T) {
	inBubble(t, func(r *rig) {
		host := r.net.Host("short")
		host.Attach(r.wire, "eth0", "10.0.0.40/16")
		e := r.newEngine(host)
		ctx, cancel := context.WithCancel(r.t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		p := &dnssd.Publisher{Engine: e}
		s, err := p.Publish(dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		if now := r.established(s); now.Host != "lanfolk.local" {
			t.Errorf("a host without a name is %s", now.Host)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if _, err := s.Established(r.t.Context()); !errors.Is(err, mdns.ErrStopped) {
			t.Errorf("on an engine that ended: %v, want %v", err, mdns.ErrStopped)
		}
		late, err := p.Publish(dnssd.Announcement{Name: "Late", Type: "_http._tcp", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		late.Withdraw()
		<-late.Done()
		if _, err := (&dnssd.Publisher{}).Publish(dnssd.Announcement{}); fmt.Sprint(err) != "dnssd: Publisher without Engine" {
			t.Errorf("no engine: %v", err)
		}
		synctest.Wait()
	})
}

// memory is a Keeper.
type memory struct {
	mu    sync.Mutex
	names map[string]string
}

func (m *memory) Kept(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names[name]
}

func (m *memory) Keep(name, label string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names == nil {
		m.names = map[string]string{}
	}
	m.names[name] = label
}

var _ dnssd.Keeper = (*memory)(nil)

// Another program of the machine takes what differs from what it says itself for
// another host's.
func TestMachineIsPublishedAsOtherProgramsHerePublishIt(t *testing.T) {
	const all = "10.0.0.1 PTR PTR PTR fd00::1 fe80::1"
	for _, c := range []struct {
		prefixes []string
		alone    bool
		want     string
	}{
		{[]string{"10.0.0.1/16", "fe80::1/64", "fd00::1/64"}, true, all},
		{[]string{"10.0.0.1/16", "fe80::1/64", "fd00::1/64"}, false, "10.0.0.1 fd00::1"},
		{[]string{"10.0.0.1/16", "fe80::1/64"}, false, "10.0.0.1 fe80::1"},
	} {
		inBubble(t, func(r *rig) {
			r.nic.SetAddresses(c.prefixes...)
			e := r.engine
			e.AskUnicast = func(packet.Link) bool { return c.alone }
			p := &dnssd.Publisher{Engine: e, Host: "machine"}
			if _, err := p.Publish(dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			var got []string
			seen := map[string]bool{}
			for _, s := range r.capture.Packets() {
				m, err := dnswire.Parse(s.Data)
				if err != nil || !m.Response || !s.Src.Addr().Is4() {
					continue
				}
				for rec := range m.Records() {
					x := rec.RR()
					text := x.DataString()
					switch {
					case x.Type == dnswire.TypePTR && strings.HasSuffix(x.Name.String(), ".arpa"):
						text = "PTR"
					case x.Type != dnswire.TypeA && x.Type != dnswire.TypeAAAA:
						continue
					}
					if key := x.Name.String() + text; !seen[key] {
						seen[key] = true
						got = append(got, text)
					}
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%v, alone %v: %q, want %q", c.prefixes, c.alone, text, c.want)
			}
		})
	}
}
