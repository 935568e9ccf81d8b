package syncthing_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/syncthing"
)

// A device says that it listens on port 22000 at the address that the
// packet comes from, and is read again.
func Example() {
	id, err := syncthing.ParseID("P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2")
	if err != nil {
		fmt.Println(err)
		return
	}
	here := netip.AddrPortFrom(netip.Addr{}, 22000)
	sent := syncthing.Announcement{Device: syncthing.Device{ID: id, Addresses: []netip.AddrPort{here}}}
	b := sent.Append(nil)
	fmt.Printf("%d bytes: %x…\n", len(b), b[:8])

	m, err := syncthing.Parse(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	if a, ok := m.(*syncthing.Announcement); ok {
		fmt.Println(a.ID, "port", a.Addresses[0].Port())
	}
	// Output:
	// 56 bytes: 9d79bc3900000020…
	// P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2 port 22000
}

// A device is announced to a global server, and somebody else asks where it is. The network is in
// memory here; in a program Listen calls lan.ListenUDP.
func ExampleAnnouncer() {
	network := lantest.New(1)
	open := func(host, prefix string, port uint16) (syncthing.Conn, error) {
		nic := network.Host(host).Attach(network.Wire("internet"), "eth0", prefix)
		return network.Host(host).ListenBroadcast(nic.Link(), port)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	conn, _ := open("server", "192.0.2.1/24", syncthing.GlobalPort)
	server := &syncthing.Server{Conns: []syncthing.Conn{conn}}
	go server.Run(ctx)

	id := syncthing.CertificateID([]byte("the certificate"))
	port, _ := syncthing.ParseAddress(":22000") // at the address that the server sees
	announcer := &syncthing.Announcer{
		ID: id, Addresses: []netip.AddrPort{port}, Servers: []string{"192.0.2.1"}, Once: true,
		Listen: func(netip.AddrPort) (syncthing.Conn, error) { return open("device", "192.0.2.7/24", 0) },
	}
	if err := announcer.Run(ctx); err != nil {
		fmt.Println(err)
	}

	lookup := &syncthing.Lookup{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22026")},
		Listen:  func(netip.AddrPort) (syncthing.Conn, error) { return open("friend", "192.0.2.9/24", 0) },
	}
	fmt.Println(lookup.Ask(ctx, id))
	// Output: [192.0.2.7:22000] <nil>
}
