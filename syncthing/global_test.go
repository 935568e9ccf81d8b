package syncthing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// world is a wire with a device that announces itself to servers, in a bubble of synctest.
type world struct {
	t       *testing.T
	network *lantest.Network
	capture *lantest.Capture
	device  *speaker
	mu      sync.Mutex
	names   map[string][]netip.Addr // what resolves
	asked   int                     // how often a name was resolved
	log     logged
	begun   time.Time
}

// resolves says what a name resolves to from now on; with nothing it can't be.
func (w *world) resolves(name string, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.names, name)
	for _, a := range addrs {
		w.names[name] = append(w.names[name], netip.MustParseAddr(a))
	}
}

// lookups is how often a name was resolved.
func (w *world) lookups() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// v6Group stands for no group: it's how lantest opens a socket of IPv6, which has one.
const v6Group = "[ff02::99]:"

func newWorld(t *testing.T, servers ...string) *world {
	n := lantest.New(1)
	w := &world{t: t, network: n, capture: n.Wire("street").Capture(), names: map[string][]netip.Addr{}, begun: time.Now()}
	w.device = onWire(t, n, "street", "alpha", "10.0.0.9/24", "fd00::9/64")
	d := w.device
	d.Local, d.Servers = nil, servers
	d.Links = d.links
	d.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	d.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked++
		if found, ok := w.names[host]; ok {
			return found, nil
		}
		return nil, fmt.Errorf("lookup %s: no such host", host)
	}
	d.Listen = func(server netip.AddrPort) (syncthing.Conn, error) {
		if server.Addr().Is6() {
			return d.host.ListenMulticast(d.nic.Link(), netip.MustParseAddrPort(v6Group+"50000"))
		}
		return d.host.ListenBroadcast(d.nic.Link(), 0)
	}
	return w
}

// serve runs a global server at an address until it is stopped.
func (w *world) serve(address string) (s *syncthing.Server, stop func()) {
	w.t.Helper()
	h := w.network.Host(address)
	ip := netip.MustParseAddr(address)
	nic := h.Attach(w.network.Wire("street"), "eth0", netip.PrefixFrom(ip, 24).String())
	var c syncthing.Conn
	var err error
	if ip.Is6() {
		c, err = h.ListenMulticast(nic.Link(), netip.MustParseAddrPort(v6Group+"22026"))
	} else {
		c, err = h.ListenBroadcast(nic.Link(), syncthing.GlobalPort)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	s = &syncthing.Server{Conns: []syncthing.Conn{c}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				w.t.Error(err)
			}
			nic.Remove()
		}
	}
	w.t.Cleanup(stop)
	return s, stop
}

// announced returns when the device announced itself, and where to, since it was asked last: "30m0s 10.0.0.1:22026".
func (w *world) announced() (out []string) {
	for _, p := range w.capture.Take() {
		if m, _ := syncthing.Parse(p.Data); p.Host == "alpha" {
			if _, ok := m.(*syncthing.Announcement); ok {
				out = append(out, fmt.Sprintf("%v %v", p.Time.Sub(w.begun).Round(time.Second), p.Dst))
			}
		}
	}
	return out
}

func (w *world) want(what string, want ...string) {
	w.t.Helper()
	if got := w.announced(); !slices.Equal(got, want) {
		w.t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// TestServersAreToldEveryHalfHour tells both families of a name, which is resolved anew each time,
// and another server, always from the same socket.
func TestServersAreToldEveryHalfHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "disco.example.com", "10.0.0.2")
		one, _ := w.serve("10.0.0.1")
		six, _ := w.serve("fd00::1")
		w.serve("10.0.0.2")
		third, _ := w.serve("10.0.0.3")
		w.resolves("disco.example.com", "10.0.0.1", "fd00::1")
		w.device.start()
		time.Sleep(5 * time.Second)
		got := w.announced()
		slices.Sort(got)
		if want := []string{"0s 10.0.0.1:22026", "0s 10.0.0.2:22026", "0s [fd00::1]:22026"}; !slices.Equal(got, want) {
			t.Errorf("at the start: %v", got)
		}
		for _, s := range []*syncthing.Server{one, six} {
			if st := s.Stats(); st.Stored != 1 || st.Answered != 1 || st.Received != 2 {
				t.Errorf("%+v", st)
			}
		}
		st := w.device.Status()
		if len(st) != 3 || st[0].Server != "10.0.0.2" || st[0].Sent != 1 || st[0].Err != nil || st[1].Addr.String() != "10.0.0.1:22026" {
			t.Errorf("%+v", st)
		}
		w.resolves("disco.example.com", "::ffff:10.0.0.3")
		time.Sleep(time.Hour)
		got = w.announced()
		slices.Sort(got)
		want := []string{"1h0m0s 10.0.0.2:22026", "1h0m0s 10.0.0.3:22026", "30m0s 10.0.0.2:22026", "30m0s 10.0.0.3:22026"}
		if !slices.Equal(got, want) || w.lookups() != 3 {
			t.Errorf("in an hour, with %d look-ups: %v", w.lookups(), got)
		}
		if st := third.Stats(); st.Stored != 2 {
			t.Errorf("%+v", st)
		}
		if st := w.device.Status(); len(st) != 2 || st[1].Addr.String() != "10.0.0.3:22026" || st[1].Sent != 2 {
			t.Errorf("%+v", st)
		}
		// The DNS fails: the last addresses are used.
		w.resolves("disco.example.com")
		time.Sleep(30 * time.Minute)
		if got := w.announced(); len(got) != 2 || w.lookups() != 4 {
			t.Errorf("without DNS, with %d look-ups: %v", w.lookups(), got)
		}
		w.device.end()
		if w.log.String() != "" {
			t.Errorf("logged:\n%s", &w.log)
		}
	})
}

// TestServerIsTriedAgainSooner after a failure, and ever later, and as usual when it is back.
func TestServerIsTriedAgainSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "10.0.0.1", "nowhere.example.com")
		from := map[uint16]bool{}
		w.device.start()
		time.Sleep(20 * time.Minute)
		for _, p := range w.capture.Packets() {
			from[p.Src.Port()] = true
		}
		if len(from) != 1 {
			t.Errorf("sent from the ports %v", from)
		}
		w.want("nobody there", "0s 10.0.0.1:22026", "1m0s 10.0.0.1:22026", "3m0s 10.0.0.1:22026", "7m0s 10.0.0.1:22026", "15m0s 10.0.0.1:22026")
		st := w.device.Status()
		if len(st) != 2 || !errors.Is(st[0].Err, syncthing.ErrUnconfirmed) || st[0].Sent != 5 ||
			st[1].Addr.IsValid() || st[1].Sent != 0 || st[1].Err == nil || !strings.Contains(st[1].Err.Error(), "no such host") {
			t.Errorf("%+v", st)
		}
		if k := strings.Count(w.log.String(), "not told"); k != 2 {
			t.Errorf("logged %d times:\n%s", k, &w.log)
		}
		_, stop := w.serve("10.0.0.1")
		time.Sleep(time.Hour)
		w.want("it is back", "31m0s 10.0.0.1:22026", "1h1m0s 10.0.0.1:22026")
		if st := w.device.Status(); st[0].Err != nil || !strings.Contains(w.log.String(), "told again") {
			t.Errorf("%+v", st)
		}
		// It reboots and has lost all: that is found out at the next announcement.
		stop()
		time.Sleep(13 * time.Minute) // 1h33m
		w.want("away again", "1h31m0s 10.0.0.1:22026", "1h32m0s 10.0.0.1:22026")
	})
}

// TestServersAreToldOfChanges at once, but not of each when they come in crowds.
func TestServersAreToldOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "10.0.0.1")
		w.serve("10.0.0.1")
		w.device.start()
		time.Sleep(5 * time.Minute)
		w.announced()
		w.device.nic.SetAddresses("10.0.0.10/24")
		time.Sleep(time.Minute) // 6m
		w.want("another address of the link", "5m1s 10.0.0.1:22026")
		if err := w.device.SetAddresses(addresses("192.0.2.1:22001")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute) // 36m
		w.want("another address to announce", "6m1s 10.0.0.1:22026")
		time.Sleep(time.Minute) // 37m
		w.want("and as usual", "36m1s 10.0.0.1:22026")
		for i := range 60 {
			w.device.nic.SetAddresses(fmt.Sprintf("10.0.0.%d/24", 20+i))
			time.Sleep(time.Second)
		}
		if k := len(w.announced()); k < 4 || k > 7 {
			t.Errorf("%d announcements in a minute of changes", k)
		}
		if err := w.device.SetAddresses(nil); err == nil {
			t.Error("no address to announce is no error")
		}
	})
}

// TestOnlyTheServerConfirms: neither another server's answer nor one for another device counts.
func TestOnlyTheServerConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "10.0.0.1")
		w.device.Once = true
		done := make(chan error, 1)
		go func() { done <- w.device.Run(t.Context()) }()
		synctest.Wait()
		ours := w.capture.Packets()[0].Src
		for _, c := range []struct {
			src  string
			data []byte
		}{
			{"10.0.0.2:22026", announcement(named("alpha"), "10.0.0.9:22000")},
			{"10.0.0.1:22027", announcement(named("alpha"), "10.0.0.9:22000")},
			{"10.0.0.1:22026", announcement(named("beta"), "10.0.0.9:22000")},
			{"10.0.0.1:22026", announcement(named("alpha"), "10.0.0.9:22000")[:20]},
			{"10.0.0.1:22026", syncthing.Query{ID: named("alpha")}.Append(nil)},
		} {
			w.network.Wire("street").Inject(packet.Datagram{Data: c.data, Src: netip.MustParseAddrPort(c.src), Dst: ours})
		}
		time.Sleep(time.Minute)
		if err := <-done; !errors.Is(err, syncthing.ErrUnconfirmed) {
			t.Error(err)
		}
	})
}

// TestOnce ends when each was told, and says who wasn't.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "10.0.0.1")
		w.serve("10.0.0.1")
		s := w.device
		s.Once = true
		s.Local = onWire(t, w.network, "street", "beta", "10.0.0.8/24").Local
		var told []string
		s.Told = func(t syncthing.Target) { told = append(told, t.Link+t.Server) }
		begun := time.Now()
		if err := s.Run(t.Context()); err != nil || time.Since(begun) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		slices.Sort(told)
		if !slices.Equal(told, []string{"10.0.0.1", "eth0"}) {
			t.Errorf("told %v", told)
		}
		bare := onWire(t, w.network, "nothing", "gamma")
		bare.Once = true
		if err := bare.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no link to announce on") {
			t.Errorf("without an address: %v", err)
		}
	})
}

func TestAnnouncerSaysWhatIsWrong(t *testing.T) {
	here := addresses("sender:22000")
	local := &syncthing.Listener{}
	for _, c := range []struct {
		a    *syncthing.Announcer
		want string
	}{
		{&syncthing.Announcer{Addresses: here, Local: local}, "syncthing: no device ID to announce"},
		{&syncthing.Announcer{ID: named("alpha"), Addresses: here}, "syncthing: nobody to announce to: neither the local network nor a server"},
		{&syncthing.Announcer{ID: named("alpha"), Local: local}, "syncthing: no address to announce"},
		{&syncthing.Announcer{ID: named("alpha"), Local: local, Addresses: addresses("10.0.0.1:0")}, "syncthing: address 10.0.0.1:0: the port must be 1 to 65535"},
		{&syncthing.Announcer{ID: named("alpha"), Local: local, Addresses: addresses("255.255.255.255:1")}, "syncthing: address 255.255.255.255:1: no host has it"},
		{&syncthing.Announcer{ID: named("alpha"), Servers: []string{"a:b"}, Addresses: here}, `syncthing: server "a:b": the port must be 1 to 65535`},
	} {
		if err := c.a.Run(t.Context()); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	var many []netip.AddrPort
	for i := range 17 {
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 22000))
	}
	a := &syncthing.Announcer{}
	if err := a.SetAddresses(many); err == nil || err.Error() != "syncthing: 17 addresses to announce, more than 16" {
		t.Error(err)
	}
	if err := a.SetAddresses(append(many[:16], many[0])); err != nil {
		t.Error(err)
	}
}
