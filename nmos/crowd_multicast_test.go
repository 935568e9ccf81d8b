package nmos_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/nmos"
	"github.com/lanfolk/lanfolk/packet"
)

// multicast puts the nodes and the registries on one link. The host of a
// registry that falls silent is gone from it; that of one that refuses isn't.
func (c *crowd) multicast(ctx context.Context) {
	network := lantest.New(1)
	wire := network.Wire("studio")
	join := func(name string, n int) (*mdns.Engine, *lantest.NIC) {
		host := network.Host(name)
		nic := host.Attach(wire, "eth0", fmt.Sprintf("192.0.2.%d/24", n))
		e := &mdns.Engine{
			Links: host.WatchLinks, AskUnicast: func(packet.Link) bool { return true },
			Listen: func(l packet.Link, g netip.AddrPort) (mdns.Conn, error) { return host.ListenMulticast(l, g) },
		}
		go func() {
			if err := e.Run(ctx); err != nil {
				c.t.Error(err)
			}
		}()
		return e, nic
	}
	k, _ := nmos.KindOf(crowdType)
	var links []*lantest.NIC
	for i := range c.health {
		e, nic := join(fmt.Sprintf("host%d", i), 200+i)
		links = append(links, nic)
		a, err := nmos.Advertisement{Kind: k, Name: fmt.Sprintf("r%d", i), Port: 8080, Versions: []nmos.Version{{Major: 1, Minor: 3}}, Priority: 10}.OnLinks()
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := (&dnssd.Publisher{Engine: e, Host: fmt.Sprintf("host%d", i)}).Publish(a); err != nil {
			c.t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Second)
	c.changed = func(r int, h health) { links[r].SetCarrier(h != silent) }
	c.most = 30
	c.find = func(i int, client *nmos.Client) {
		e, _ := join(fmt.Sprint(i), i+1)
		client.Multicast = dnssd.Multicast(e)
	}
	capture := wire.Capture()
	c.count = func() { c.hear(capture.Take()) }
}

// hear counts the nodes' queries among packets. c.mu is held.
func (c *crowd) hear(packets []lantest.Sent) {
	for _, p := range packets {
		var i int
		if m, err := dnswire.Parse(p.Data); err == nil && !m.Response {
			if n, _ := fmt.Sscan(p.Host, &i); n == 1 {
				c.queries[i]++
			}
		}
	}
}

// The same on one link by mDNS, with fewer nodes: what one asks all others hear.
func TestCrowdOnALink(t *testing.T) {
	life := 15 * time.Minute
	if os.Getenv("LANFOLK_SOAK") != "" {
		life = 4 * time.Hour
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newCrowd(t, 30, 3)
		c.multicast(ctx)
		c.run(life, silent)
	})
}
