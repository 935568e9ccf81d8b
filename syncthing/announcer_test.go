package syncthing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
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

var (
	_ = errors.Is
	_ = fmt.Sprint
	_ = rand.N[int]
	_ = strings.Join
	_ sync.Mutex
	_ = syscall.EADDRINUSE
)

// named is the vectors' device of a name.
func named(name string) syncthing.DeviceID { return syncthing.CertificateID([]byte(name)) }
