// Command nmos-node keeps an NMOS node registered, as IS-04 v1.3 says: it finds the
// Registration API by DNS-SD, registers the node there, sends heartbeats, moves to the
// next registry when this one fails, and takes the node back at its end.
//
// The node's own API, at -address, is another program's matter.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/nmos"
	"github.com/lanfolk/lanfolk/packet"
)

// heartbeat is how often a registry wants to hear from a node, and how long it
// has to answer (IS-04 v1.3, Behaviour: Registration).
const heartbeat = 5 * time.Second

type node struct {
	id         string
	self       map[string]any // its resource
	registries *nmos.Client
	probe      nmos.Probe
	registered bool // somewhere, as far as it knows
}

func main() {
	id := flag.String("id", "", "the node's `UUID`, which it keeps for life")
	address := flag.String("address", "", "`IP:PORT` of its Node API")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *id, *address); err != nil {
		slog.Error("the node ends", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, id, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	system, err := unicast.ReadSystem(os.ReadFile)
	if err != nil {
		return err
	}
	system.Dial = new(net.Dialer).DialContext
	engine := &mdns.Engine{
		Links:  lan.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) { return lan.ListenMulticast(l, group) },
	}
	register, _ := nmos.KindOf("register")
	registries := &nmos.Client{
		Kind: register, Needs: nmos.Needs{Versions: []nmos.Version{{Major: 1, Minor: 3}}, Proto: "http", Auth: new(bool)},
		Unicast: &unicast.Source{Servers: system.Servers}, Domains: system.Search, // asked first
		Multicast: dnssd.Multicast(engine), // asked where these have no answer
		Log:       slog.Default(),
	}
	n := &node{id: id, self: resource(id, at), registries: registries, probe: nmos.Probe{DialContext: system.Dial, Timeout: heartbeat}}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return engine.Run(ctx) })
	tasks.Go(func() error { return registries.Run(ctx) })
	tasks.Go(func() error { return n.stay(ctx) })
	return tasks.Wait()
}

// resource is the node as the schema node.json wants it: one without devices.
func resource(id string, at netip.AddrPort) map[string]any {
	tai := time.Now().Add(37 * time.Second) // ahead of UTC since 2017
	none := []any{}
	endpoint := map[string]any{"host": at.Addr(), "port": at.Port(), "protocol": "http"}
	return map[string]any{
		"id": id, "version": fmt.Sprintf("%d:%d", tai.Unix(), tai.Nanosecond()), "label": "example", "description": "",
		"href": fmt.Sprintf("http://%s/", at), "api": map[string]any{"versions": []string{"v1.3"}, "endpoints": []any{endpoint}},
		"tags": struct{}{}, "caps": struct{}{}, "services": none, "clocks": none, "interfaces": none,
	}
}

// stay keeps the node registered until ctx ends, at one registry for as long as
// that works.
func (n *node) stay(ctx context.Context) error {
	for next := time.Tick(heartbeat); ; {
		registry, err := n.registries.Select(ctx)
		if err != nil {
			return nil // ctx has ended, and no registry worked
		}
		status, err := n.beat(registry)
		switch {
		case err != nil:
			n.registries.Failed(registry, err)
			continue
		case status >= http.StatusBadRequest: // no other registry would like it better
			return fmt.Errorf("%s refuses the node: %d", registry.URL(), status)
		}
		select {
		case <-next:
		case <-ctx.Done():
			_, err := n.call(registry, http.MethodDelete, "resource/nodes/"+n.id, nil)
			return err
		}
	}
}

// beat sends a heartbeat, and registers the node where it isn't known. At a
// registry of the same cluster as the last one it is.
func (n *node) beat(registry nmos.Selection) (status int, err error) {
	if n.registered {
		if status, err = n.call(registry, http.MethodPost, "health/nodes/"+n.id, nil); status != http.StatusNotFound {
			return status, err
		}
	}
	post := map[string]any{"type": "node", "data": n.self}
	status, err = n.call(registry, http.MethodPost, "resource", post)
	if status == http.StatusOK && !n.registered { // left over from the node's last run
		_, _ = n.call(registry, http.MethodDelete, "resource/nodes/"+n.id, nil)
		status, err = n.call(registry, http.MethodPost, "resource", post)
	}
	n.registered = n.registered || err == nil
	return status, err
}

// call does without ctx: the last call comes after its end.
func (n *node) call(registry nmos.Selection, method, path string, body any) (int, error) {
	return n.probe.Call(context.Background(), registry, method, path, body, nil)
}
