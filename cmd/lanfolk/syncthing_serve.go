package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

// syncthingServing is one run of the command.
type syncthingServing struct {
	app
	listen []string
	state  string
	rate   string
	allow  []string
	pin    bool
	log    *slog.Logger
}

func syncthingServeCommand(a app) *cobra.Command {
	x := &syncthingServing{app: a}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be a global server: remember where devices are, and tell who asks",
		Long: `serve takes in what devices announce, and answers who asks for them with the
addresses as it saw them. It forgets an address an hour after it was announced
last. It prints "ready" when it listens, and works until it is interrupted.

Without --state what it knows is gone when it ends. With it, it is kept in that
folder, and survives even a kill or a power cut but for the last second.

What one network may send (a /24 of IPv4, a /64 of IPv6) is limited, and so is how
often one device may be announced, and how many new ones a network may bring.
--rate-limit off is for a network where you trust everyone.

--allow names the devices that are served: an ID, or a file with one a line, in
which # begins a comment. SIGHUP has the files read again. Once a day, on SIGUSR1
and at the end it logs what it did.`,
		Example: `  lanfolk syncthing serve --state /var/lib/syncthing-discovery
  lanfolk syncthing serve --listen 192.0.2.1:22026 --listen '[2001:db8::1]:22026' --rate-limit 50/s
  lanfolk syncthing serve --allow devices.txt --pin --state state`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&x.listen, "listen", []string{":" + strconv.Itoa(syncthing.GlobalPort)}, "answer at this `[ADDR]:PORT`; without ADDR at every address; may be repeated")
	fl.StringVar(&x.state, "state", "", "the `FOLDER` where it keeps what it knows (default nowhere)")
	fl.StringVar(&x.rate, "rate-limit", strconv.Itoa(syncthing.DefaultPerPrefix)+"/s", "how many packets of one network are served: `N/s` or off")
	fl.StringArrayVar(&x.allow, "allow", nil, "serve only this device, or those in this file: `ID|FILE`; may be repeated")
	fl.BoolVar(&x.pin, "pin", false, "let a device be announced only from the network that first did so")
	return cmd
}

func (x *syncthingServing) run(ctx context.Context) (end error) {
	at, err := listenAt(x.listen)
	if err != nil {
		return err
	}
	s := &syncthing.Server{}
	if s.PerPrefix, err = perSecond(x.rate); err != nil {
		return err
	}
	allowed, err := readAllowed(x.allow)
	if err != nil {
		return err
	}
	var serves atomic.Pointer[allowList]
	serves.Store(&allowed)
	if len(x.allow) > 0 {
		s.Allowed = func(id syncthing.DeviceID) bool { return (*serves.Load())[id] }
	}
	x.log = x.logger(slog.LevelInfo, config.FormatAuto)
	s.Log, s.Pin = x.log, x.pin
	if x.state != "" {
		// First of all: a second server that is started by mistake must not get as far as the port.
		state, err := directory.Open(x.state, directory.Options{Log: x.log})
		if err != nil {
			return err
		}
		defer func() { end = errors.Join(end, state.Close()) }()
		s.Directory, s.Journal = state.Directory, state
	}
	if s.Conns, err = sockets.SyncthingServerConns(at, x.log); errors.Is(err, syscall.EADDRNOTAVAIL) {
		return usagef("--listen: no interface has that address: %w", err)
	} else if err != nil {
		return err
	}
	fmt.Fprintln(x.out, "ready")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		x.signals(ctx, s, func(list allowList) { serves.Store(&list) })
	}()
	err = s.Run(ctx)
	cancel()
	<-watched
	x.report(s)
	return err
}

// signals does what signals ask for until ctx is done, and reports once a day.
func (x *syncthingServing) signals(ctx context.Context, s *syncthing.Server, allow func(allowList)) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
			x.report(s)
		case sig := <-signals:
			if sig == syscall.SIGUSR1 {
				x.report(s)
				continue
			}
			list, err := readAllowed(x.allow)
			if err != nil {
				x.log.Warn("allowed devices not read again, the last ones stay", "err", err)
				continue
			}
			allow(list)
			x.log.Info("allowed devices read again", "n", len(list))
		}
	}
}

// report logs what the server did so far.
func (x *syncthingServing) report(s *syncthing.Server) {
	st := s.Stats()
	x.log.Info("served", "devices", st.Devices, "received", st.Received, "answered", st.Answered, "unknown", st.Unknown, "stored", st.Stored,
		"limited", st.PrefixLimit+st.DeviceLimit+st.NewLimit, "denied", st.Denied, "bad", st.Foreign+st.Invalid+st.NoHost+st.Nothing,
		"conflicts", st.Conflict, "full", st.Full, "failed", st.Failed, "overflow", st.Overflow, "unsaved", st.Unsaved)
}

// listenAt reads where to listen: ADDR:PORT, :PORT for every address, or ADDR.
func listenAt(all []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range all {
		var at netip.AddrPort
		var err error
		if port, ok := strings.CutPrefix(s, ":"); ok {
			var n uint64
			n, err = strconv.ParseUint(port, 10, 16)
			at = netip.AddrPortFrom(netip.Addr{}, uint16(n))
		} else if at, err = netip.ParseAddrPort(s); err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(strings.Trim(s, "[]"))
			at = netip.AddrPortFrom(a, syncthing.GlobalPort)
		}
		if err != nil || at.Port() == 0 || at.Addr().IsMulticast() {
			return nil, usagef("--listen %q: want ADDR:PORT, or :PORT for every address", s)
		}
		out = append(out, at)
	}
	return out, nil
}

// perSecond reads a rate limit, N/s or off; that is -1.
func perSecond(s string) (int, error) {
	if s == "off" {
		return -1, nil
	}
	n, err := strconv.Atoi(strings.TrimSuffix(s, "/s"))
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, usagef("--rate-limit %q: want off, or 1/s to 1000000/s", s)
	}
	return n, nil
}

type allowList map[syncthing.DeviceID]bool

// readAllowed reads the devices that --allow names: IDs, and files with one a line.
func readAllowed(all []string) (allowList, error) {
	list := allowList{}
	for _, s := range all {
		id, err := syncthing.ParseID(s)
		if err == nil {
			list[id] = true
			continue
		}
		f, ferr := os.Open(s)
		switch {
		case errors.Is(ferr, os.ErrNotExist):
			return nil, usagef("--allow %q: there is no such file, and as a %w", s, ofSyncthing(err))
		case ferr != nil:
			return nil, fmt.Errorf("--allow: %w", ferr)
		}
		err = readIDs(f, list)
		_ = f.Close() // only read
		if err != nil {
			return nil, fmt.Errorf("--allow: %w", err)
		}
	}
	return list, nil
}

// readIDs reads a file with an ID a line.
func readIDs(f *os.File, list allowList) error {
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		id, err := syncthing.ParseID(text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", f.Name(), n, ofSyncthing(err))
		}
		list[id] = true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}
