package main

import (
	"bufio"
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// gatewayList is the command that lists gateways.
type gatewayList struct {
	app
	format format
	from   hubFlags
	filter client.GatewayFilter
	states []string
	labels []string
	watch  bool
}

func gatewaysCommand(a app) *cobra.Command {
	x := &gatewayList{app: a}
	cmd := &cobra.Command{
		Use:   "gateways",
		Short: "List the gateways that a hub knows, and who of them is there",
		Example: `  lanfolk gateways
  lanfolk gateways -l site=north --state offline -o wide
  lanfolk gateways --watch --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.format.flags(cmd)
	fl := cmd.Flags()
	fl.StringArrayVar(&x.states, "state", nil, "in this `STATE`: online or offline; or the hub's state folder")
	selectorFlag(cmd, &x.labels)
	fl.StringVar(&x.filter.Text, "search", "", "holds this text in the id, name, address, version or labels")
	fl.BoolVarP(&x.watch, "watch", "w", false, "go on with what changes")
	x.from.hub = true
	x.from.elsewhere(cmd)
	return cmd
}

// selectorFlag adds -l, which may be repeated.
func selectorFlag(cmd *cobra.Command, labels *[]string) {
	cmd.Flags().StringArrayVarP(labels, "selector", "l", nil, "gateways with this label, `KEY=VALUE`; may be repeated: with all of them")
}

// labelSelector reads what -l was given.
func labelSelector(labels []string) (map[string]string, error) {
	s, err := fleet.ParseSelector(strings.Join(labels, ","))
	if err != nil {
		return nil, usagef("-l: %w", err)
	}
	return s, nil
}

func (x *gatewayList) run(ctx context.Context) error {
	x.format.stream = x.watch
	if err := x.format.check(); err != nil {
		return err
	}
	// --state has two meanings that the value tells apart.
	for _, s := range x.states {
		switch {
		case s == "online" || s == "offline":
			x.filter.State = s
		default:
			if _, err := os.Stat(s); err != nil && !strings.Contains(s, "/") {
				return usagef("--state %s: neither online or offline, nor a folder", s)
			}
			x.from.state = s
		}
	}
	var err error
	if x.filter.Selector, err = labelSelector(x.labels); err != nil {
		return err
	}
	c, err := x.from.client()
	if err != nil {
		return err
	}
	defer c.Close()
	p := gatewayPrinter(time.Now())
	if x.watch {
		return printEvents(ctx, x.app, x.format, p, c.WatchGateways(ctx, x.filter), func(e wire.GatewayEvent) (string, *wire.Gateway) {
			return e.Event, &e.Gateway
		})
	}
	gateways, err := c.Gateways(ctx, x.filter)
	if err != nil {
		return err
	}
	list := make([]*wire.Gateway, len(gateways))
	for i := range gateways {
		list[i] = &gateways[i]
	}
	slices.SortStableFunc(list, func(a, b *wire.Gateway) int {
		return cmp.Or(cmp.Compare(called(a.ID, a.Name), called(b.ID, b.Name)), cmp.Compare(a.ID, b.ID))
	})
	return p.list(x.out, x.format, list)
}

// printEvents prints the changes of a watched list as they come.
func printEvents[E, T any](ctx context.Context, a app, f format, p printer[*T], events func(func(E, error) bool), open func(E) (string, *T)) error {
	out := bufio.NewWriter(a.out)
	for e, err := range events {
		if err != nil {
			if ctx.Err() != nil {
				return errInterrupted
			}
			return err
		}
		op, item := open(e)
		if op == wire.Synced {
			item = nil
		}
		if err := printChange(out, f, p, lanfolk.Op(op), item); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return errInterrupted
}

func gatewayPrinter(now time.Time) printer[*wire.Gateway] {
	type gateway = *wire.Gateway
	return printer[gateway]{
		columns: []column[gateway]{
			{"ID", true, func(g gateway) string { return g.ID }},
			{"NAME", false, func(g gateway) string { return called(g.ID, g.Name) }},
			{"STATE", false, gatewayState},
			{"ADDRESS", false, func(g gateway) string { return g.Address }},
			{"VERSION", false, func(g gateway) string { return g.Version }},
			{"DEVICES", false, func(g gateway) string { return strconv.Itoa(g.Devices) }},
			{"LABELS", false, func(g gateway) string { return pairs(g.Labels) }},
			{"CONNECTED", false, func(g gateway) string { return agoAt(now, g.ConnectedAt) }},
			{"LAST", false, func(g gateway) string { return agoAt(now, g.LastSeen) }},
			{"ENROLLED", true, func(g gateway) string { return agoAt(now, g.Enrolled) }},
			{"WHY", true, func(g gateway) string { return g.Why }},
		},
		id: func(g gateway) string { return g.ID },
	}
}

func gatewayState(g *wire.Gateway) string {
	switch {
	case g.Revoked:
		return "revoked"
	case g.Insecure:
		return g.State + " (insecure)"
	}
	return g.State
}

// called is what people call a gateway: its id where it has no name, and where nobody
// vouches for the name.
func called(id, name string) string {
	if name == "" || strings.HasPrefix(id, fleet.InsecurePrefix) {
		return id
	}
	return name
}

func agoAt(now time.Time, t *time.Time) string {
	if t == nil {
		return ""
	}
	return ago(now, *t)
}

// completeGateways completes the names of gateways, and the ids of those that have none of
// their own.
func completeGateways(from *nodeFlags) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		const patience = 2 * time.Second // a shell waits
		c, err := from.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		gateways, err := c.Gateways(ctx, client.GatewayFilter{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		have := make(map[string]int)
		for _, g := range gateways {
			have[called(g.ID, g.Name)]++
		}
		words := make(map[string]bool)
		for _, g := range gateways {
			word := called(g.ID, g.Name)
			if have[word] > 1 {
				word = g.ID
			}
			if !g.Revoked {
				words[word] = true
			}
		}
		return slices.Sorted(maps.Keys(words)), cobra.ShellCompDirectiveNoFileComp
	}
}
