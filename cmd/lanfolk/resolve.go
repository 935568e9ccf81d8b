package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
)

func resolveCommand(a app) *cobra.Command {
	var (
		f          format
		interfaces *[]string
		timeout    time.Duration
	)
	cmd := &cobra.Command{
		Use:     "resolve NAME TYPE",
		Short:   "Find host, port, addresses and TXT of one service instance",
		Example: `  lanfolk resolve 'Office printer' _ipp._tcp`,
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			var b dnssd.Browser
			if err := setType(&b, argv[1]); err != nil {
				return usage{err}
			}
			in := dnssd.Instance{Name: argv[0], Service: b.Type, Domain: dnssd.DefaultDomain}
			if _, err := in.FullName(); err != nil || in.Name == "" {
				return usagef("%q is no instance name: 1 to 63 bytes", in.Name)
			}
			return a.withMulticast(cmd.Context(), *interfaces, func(ctx context.Context, src dnssd.Source) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				services, err := dnssd.Resolve(ctx, src, in)
				if err != nil {
					return lookupError(in.String(), err)
				}
				lines := make([]browsed, len(services))
				for i, s := range services {
					lines[i] = newBrowsed("", s, true)
				}
				return resolvePrinter().list(a.out, f, lines)
			})
		},
	}
	f.flags(cmd)
	interfaces = interfaceFlag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for an answer")
	return cmd
}

func resolvePrinter() printer[browsed] {
	p := browsePrinter()
	p.columns = p.columns[1:]
	return p
}

// address is one line of lookup.
type address struct {
	Host      string     `json:"host"`
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface"`
	Via       string     `json:"via"`
	TTL       uint32     `json:"ttl"`
}

func lookupCommand(a app) *cobra.Command {
	var (
		f          format
		interfaces *[]string
		timeout    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "lookup HOST.local|ADDRESS",
		Short: "Find a host's addresses by mDNS, or the name behind an address",
		Example: `  lanfolk lookup nas.local
  lanfolk lookup 192.0.2.7`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ip, notIP := netip.ParseAddr(argv[0])
			if notIP != nil {
				if name := strings.TrimSuffix(argv[0], "."); strings.Contains(name, ".") && !strings.HasSuffix(strings.ToLower(name), ".local") {
					return usagef("%s doesn't end in .local: only such names are asked for by multicast (RFC 6762 §3)", argv[0])
				}
			}
			return a.withMulticast(cmd.Context(), *interfaces, func(ctx context.Context, src dnssd.Source) error {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				var answers []dnssd.Answer
				var err error
				if notIP == nil {
					answers, err = dnssd.LookupAddr(ctx, src, ip)
				} else {
					answers, err = dnssd.LookupHost(ctx, src, argv[0])
				}
				if err != nil {
					return lookupError(argv[0], err)
				}
				lines := make([]address, len(answers))
				for i, x := range answers {
					lines[i] = address{x.Host, x.Addr, x.Interface, src.Via(), x.TTL}
				}
				return addressPrinter().list(a.out, f, lines)
			})
		},
	}
	f.flags(cmd)
	interfaces = interfaceFlag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for an answer")
	return cmd
}

func addressPrinter() printer[address] {
	return printer[address]{
		columns: []column[address]{
			{"HOST", false, func(x address) string { return x.Host }},
			{"ADDRESS", false, func(x address) string { return addr(x.Address) }},
			{"INTERFACE", false, func(x address) string { return x.Interface }},
			{"TTL", true, func(x address) string { return strconv.FormatUint(uint64(x.TTL), 10) }},
		},
		id: func(x address) string { return fmt.Sprintf("%s %s", x.Host, addr(x.Address)) },
	}
}
