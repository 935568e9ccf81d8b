package lanfolk_test

import (
	"context"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Three protocols each know a part; the inventory shows one device.
func ExampleRegistry() {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{
		Vendor: func(m lanfolk.MAC) string { return "Acme" },
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = r.Run(ctx) }()

	r.Observe(
		web("Blog", "nas.local", "10.0.0.5"),  // a name, an address and a service
		arp("00:00:5e:00:53:01", "10.0.0.5"),  // whose address it is
		arp("00:00:5e:00:53:02", "10.0.0.77"), // somebody else
	)
	for r.Stats().Observed < 3 {
		time.Sleep(time.Millisecond)
	}
	d, evidence, err := r.Explain("nas.local")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.MACs[0], d.Vendor, d.Names, d.Services[0].Name, d.State)
	for _, e := range evidence {
		fmt.Println(e.Protocol, "-", e.WhyJoined)
	}
	// Output:
	// 00:00:5e:00:53:01 Acme [nas.local Blog] Blog reachable
	// arp - first evidence
	// mdns - ip 10.0.0.5 on eth0 is claimed by this device alone
}
