package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/node"
	"github.com/lanfolk/lanfolk/lan"
)

// recommended is a domain as commands print it.
type recommended struct {
	Name      string   `json:"name"`
	Kinds     []string `json:"kinds"`
	From      []string `json:"from"`
	Via       []string `json:"via"`
	Multicast bool     `json:"multicast"`
}

func domainsCommand(a app) *cobra.Command {
	var (
		x       = asking{app: a}
		f       format
		servers []string
		search  []string
	)
	cmd := &cobra.Command{
		Use:   "domains",
		Short: "List the domains that are recommended for browsing",
		Long: `domains asks which domains this network recommends (RFC 6763 §11): by unicast DNS
in the domains that resolv.conf searches and in those that are made of this
host's addresses, and by mDNS in .local. Beside a running node it leaves mDNS
out, unless --direct.

KINDS are b to browse, db to browse by default, lb to browse without asking a
person, r to register in, and dr to register in by default. What doesn't go
together is explained on stderr. It exits with 6 when no DNS server answered and
nothing was found.`,
		Example: `  lanfolk domains
  lanfolk domains --search example.com --server 192.0.2.53 --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			e := unicast.Enumeration{Search: search}
			if err := a.enumeration(&e, servers, *x.interfaces); err != nil {
				return err
			}
			ctx := cmd.Context()
			list := func(ctx context.Context) error { return a.listDomains(ctx, f, e) }
			links, err := lan.Links()
			if err != nil {
				return err
			}
			usable, err := lan.Select(links, *x.interfaces)
			if err != nil {
				return usage{err}
			}
			if len(usable) == 0 {
				return list(ctx)
			}
			return x.ask(ctx,
				func(c *client.Client) error {
					var s node.Status
					if err := c.Status(ctx, &s); err != nil {
						return err
					}
					return list(ctx)
				},
				func(ctx context.Context, src dnssd.Source) error {
					e.Multicast = src
					return list(ctx)
				})
		},
	}
	f.flags(cmd)
	x.flags(cmd)
	cmd.Flags().StringSliceVar(&servers, "server", nil, "ask these DNS servers, `ADDRESS[:PORT]`, instead of those in resolv.conf")
	cmd.Flags().StringSliceVar(&search, "search", nil, "look in these `DOMAINS` instead of those in resolv.conf")
	return cmd
}

// enumeration fills in the servers, the domains to search and the addresses. A
// host without a server has .local alone.
func (a app) enumeration(e *unicast.Enumeration, servers, interfaces []string) error {
	src, system, err := a.unicastSource(servers)
	if err != nil && len(servers) > 0 {
		return err
	}
	if err == nil {
		e.Unicast = src
	}
	if len(e.Search) == 0 {
		e.Search = system.Search
	}
	links, err := lan.Links()
	if err != nil {
		return err
	}
	chosen, err := lan.Select(links, interfaces)
	if err != nil {
		return usage{err}
	}
	e.Addresses = []netip.Prefix{}
	for _, l := range chosen {
		e.Addresses = append(e.Addresses, l.Prefixes...)
	}
	return nil
}

func (a app) listDomains(ctx context.Context, f format, e unicast.Enumeration) error {
	got, err := e.Domains(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, w := range got.Warnings {
		fmt.Fprintf(a.err, "lanfolk: %s\n", visible(w))
	}
	rows := make([]recommended, len(got.Domains))
	for i, d := range got.Domains {
		rows[i] = recommended{Name: d.Name, From: d.From, Via: d.Via, Multicast: d.Multicast}
		for _, k := range d.Kinds {
			rows[i].Kinds = append(rows[i].Kinds, string(k))
		}
	}
	if err != nil && len(rows) == 0 {
		if errors.Is(err, dnssd.ErrTimeout) {
			return outcome{"domains: no DNS server answered: " + err.Error(), errNoAnswer}
		}
		return err
	}
	return printer[recommended]{
		columns: []column[recommended]{
			{"DOMAIN", false, func(r recommended) string { return r.Name }},
			{"KINDS", false, func(r recommended) string { return strings.Join(r.Kinds, " ") }},
			{"FROM", false, func(r recommended) string { return strings.Join(r.From, " ") }},
			{"VIA", false, func(r recommended) string { return strings.Join(r.Via, " ") }},
		},
		id: func(r recommended) string { return r.Name },
	}.list(a.out, f, rows)
}
