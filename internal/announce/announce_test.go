package announce_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/health"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// run runs an engine on a host of its own until the test ends.
func run(t *testing.T, network *lantest.Network, name, prefix string) *mdns.Engine {
	host := network.Host(name)
	host.Attach(network.Wire("lan"), "eth0", prefix)
	e := &mdns.Engine{Links: host.WatchLinks, Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
		return host.ListenMulticast(l, g)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

func TestDeadServiceIsTakenBackAndComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := lantest.New(1)
		here, there := run(t, network, "here", "10.0.0.1/24"), run(t, network, "there", "10.0.0.2/24")
		start := time.Now()
		at := func() time.Duration { return time.Since(start).Truncate(time.Second) }

		var dead atomic.Bool
		dead.Store(true)
		s := announce.Service{
			Announcement: dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80},
			Check: health.Check{Interval: 10 * time.Second, Timeout: time.Second, Rises: 1, Falls: 2, Probe: func(context.Context) error {
				if dead.Load() {
					return errors.New("refused")
				}
				return nil
			}},
		}
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- s.Run(ctx, &dnssd.Publisher{Engine: here, Host: "here"}, func(st announce.State) {
				switch {
				case st.Dead != nil:
					told = append(told, fmt.Sprint(at(), " dead: ", st.Dead))
				case len(st.Announced) > 0 && len(st.Probing) == 0:
					told = append(told, fmt.Sprint(at(), " announced"))
				}
			})
		}()
		var seen []string
		browsing := make(chan struct{})
		go func() {
			defer close(browsing)
			for ev := range (&dnssd.Browser{Source: dnssd.Multicast(there), Type: "_http._tcp"}).Events(ctx) {
				if ev.Op != dnssd.Settled {
					seen = append(seen, fmt.Sprint(at(), " ", ev.Op))
				}
			}
		}()
		time.Sleep(15 * time.Second)
		dead.Store(false) // found out at 20 s
		time.Sleep(20 * time.Second)
		dead.Store(true) // at 40 and 50 s
		time.Sleep(20 * time.Second)
		dead.Store(false) // at 60 s
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-browsing
		if want := []string{"0s dead: refused", "20s announced", "50s dead: refused", "1m0s announced"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if want := []string{"20s add", "51s remove", "1m0s add"}; !slices.Equal(seen, want) {
			t.Errorf("a neighbour saw %q, want %q", seen, want)
		}
	})
}

func TestWrongAnnouncementIsAnError(t *testing.T) {
	s := announce.Service{Announcement: dnssd.Announcement{Name: "Web", Type: "http"}}
	err := s.Run(t.Context(), &dnssd.Publisher{Engine: &mdns.Engine{}}, func(announce.State) {})
	if err == nil || !strings.HasPrefix(err.Error(), `announce: dnssd: service type "http"`) {
		t.Errorf("error %v", err)
	}
}

func TestFromConfig(t *testing.T) {
	c, err := config.Parse("lanfolk.toml", []byte(`
[[announce]]
name = "{host} page"
type = "_http._tcp"
port = 8080
txt = { path = "/", ro = true }
health.check = "tcp"

[[announce]]
name = "Laser"
type = "_ipp._tcp"
port = 631
subtypes = ["_universal"]
placeholders = ["_printer._tcp"]
host = "laser"
addresses = ["192.0.2.7", "2001:db8::7"]
interfaces = ["eth0"]
health = { check = "tcp", interval = "1m" }

[[announce]]
name = "Far"
type = "_x._udp"
health.check = "tcp://192.0.2.9:99"
`))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	open := ""
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, network+" "+address)
		if address == open {
			a, b := net.Pipe()
			b.Close()
			return a, nil
		}
		return nil, errors.New("refused")
	}
	var all []announce.Service
	for _, a := range c.Announce {
		all = append(all, announce.FromConfig(a, "nas", dial))
	}
	if a := all[0]; a.Name != "nas page" || a.Port != 8080 || !slices.Equal(a.TXT, dnssd.TXT{"path=/", "ro"}) || a.Check.Interval != 10*time.Second || a.Check.Falls != 3 {
		t.Errorf("the first is %+v", a)
	}
	if a := all[1]; a.Host.Name != "laser" || len(a.Host.Addresses) != 2 || !slices.Equal(a.Links, []string{"eth0"}) || !slices.Equal(a.Subtypes, []string{"_universal"}) ||
		!slices.Equal(a.Placeholders, []string{"_printer._tcp"}) || a.Check.Interval != time.Minute {
		t.Errorf("the second is %+v", a)
	}
	for i, c := range []struct {
		service int
		open    string
		works   bool
		asked   []string
	}{
		{0, "", false, []string{"tcp 127.0.0.1:8080", "tcp [::1]:8080"}},
		{1, "", false, []string{"tcp 192.0.2.7:631", "tcp [2001:db8::7]:631"}},
		{2, "192.0.2.9:99", true, []string{"tcp 192.0.2.9:99"}},
	} {
		asked, open = nil, c.open
		synctest.Test(t, func(t *testing.T) {
			if err := all[c.service].Check.Probe(t.Context()); (err == nil) != c.works {
				t.Errorf("%d: %v, want it to work: %v", i, err, c.works)
			}
		})
		slices.Sort(asked)
		if !slices.Equal(asked, c.asked) {
			t.Errorf("%d: asked %q, want %q", i, asked, c.asked)
		}
	}
}

func TestElsewhereIsToldWhetherAServiceWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var dead atomic.Bool
		dead.Store(true)
		check := health.Check{Interval: 10 * time.Second, Timeout: time.Second, Rises: 1, Falls: 1, Probe: func(context.Context) error {
			if dead.Load() {
				return errors.New("refused")
			}
			return nil
		}}
		var told []string
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		time.AfterFunc(5*time.Second, func() { dead.Store(false) })
		if err := announce.Run(ctx, check, announce.Elsewhere(func(works bool, dead error) {
			told = append(told, fmt.Sprint(time.Since(start), " ", works, " ", dead))
		})); err != nil {
			t.Error(err)
		}
		// Nothing is known before the first try has ended.
		told = slices.DeleteFunc(told, func(s string) bool { return s == "0s false <nil>" })
		if want := []string{"0s false refused", "10s true <nil>"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
