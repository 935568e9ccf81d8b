package mdns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

func TestOneSocketForEachLinkAndFamily(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64", "10.0.1.1/24")
		r.host.Attach(r.net.Wire("other"), "eth1", "192.168.7.1/24")
		r.host.Attach(r.net.Wire("none"), "eth2") // no address: nothing to do there
		r.run()
		var got []string
		for _, z := range r.engine.Stats().Zones {
			got = append(got, fmt.Sprint(z.Zone, " ", z.Open))
		}
		want := []string{"eth0 IPv4 true", "eth0 IPv6 true", "eth1 IPv4 true"} // and not lo
		if !slices.Equal(got, want) {
			t.Errorf("zones %q, want %q", got, want)
		}
	})
}

func TestOneFamilyAlone(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		r.engine.Family = mdns.IPv6
		r.run()
		if z := r.engine.Stats().Zones; len(z) != 1 || z[0].Zone.Family != mdns.IPv6 {
			t.Errorf("zones %v, want just eth0 IPv6", z)
		}
	})
}

func TestQueriesGoOutOnEveryLinkAndFamily(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "192.168.7.1/24")
		there := other.Capture()
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.subscribe(mdns.Question{Name: name("_ipp._tcp.local"), Type: dnswire.TypePTR, Link: r.nic.Link().Index, Family: mdns.IPv6})
		time.Sleep(time.Second / 2)
		var got []string
		for _, s := range r.queries() {
			got = append(got, fmt.Sprint(s.dst.Addr(), " ", s.questions()))
		}
		slices.Sort(got)
		want := []string{"224.0.0.251 [_http._tcp.local PTR]", "ff02::fb [_http._tcp.local PTR _ipp._tcp.local PTR]"}
		if !slices.Equal(got, want) {
			t.Errorf("on eth0 %q, want %q", got, want)
		}
		if n := len(there.Packets()); n != 1 {
			t.Errorf("%d packets on eth1, want 1", n)
		}
	})
}

func TestSameNameOnTwoLinksIsTwoHostsAndFlushActsOnOne(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "192.168.7.1/24")
		r.run()
		s := r.engine.Subscribe(mdns.SubscribeOptions{}, q("nas.local", dnswire.TypeA))
		defer s.Close()
		send := func(w string, dst netip.AddrPort, a string) {
			r.net.Wire(w).Inject(packet.Datagram{Src: netip.AddrPortFrom(dst.Addr().Prev(), 5353), Dst: dst, Data: response(addr("nas.local", a, 120))})
			synctest.Wait()
		}
		send("lan", group4, "10.0.0.8")
		send("lan", group6, "10.0.0.8")
		send("other", group4, "192.168.7.8")
		time.Sleep(5 * time.Second)
		send("lan", group4, "10.0.0.9") // flushes .8 in this zone alone
		time.Sleep(5 * time.Second)
		got := []string{}
		for _, ev := range (recorder{r, s}).events() {
			if ev.Op != mdns.OpAsked {
				got = append(got, fmt.Sprint(ev.Op, " ", ev.RR.DataString(), " ", ev.Zone))
			}
		}
		want := []string{
			"add 10.0.0.8 eth0 IPv4", "add 10.0.0.8 eth0 IPv6", "add 192.168.7.8 eth1 IPv4",
			"add 10.0.0.9 eth0 IPv4", "remove 10.0.0.8 eth0 IPv4",
		}
		if !slices.Equal(got, want) {
			t.Errorf("events\n got %q\nwant %q", got, want)
		}
	})
}

func TestLinkThatLosesItsCarrierIsForgottenSoon(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500), ptr("_http._tcp.local", "b._http._tcp.local", 4500))
		time.Sleep(10 * time.Second)
		r.queries()
		s.all()

		// Down for 2 s: what answers when it is up again was never away.
		r.nic.SetCarrier(false)
		time.Sleep(2 * time.Second)
		r.nic.SetCarrier(true)
		synctest.Wait()
		up := time.Since(r.start)
		time.Sleep(time.Second)
		got := r.queries()
		if len(got) != 1 || got[0].at < up+20*time.Millisecond || got[0].at > up+120*time.Millisecond {
			t.Errorf("queries %v, want one 20 to 120 ms after the link came up", got)
		}
		if len(got) == 1 && len(got[0].known()) != 0 {
			t.Error("the query lists answers from before as known")
		}
		r.respond(ptr("_http._tcp.local", "a._http._tcp.local", 4500))
		time.Sleep(10 * time.Second)
		s.want("15s remove b._http._tcp.local")

		// Down for 30 s: nothing is left, nothing is asked.
		r.nic.SetUp(false)
		synctest.Wait()
		r.queries()
		s.all()
		time.Sleep(30 * time.Second)
		left := s.events()
		if len(left) != 1 || left[0].Op != mdns.OpRemove || left[0].RR.DataString() != "a._http._tcp.local" || left[0].Time.Sub(r.start) != 28*time.Second {
			t.Errorf("events %v, want just the removal after 28 s", left)
		}
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries while the link was down", n)
		}
		if z := r.engine.Stats().Zones; len(z) != 0 {
			t.Errorf("zones %v, want none", z)
		}
		r.nic.SetUp(true)
		time.Sleep(200 * time.Millisecond)
		if n := len(r.queries()); n != 1 {
			t.Errorf("%d queries when the link came back, want 1", n)
		}
	})
}

func TestLinksComeAndGo(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.subscribe(q("nas.local", dnswire.TypeA))
		for i := range 50 {
			w := r.net.Wire(fmt.Sprint("wire", i))
			nic := r.host.Attach(w, fmt.Sprint("veth", i), "172.16.0.1/24")
			seen := w.Capture()
			time.Sleep(200 * time.Millisecond)
			if n := len(seen.Packets()); n != 1 {
				t.Fatalf("%d queries on a new link, want 1", n)
			}
			w.Inject(packet.Datagram{Src: netip.MustParseAddrPort("172.16.0.2:5353"), Dst: group4, Data: response(addr("nas.local", "172.16.0.2", 120))})
			synctest.Wait()
			nic.Remove()
			time.Sleep(6 * time.Second)
			if got := s.all(); len(got) != 2 {
				t.Fatalf("events %q, want the record to come and go with its link", got)
			}
		}
		if z := r.engine.Stats().Zones; len(z) != 1 || z[0].Zone.Interface != "eth0" {
			t.Errorf("zones %v, want just eth0", z)
		}
	})
}

func TestNewAddressMakesTheEngineAskAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(40 * time.Second)
		r.queries()
		r.nic.SetAddresses("10.0.0.1/24", "10.5.0.1/24")
		time.Sleep(200 * time.Millisecond)
		if n := len(r.queries()); n != 1 {
			t.Errorf("%d queries after the link got an address, want 1", n)
		}
	})
}

func TestLinkThatCanNotBeOpenedIsTriedAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.host.Attach(r.net.Wire("bad"), "bad0", "10.1.0.1/24")
		listen, tries := r.engine.Listen, []time.Duration{}
		r.engine.Listen = func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			if l.Name != "bad0" {
				return listen(l, g)
			}
			if tries = append(tries, time.Since(r.start)); len(tries) < 4 {
				return nil, errors.New("operation not permitted")
			}
			return listen(l, g)
		}
		r.start = time.Now()
		r.run()
		if z := r.engine.Stats().Zones; len(z) != 2 || z[1].Open || z[1].Error != "operation not permitted" || !z[0].Open {
			t.Errorf("zones %+v, want eth0 open and bad0 with its error", z)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(tries) != 4 {
			t.Fatalf("opened at %v, want four times", tries)
		}
		for i, want := range []time.Duration{1, 2, 4} {
			gap := tries[i+1] - tries[i]
			if want *= time.Second; gap < want || gap > want+want/8 {
				t.Errorf("gap %d is %v, want %v and up to an eighth more", i+1, gap, want)
			}
		}
		if z := r.engine.Stats().Zones; !z[1].Open || z[1].Error != "" {
			t.Errorf("zone %+v, want it open", z[1])
		}
	})
}

// brokenConn fails to read once, and to write always.
type brokenConn struct {
	mdns.Conn
	fail chan struct{}
}

func (c brokenConn) ReadBatch(d []packet.Datagram) (int, error) {
	<-c.fail
	return 0, errors.New("network is down")
}

func (c brokenConn) WriteBatch([]packet.Datagram) (int, error) {
	return 0, errors.New("no buffer space")
}

func TestSocketErrorsNeverEndTheEngine(t *testing.T) {
	inBubble(t, func(r *rig) {
		listen, opened := r.engine.Listen, 0
		fail := make(chan struct{})
		r.engine.Listen = func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := listen(l, g)
			if opened++; opened == 1 && err == nil {
				return brokenConn{c, fail}, nil
			}
			return c, err
		}
		r.run()
		r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(2 * time.Second)
		if st := r.engine.Stats(); st.SendErrors != 2 || st.Sent != 0 {
			t.Errorf("%d send errors, %d sent; want 2 and 0", st.SendErrors, st.Sent)
		}
		close(fail)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if opened != 2 || len(r.queries()) == 0 {
			t.Errorf("socket opened %d times, want it opened again and used", opened)
		}
	})
}

func TestSlowSubscriberIsToldToBeginAnew(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.engine.MaxRecords = 40000
		r.engine.MaxRecordsPerSource = 40000
		r.run()
		s := r.subscribe(q("_http._tcp.local", dnswire.TypePTR))
		const n = 35000
		for i := 0; i < n; i += 100 {
			var rrs, bye []dnswire.RR
			for j := range 100 {
				rr := ptr("_http._tcp.local", fmt.Sprintf("%d._http._tcp.local", i+j), 4500)
				rrs = append(rrs, rr)
				rr.TTL = 0
				bye = append(bye, rr)
			}
			r.respond(rrs...)
			time.Sleep(time.Millisecond)
			if i >= 100 {
				r.respond(bye...)
				time.Sleep(1100 * time.Millisecond)
			}
		}
		r.respond(ptr("_http._tcp.local", "last._http._tcp.local", 4500))
		ev := s.events()
		if len(ev) != 1 || ev[0].Op != mdns.OpReset {
			t.Fatalf("%d events, want just a reset", len(ev))
		}
		synctest.Wait()
		left := map[string]bool{}
		for _, ev := range s.events() {
			if ev.Op == mdns.OpAdd {
				left[ev.RR.DataString()] = true
			}
		}
		if len(left) != 101 || !left["last._http._tcp.local"] {
			t.Errorf("%d records after the reset, want the 101 that are there", len(left))
		}
	})
}

type watcher struct {
	heard   []string
	changed []string
}

func (w *watcher) Heard(p *mdns.Packet) {
	w.heard = append(w.heard, fmt.Sprint(p.Zone, " ", p.Src, " ", p.Message.Response))
}

func (w *watcher) Changed(ev mdns.Event) {
	w.changed = append(w.changed, fmt.Sprint(ev.Op, " ", ev.RR.DataString(), " ", ev.Zone, " ", ev.Source))
}

func TestObserverSeesAllWithoutAsking(t *testing.T) {
	inBubble(t, func(r *rig) {
		w := &watcher{}
		r.engine.Observers = []mdns.Observer{w}
		r.run()
		r.inject("10.0.0.7:5353", group4, message(dnswire.Header{}, []mdns.Question{q("x.local", dnswire.TypeA)}))
		r.inject("10.0.0.7:33333", group4, message(dnswire.Header{}, []mdns.Question{q("x.local", dnswire.TypeA)}))
		r.respond(addr("nas.local", "10.0.0.9", 10))
		time.Sleep(5 * time.Second)
		r.respond(addr("nas.local", "10.0.0.9", 10))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		want := []string{
			"eth0 IPv4 10.0.0.7:5353 false", "eth0 IPv4 10.0.0.7:33333 false", "eth0 IPv4 10.0.0.2:5353 true", "eth0 IPv4 10.0.0.2:5353 true",
		}
		if !slices.Equal(w.heard, want) {
			t.Errorf("heard %q, want %q", w.heard, want)
		}
		want = []string{
			"add 10.0.0.9 eth0 IPv4 10.0.0.2", "update 10.0.0.9 eth0 IPv4 10.0.0.2", "remove 10.0.0.9 eth0 IPv4 10.0.0.2",
		}
		if !slices.Equal(w.changed, want) {
			t.Errorf("changed %q, want %q", w.changed, want)
		}
		if n := len(r.queries()); n != 0 {
			t.Errorf("%d queries, want none", n)
		}
	})
}

func TestRefreshesAreToldBeforeTheLastToldExpiry(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		s := r.engine.Subscribe(mdns.SubscribeOptions{Refreshes: true}, q("nas.local", dnswire.TypeA))
		defer s.Close()
		told := time.Time{}
		for range 200 {
			r.respond(addr("nas.local", "10.0.0.9", 100))
			for _, ev := range (recorder{r, s}).events() {
				if ev.Op != mdns.OpAsked {
					told = ev.Expires
				}
			}
			time.Sleep(time.Duration(1+len(r.queries())*37%96) * time.Second)
			if !time.Now().Before(told) {
				t.Fatal("the record outlived the expiry that was told")
			}
		}
	})
}

func TestTriesEndTheSeries(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		ask := q("nas.local", dnswire.TypeAAAA)
		ask.Tries = 3
		s := r.subscribe(ask)
		time.Sleep(time.Minute)
		if n := len(r.queries()); n != 3 {
			t.Errorf("%d queries in a minute, want 3", n)
		}
		ask.Tries = 0
		s.sub.Ask(ask)
		time.Sleep(time.Minute)
		if n := len(r.queries()); n < 4 {
			t.Errorf("%d queries in the minute after the bound was lifted, want more", n)
		}
	})
}

func TestWaitingForAnEndedEngine(t *testing.T) {
	inBubble(t, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		done := make(chan error)
		go func() { done <- r.engine.Run(ctx) }()
		s := r.engine.Subscribe(mdns.SubscribeOptions{}, q("nas.local", dnswire.TypeA))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
		if _, err := s.Next(r.t.Context()); !errors.Is(err, mdns.ErrStopped) {
			t.Errorf("Next: %v, want %v", err, mdns.ErrStopped)
		}
		late := r.engine.Subscribe(mdns.SubscribeOptions{}, q("nas.local", dnswire.TypeA))
		if _, err := late.Next(r.t.Context()); !errors.Is(err, mdns.ErrStopped) {
			t.Errorf("Next: %v, want %v", err, mdns.ErrStopped)
		}
		s.Close()
		if err := r.engine.Run(r.t.Context()); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("second Run: %v, want an error", err)
		}
	})
}

func TestLinksThatCanNotBeWatchedAreAnError(t *testing.T) {
	e := &mdns.Engine{
		Links:  func(context.Context) (<-chan []packet.Link, error) { return nil, errors.New("netlink: no") },
		Listen: func(packet.Link, netip.AddrPort) (mdns.Conn, error) { return nil, nil },
	}
	if err := e.Run(t.Context()); err == nil || err.Error() != "mdns: watch the links: netlink: no" {
		t.Errorf("Run: %v", err)
	}
}

func TestOneShotQuery(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.start = time.Now()
		conn, err := r.host.ListenBroadcast(r.nic.Link(), 0)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(1500 * time.Millisecond)
			got := r.queries()
			if len(got) != 2 || got[0].src.Port() == 5353 || got[0].msg.ID == 0 || got[1].at != time.Second {
				t.Errorf("queries %+v, want two a second apart, not from 5353, with an ID", got)
			}
			rr := addr("nas.local", "10.0.0.9", 10)
			h := dnswire.Header{ID: got[0].msg.ID + 1, Response: true}
			r.inject("10.0.0.2:5353", got[0].src, message(h, nil, addr("nas.local", "10.0.0.66", 10))) // another ID
			h.ID--
			r.inject("10.0.0.2:5399", got[0].src, message(h, nil, addr("nas.local", "10.0.0.67", 10))) // another port
			r.inject("10.0.0.2:5353", got[0].src, message(h, nil, addr("ups.local", "10.0.0.68", 10))) // another name
			r.inject("10.0.0.2:5353", got[0].src, message(h, []mdns.Question{q("nas.local", dnswire.TypeA)}, rr))
		}()
		rrs, err := mdns.OneShot(r.t.Context(), conn, group4, q("nas.local", dnswire.TypeA))
		if err != nil || len(rrs) != 1 || rrs[0].DataString() != "10.0.0.9" {
			t.Errorf("answers %v, %v; want 10.0.0.9", rrs, err)
		}

		conn, err = r.host.ListenBroadcast(r.nic.Link(), 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
		defer cancel()
		if _, err := mdns.OneShot(ctx, conn, group4, q("nas.local", dnswire.TypeA)); !errors.Is(err, mdns.ErrNoAnswer) {
			t.Errorf("with nobody there: %v, want %v", err, mdns.ErrNoAnswer)
		}
	})
}
