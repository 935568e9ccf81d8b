package dnssd_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
)

var resolveHTTP = dnssd.Browser{Type: "_http._tcp", Resolve: true}

func TestBrowseTellsNamesOnly(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web(`Build v1\.2 Room\.3 🖨`, "nas.local", 80, "10.0.0.9")...)
		same(t, "events", r.once(dnssd.Browser{Type: "_http._tcp"}),
			[]string{`add Build v1\.2 Room\.3 🖨._http._tcp.local unresolved on eth0`, "settled"})
	})
}

func TestBrowseResolves(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9")...)
		same(t, "events", r.once(resolveHTTP),
			[]string{`add NAS._http._tcp.local nas.local:80 [10.0.0.9 fe80::9] ["path=/" "ro"] on eth0`, "settled"})
		same(t, "questions", x.questions(), []string{"_http._tcp.local PTR"})
		if d := time.Since(r.start); d > 900*time.Millisecond {
			t.Errorf("settled after %v, want less than 0.9 s", d)
		}
	})
}

func TestResolvesWhenNoAdditionalsCome(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false, web("NAS", "nas.local", 80, "10.0.0.9")...)
		same(t, "events", r.once(resolveHTTP),
			[]string{`add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`, "settled"})
		asked := x.questions()
		slices.Sort(asked)
		asked = slices.Compact(asked)
		same(t, "questions", asked, []string{
			"NAS._http._tcp.local SRV", "NAS._http._tcp.local TXT", "_http._tcp.local PTR", "nas.local A", "nas.local AAAA",
		})
		packets := 0
		for _, p := range r.capture.Take() {
			if p.Host == "dut" && p.Dst.Addr().Is4() && p.Time.Sub(r.start) < time.Second/2 {
				packets++
			}
		}
		if packets != 3 {
			t.Errorf("%d packets ask for PTR, for SRV and TXT, for A and AAAA; want 3", packets)
		}
	})
}

func TestRecordsInAnyOrderMerge(t *testing.T) {
	records := web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9")
	for seed := range uint64(50) {
		inBubble(t, func(r *rig) {
			x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
			random := rand.New(rand.NewPCG(seed, seed))
			go func() {
				time.Sleep(200 * time.Millisecond)
				for _, i := range random.Perm(len(records)) {
					x.send(records[i:i+1], nil)
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				}
			}()
			got := r.once(resolveHTTP)
			want := `NAS._http._tcp.local nas.local:80 [10.0.0.9 fe80::9] ["path=/" "ro"] on eth0`
			last := ""
			if len(got) > 1 {
				last = got[len(got)-2]
			}
			if !strings.HasSuffix(last, want) || !strings.HasPrefix(got[0], "add") || got[len(got)-1] != "settled" {
				t.Errorf("seed %d: events %q, want them to end in %q", seed, got, want)
			}
		})
	}
}

func TestIPv4AndIPv6MergeToOneService(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9")
		four := r.respond(r.wire, "nas4", "10.0.0.9/16", true, records...)
		six := r.respond(r.wire, "nas6", "fe80::9/64", true, records...)
		go func() {
			time.Sleep(3 * time.Second)
			four.goodbye() // still there by IPv6
			time.Sleep(3 * time.Second)
			six.goodbye()
		}()
		got := r.during(resolveHTTP, 10*time.Second)
		if len(got) != 2 || !strings.Contains(got[0], " add NAS.") || !strings.HasPrefix(got[1], "70") || !strings.Contains(got[1], " remove NAS.") {
			t.Errorf("events %q, want one add, and one remove a second after the second goodbye", got)
		}
	})
}

func TestSameInstanceOnTwoLinksIsTwoServices(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "192.168.7.1/24")
		r.respond(r.wire, "a", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		r.respond(other, "b", "192.168.7.9/24", true, web("NAS", "nas.local", 8080, "192.168.7.9")...)
		got := r.once(resolveHTTP)
		slices.Sort(got)
		same(t, "events", got, []string{
			`add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`,
			`add NAS._http._tcp.local nas.local:8080 [192.168.7.9] ["path=/" "ro"] on eth1`,
			"settled",
		})
		b := resolveHTTP
		b.Link = r.nic.Link().Index
		if got := r.once(b); len(got) != 2 || !strings.HasSuffix(got[0], "on eth0") {
			t.Errorf("on eth0 alone %q, want one service", got)
		}
	})
}

func TestGoodbyeRemovesTheService(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		go func() { time.Sleep(5 * time.Second); x.goodbye() }()
		got := r.during(resolveHTTP, time.Minute)
		if len(got) != 2 || got[1] != `6000 remove NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0` {
			t.Errorf("events %q, want an add, and a remove after 6 s", got)
		}
	})
}

func TestKilledHostBecomesUnreachableWhenItsRecordsRunOut(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		go func() { time.Sleep(5 * time.Second); x.kill() }()
		got := r.during(resolveHTTP, 2*time.Hour)
		if len(got) != 3 {
			t.Fatalf("events %q, want add, update, remove", got)
		}
		if want := `update NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] unresolved on eth0`; !strings.HasSuffix(got[1], want) || !strings.HasPrefix(got[1], "12") {
			t.Errorf("%q, want %q after 120 s", got[1], want)
		}
		if !strings.Contains(got[2], " remove NAS.") || !strings.HasPrefix(got[2], "450") {
			t.Errorf("%q, want the service removed after its PTR record's 4500 s", got[2])
		}
	})
}

func TestRunningHostStaysThereForADay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		if got := r.during(resolveHTTP, 24*time.Hour); len(got) != 1 {
			t.Errorf("events %q, want just the add", got)
		}
	})
}

func TestRefreshesTellThatAServiceHoldsLonger(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		b := resolveHTTP
		b.Source, b.Refreshes = r.source, true
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
		defer cancel()
		var expires time.Time
		updates := 0
		for ev, err := range b.Events(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Op == dnssd.Settled {
				continue
			}
			if !expires.IsZero() && !time.Now().Before(expires) {
				t.Fatalf("%v: the service outlived the expiry that was told, %v", time.Since(r.start), expires.Sub(r.start))
			}
			if updates++; !ev.Resolved {
				t.Fatalf("event %+v, want it resolved", ev)
			}
			expires = ev.Expires
		}
		if updates < 20 {
			t.Errorf("%d events in an hour, want one for each refresh", updates)
		}
	})
}

func TestChangedTextIsAnUpdate(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		go func() {
			time.Sleep(5 * time.Second)
			x.send([]dnswire.RR{txt("NAS._http._tcp.local", "path=/new")}, nil)
		}()
		got := r.during(resolveHTTP, 20*time.Second)
		if len(got) != 2 || got[1] != `5000 update NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/new"] on eth0` {
			t.Errorf("events %q, want an add, and an update after 5 s", got)
		}
	})
}

func TestServiceThatMovesToAnotherHost(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		go func() {
			time.Sleep(5 * time.Second)
			moved := web("NAS", "nas-2.local", 81, "10.0.0.10")
			x.become(moved)
			x.send(moved[1:], nil)
		}()
		got := r.during(resolveHTTP, 20*time.Second)
		if len(got) != 2 || got[1] != `5000 update NAS._http._tcp.local nas-2.local:81 [10.0.0.10] ["path=/" "ro"] on eth0` {
			t.Errorf("events %q, want an add, and an update after 5 s", got)
		}
	})
}

func TestPartOfAServiceIsToldAfterTwoSeconds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "a", "10.0.0.9/16", true, ptr("_http._tcp.local", "Ghost._http._tcp.local"))
		r.respond(r.wire, "b", "10.0.0.8/16", true, web("Homeless", "home.local", 80)...)
		r.respond(r.wire, "c", "10.0.0.7/16", true, web("Fine", "fine.local", 80, "10.0.0.7")...)
		got := r.once(resolveHTTP)
		if len(got) != 4 {
			t.Fatalf("events %q, want four", got)
		}
		slices.Sort(got[1:3])
		same(t, "events", got, []string{
			`add Fine._http._tcp.local fine.local:80 [10.0.0.7] ["path=/" "ro"] on eth0`,
			`add Ghost._http._tcp.local unresolved on eth0`,
			`add Homeless._http._tcp.local home.local:80 [] ["path=/" "ro"] unresolved on eth0`,
			"settled",
		})
		if d := time.Since(r.start); d > 3*time.Second {
			t.Errorf("settled after %v, want at most 3 s", d)
		}
	})
}

func TestServiceWithoutTXTIsToldAfterASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("NAS", "nas.local", 80, "10.0.0.9")
		r.respond(r.wire, "nas", "10.0.0.9/16", true, slices.Delete(records, 2, 3)...)
		same(t, "events", r.once(resolveHTTP), []string{`add NAS._http._tcp.local nas.local:80 [10.0.0.9] [] on eth0`, "settled"})
		if d := time.Since(r.start); d > 2*time.Second {
			t.Errorf("settled after %v, want at most 2 s", d)
		}
	})
}

func TestSettledWithNobodyThereWaitsForTheSecondQuery(t *testing.T) {
	inBubble(t, func(r *rig) {
		same(t, "events", r.once(resolveHTTP), []string{"settled"})
		if d := time.Since(r.start); d < 1500*time.Millisecond || d > 1700*time.Millisecond {
			t.Errorf("settled after %v, want 1.5 to 1.7 s", d)
		}
	})
}

// While another program shares the port no unicast answers are asked for. A host
// that has just answered somebody else then says nothing to the first query
// (RFC 6762 §6): the first look lasts until the second.
func TestSettledWaitsForTheSecondQueryWhereThePortIsShared(t *testing.T) {
	inBubble(t, func(r *rig) {
		host := r.net.Host("shared")
		host.Attach(r.wire, "eth0", "10.0.0.2/16")
		engine := r.newEngine(host)
		engine.AskUnicast = nil
		r.run(engine)
		r.source = dnssd.Multicast(engine)
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		silent := r.respond(r.wire, "tv", "10.0.0.8/16", true, web("TV", "tv.local", 80, "10.0.0.8")...)
		silent.mute = true
		speaks := make(chan struct{})
		defer func() { <-speaks }()
		go func() {
			defer close(speaks)
			time.Sleep(800 * time.Millisecond)
			silent.mu.Lock()
			defer silent.mu.Unlock()
			silent.mute = false
		}()
		same(t, "events", r.once(resolveHTTP), []string{
			`add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`,
			`add TV._http._tcp.local tv.local:80 [10.0.0.8] ["path=/" "ro"] on eth0`, "settled",
		})
	})
}

func TestSettledWithoutALink(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetUp(false)
		same(t, "events", r.once(resolveHTTP), []string{"settled"})
		if d := time.Since(r.start); d != 4*time.Second {
			t.Errorf("settled after %v, want 4 s", d)
		}
	})
}

func TestSettledAtOnceFromTheCache(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		ctx, cancel := context.WithCancel(r.t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := resolveHTTP
			b.Source = r.source
			for range b.Events(ctx) { // keeps the question asked
			}
		}()
		time.Sleep(20 * time.Second)
		start := time.Now()
		if got := r.once(resolveHTTP); len(got) != 2 {
			t.Errorf("events %q, want the service and the end", got)
		}
		if d := time.Since(start); d > 600*time.Millisecond {
			t.Errorf("settled after %v beside a browser that runs, want at most 0.6 s", d)
		}
		cancel()
		<-done
	})
}

func TestFindsTwoHundredHosts(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.wire.SetConditions(lantest.Conditions{Latency: time.Millisecond, Jitter: 100 * time.Millisecond, Reorder: 0.1})
		for i := range 200 {
			h := fmt.Sprintf("host%03d", i)
			r.respond(r.wire, h, fmt.Sprintf("10.0.1.%d/16", i), i%2 == 0, web(h, h+".local", 80, fmt.Sprintf("10.0.1.%d", i))...)
		}
		got := r.once(resolveHTTP)
		full := 0
		for _, s := range got {
			if strings.HasPrefix(s, "add") && !strings.Contains(s, "unresolved") {
				full++
			}
		}
		if full != 200 {
			t.Errorf("%d of 200 found", full)
		}
	})
}

func TestFindsTwoHundredServicesOfOneHost(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			var all []dnswire.RR
			for i := range 200 {
				all = append(all, web(fmt.Sprintf("Service v1\\.%d", i), "nas.local", uint16(8000+i), "10.0.0.9")...)
			}
			// Pointers first, addresses last, as avahi spreads them.
			slices.SortStableFunc(all, func(a, b dnswire.RR) int {
				return slices.Index(order, a.Type) - slices.Index(order, b.Type)
			})
			for part := range slices.Chunk(all, 12) {
				x.send(part, nil)
				time.Sleep(time.Millisecond)
			}
		}()
		got := r.once(resolveHTTP)
		if len(got) != 201 || strings.Contains(strings.Join(got, " "), "unresolved") {
			t.Errorf("%d events, want 200 services, all resolved, and the end", len(got))
		}
		queries := 0
		for _, p := range r.capture.Take() {
			if p.Host == "dut" {
				queries++
			}
		}
		if queries > 12 {
			t.Errorf("%d queries for what comes by itself, want at most 12", queries)
		}
	})
}

var order = []dnswire.Type{dnswire.TypePTR, dnswire.TypeTXT, dnswire.TypeSRV, dnswire.TypeA}

func TestBrowseSubtype(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := append(web("NAS", "nas.local", 80, "10.0.0.9"), ptr(`_I\.2._sub._http._tcp.local`, "NAS._http._tcp.local"))
		r.respond(r.wire, "nas", "10.0.0.9/16", true, records...)
		r.respond(r.wire, "ups", "10.0.0.8/16", true, web("UPS", "ups.local", 80, "10.0.0.8")...)
		b := resolveHTTP
		b.Subtype = "_I.2"
		same(t, "events", r.once(b), []string{`add NAS._http._tcp.local [_I.2] nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`, "settled"})
	})
}

func types() []dnswire.RR {
	return []dnswire.RR{
		ptr("_services._dns-sd._udp.local", "_http._tcp.local"),
		ptr("_services._dns-sd._udp.local", "_over-long-service-type._tcp.local"),
		ptr("_services._dns-sd._udp.local", "nonsense.local"),
	}
}

func TestBrowseTypes(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", false, types()...)
		got := r.once(dnssd.Browser{})
		slices.Sort(got)
		same(t, "events", got, []string{
			"add _http._tcp.local unresolved on eth0", "add _over-long-service-type._tcp.local unresolved on eth0", "settled",
		})
	})
}

func TestBrowseAllServicesOfAllTypes(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := append(web("NAS", "nas.local", 80, "10.0.0.9"), types()...)
		r.respond(r.wire, "nas", "10.0.0.9/16", false, records...)
		got := r.once(dnssd.Browser{All: true, Resolve: true})
		slices.Sort(got)
		same(t, "events", got, []string{
			`add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`,
			"add _http._tcp.local unresolved on eth0", "add _over-long-service-type._tcp.local unresolved on eth0", "settled",
		})
	})
}

func TestLeavingTheLoopEndsTheSearch(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "nas", "10.0.0.9/16", true, web("NAS", "nas.local", 80, "10.0.0.9")...)
		b := resolveHTTP
		b.Source = r.source
		for ev, err := range b.Events(r.t.Context()) {
			if err != nil || ev.Op != dnssd.Add {
				t.Fatal(ev, err)
			}
			break
		}
		r.capture.Take()
		time.Sleep(time.Hour)
		if n := len(r.capture.Take()); n != 0 {
			t.Errorf("%d packets after the loop was left, want none", n)
		}
		for _, z := range r.engine.Stats().Zones {
			if z.Asking != 0 {
				t.Errorf("%d questions left in %v", z.Asking, z.Zone)
			}
		}
	})
}

func TestBadTypeIsAnError(t *testing.T) {
	for typ, want := range map[string]string{
		"http":        `dnssd: "http" is no service type: want a form like _http._tcp`,
		"_http":       `dnssd: "_http" is no service type: want a form like _http._tcp`,
		"_http..":     `dnssd: type "_http.." in domain "local": dnswire: name "_http.." has an empty label`,
		"_http._tcp.": "",
	} {
		inBubble(t, func(r *rig) {
			b := dnssd.Browser{Source: r.source, Type: typ, Once: true}
			_, err := lines(b.Events(r.t.Context()))
			if got := fmt.Sprint(err); want != "" && got != want || want == "" && err != nil {
				t.Errorf("type %q: error %q, want %q", typ, got, want)
			}
		})
	}
}

func TestFloodOfServicesIsBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "evil", "10.0.0.66/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			var flood []dnswire.RR
			for i := range 1300 {
				flood = append(flood, ptr("_services._dns-sd._udp.local", fmt.Sprintf("_t%d._tcp.local", i)))
			}
			for part := range slices.Chunk(flood, 40) {
				x.send(part, nil)
				time.Sleep(time.Millisecond)
			}
		}()
		over := 0
		got := r.once(dnssd.Browser{Overflow: func() { over++ }})
		if len(got) != dnssd.MaxTypes+1 || over < 1300-dnssd.MaxTypes {
			t.Errorf("%d events, %d over the bound; want %d types and the end", len(got), over, dnssd.MaxTypes)
		}
	})
}

func TestSettledWaitsForWhatIsBeingResolved(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("NAS", "nas.local", 80, "10.0.0.9")
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false, records[0])
		go func() { time.Sleep(1600 * time.Millisecond); x.send(records[1:], nil) }()
		same(t, "events", r.once(resolveHTTP), []string{`add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`, "settled"})
	})
}

func TestAddressesOfTheOtherFamilyAreAskedForAFewTimesOnly(t *testing.T) {
	inBubble(t, func(r *rig) {
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false, web("NAS", "nas.local", 80, "10.0.0.9")...)
		r.during(resolveHTTP, time.Hour)
		n := 0
		for _, q := range x.questions() {
			if q == "nas.local AAAA" {
				n++
			}
		}
		if n < 2 || n > 3 {
			t.Errorf("AAAA asked %d times in an hour, want 2 or 3", n)
		}
	})
}

func TestAddressesInPacketsOfTheirOwnComeWithTheAdd(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9")
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			x.send(records[:1], records[1:3])
			time.Sleep(20 * time.Millisecond)
			x.send(records[:1], records[3:4])
			time.Sleep(80 * time.Millisecond)
			x.send(records[:1], records[4:])
		}()
		same(t, "events", r.during(resolveHTTP, 5*time.Second), []string{
			`300 add NAS._http._tcp.local nas.local:80 [10.0.0.9 fe80::9] ["path=/" "ro"] on eth0`,
		})
	})
}

func TestFullAnswerIsToldAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9")
		x := r.respond(r.wire, "nas", "10.0.0.9/16", false)
		go func() {
			time.Sleep(200 * time.Millisecond)
			x.send(records[:1], records[1:4])
			time.Sleep(100 * time.Millisecond)
			x.send(records[:1], records[4:]) // more addresses, against the rule
		}()
		same(t, "events", r.during(resolveHTTP, 5*time.Second), []string{
			`200 add NAS._http._tcp.local nas.local:80 [10.0.0.9] ["path=/" "ro"] on eth0`,
			`300 update NAS._http._tcp.local nas.local:80 [10.0.0.9 fe80::9] ["path=/" "ro"] on eth0`,
		})
	})
}
