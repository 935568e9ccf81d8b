package syncthing_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// A device is announced on every link and to a server, until the program is interrupted. What others
// announce is printed.
func ExampleAnnouncer_onLinks() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	certificate, _ := os.ReadFile("cert.pem")
	id, err := syncthing.ParseCertificate(certificate)
	if err != nil {
		fmt.Println(err)
		return
	}
	announcer := &syncthing.Announcer{
		ID: id, Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, syncthing.DefaultPort)},
		Local: &syncthing.Listener{
			Links:     lan.WatchLinks,
			Broadcast: func(l packet.Link, port uint16) (syncthing.Conn, error) { return lan.ListenBroadcast(l, port) },
			Multicast: func(l packet.Link, group netip.AddrPort) (syncthing.Conn, error) {
				return lan.ListenMulticast(l, group)
			},
			Event: func(e syncthing.Event) { fmt.Println(e.Kind, e.Heard.ID, e.Heard.Addresses) },
		},
		Servers: []string{"discovery.example.com"},
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		Listen: func(server netip.AddrPort) (syncthing.Conn, error) {
			if server.Addr().Is4() {
				return lan.ListenUDP(netip.MustParseAddrPort("0.0.0.0:0"), lan.UDPOptions{})
			}
			return lan.ListenUDP(netip.MustParseAddrPort("[::]:0"), lan.UDPOptions{})
		},
		Links: lan.WatchLinks,
	}
	if err := announcer.Run(ctx); err != nil {
		fmt.Println(err)
	}
}
