package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/syncthing"
)

// syncthingTold is a line of `syncthing announce`.
type syncthingTold struct {
	Event     string    `json:"event"` // announced or failed
	DeviceID  string    `json:"device_id"`
	Interface string    `json:"interface"` // where it was announced,
	Server    string    `json:"server"`    // or to whom
	Address   string    `json:"address"`
	Time      time.Time `json:"time"`
	Error     string    `json:"error"`
}

// syncthingAnnouncing is one run of the command.
type syncthingAnnouncing struct {
	app
	format
	interfaces *[]string
	id, cert   string
	addresses  []string
	local      bool
	servers    []string
	interval   time.Duration
	once       bool
}

func syncthingAnnounceCommand(a app) *cobra.Command {
	x := &syncthingAnnouncing{app: a, format: format{stream: true}}
	cmd := &cobra.Command{
		Use:   "announce {--id ID|--cert FILE} {--local|--server HOST[:PORT]}",
		Short: "Announce a device on the local network and to global servers",
		Long: `announce tells where a device can be reached, until it is interrupted: with --local
everyone on the links, every 30 to 60 seconds and at once when a device is new
there; with --server a global server, every 30 minutes and at once when this
machine's addresses change. A server is asked for the device afterwards, to see
that it took it in.

An --address without an IP, or with 0.0.0.0 or [::], stands for the address that
the packet comes from. The protocol has no way to take back what was announced:
it is forgotten in time, by servers within an hour.

A line says "announced" when a link or a server was told for the first time, or
again after a failure, and "failed" why it wasn't. With --once each is told once;
then it exits with 6 if a server doesn't answer for the device.`,
		Example: `  lanfolk syncthing announce --cert ~/.config/syncthing/cert.pem --local
  lanfolk syncthing announce --id P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2 \
      --address :22000 --address 192.0.2.7:22000 --server discovery.example.com`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.format.flags(cmd)
	x.interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.id, "id", "", "the device's `ID`")
	fl.StringVar(&x.cert, "cert", "", "the device's certificate, whose ID is announced: a PEM `FILE`")
	fl.StringArrayVar(&x.addresses, "address", []string{fmt.Sprintf(":%d", syncthing.DefaultPort)}, "where the device can be reached, `[IP]:PORT`; may be repeated")
	fl.BoolVar(&x.local, "local", false, "announce it on the local network")
	fl.StringArrayVar(&x.servers, "server", nil, "announce it to this global server, `HOST[:PORT]`; may be repeated")
	fl.DurationVar(&x.interval, "interval", 0, "how often at least (default 1m on links, which is also the most there, and 30m to servers)")
	fl.BoolVar(&x.once, "once", false, "tell each link and server once, and end")
	return cmd
}

func (x *syncthingAnnouncing) run(ctx context.Context) error {
	announcer, err := x.announcer()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := syncthingLines{w: x.out, form: x.format, id: announcer.ID.String(), last: map[string]string{}}
	announcer.Told = func(t syncthing.Target) {
		if err := out.tell(t); err != nil {
			cancel(err)
		}
	}
	err = announcer.Run(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, syncthing.ErrUnconfirmed) {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return err
}

// announcer reads the flags.
func (x *syncthingAnnouncing) announcer() (*syncthing.Announcer, error) {
	if err := x.format.check(); err != nil {
		return nil, err
	}
	a := &syncthing.Announcer{Servers: x.servers, Resolve: lookupHost, Listen: sockets.SyncthingConn, Once: x.once}
	var err error
	switch {
	case x.id == "" && x.cert == "":
		return nil, usagef("--id or --cert is missing: which device is to be announced?")
	case x.id != "" && x.cert != "":
		return nil, usagef("--id and --cert: a certificate has an ID of its own, leave one of them out")
	case x.cert != "":
		if a.ID, err = certificateID(x.cert); err != nil {
			return nil, err
		}
	default:
		if a.ID, err = syncthingID(x.id); err != nil {
			return nil, err
		}
	}
	switch {
	case !x.local && len(x.servers) == 0:
		return nil, usagef("--local or --server is missing: to whom is it to be announced?")
	case x.interval < 0 || x.interval > 0 && x.interval < time.Second:
		return nil, usagef("--interval %v: want at least 1s", x.interval)
	case len(x.addresses) > syncthing.MaxAddresses:
		return nil, usagef("--address: %d are too many: an announcement has at most %d", len(x.addresses), syncthing.MaxAddresses)
	}
	for _, s := range x.addresses {
		at, err := syncthing.ParseAddress(s)
		if err != nil {
			return nil, usagef("--address: %w", ofSyncthing(err))
		}
		a.Addresses = append(a.Addresses, at)
	}
	if err := checkServers(x.servers); err != nil {
		return nil, err
	}
	selection, err := x.selection(*x.interfaces)
	if err != nil {
		return nil, err
	}
	// Who hears it on a link forgets it after some minutes, whatever its interval is.
	a.LocalEvery, a.GlobalEvery = min(x.interval, syncthing.DefaultLocalEvery), x.interval
	a.Log = x.logger(slog.LevelWarn, config.FormatAuto)
	a.Links = sockets.Selection{}.Watch
	if x.local {
		a.Local = sockets.SyncthingListener(selection, a.Log)
	}
	return a, nil
}

// maxCertificate bounds how much of a file is read as a certificate, in bytes.
const maxCertificate = 1 << 20

// certificateID reads the ID of a certificate's device.
func certificateID(path string) (syncthing.DeviceID, error) {
	f, err := os.Open(path)
	if err != nil {
		return syncthing.DeviceID{}, fmt.Errorf("--cert: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCertificate))
	if err != nil {
		return syncthing.DeviceID{}, fmt.Errorf("--cert: %w", err)
	}
	id, err := syncthing.ParseCertificate(text)
	if err != nil {
		return id, fmt.Errorf("--cert %s: %w", path, ofSyncthing(err))
	}
	return id, nil
}

// syncthingLines prints how announcements go, and nothing twice.
type syncthingLines struct {
	w    io.Writer
	form format
	id   string
	last map[string]string // by target, the error that was told
}

func (l *syncthingLines) tell(t syncthing.Target) error {
	v := syncthingTold{Event: "announced", DeviceID: l.id, Interface: t.Link, Server: t.Server, Time: time.Now().UTC()}
	if t.Addr != (netip.AddrPort{}) {
		v.Address = t.Addr.String()
	}
	if t.Err != nil {
		v.Event, v.Error = "failed", t.Err.Error()
	}
	key := v.Interface + " " + v.Server + " " + v.Address
	if last, told := l.last[key]; told && last == v.Error {
		return nil
	}
	l.last[key] = v.Error
	return syncthingTolds().one(l.w, l.form, v)
}

func syncthingTolds() printer[syncthingTold] {
	return printer[syncthingTold]{
		id: func(v syncthingTold) string { return v.DeviceID },
		columns: []column[syncthingTold]{
			{title: "EVENT", value: func(v syncthingTold) string { return v.Event }},
			{title: "INTERFACE", value: func(v syncthingTold) string { return v.Interface }},
			{title: "SERVER", value: func(v syncthingTold) string { return v.Server }},
			{title: "ADDRESS", value: func(v syncthingTold) string { return v.Address }},
			{title: "ERROR", value: func(v syncthingTold) string { return v.Error }},
			{title: "DEVICE", wide: true, value: func(v syncthingTold) string { return v.DeviceID }},
		},
	}
}
