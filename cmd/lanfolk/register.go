package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
)

// registerFlags say where a service is registered by DNS updates.
type registerFlags struct {
	domain, server, tsigFile string
	lease, grace             time.Duration
}

func (f *registerFlags) flags(cmd *cobra.Command, domain string) {
	fl := cmd.Flags()
	fl.StringVar(&f.domain, "domain", "", domain)
	fl.StringVar(&f.server, "server", "", "the `ADDRESS[:PORT]` of the domain's primary server")
	fl.StringVar(&f.tsigFile, "tsig-file", "", "a `FILE` with the key that signs the updates")
	fl.DurationVar(&f.lease, "lease", unicast.DefaultLease, "how long a service may stay registered that nobody keeps any more, if this program dies")
	fl.DurationVar(&f.grace, "lease-grace", unicast.DefaultGrace, "by how much clocks may differ: for so long nobody's lease has run out")
}

// registrar returns what registers in the domain, without what it registers.
func (f *registerFlags) registrar(log *slog.Logger) (*unicast.Registrar, error) {
	server, err := unicast.ParseServer(f.server)
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	if f.lease < unicast.MinLease {
		return nil, usagef("--lease: want at least %s", unicast.MinLease)
	}
	r := &unicast.Registrar{
		Servers: unicast.Servers{Addrs: []netip.AddrPort{server}, Dial: (&net.Dialer{}).DialContext},
		Lease:   f.lease, Grace: f.grace, Log: log,
	}
	if f.tsigFile == "" {
		return r, nil
	}
	key, open, err := announce.ReadKey(f.tsigFile)
	if err != nil {
		return nil, fmt.Errorf("--tsig-file: %w", err)
	}
	if open {
		log.Warn("everybody on this machine can read the key; chmod 640 it", "file", f.tsigFile)
	}
	r.Key = &key
	return r, nil
}

// target is where a registered service leads to.
type target struct {
	host      string
	addresses []netip.Addr        // that are registered with it
	changes   <-chan []netip.Addr // of this machine's, nil for another one's
}

// target returns the host that a registered service leads to. Of this machine all
// addresses are registered that reach beyond its links, and followed until ctx ends.
func (f *registerFlags) target(ctx context.Context, h dnssd.Host, interfaces []string) (target, error) {
	if h.Name != "" {
		n, err := dnswire.ParseName(h.Name)
		if err != nil {
			return target{}, usagef("--host: %w", err)
		}
		if n.NumLabels() == 1 {
			return target{host: h.Name + "." + f.domain, addresses: h.Addresses}, nil
		}
		return target{host: n.String(), addresses: h.Addresses}, nil
	}
	links, err := lan.Links()
	if err != nil {
		return target{}, err
	}
	selection := sockets.Selection{Names: interfaces}
	chosen, err := selection.Choose(links)
	if err != nil {
		return target{}, usage{err}
	}
	machine, _ := os.Hostname() // one without a name gets a default
	t := target{host: dnssd.HostLabel(machine) + "." + f.domain, addresses: sockets.Addresses(chosen)}
	if len(t.addresses) == 0 {
		return t, errors.New("this machine has no address to register; name another one with --host and --address")
	}
	t.changes, err = selection.WatchAddresses(ctx)
	return t, err
}

// registration prints what happens to a service in a domain. A server that
// refuses it from the beginning ends the command.
func (l *announceLines) registration(r announce.Registration, a dnssd.Announcement) error {
	ev := r.RegistrationEvent
	e := announceEvent{
		Name: ev.Instance.Name, Type: a.Type, Domain: ev.Instance.Domain, Subtypes: a.Subtypes, Host: ev.Host, Port: a.Port, Via: "unicast",
	}
	switch {
	case unicast.Refused(ev.Err) && !unicast.Skewed(ev.Err) && !l.began:
		return outcome{fmt.Sprintf("the server refuses the update: %v", ev.Err), client.ErrDenied}
	case ev.State == unicast.Renamed && (ev.Instance.Name != l.name || ev.Host != l.host):
		l.name, l.host = ev.Instance.Name, ev.Host
		e.Event = "renamed"
	case ev.State == unicast.Registered && l.last.Event != "announced":
		l.began = true
		e.Event = "announced"
	case ev.State == unicast.Withdrawn && ev.Err == nil && r.Dead != nil && l.last.Event != "withdrawn":
		e.Event, e.Error = "withdrawn", r.Dead.Error()
	default:
		return nil
	}
	return l.print(e)
}

// saidBy ends what it wraps with the first error of a line that couldn't be printed.
func saidBy(ctx context.Context, run func(ctx context.Context, said func(error)) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := run(ctx, func(err error) {
		if err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
