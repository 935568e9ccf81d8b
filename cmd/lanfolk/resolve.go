package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

func resolveCommand(a app) *cobra.Command {
	var (
		x       = asking{app: a}
		f       format
		timeout time.Duration
		again   bool
	)
	cmd := &cobra.Command{
		Use:   "resolve NAME TYPE",
		Short: "Find host, port, addresses and TXT of one service instance",
		Long: `resolve asks by mDNS where the service instance NAME of TYPE is. A running node
is asked to do it; without one, or with --direct, the command asks with sockets
of its own. With --domain it asks that domain's DNS servers instead.

--reconfirm says that the service didn't work. What the node knows of it is then
asked for again, and forgotten unless somebody confirms it within ten seconds.`,
		Example: `  lanfolk resolve 'Office printer' _ipp._tcp
  lanfolk resolve 'Office printer' _ipp._tcp --reconfirm
  lanfolk resolve Web _http._tcp --domain example.com`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := positive(timeout); err != nil {
				return err
			}
			in, err := source.ParseInstance(argv[0], argv[1])
			if err != nil {
				return usage{err}
			}
			in.Domain = x.domain.domain
			if again && (in.Domain != "" || cmd.Flags().Changed("timeout")) {
				return usagef("--reconfirm is for mDNS and takes its own time; leave --domain and --timeout out")
			}
			return x.askDNSSD(cmd.Context(), func(ctx context.Context, by asker) error {
				ask := func() ([]find.Instance, error) { return by.Resolve(ctx, in.Name, in.Service, timeout) }
				if again {
					ask = func() ([]find.Instance, error) { return by.Reconfirm(ctx, in.Name, in.Service) }
				}
				lines, err := ask()
				if err != nil {
					return found(in.String(), err)
				}
				return resolvePrinter().list(a.out, f, lines)
			})
		},
	}
	f.flags(cmd)
	x.flags(cmd)
	x.domain.flags(cmd)
	timeoutFlag(cmd, &timeout)
	cmd.Flags().BoolVar(&again, "reconfirm", false, "the service didn't work: ask for everything about it again")
	return cmd
}

func resolvePrinter() printer[find.Instance] {
	p := browsePrinter()
	p.columns = p.columns[1:]
	return p
}

func lookupCommand(a app) *cobra.Command {
	var (
		x       = asking{app: a}
		f       format
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "lookup HOST.local|ADDRESS",
		Short: "Find a host's addresses by mDNS, or the name behind an address",
		Long: `lookup asks by mDNS for the addresses of a host, or for the names of the host
that has an address. A running node is asked to do it; without one, or with
--direct, the command asks with sockets of its own.

With --domain it asks DNS servers instead: for HOST as it stands if that ends in
the domain, else for HOST in the domain.`,
		Example: `  lanfolk lookup nas.local
  lanfolk lookup 192.0.2.7
  lanfolk lookup www --domain example.com --server 192.0.2.53`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := positive(timeout); err != nil {
				return err
			}
			if err := source.CheckHost(argv[0], x.domain.domain); err != nil {
				return usage{err}
			}
			return x.askDNSSD(cmd.Context(), func(ctx context.Context, by asker) error {
				lines, err := by.Lookup(ctx, argv[0], timeout)
				if err != nil {
					return found(argv[0], err)
				}
				return addressPrinter().list(a.out, f, lines)
			})
		},
	}
	f.flags(cmd)
	x.flags(cmd)
	x.domain.flags(cmd)
	timeoutFlag(cmd, &timeout)
	return cmd
}

func addressPrinter() printer[find.HostAddress] {
	return printer[find.HostAddress]{
		columns: []column[find.HostAddress]{
			{"HOST", false, func(x find.HostAddress) string { return x.Host }},
			{"ADDRESS", false, func(x find.HostAddress) string { return addr(x.Address) }},
			{"INTERFACE", false, func(x find.HostAddress) string { return x.Interface }},
			{"TTL", true, func(x find.HostAddress) string { return strconv.FormatUint(uint64(x.TTL), 10) }},
		},
		id: func(x find.HostAddress) string { return fmt.Sprintf("%s %s", x.Host, addr(x.Address)) },
	}
}
