package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/source"
)

// domainFlags choose a domain of unicast DNS, and who is asked there.
type domainFlags struct {
	domain  string
	servers []string
}

func (d *domainFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.domain, "domain", dnssd.DefaultDomain, "ask for this `DOMAIN`; all but local are asked for by unicast DNS")
	cmd.Flags().StringSliceVar(&d.servers, "server", nil, "ask these DNS servers, `ADDRESS[:PORT]`, instead of those in resolv.conf")
}

// unicast says whether unicast DNS is to be asked.
func (d *domainFlags) unicast() (bool, error) {
	n, err := dnswire.ParseName(d.domain)
	switch {
	case err != nil:
		return false, usagef("--domain %q: want a domain like example.com", d.domain)
	case strings.EqualFold(n.String(), dnssd.DefaultDomain):
		if len(d.servers) > 0 {
			return false, usagef("--server: no server is asked for names in .local (RFC 6762 §3); name another --domain")
		}
		return false, nil
	case unicast.Multicast(n):
		return false, usagef("--domain %s: its names belong to multicast DNS (RFC 6762 §3, §4)", n)
	}
	return true, nil
}

// source returns what asks the servers.
func (a app) unicastSource(servers []string) (*unicast.Source, unicast.ResolvConf, error) {
	system, err := unicast.ReadSystem(os.ReadFile)
	if err != nil && len(servers) == 0 {
		return nil, system, err
	}
	if len(servers) > 0 {
		system.Servers = unicast.Servers{}
		for _, s := range servers {
			at, err := unicast.ParseServer(s)
			if err != nil {
				return nil, system, usage{err}
			}
			system.Addrs = append(system.Addrs, at)
		}
	}
	if len(system.Addrs) == 0 {
		return nil, system, errors.New("no DNS server is known: resolv.conf names none; name one with --server")
	}
	system.Dial = (&net.Dialer{}).DialContext
	return &unicast.Source{Servers: system.Servers, Log: a.logger(slog.LevelError, config.FormatAuto)}, system, nil
}

// askDomain hands do what asks the domain's servers.
func (a app) askDomain(ctx context.Context, d *domainFlags, do func(context.Context, asker) error) error {
	src, _, err := a.unicastSource(d.servers)
	if err != nil {
		return err
	}
	return do(ctx, source.DNSSD{Source: func() dnssd.Source { return src }, Domain: d.domain})
}
