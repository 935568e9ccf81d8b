package lantest_test

import (
	"fmt"
	"net/netip"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
)

func Example() {
	network := lantest.New(1)
	office := network.Wire("office")
	printer := network.Host("printer").Attach(office, "eth0", "10.0.0.9/24")
	laptop := network.Host("laptop").Attach(office, "wlan0", "10.0.0.5/24")

	group := netip.MustParseAddrPort("224.0.0.251:5353")
	in, _ := network.Host("printer").ListenMulticast(printer.Link(), group)
	out, _ := network.Host("laptop").ListenMulticast(laptop.Link(), group)
	defer in.Close()
	defer out.Close()

	capture := office.Capture()
	out.WriteBatch([]packet.Datagram{{Data: []byte("who is there?")}})

	batch := make([]packet.Datagram, 8)
	n, _ := in.ReadBatch(batch)
	fmt.Println(n, string(batch[0].Data), batch[0].Src, batch[0].Dst, batch[0].TTL)
	fmt.Println(capture.Packets())
	// Output:
	// 1 who is there? 10.0.0.5:5353 224.0.0.251:5353 255
	// [laptop wlan0 10.0.0.5:5353 > 224.0.0.251:5353, 13 bytes]
}
