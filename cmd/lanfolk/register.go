package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
)

// register keeps the service in a domain by DNS updates until ctx ends.
func (x *announcing) register(ctx context.Context, s announce.Service, out *announceLines) error {
	server, err := unicast.ParseServer(x.server)
	if err != nil {
		return usage{fmt.Errorf("--server: %w", err)}
	}
	r := unicast.Registrar{
		Servers:  unicast.Servers{Addrs: []netip.AddrPort{server}, Dial: (&net.Dialer{}).DialContext},
		Instance: dnssd.Instance{Name: s.Name, Service: s.Type, Domain: x.domain},
		Offer:    unicast.Offer{Subtypes: s.Subtypes, Port: s.Port, TXT: s.TXT},
		Log:      x.logger(slog.LevelWarn, config.FormatAuto),
	}
	if x.tsigFile != "" {
		text, err := os.ReadFile(x.tsigFile)
		if err != nil {
			return fmt.Errorf("--tsig-file: %w", err)
		}
		key, err := unicast.ParseKey(text)
		if err != nil {
			return fmt.Errorf("--tsig-file %s: %w", x.tsigFile, err)
		}
		r.Key = &key
	}
	if r.Host, r.Addresses, err = x.target(s.Announcement.Host); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.Changed = func(ev unicast.RegistrationEvent) {
		if err := out.registration(ev, s.Announcement); err != nil {
			cancel(err)
		}
	}
	err = r.Run(ctx)
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// target returns the host that a registered service leads to, and those of its
// addresses that are registered with it: all of this machine's that reach beyond
// its links.
func (x *announcing) target(h dnssd.Host) (name string, addresses []netip.Addr, err error) {
	if h.Name != "" {
		n, err := dnswire.ParseName(h.Name)
		if err != nil {
			return "", nil, usage{fmt.Errorf("--host: %w", err)}
		}
		if n.NumLabels() == 1 {
			return h.Name + "." + x.domain, h.Addresses, nil
		}
		return n.String(), h.Addresses, nil
	}
	links, err := lan.Links()
	if err != nil {
		return "", nil, err
	}
	chosen, err := sockets.Selection{Names: *x.interfaces}.Choose(links)
	if err != nil {
		return "", nil, usage{err}
	}
	for _, l := range chosen {
		for _, p := range l.Prefixes {
			if a := p.Addr().Unmap(); a.IsGlobalUnicast() && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
	}
	if len(addresses) == 0 {
		return "", nil, errors.New("this machine has no address to register; name another one with --host and --address")
	}
	machine, _ := os.Hostname() // one without a name gets a default
	return dnssd.HostLabel(machine) + "." + x.domain, addresses, nil
}

// registration prints what happens to a service in a domain. A server that
// refuses it from the beginning ends the command.
func (l *announceLines) registration(ev unicast.RegistrationEvent, a dnssd.Announcement) error {
	e := announceEvent{
		Name: ev.Instance.Name, Type: a.Type, Domain: ev.Instance.Domain, Subtypes: a.Subtypes, Host: ev.Host, Port: a.Port, Via: "unicast",
	}
	switch {
	case unicast.Refused(ev.Err) && l.last.Event != "announced":
		return outcome{fmt.Sprintf("the server refuses the update: %v", ev.Err), client.ErrDenied}
	case ev.State == unicast.Renamed && (ev.Instance.Name != l.name || ev.Host != l.host):
		l.name, l.host = ev.Instance.Name, ev.Host
		e.Event = "renamed"
	case ev.State == unicast.Registered && l.last.Event != "announced":
		e.Event = "announced"
	default:
		return nil
	}
	return l.print(e)
}
