package syncthing_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// speaker is a host that announces a device, in a bubble of synctest.
type speaker struct {
	*syncthing.Announcer
	t    *testing.T
	host *lantest.Host
	nic  *lantest.NIC
	stop context.CancelFunc
	done chan error
}

// onWire attaches a host to the wire for an Announcer of the device with a name.
func onWire(t *testing.T, n *lantest.Network, wire, who string, prefixes ...string) *speaker {
	t.Helper()
	h := n.Host(who)
	s := &speaker{t: t, host: h, nic: h.Attach(n.Wire(wire), "eth0", prefixes...), done: make(chan error, 1)}
	s.Announcer = &syncthing.Announcer{
		ID: named(who), Addresses: addresses("sender:22000"),
		Local: &syncthing.Listener{
			Links:     s.links,
			Broadcast: func(l packet.Link, port uint16) (syncthing.Conn, error) { return h.ListenBroadcast(l, port) },
			Multicast: func(l packet.Link, g netip.AddrPort) (syncthing.Conn, error) { return h.ListenMulticast(l, g) },
		},
		Listen: func(netip.AddrPort) (syncthing.Conn, error) { return h.ListenBroadcast(s.nic.Link(), 0) },
	}
	return s
}

// links are the host's without the loopback.
func (s *speaker) links(ctx context.Context) (<-chan []packet.Link, error) {
	all, err := s.host.WatchLinks(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan []packet.Link)
	go func() {
		defer close(out)
		for links := range all {
			links = slices.DeleteFunc(slices.Clone(links), func(l packet.Link) bool { return l.Name == "lo" || !l.Up() })
			select {
			case out <- links:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// start runs the Announcer until the test, or end, ends it.
func (s *speaker) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- s.Run(ctx) }()
	s.t.Cleanup(s.end)
}

func (s *speaker) end() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	if err := <-s.done; err != nil {
		s.t.Errorf("the announcer ended with %v", err)
	}
}

// TestAnnouncerSpeaksEvery30To60Seconds holds that for an hour, on both families, and that
// the times are spread.
func TestAnnouncerSpeaksEvery30To60Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		capture := n.Wire("office").Capture()
		s := onWire(t, n, "office", "alpha", "10.77.0.1/24", "fe80::1/64")
		begin := time.Now()
		s.start()
		time.Sleep(time.Hour)
		times := map[netip.AddrPort][]time.Duration{}
		for _, p := range capture.Take() {
			times[p.Dst] = append(times[p.Dst], p.Time.Sub(begin))
			want := "10.77.0.1:21025"
			if p.Dst.Addr().Is6() {
				want = "[fe80::1]:21026"
			}
			var a syncthing.Announcement
			if err := a.Parse(p.Data); err != nil || a.ID != named("alpha") || p.Src.String() != want || len(a.Extra) != 0 {
				t.Fatalf("%v: %v", p, err)
			}
			if !slices.Equal(a.Addresses, addresses("sender:22000")) {
				t.Fatalf("announced %v", a.Addresses)
			}
		}
		if len(times) != 2 {
			t.Fatalf("sent to %v", times)
		}
		for to, all := range times {
			if all[0] > 250*time.Millisecond {
				t.Errorf("%v: the first after %v", to, all[0])
			}
			shortest, longest := time.Hour, time.Duration(0)
			for i := range all[1:] {
				gap := all[i+1] - all[i]
				shortest, longest = min(shortest, gap), max(longest, gap)
			}
			if shortest < 30*time.Second || longest > time.Minute || shortest > 35*time.Second || longest < 55*time.Second {
				t.Errorf("%v: every %v to %v (%d times)", to, shortest, longest, len(all))
			}
		}
		st := s.Status()
		if len(st) != 2 || st[0].Link != "eth0" || st[0].Addr.String() != "255.255.255.255:21025" || st[0].Sent < 60 || st[0].Err != nil ||
			st[1].Addr != syncthing.LocalGroup() || time.Since(st[1].Last) > time.Minute {
			t.Errorf("%+v", st)
		}
		if got := s.Local.Stats(); got.Own != got.Received || got.Own != uint64(len(times[st[0].Addr])*2) {
			t.Errorf("heard itself: %+v", got)
		}
	})
}

// named is the vectors' device of a name.
func named(name string) syncthing.DeviceID { return syncthing.CertificateID([]byte(name)) }

// packets counts what was captured, by the host that sent it.
func packets(c *lantest.Capture) map[string]int {
	n := map[string]int{}
	for _, p := range c.Take() {
		n[p.Host]++
	}
	return n
}

// TestNewDeviceIsAnsweredAtOnce has a second device come while the first one is in the middle of its
// interval. Each hears the other within a moment, and then they are quiet.
func TestNewDeviceIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		capture := n.Wire("office").Capture()
		a := onWire(t, n, "office", "alpha", "10.77.0.1/24", "fe80::1/64")
		heard := make(chan syncthing.Event, 16)
		a.Local.Event = func(e syncthing.Event) { heard <- e }
		b := onWire(t, n, "office", "beta", "10.77.0.2/24", "fe80::2/64")
		b.Local.Event = a.Local.Event
		a.start()
		time.Sleep(10 * time.Second)
		if got := packets(capture); got["alpha"] != 2 {
			t.Fatalf("alone: %v", got)
		}
		b.start()
		time.Sleep(300 * time.Millisecond)
		who := map[string]bool{}
		for len(heard) > 0 {
			e := <-heard
			who[name(e.Heard.ID)] = true
		}
		if !who["alpha"] || !who["beta"] {
			t.Errorf("heard after 0.3 s: %v", who)
		}
		time.Sleep(29 * time.Second)
		// Beta answers, too, what was new to it.
		if got := packets(capture); got["alpha"] != 2 || got["beta"] != 4 {
			t.Errorf("packets in the first half minute: %v", got)
		}
	})
}

// TestOnlyANewDeviceIsAnswered: what is heard by IPv6, too, isn't new, and of whom others speak isn't there.
func TestOnlyANewDeviceIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		wire := n.Wire("office")
		s := onWire(t, n, "office", "alpha", "10.77.0.1/24", "fe80::1/64")
		s.start()
		capture := wire.Capture()
		for i, c := range []struct {
			data     []byte
			src, dst string
			want     int // packets within three seconds
		}{
			{nil, "", "", 2}, // the first of all
			{announcement(named("beta"), "sender:22000"), "10.77.0.2:21025", toAll4, 2},
			{announcement(named("beta"), "sender:22000"), "[fe80::2]:21026", "[ff32::5222]:21026", 0},
			{announcement(named("beta"), "sender:22000"), "10.77.0.2:43052", toAll4, 0},
			{announcement(named("beta"), "sender:22001"), "10.77.0.2:21025", toAll4, 0},
			{extras(announcement(named("beta"), "sender:22001"), named("gamma")), "10.77.0.2:21025", toAll4, 0},
			{announcement(named("gamma"), "sender:22000"), "10.77.0.3:21025", toAll4, 2},
		} {
			if c.data != nil {
				wire.Inject(packet.Datagram{Data: c.data, Src: netip.MustParseAddrPort(c.src), Dst: netip.MustParseAddrPort(c.dst)})
			}
			time.Sleep(3 * time.Second)
			if got := packets(capture); got["alpha"] != c.want {
				t.Errorf("%d: %v, want %d", i, got, c.want)
			}
		}
	})
}

// extras adds another device to an announcement, of which its sender has heard.
func extras(b []byte, other syncthing.DeviceID) []byte {
	var a syncthing.Announcement
	if err := a.Parse(b); err != nil {
		panic(err)
	}
	a.Extra = []syncthing.Device{{ID: other, Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22000")}}}
	return a.Append(nil)
}

// TestCrowdIsQuietSoon begins with many hosts at once, as after a power cut: nobody speaks
// more than a few times, all hear all, and then it is as quiet as it should be.
func TestCrowdIsQuietSoon(t *testing.T) {
	many := 40
	if os.Getenv("LANFOLK_SOAK") != "" {
		many = 250
	}
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		capture := n.Wire("office").Capture()
		var all []*speaker
		for i := range many {
			s := onWire(t, n, "office", fmt.Sprint("host", i), fmt.Sprintf("10.77.%d.%d/16", i/250, 1+i%250))
			all = append(all, s)
		}
		for _, s := range all {
			s.start()
		}
		time.Sleep(20 * time.Second)
		most := 0
		for _, k := range packets(capture) {
			most = max(most, k)
		}
		if most < 1 || most > 3 {
			t.Errorf("a host spoke %d times in the first 20 s", most)
		}
		for _, s := range all {
			if st := s.Local.Stats(); st.Crowded > 0 || st.Full > 0 || st.Announcements < uint64(many-1) {
				t.Fatalf("%+v", st)
			}
		}
		time.Sleep(2 * time.Minute)
		packets(capture)
		time.Sleep(10 * time.Minute)
		for host, k := range packets(capture) {
			if k < 10 || k > 20 {
				t.Errorf("%s spoke %d times in ten minutes", host, k)
			}
		}
	})
}

// TestMadeUpDevicesDontMakeItShout puts a new device on the wire ten times a second for ten minutes. What
// is brought forward gets rarer, until it is what would be said anyway.
func TestMadeUpDevicesDontMakeItShout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		wire := n.Wire("office")
		s := onWire(t, n, "office", "alpha", "10.77.0.1/16")
		s.start()
		time.Sleep(5 * time.Second)
		capture := wire.Capture()
		ours := func() (k int) {
			for _, p := range capture.Take() {
				if p.Host != "" {
					k++
				}
			}
			return k
		}
		madeUp := func(i int) {
			wire.Inject(packet.Datagram{
				Data: announcement(named(fmt.Sprint("made up ", i)), "sender:22000"),
				Src:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(1 + i/200%250), byte(1 + i%200)}), 21025),
				Dst:  netip.MustParseAddrPort("10.77.255.255:21025"),
			})
		}
		for i := range 600 {
			madeUp(i)
			time.Sleep(100 * time.Millisecond)
		}
		if k := ours(); k < 4 || k > 8 {
			t.Errorf("%d announcements in the first minute", k)
		}
		for i := range 5400 {
			madeUp(600 + i)
			time.Sleep(100 * time.Millisecond)
		}
		if k := ours(); k < 9 || k > 20 {
			t.Errorf("%d announcements in nine minutes", k)
		}
		time.Sleep(5 * time.Minute)
		ours()
		madeUp(6000) // after quiet it's as quick as ever
		time.Sleep(2 * time.Second)
		if k := ours(); k != 1 {
			t.Errorf("%d announcements after a new device", k)
		}
	})
}

// TestLinksComeAndGo announces on a link as soon as it is there, and says so when it has another address.
func TestLinksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		office, lab := n.Wire("office").Capture(), n.Wire("lab").Capture()
		s := onWire(t, n, "office", "alpha", "10.77.0.1/24")
		s.start()
		time.Sleep(5 * time.Second)
		if got := packets(office); got["alpha"] != 1 {
			t.Fatal(got)
		}
		second := s.host.Attach(n.Wire("lab"), "eth1", "10.78.0.1/24", "10.79.0.1/24")
		time.Sleep(time.Second)
		var to []string
		for _, p := range lab.Take() {
			to = append(to, fmt.Sprint(p.Src, " > ", p.Dst))
		}
		// Whoever lives in the second subnet gets an address there, for who can't reach the first.
		want := []string{"10.78.0.1:21025 > 255.255.255.255:21025", "10.79.0.1:21025 > 10.79.0.255:21025"}
		if !slices.Equal(to, want) {
			t.Errorf("on a new link: %v", to)
		}
		if got := packets(office); len(got) != 0 {
			t.Errorf("on the other: %v", got)
		}
		second.SetAddresses("10.78.0.9/24")
		time.Sleep(2 * time.Second)
		if all := lab.Take(); len(all) != 1 || all[0].Src.String() != "10.78.0.9:21025" {
			t.Errorf("with a new address: %v", all)
		}
		second.SetCarrier(false)
		time.Sleep(time.Second)
		if st := s.Status(); len(st) != 1 || st[0].Link != "eth0" {
			t.Errorf("without a carrier: %+v", st)
		}
		second.SetCarrier(true)
		time.Sleep(time.Second)
		if got := packets(lab); got["alpha"] != 1 {
			t.Errorf("with a carrier again: %v", got)
		}
		second.Remove()
		time.Sleep(2 * time.Minute)
		if st := s.Status(); len(st) != 1 || st[0].Err != nil {
			t.Errorf("on a link that is gone: %+v", st)
		}
		packets(office)
		if err := s.SetAddresses(addresses("192.0.2.1:22000")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if all := office.Take(); len(all) != 1 || !bytes.Equal(all[0].Data, announcement(named("alpha"), "192.0.2.1:22000")) {
			t.Errorf("a new address to announce: %v", all)
		}
	})
}

// TestPortThatAnotherKeeps is an old client's: it doesn't share. That is said once; announcements leave from
// another port, IPv6 is heard, and the port is taken when it is free.
func TestPortThatAnotherKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := lantest.New(1)
		wire := n.Wire("office")
		capture := wire.Capture()
		s := onWire(t, n, "office", "alpha", "10.77.0.1/24", "fe80::1/64")
		s.host.Attach(n.Wire("lab"), "eth1", "10.78.0.1/24")
		log := &logged{}
		s.Local.Log = slog.New(slog.NewTextHandler(log, nil))
		var kept atomic.Bool
		kept.Store(true)
		s.Local.Broadcast = func(l packet.Link, port uint16) (syncthing.Conn, error) {
			if kept.Load() && port == syncthing.LocalPort {
				return nil, fmt.Errorf("lan: listen to broadcasts to port 21025 on %s: %w", l.Name, syscall.EADDRINUSE)
			}
			return s.host.ListenBroadcast(l, port)
		}
		var heard atomic.Int32
		s.Local.Event = func(e syncthing.Event) { heard.Add(1) }
		s.start()
		time.Sleep(5 * time.Minute)
		ports := map[bool]uint16{}
		for _, p := range capture.Take() {
			ports[p.Dst.Addr().Is6()] = p.Src.Port()
		}
		if ports[false] < 40000 || ports[true] != 21026 {
			t.Errorf("sent from %v", ports)
		}
		wire.Inject(packet.Datagram{Data: announcement(named("beta"), "sender:22000"), Src: netip.MustParseAddrPort("10.77.0.2:21025"), Dst: netip.MustParseAddrPort(toAll4)})
		wire.Inject(packet.Datagram{Data: announcement(named("beta"), "sender:22000"), Src: netip.MustParseAddrPort("[fe80::2]:21026"), Dst: syncthing.LocalGroup()})
		synctest.Wait()
		if heard.Load() != 1 {
			t.Errorf("heard %d devices", heard.Load())
		}
		if k := strings.Count(log.String(), "another program keeps"); k != 1 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("logged:\n%s", log)
		}
		kept.Store(false)
		time.Sleep(11 * time.Second)
		if !strings.Contains(log.String(), "can be shared again") {
			t.Errorf("logged:\n%s", log)
		}
		time.Sleep(time.Minute)
		for _, p := range capture.Take() {
			ports[p.Dst.Addr().Is6()] = p.Src.Port()
		}
		if ports[false] != 21025 {
			t.Errorf("once it is free sent from %v", ports)
		}
	})
}
