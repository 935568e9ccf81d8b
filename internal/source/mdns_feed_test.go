package source_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// house is an inventory that hears a network in memory: link, engine, browser,
// source and registry, in virtual time.
type house struct {
	t        *testing.T
	wire     *lantest.Wire
	registry *lanfolk.Registry
}

func inHouse(t *testing.T, f func(*house)) {
	synctest.Test(t, func(t *testing.T) {
		network := lantest.New(1)
		h := &house{t: t, wire: network.Wire("lan"), registry: lanfolk.NewRegistry(lanfolk.RegistryOptions{})}
		host := network.Host("node")
		host.Attach(h.wire, "eth0", "192.0.2.1/24")
		var hosts dnssd.Hosts
		engine := &mdns.Engine{
			Links: host.WatchLinks,
			Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) {
				return host.ListenMulticast(l, g)
			},
			Observers: []mdns.Observer{&hosts},
		}
		ctx, cancel := context.WithCancel(t.Context())
		for _, run := range []func() error{
			func() error { return engine.Run(ctx) },
			func() error { return h.registry.Run(ctx) },
			func() error {
				return source.MDNS{}.Feed(ctx, dnssd.Multicast(engine), &hosts, h.registry.Observe)
			},
		} {
			go func() {
				if err := run(); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		f(h)
		cancel()
		synctest.Wait()
	})
}

func name(t *testing.T, text string) dnswire.Name {
	t.Helper()
	n, err := dnswire.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// say sends what a web server announces, with the usual TTLs; ttl 0 takes it
// all back.
func (h *house) say(goodbye bool) {
	h.t.Helper()
	long, short := uint32(4500), uint32(120)
	if goodbye {
		long, short = 0, 0
	}
	services, typ := name(h.t, "_services._dns-sd._udp.local"), name(h.t, "_http._tcp.local")
	instance, host := name(h.t, "nas._http._tcp.local"), name(h.t, "nas.local")
	txt, err := dnswire.NewTXT(instance, long, "path=/")
	if err != nil {
		h.t.Fatal(err)
	}
	srv := dnswire.NewSRV(instance, dnswire.SRV{Port: 80, Target: host}, short)
	address := dnswire.NewAddr(host, netip.MustParseAddr("192.0.2.7"), short)
	txt.Flush, srv.Flush, address.Flush = true, true, true
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 1400)
	for _, rr := range []dnswire.RR{
		dnswire.NewPTR(services, typ, long), dnswire.NewPTR(typ, instance, long), srv, txt, address,
	} {
		if !b.Answer(rr) {
			h.t.Fatalf("%v doesn't fit", rr)
		}
	}
	h.wire.Inject(packet.Datagram{
		Data: b.Bytes(), Src: netip.MustParseAddrPort("192.0.2.7:5353"), Dst: mdns.IPv4.Group(), TTL: 255,
	})
}

// nas returns the service and its device as the inventory has them, nil for
// what it doesn't have.
func (h *house) nas() (*lanfolk.Service, *lanfolk.Device) {
	h.t.Helper()
	synctest.Wait()
	list := h.registry.Services(lanfolk.Filter{Type: "_http._tcp"})
	if len(list) == 0 {
		return nil, nil
	}
	d, err := h.registry.Device(list[0].Device)
	if err != nil {
		h.t.Fatalf("the service's device: %v", err)
	}
	return list[0], d
}

func (h *house) want(when string, state lanfolk.State) {
	h.t.Helper()
	s, d := h.nas()
	if s == nil {
		h.t.Fatalf("%s: the service isn't known", when)
	}
	if s.State != state || d.State != state || s.Port != 80 || s.Host != "nas.local" || s.Attributes["path"] != "/" {
		h.t.Errorf("%s: service %+v, device %s; want both %s and its port, host and TXT kept", when, s, d.State, state)
	}
}

func TestHostThatDiedBecomesUnreachableAfter120s(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(false)
		time.Sleep(time.Second)
		h.want("after its announcement", lanfolk.Reachable)
		time.Sleep(118 * time.Second)
		h.want("119 s after its last word", lanfolk.Reachable)
		time.Sleep(2 * time.Second)
		h.want("121 s after its last word", lanfolk.Unreachable)

		h.say(false)
		time.Sleep(time.Second)
		h.want("when it is back", lanfolk.Reachable)
	})
}

func TestServiceThatSaysGoodbyeIsGone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.say(false)
		time.Sleep(10 * time.Second)
		h.want("after its announcement", lanfolk.Reachable)
		h.say(true)
		time.Sleep(2 * time.Second)
		if s, _ := h.nas(); s != nil {
			t.Errorf("2 s after its goodbye: %+v", s)
		}
	})
}

func TestHostThatAnswersStaysReachable(t *testing.T) {
	inHouse(t, func(h *house) {
		for range 60 {
			h.say(false)
			time.Sleep(100 * time.Second)
			h.want("while it is heard", lanfolk.Reachable)
		}
	})
}

// An engine that ends before its feed does, as both are told to, is no failure. Which of the two
// the feed hears of first is chance.
func TestFeedEndsWithItsEngine(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			host := lantest.New(1).Host("node")
			var hosts dnssd.Hosts
			engine := &mdns.Engine{Links: host.WatchLinks, Observers: []mdns.Observer{&hosts}, Listen: func(packet.Link, netip.AddrPort) (mdns.Conn, error) {
				return nil, net.ErrClosed
			}}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			go func() { ended <- engine.Run(ctx) }()
			go func() {
				ended <- source.MDNS{}.Feed(ctx, dnssd.Multicast(engine), &hosts, func(...lanfolk.Sighting) {})
			}()
			synctest.Wait()
			cancel()
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
