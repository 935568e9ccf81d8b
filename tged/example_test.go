package tged_test

import (
	"context"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// On a real machine Links and Listen are lan.WatchLinks, lan.Links and
// lan.ListenBroadcast.
func Example() {
	network := lantest.New(1)
	office := network.Wire("office")
	there, here := network.Host("database"), network.Host("laptop")
	there.Attach(office, "eth0", "10.0.0.9/24")
	here.Attach(office, "wlan0", "10.0.0.5/24")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	services, err := tged.ParseServices("", []byte(`{"SQL": {"HOST": "db", "IP": "10.0.0.9", "PORT": 3306}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &tged.Server{
		Services: services,
		Links:    there.WatchLinks,
		Listen:   func(l packet.Link, port uint16) (tged.Conn, error) { return there.ListenBroadcast(l, port) },
	}
	go server.Run(ctx)

	client := &tged.Client{
		Links:  here.Links,
		Listen: func(l packet.Link, port uint16) (tged.Conn, error) { return here.ListenBroadcast(l, port) },
	}
	answer, err := client.Ask(ctx, "SQL")
	fmt.Println(answer.Server, answer.Fields, err)
	// Output:
	// 10.0.0.9:4745 [{HOST db} {IP 10.0.0.9} {PORT 3306}] <nil>
}
