package unicast_test

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// The services of a type in a domain, by the machine's own DNS servers.
func ExampleSource() {
	system, err := unicast.ReadSystem(os.ReadFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	system.Dial = (&net.Dialer{}).DialContext
	browser := dnssd.Browser{Source: &unicast.Source{Servers: system.Servers}, Domain: "example.com", Type: "_http._tcp", Resolve: true, Once: true}
	for ev, err := range browser.Events(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Op, ev.Name, ev.Host, ev.Port)
	}
}

func ExampleParseResolvConf() {
	c := unicast.ParseResolvConf([]byte("nameserver 192.0.2.53\nsearch example.com\noptions rotate\n"))
	fmt.Println(c.Addrs, c.Search, c.Rotate)
	// Output: [192.0.2.53:53] [example.com] true
}
