package dnssd_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// On a real host, Links is lan.WatchLinks and Listen wraps lan.ListenMulticast.
func ExampleBrowser() {
	network := lantest.New(1)
	host, printer := network.Host("laptop"), network.Host("printer")
	host.Attach(network.Wire("office"), "eth0", "10.0.0.1/24")
	nic := printer.Attach(network.Wire("office"), "eth0", "10.0.0.5/24")

	engine := &mdns.Engine{
		Links: host.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return host.ListenMulticast(l, group)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go engine.Run(ctx) // ends with ctx

	conn, err := printer.ListenMulticast(nic.Link(), mdns.IPv4.Group())
	if err != nil {
		fmt.Println(err)
		return
	}
	answering := &responder{records: web("Printer on the 3\\. floor", "printer.local", 631, "10.0.0.5"), extra: true, conn: conn}
	go answering.serve()
	defer conn.Close()

	browser := dnssd.Browser{Source: dnssd.Multicast(engine), Type: "_http._tcp", Resolve: true, Once: true}
	for ev, err := range browser.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if ev.Op == dnssd.Add {
			fmt.Println(ev.Name, "at", ev.Host, ev.Port, ev.Addresses)
		}
	}
	// Output: Printer on the 3. floor at printer.local 631 [10.0.0.5]
}

func ExampleTXT_Get() {
	t := dnssd.TXT{"path=/admin", "ro", "note="}
	for _, key := range []string{"PATH", "ro", "note", "user"} {
		v, ok := t.Get(key)
		fmt.Printf("%s: there %v, set %v, %q\n", key, ok, v.Set, v.Data)
	}
	// Output:
	// PATH: there true, set true, "/admin"
	// ro: there true, set false, ""
	// note: there true, set true, ""
	// user: there false, set false, ""
}

// A service is announced, its name changes if another host has it, and a goodbye
// takes it back.
func ExamplePublisher() {
	network := lantest.New(1)
	host := network.Host("nas")
	host.Attach(network.Wire("office"), "eth0", "10.0.0.1/24")
	engine := &mdns.Engine{
		Links: host.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return host.ListenMulticast(l, group)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go engine.Run(ctx) // ends with ctx

	publisher := &dnssd.Publisher{Engine: engine, Host: dnssd.HostLabel("NAS.example.com")}
	service, err := publisher.Publish(dnssd.Announcement{
		Name: "Files on the 3. floor", Type: "_http._tcp", Port: 8080, TXT: dnssd.TXT{"path=/", "ro"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	now, err := service.Established(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(now.Instance, "at", now.Host, now.Port, "on", now.Interfaces())
	service.Withdraw()
	<-service.Done()
	// Output: Files on the 3\. floor._http._tcp.local at NAS.local 8080 on [eth0]
}
