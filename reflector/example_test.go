package reflector_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

// With lan.WatchLinks and lan.ListenMulticast for the functions of the test
// network this is a working reflector between all links of a machine.
func Example() {
	network := lantest.New(1)
	router, phone := network.Host("router"), network.Host("phone")
	router.Attach(network.Wire("home"), "home", "10.0.1.1/24")
	router.Attach(network.Wire("guests"), "guests", "10.0.2.1/24")
	nic := phone.Attach(network.Wire("guests"), "wlan0", "10.0.2.9/24")

	rules, err := reflector.NewRules(reflector.RulesOptions{Guests: []string{"guests"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := &reflector.Reflector{Rules: rules}
	ready := make(opened, 2)
	engine := &mdns.Engine{
		Links: router.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return router.ListenMulticast(l, group)
		},
		Relays: []mdns.Relay{r, ready},
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = engine.Run(ctx) }()
	<-ready
	<-ready

	group := mdns.IPv4.Group()
	hears, err := phone.ListenMulticast(nic.Link(), group)
	if err != nil {
		fmt.Println(err)
		return
	}
	printer := response(ptr("_ipp._tcp.local", "Laser._ipp._tcp.local", 4500))
	network.Wire("home").Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.0.1.5:5353"), Dst: group, Data: printer})
	heard := make([]packet.Datagram, 1)
	if _, err := hears.ReadBatch(heard); err != nil {
		fmt.Println(err)
		return
	}
	m, err := dnswire.Parse(heard[0].Data)
	if err != nil {
		fmt.Println(err)
		return
	}
	for rr := range m.Records() {
		fmt.Println("the phone hears from", heard[0].Src, "of", rr.RR().DataString())
	}
	// Output: the phone hears from 10.0.2.1:5353 of Laser._ipp._tcp.local
}

// opened is a relay that tells when a link is there.
type opened chan struct{}

func (o opened) Opened(mdns.RelayPort)                                  { o <- struct{}{} }
func (o opened) Closed(mdns.Zone)                                       {}
func (o opened) Relay(_ mdns.Zone, packets []mdns.Packet) []mdns.Packet { return packets }
