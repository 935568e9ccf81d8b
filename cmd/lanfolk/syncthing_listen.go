package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/syncthing"
)

// syncthingHeard is a line of `syncthing listen`.
type syncthingHeard struct {
	Event     string           `json:"event"` // heard, changed or gone
	DeviceID  string           `json:"device_id"`
	Hex       string           `json:"device_id_hex"`
	Addresses []netip.AddrPort `json:"addresses"`
	Source    netip.Addr       `json:"source"`
	Interface string           `json:"interface"`
	Extra     bool             `json:"extra"`
	Time      time.Time        `json:"time"`
}

// syncthingListening is one run of the command.
type syncthingListening struct {
	app
	format
	interfaces *[]string
	ids        []syncthing.DeviceID // only these; none: all
	timeout    time.Duration
	once       bool
	gone       bool
	repeats    bool
}

func syncthingListenCommand(a app) *cobra.Command {
	x := &syncthingListening{app: a, format: format{stream: true}}
	cmd := &cobra.Command{
		Use:   "listen [ID]...",
		Short: "Hear which devices announce themselves on the local network",
		Long: `listen prints a line for each device that announces itself on the links, and again
when its addresses change, until it is interrupted. Devices announce themselves
every 30 to 60 seconds. With IDs it prints these devices only.

An address that the device left open is printed as the one that its packet came
from. A device that speaks by IPv4 and by IPv6 is heard twice. "extra" is hearsay:
another device, at "source", said so.

It works beside a running node, and without one. An old Syncthing keeps the port
of IPv4 to itself: then devices are heard by IPv6 alone, until it ends.

With --once it ends at the first line, and with 6 if the --timeout is over before.`,
		Example: `  lanfolk syncthing listen
  lanfolk syncthing listen -i eth0 -o jsonl
  lanfolk syncthing listen --once --timeout 65s P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2`,
		RunE: func(cmd *cobra.Command, argv []string) error { return x.run(cmd.Context(), argv) },
	}
	x.format.flags(cmd)
	x.interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.DurationVar(&x.timeout, "timeout", 0, "end after this time (default never)")
	fl.BoolVar(&x.once, "once", false, "end when a device was heard")
	fl.BoolVar(&x.gone, "gone", false, "tell, too, when a device falls silent")
	fl.BoolVar(&x.repeats, "repeats", false, "tell, too, when a device says the same again; at most every ten seconds")
	return cmd
}

func (x *syncthingListening) run(ctx context.Context, argv []string) error {
	if err := x.format.check(); err != nil {
		return err
	}
	if x.timeout < 0 {
		return usagef("--timeout %v: want 0 or more", x.timeout)
	}
	for _, s := range argv {
		id, err := syncthingID(s)
		if err != nil {
			return err
		}
		x.ids = append(x.ids, id)
	}
	selection, err := x.selection(*x.interfaces)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if x.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, x.timeout)
		defer stop()
	}
	l := sockets.SyncthingListener(selection, x.logger(slog.LevelWarn, config.FormatAuto))
	l.Refreshes = x.repeats
	l.Event = func(e syncthing.Event) {
		if ctx.Err() != nil {
			return
		}
		switch printed, err := x.tell(e); {
		case err != nil:
			cancel(err)
		case printed && x.once:
			cancel(errEnough)
		}
	}
	err = l.Run(ctx)
	switch cause := context.Cause(ctx); {
	case err != nil:
		return err
	case errors.Is(cause, errEnough):
		return nil
	case errors.Is(cause, context.DeadlineExceeded):
		if x.once {
			return fmt.Errorf("no device heard within %v: %w", x.timeout, errNoAnswer)
		}
		return nil
	case errors.Is(cause, context.Canceled):
		return nil
	default:
		return cause
	}
}

// errEnough ends a stream that has told what was wanted.
var errEnough = errors.New("enough")

// selection says which links to use, and that those that were named are there.
func (a app) selection(names []string) (sockets.Selection, error) {
	s := sockets.Selection{Names: names}
	links, err := lan.Links()
	if err != nil {
		return s, err
	}
	if _, err := s.Choose(links); err != nil {
		return s, usage{err}
	}
	return s, nil
}

// tell prints what was heard, if it was asked for.
func (x *syncthingListening) tell(e syncthing.Event) (printed bool, err error) {
	h := e.Heard
	if len(x.ids) > 0 && !slices.Contains(x.ids, h.ID) || e.Kind == syncthing.Gone && !x.gone {
		return false, nil
	}
	line := syncthingHeard{
		Event: "heard", DeviceID: h.ID.String(), Hex: h.ID.Hex(), Addresses: h.Addresses,
		Source: h.Source.Addr(), Interface: h.Link.Name, Extra: h.Extra, Time: time.Now().UTC(),
	}
	if e.Kind == syncthing.Changed || e.Kind == syncthing.Gone {
		line.Event = e.Kind.String()
	}
	if line.Addresses == nil {
		line.Addresses = []netip.AddrPort{}
	}
	return true, syncthingHeards().one(x.out, x.format, line)
}

func syncthingHeards() printer[syncthingHeard] {
	return printer[syncthingHeard]{
		id: func(v syncthingHeard) string { return v.DeviceID },
		columns: []column[syncthingHeard]{
			{title: "EVENT", value: func(v syncthingHeard) string {
				return map[string]string{"heard": "+", "changed": "~", "gone": "-"}[v.Event]
			}},
			{title: "DEVICE", value: func(v syncthingHeard) string { return v.DeviceID }},
			{title: "INTERFACE", value: func(v syncthingHeard) string { return v.Interface }},
			{title: "ADDRESSES", value: func(v syncthingHeard) string {
				var all []string
				for _, a := range v.Addresses {
					all = append(all, a.String())
				}
				return strings.Join(all, " ")
			}},
			{title: "HEARSAY", value: func(v syncthingHeard) string {
				if v.Extra {
					return "said by " + v.Source.String()
				}
				return ""
			}},
			{title: "SOURCE", wide: true, value: func(v syncthingHeard) string { return v.Source.String() }},
		},
	}
}
