package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/health"
	"github.com/lanfolk/lanfolk/internal/locate"
	"github.com/lanfolk/lanfolk/internal/names"
	"github.com/lanfolk/lanfolk/internal/sockets"
)

// standing is how the hub stands in one way of announcing it.
type standing struct {
	mu   sync.Mutex
	text string
}

func (s *standing) set(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

func (s *standing) detail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// announceTasks tell gateways by DNS-SD where the hub is, as the config wants it.
func (h *Hub) announceTasks() []*daemon.Task {
	var out []*daemon.Task
	c := h.Config.Hub.Announce
	if c.MDNS {
		s := &standing{}
		out = append(out, &daemon.Task{Name: "announcer", Detail: s.detail, Run: func(ctx context.Context) error { return h.announceOnLinks(ctx, s) }})
	}
	for _, d := range c.Domains {
		s := &standing{}
		out = append(out, &daemon.Task{
			Name: "register in " + d.Name.String(), Detail: s.detail,
			Run: func(ctx context.Context) error { return h.register(ctx, d, s) },
		})
	}
	return out
}

// announcement is the hub as gateways find it, on this machine.
func (h *Hub) announcement() (dnssd.Announcement, error) {
	at := addrPort(h.listeners.grpc.Addr())
	if at.Addr().IsLoopback() {
		return dnssd.Announcement{}, daemon.Unavailable{Reason: fmt.Errorf("hub: gateways can't reach %s; see hub.grpc", at)}
	}
	c := h.Config.Hub.Announce
	name := strings.ReplaceAll(c.Name, config.HostTemplate, cmp.Or(h.self.host, "lanfolk"))
	return dnssd.Announcement{Name: name, Type: locate.Service, Port: at.Port(), Links: c.Interfaces}, nil
}

func (h *Hub) selection() sockets.Selection {
	return sockets.Selection{Names: h.Config.Interfaces, Exclude: h.Config.ExcludeInterfaces}
}

// names remembers what the hub is called where others had its name.
func (h *Hub) names() *names.File { return names.Open(h.folder("names.json"), h.Log) }

// announceOnLinks does it by mDNS, with an engine of its own.
func (h *Hub) announceOnLinks(ctx context.Context, s *standing) error {
	c := h.Config.MDNS
	if !c.Enabled {
		return daemon.Unavailable{Reason: errors.New("the config says mdns.enabled = false")}
	}
	a, err := h.announcement()
	if err != nil {
		return err
	}
	engine := sockets.Engine(h.selection(), sockets.Family(c.IPv4, c.IPv6), h.Log)
	publisher := &dnssd.Publisher{Engine: engine, Host: dnssd.HostLabel(h.self.host), Keeper: h.names(), Log: h.Log}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return engine.Run(ctx) })
	tasks.Go(func() error {
		return announce.Run(ctx, health.Check{}, announce.OnLinks(publisher, a, func(now announce.State) {
			switch {
			case len(now.Announced) > 0:
				s.set(now.Instance.String() + " on " + strings.Join(now.Interfaces(), " "))
			default:
				s.set("not yet")
			}
		}))
	})
	return tasks.Wait()
}

// register does it by DNS updates in a domain.
func (h *Hub) register(ctx context.Context, d config.NMOSDomain, s *standing) error {
	a, err := h.announcement()
	if err != nil {
		return err
	}
	var key *unicast.Key
	if d.KeyFile != "" {
		k, open, err := announce.ReadKey(d.KeyFile)
		switch {
		case err != nil:
			return daemon.Unavailable{Reason: err}
		case open:
			return daemon.Unavailable{Reason: fmt.Errorf("hub: TSIG key: everybody on this machine can read %s; chmod 640 it", d.KeyFile)}
		}
		key = &k
	}
	addresses, changes, err := h.ownAddresses(ctx)
	if err != nil {
		return err
	}
	domain := d.Name.String()
	return announce.Run(ctx, health.Check{}, announce.InDomain(&unicast.Registrar{
		Servers:  unicast.Servers{Addrs: []netip.AddrPort{d.Server.AddrPort}, Dial: (&net.Dialer{}).DialContext},
		Key:      key,
		Instance: dnssd.Instance{Name: a.Name, Service: a.Type, Domain: domain},
		Offer:    unicast.Offer{Port: a.Port, TXT: a.TXT, Host: dnssd.HostLabel(h.self.host) + "." + domain, Addresses: addresses},
		Lease:    d.Lease.Duration(), Grace: d.Grace.Duration(),
		Keeper: h.names(), Log: h.Log.With("part", "register in "+domain),
	}, changes, func(now announce.Registration) { s.set(registration(now)) }))
}

// ownAddresses waits until gateways can reach this machine, and returns by which
// addresses, and what follows.
func (h *Hub) ownAddresses(ctx context.Context) ([]netip.Addr, <-chan []netip.Addr, error) {
	if at := addrPort(h.listeners.grpc.Addr()).Addr(); !at.IsUnspecified() {
		return []netip.Addr{at.WithZone("")}, nil, nil
	}
	selection := h.selection()
	if only := h.Config.Hub.Announce.Interfaces; len(only) > 0 {
		selection.Names = only
	}
	changes, err := selection.WatchAddresses(ctx)
	if err != nil {
		return nil, nil, err
	}
	for now := range changes {
		if len(now) > 0 {
			return now, changes, nil
		}
	}
	return nil, nil, context.Cause(ctx)
}

// registration says how the hub stands in a domain.
func registration(now announce.Registration) string {
	text := now.State.String()
	if now.Instance.Name != "" {
		text += " as " + now.Instance.String()
	}
	if !now.Expires.IsZero() {
		text += ", lease until " + now.Expires.UTC().Format(time.RFC3339)
	}
	if err := errors.Join(now.Err, now.LeaseErr); err != nil {
		text += ": " + err.Error()
	}
	return text
}
