package passive_test

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// A frame goes in, facts come out.
func ExampleDecoder() {
	frame, err := hex.DecodeString("02005e10000102005e1000020806" + // to, from, ARP
		"0001080006040002" + "02005e1000020a4d0001" + "02005e1000010a4d0002") // a reply
	if err != nil {
		panic(err)
	}
	d := passive.NewDecoder(passive.Options{})
	d.Decode(packet.Frame{Data: frame, Length: len(frame), LinkType: packet.LinkEthernet, Time: time.Now()}, func(f *passive.Fact) {
		fmt.Println(f.Protocol, f.Query, f.Fingerprint)
		for _, c := range f.Claims {
			fmt.Println("claim:", c.MAC, c.IP)
		}
	})
	fmt.Println(d.Stats().Packets)
	// Output:
	// arp 10.77.0.1 arp1:reply
	// claim: 02:00:5e:10:00:02 10.77.0.1
	// map[arp:1]
}
