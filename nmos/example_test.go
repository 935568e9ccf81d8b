package nmos_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/lanfolk/lanfolk/nmos"
)

// A client of a registration API: it uses what is selected and says when that
// fails.
func ExampleClient() {
	kind, _ := nmos.KindOf("register")
	dialer := &net.Dialer{}
	client := &nmos.Client{
		Kind:  kind,
		Needs: nmos.Needs{Versions: []nmos.Version{{Major: 1, Minor: 3}}, Proto: "http"},
		// Usually Unicast, Domains and Multicast; here the location is known.
		Location: "http://registry.studio.example:8080",
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go client.Run(ctx)

	api, err := client.Select(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(api.Base())
	_ = nmos.Probe{DialContext: dialer.DialContext}.Client(api) // for requests to it

	client.Failed(api, errors.New("connection refused"))
	fmt.Println(client.State().Reason)
	// Output:
	// http://registry.studio.example:8080/x-nmos/registration/v1.3/
	// http://registry.studio.example:8080 failed: connection refused; nothing else is configured
}

// What a client makes of two advertisements.
func ExampleNeeds_Rank() {
	kind, _ := nmos.KindOf("netctrl")
	found := []nmos.Found{}
	for name, txt := range map[string][]string{
		"ctl-1": {"api_proto=http", "api_ver=v1.0", "api_auth=false", "pri=10"},
		"ctl-2": {"api_proto=http", "api_ver=v1.0", "api_auth=false", "pri=abc"},
	} {
		f := nmos.Found{Targets: []nmos.Target{{Host: name + ".example.com", Port: 80}}}
		f.Name, f.Service, f.TXT = name, kind.Service, append(f.TXT, txt)
		found = append(found, f)
	}
	list := nmos.Needs{}.Rank([]nmos.Kind{kind}, found)
	fmt.Println(list.Groups[0][0], list.Groups[0][0].Priority)
	fmt.Println(list.Discarded[0].Name, list.Discarded[0].Reason)
	// Output:
	// ctl-1 10
	// ctl-2 pri is "abc": want a number from 0
}
