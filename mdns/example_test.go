package mdns_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// A publication is announced until it is withdrawn or the engine ends.
func ExampleEngine_Publish() {
	network := lantest.New(1)
	host := network.Host("nas")
	host.Attach(network.Wire("office"), "eth0", "10.0.0.1/24")
	engine := &mdns.Engine{
		Links: host.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return host.ListenMulticast(l, group)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go engine.Run(ctx) // says goodbye when ctx ends

	published := engine.Publish(mdns.Publication{
		Label:  "nas",
		Rename: mdns.RenameHost, // "nas-2" if another host is nas.local
		Records: func(_ mdns.Zone, l packet.Link, label string) []mdns.Record {
			name, err := dnswire.NameOf(label, "local")
			if err != nil {
				return nil
			}
			var records []mdns.Record
			for _, p := range l.Prefixes { // the addresses of this link alone
				records = append(records, mdns.Record{RR: dnswire.NewAddr(name, p.Addr(), 0), Unique: true})
			}
			return records
		},
	})
	label, err := published.Established(ctx)
	fmt.Println(label, err)
	// Output: nas <nil>
}

// On a real host, Links is lan.WatchLinks and Listen wraps lan.ListenMulticast.
func ExampleEngine() {
	network := lantest.New(1)
	host := network.Host("laptop")
	host.Attach(network.Wire("office"), "eth0", "10.0.0.1/24")
	engine := &mdns.Engine{
		Links: host.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return host.ListenMulticast(l, group)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go engine.Run(ctx) // ends with ctx

	nas, err := dnswire.ParseName("nas.local")
	if err != nil {
		fmt.Println(err)
		return
	}
	sub := engine.Subscribe(mdns.SubscribeOptions{}, mdns.Question{Name: nas, Type: dnswire.TypeA})
	defer sub.Close()
	for {
		events, err := sub.Next(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, ev := range events {
			if ev.Op == mdns.OpAsked { // the host answers
				answer := dnswire.NewAddr(nas, netip.MustParseAddr("10.0.0.9"), 120)
				network.Wire("office").Inject(packet.Datagram{
					Src: netip.MustParseAddrPort("10.0.0.9:5353"), Dst: mdns.IPv4.Group(), Data: response(answer),
				})
			}
			if ev.Op == mdns.OpAdd {
				fmt.Println(ev.RR.Name, "has", ev.RR.DataString(), "on", ev.Zone.Interface)
				return
			}
		}
	}
	// Output: nas.local has 10.0.0.9 on eth0
}
