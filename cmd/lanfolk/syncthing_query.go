package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/syncthing"
)

// syncthingFound is what `syncthing query` prints.
type syncthingFound struct {
	DeviceID  string           `json:"device_id"`
	Addresses []netip.AddrPort `json:"addresses"`
}

func syncthingQueryCommand(a app) *cobra.Command {
	var (
		form    format
		servers []string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "query ID --server HOST[:PORT]",
		Short: "Ask global servers where a device is",
		Long: `query asks one or more global servers where a device is, all at once and at each
address of theirs, and prints the addresses that they know, those of the first
answer first.

A server that doesn't know the device says nothing: query exits with 6 when no
answer came in time.`,
		Example: `  lanfolk syncthing query P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2 --server discovery.example.com
  lanfolk syncthing query ID --server 192.0.2.1 --server '[2001:db8::1]:22026' --timeout 2s --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := form.check(); err != nil {
				return err
			}
			id, err := syncthingID(argv[0])
			switch {
			case err != nil:
				return err
			case len(servers) == 0:
				return usagef("--server is missing: which global server is to be asked?")
			case timeout <= 0:
				return usagef("--timeout %v: want more than 0", timeout)
			}
			if err := checkServers(servers); err != nil {
				return err
			}
			found, err := syncthingAsk(cmd.Context(), id, servers, timeout, a.logger(slog.LevelWarn, config.FormatAuto))
			if errors.Is(err, syncthing.ErrNoAnswer) {
				return fmt.Errorf("device %s: %w: no server knows it, or none is there", id, errNoAnswer)
			} else if err != nil {
				return err
			}
			v := syncthingFound{DeviceID: id.String(), Addresses: found}
			return document(a.out, form, v, v.DeviceID, v.people)
		},
	}
	form.flags(cmd)
	fl := cmd.Flags()
	fl.StringArrayVar(&servers, "server", nil, "ask this global server, `HOST[:PORT]`; may be repeated")
	fl.DurationVar(&timeout, "timeout", syncthing.DefaultTimeout, "how long to wait for an answer")
	return cmd
}

// people writes an address a line.
func (v syncthingFound) people(w io.Writer) error {
	for _, a := range v.Addresses {
		if _, err := fmt.Fprintln(w, a); err != nil {
			return err
		}
	}
	return nil
}

// syncthingAsk asks servers by their names. Names that lead nowhere matter only if all do.
func syncthingAsk(ctx context.Context, id syncthing.DeviceID, servers []string, timeout time.Duration, log *slog.Logger) ([]netip.AddrPort, error) {
	begun := time.Now()
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs := make([][]netip.AddrPort, len(servers))
	errs := make([]error, len(servers))
	var tasks sync.WaitGroup
	for i, s := range servers {
		tasks.Go(func() { addrs[i], errs[i] = syncthing.ResolveServer(within, s, lookupHost) })
	}
	tasks.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var all []netip.AddrPort
	for _, found := range addrs {
		for _, a := range found {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	if err := errors.Join(errs...); len(all) == 0 {
		return nil, err
	} else if err != nil {
		log.Warn("not all servers can be asked", "err", err)
	}
	l := syncthing.Lookup{Servers: all, Listen: sockets.SyncthingConn, Timeout: max(timeout-time.Since(begun), min(timeout, time.Second))}
	return l.Ask(ctx, id)
}
