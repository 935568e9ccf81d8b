package reflector_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

// publish announces one service on a host of the network.
func publish(e *mdns.Engine, host, instance string) *mdns.Published {
	return e.Publish(mdns.Publication{Label: instance, Records: func(z mdns.Zone, l packet.Link, label string) []mdns.Record {
		in, h := name(label+"._http._tcp.local"), name(host+".local")
		txt, _ := dnswire.NewTXT(in, 0, "path=/")
		out := []mdns.Record{
			{RR: dnswire.NewPTR(name("_http._tcp.local"), in, 0)},
			{RR: dnswire.NewSRV(in, dnswire.SRV{Port: 80, Target: h}, 0), Unique: true},
			{RR: txt, Unique: true},
		}
		for _, p := range l.Prefixes {
			out = append(out, mdns.Record{RR: dnswire.NewAddr(h, p.Addr(), 0), Unique: true})
		}
		return out
	}})
}

// browser is a host that wants to know all services of a type, with their addresses.
type browser struct {
	mu    sync.Mutex
	found map[dnswire.Name]bool // hosts with an address
}

func (b *browser) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.found)
}

func (b *browser) run(ctx context.Context, e *mdns.Engine) {
	s := e.Subscribe(mdns.SubscribeOptions{}, mdns.Question{Name: name("_http._tcp.local"), Type: dnswire.TypePTR})
	defer s.Close()
	for {
		events, err := s.Next(ctx)
		if err != nil {
			return
		}
		b.mu.Lock()
		for _, ev := range events {
			switch ev.Op {
			case mdns.OpAdd:
				switch ev.RR.Type {
				case dnswire.TypePTR:
					in, _ := ev.RR.PTR()
					s.Ask(mdns.Question{Name: in, Type: dnswire.TypeSRV}, mdns.Question{Name: in, Type: dnswire.TypeTXT})
				case dnswire.TypeSRV:
					srv, _ := ev.RR.SRV()
					s.Ask(mdns.Question{Name: srv.Target, Type: dnswire.TypeA})
				case dnswire.TypeA:
					b.found[ev.RR.Name.Fold()] = true
				}
			case mdns.OpRemove:
				if ev.RR.Type == dnswire.TypeA {
					delete(b.found, ev.RR.Name.Fold())
				}
			}
		}
		b.mu.Unlock()
	}
}

// household counts what n browsers on wire b and as many services on wire a put
// on both wires in some minutes, the last browser coming after half of them.
func household(t *testing.T, n, minutes int, proxy bool) (packets int) {
	inBubble(t, func(r *rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		r.engine.Family = mdns.IPv4
		if proxy {
			r.refl.Proxy = &reflector.Proxy{}
			r.engine.Observers = []mdns.Observer{r.refl.Proxy}
			done := make(chan struct{})
			go func() { defer close(done); _ = r.refl.Proxy.Run(ctx, r.engine) }()
			r.t.Cleanup(func() { cancel(); <-done })
		}
		r.t.Cleanup(cancel)
		r.run()
		host := func(w *wire, i int, net string) *mdns.Engine {
			h := r.net.Host(fmt.Sprintf("host-%s%d", w.Name(), i))
			h.Attach(w.Wire, "eth0", netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf(net, i+10)), 24).String())
			e := engineOf(h, nil)
			e.AskUnicast = nil
			r.runEngine(e)
			return e
		}
		for i := range n {
			publish(host(r.a, i, "10.0.1.%d"), fmt.Sprintf("cam%d", i), fmt.Sprintf("Door %d", i))
		}
		var browsers []*browser
		for i := range n {
			b := &browser{found: map[dnswire.Name]bool{}}
			browsers = append(browsers, b)
			e := host(r.b, i, "10.0.2.%d")
			go func() {
				if i == n-1 {
					time.Sleep(time.Duration(minutes) * time.Minute / 2)
				}
				b.run(ctx, e)
			}()
		}
		for range minutes {
			time.Sleep(time.Minute)
			packets += len(r.a.packets()) + len(r.b.packets())
		}
		synctest.Wait()
		for i, b := range browsers {
			if b.count() != n {
				r.t.Errorf("browser %d has found %d of %d", i, b.count(), n)
			}
		}
	})
	return packets
}

// With 20 hosts on each side, for an hour, flooding takes about 3500 packets and the proxy 2000.
func TestProxySparesThePacketsOfFlooding(t *testing.T) {
	hosts, minutes := 10, 20
	if os.Getenv("LANFOLK_SOAK") != "" {
		hosts, minutes = 20, 60
	}
	flood, proxy := household(t, hosts, minutes, false), household(t, hosts, minutes, true)
	t.Logf("%d services, %d browsers, %d minutes: flooding %d packets, proxy %d", hosts, hosts, minutes, flood, proxy)
	if proxy*4 > flood*3 {
		t.Errorf("the proxy takes %d packets, flooding %d: more than three fourths", proxy, flood)
	}
}
