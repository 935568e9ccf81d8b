package dnswire_test

import (
	"fmt"
	"net/netip"

	"github.com/lanfolk/lanfolk/dnswire"
)

// A response is written and read again. The instance name is one label, dots and all.
func Example() {
	service, err := dnswire.ParseName("_http._tcp.local")
	if err != nil {
		panic(err)
	}
	instance, err := service.Prepend("Build v1.2 Room.3")
	if err != nil {
		panic(err)
	}
	host, err := dnswire.ParseName("nas.local")
	if err != nil {
		panic(err)
	}

	var b dnswire.Builder
	b.Reset(make([]byte, 0, 1440), dnswire.Header{Response: true, Authoritative: true}, 1440)
	b.Answer(dnswire.NewPTR(service, instance, 4500))
	b.Additional(dnswire.NewSRV(instance, dnswire.SRV{Port: 8080, Target: host}, 120))
	b.Additional(dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.5"), 120))

	m, err := dnswire.Parse(b.Bytes())
	if err != nil {
		panic(err)
	}
	for r := range m.Records() {
		fmt.Println(r.Section, r.RR())
	}
	// Output:
	// answer _http._tcp.local 4500 IN PTR Build v1\.2 Room\.3._http._tcp.local
	// additional Build v1\.2 Room\.3._http._tcp.local 120 IN SRV 0 0 8080 nas.local
	// additional nas.local 120 IN A 10.0.0.5
}
