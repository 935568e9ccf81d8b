package main

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
)

// newFor is how long a device or service counts as new.
const newFor = 24 * time.Hour

// listing is what the commands that list the inventory share.
type listing struct {
	format format
	node   nodeFlags
	filter lanfolk.Filter
	states []string
	fresh  bool
	watch  bool
}

func (l *listing) flags(cmd *cobra.Command) {
	l.format.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&l.filter.Protocol, "protocol", "", "heard by this protocol: mdns, arp, ndp, dhcp, …")
	fl.StringVar(&l.filter.Type, "type", "", "of this service type: _ipp._tcp")
	fl.StringVar(&l.filter.Gateway, "gateway", "", "heard by this gateway")
	fl.StringArrayVar(&l.states, "state", nil, "in this `STATE`: reachable, unreachable or unknown; or the node's state folder")
	fl.BoolVar(&l.fresh, "new", false, "first seen within the last 24 hours")
	fl.StringVar(&l.filter.Text, "search", "", "holds this text in a name, address, vendor, type, …")
	fl.BoolVarP(&l.watch, "watch", "w", false, "go on with what changes")
	l.node.remote(cmd)
	_ = cmd.RegisterFlagCompletionFunc("gateway", completeGateways(&l.node))
}

// check completes the flags. --state has two meanings that the value tells
// apart: one of three words, or the folder of the node.
func (l *listing) check() error {
	l.format.stream = l.watch
	if err := l.format.check(); err != nil {
		return err
	}
	if l.fresh {
		l.filter.Since = time.Now().Add(-newFor)
	}
	for _, s := range l.states {
		switch state := lanfolk.State(s); state {
		case lanfolk.Reachable, lanfolk.Unreachable, lanfolk.Unknown:
			l.filter.State = state
		default:
			if _, err := os.Stat(s); err != nil && !strings.Contains(s, "/") {
				return usagef("--state %s: neither reachable, unreachable or unknown, nor a folder", s)
			}
			l.node.state = s
		}
	}
	return nil
}

func devicesCommand(a app) *cobra.Command {
	return listCommand(a, &cobra.Command{
		Use:   "devices",
		Short: "List the devices that the node knows",
		Example: `  lanfolk devices --new
  lanfolk devices --state unreachable -o wide
  lanfolk devices --watch --json`,
	}, lanfolk.KindDevice, devicePrinter, (*client.Client).Devices,
		func(e lanfolk.Event) *lanfolk.Device { return e.Device })
}

func servicesCommand(a app) *cobra.Command {
	return listCommand(a, &cobra.Command{
		Use:   "services",
		Short: "List the services that the node knows",
		Example: `  lanfolk services --type _ipp._tcp
  lanfolk services --watch --json`,
	}, lanfolk.KindService, servicePrinter, (*client.Client).Services,
		func(e lanfolk.Event) *lanfolk.Service { return e.Service })
}

// listCommand completes a command that lists one kind of thing: list asks for
// all of them, object takes one out of a change.
func listCommand[T any](
	a app, cmd *cobra.Command, kind lanfolk.Kind, columns func(now time.Time) printer[*T],
	list func(*client.Client, context.Context, lanfolk.Filter) ([]*T, error), object func(lanfolk.Event) *T,
) *cobra.Command {
	var l listing
	cmd.Args = args(cobra.NoArgs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := l.check(); err != nil {
			return err
		}
		c, err := l.node.client()
		if err != nil {
			return err
		}
		if l.watch {
			l.filter.Kind = kind
			return watch(cmd.Context(), a, c, l, columns(time.Now()), object)
		}
		items, err := list(c, cmd.Context(), l.filter)
		if err != nil {
			return err
		}
		return columns(time.Now()).list(a.out, l.format, items)
	}
	l.flags(cmd)
	return cmd
}

// watch prints changes as they come: {"event":…, and the object's own fields}.
func watch[T any](ctx context.Context, a app, c *client.Client, l listing, p printer[*T], object func(lanfolk.Event) *T) error {
	out := bufio.NewWriter(a.out)
	for e, err := range c.Watch(ctx, l.filter) {
		if err != nil {
			if ctx.Err() != nil {
				return errInterrupted
			}
			return err
		}
		if err := printChange(out, l.format, p, e.Op, object(e)); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return errInterrupted
}

// change is a line of a watched list.
type change[T any] struct {
	event lanfolk.Op
	item  *T // nil for OpSynced
}

// MarshalJSON implements json.Marshaler: the object's fields follow the event.
func (c change[T]) MarshalJSON() ([]byte, error) {
	if c.item == nil {
		return json.Marshal(map[string]string{"event": string(c.event), "id": ""})
	}
	b, err := json.Marshal(c.item)
	if err != nil {
		return nil, err
	}
	return append([]byte(`{"event":"`+string(c.event)+`",`), b[1:]...), nil
}

func printChange[T any](out *bufio.Writer, f format, p printer[*T], op lanfolk.Op, item *T) error {
	switch f.name {
	case "jsonl":
		return encoder(out).Encode(change[T]{op, item})
	case "yaml":
		if _, err := out.WriteString("---\n"); err != nil {
			return err
		}
		return encodeYAML(out, change[T]{op, item})
	}
	if item == nil {
		return nil // people see that the list is complete
	}
	sign := map[lanfolk.Op]string{lanfolk.OpAdd: "+ ", lanfolk.OpUpdate: "~ ", lanfolk.OpRemove: "- "}[op]
	if _, err := out.WriteString(sign); err != nil {
		return err
	}
	return p.one(out, f, item)
}

func devicePrinter(now time.Time) printer[*lanfolk.Device] {
	type device = *lanfolk.Device
	return printer[device]{
		columns: []column[device]{
			{"ID", true, func(d device) string { return d.ID }},
			{"NAME", false, func(d device) string { return first(d.Names) }},
			{"ADDRESS", false, func(d device) string { return shortest(d.Addresses) }},
			{"MAC", false, func(d device) string { return joinedUpTo(d.MACs, 1) }},
			{"VENDOR", false, func(d device) string {
				if d.Vendor == "" && d.RandomMAC {
					return "(random MAC)"
				}
				return d.Vendor
			}},
			{"MODEL", true, func(d device) string { return withConfidence(d.Model, d.ModelConfidence) }},
			{"OS", true, func(d device) string { return withConfidence(d.OS, d.OSConfidence) }},
			{"CLASS", true, func(d device) string { return withConfidence(d.Class, d.ClassConfidence) }},
			{"SERVICES", false, func(d device) string { return serviceTypes(d.Services) }},
			{"STATE", false, func(d device) string { return string(d.State) }},
			{"BY", true, func(d device) string { return strings.Join(d.Protocols, " ") }},
			{"TAGS", true, func(d device) string { return strings.Join(d.Tags, " ") }},
			{"FIRST", true, func(d device) string { return ago(now, d.FirstSeen) }},
			{"LAST", false, func(d device) string { return ago(now, d.LastSeen) }},
		},
		id: func(d device) string { return d.ID },
	}
}

// withConfidence is an answer and how sure it is: "printer 85%". What a person said needs
// no number.
func withConfidence(value string, confidence float64) string {
	if value == "" || confidence >= 1 {
		return value
	}
	return value + " " + strconv.Itoa(int(math.Round(100*confidence))) + "%"
}

func servicePrinter(now time.Time) printer[*lanfolk.Service] {
	type service = *lanfolk.Service
	return printer[service]{
		columns: []column[service]{
			{"ID", true, func(s service) string { return s.ID }},
			{"NAME", false, func(s service) string { return s.Name }},
			{"TYPE", false, func(s service) string { return s.Type }},
			{"HOST", false, func(s service) string { return s.Host }},
			{"PORT", false, func(s service) string {
				if s.Port == 0 {
					return ""
				}
				return strconv.Itoa(int(s.Port))
			}},
			{"ADDRESS", false, func(s service) string { return shortest(s.Addresses) }},
			{"INTERFACE", true, func(s service) string { return s.Interface }},
			{"BY", true, func(s service) string { return s.Protocol }},
			{"STATE", false, func(s service) string { return string(s.State) }},
			{"LAST", false, func(s service) string { return ago(now, s.LastSeen) }},
			{"ATTRIBUTES", true, func(s service) string { return pairs(s.Attributes) }},
		},
		id: func(s service) string { return s.ID },
	}
}
