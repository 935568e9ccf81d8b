package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
)

// deviceCommand holds what a person may say about a device.
func deviceCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Name a device, tag it, or correct how it was put together",
	}
	onlyCommands(cmd)
	type change = func(ctx context.Context, c *client.Client, argv []string) (*lanfolk.Device, error)
	add := func(use, short, long string, n cobra.PositionalArgs, do change) {
		var (
			f    format
			node nodeFlags
		)
		sub := &cobra.Command{Use: use, Short: short, Long: long, Args: named(n), RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, err := node.client()
			if err != nil {
				return err
			}
			d, err := do(cmd.Context(), c, argv)
			if err != nil {
				return err
			}
			return devicePrinter(time.Now()).list(a.out, f, []*lanfolk.Device{d})
		}}
		f.flags(sub)
		node.flags(sub)
		cmd.AddCommand(sub)
	}
	add("name DEVICE [NAME…]", "Say what a device is called; no NAME takes it back",
		"name sets what you call a device. It is on the disk when the command ends, and\nstays with the device for good.", cobra.MinimumNArgs(1),
		func(ctx context.Context, c *client.Client, argv []string) (*lanfolk.Device, error) {
			return c.SetNames(ctx, deviceRef(argv[0]), argv[1:])
		})
	add("tag DEVICE [TAG…]", "Set a device's tags; no TAG takes them away",
		"tag sets words of yours. The tags model=NAME, os=NAME and class=NAME say what the\ndevice is, and go before all that lanfolk concludes.", cobra.MinimumNArgs(1),
		func(ctx context.Context, c *client.Client, argv []string) (*lanfolk.Device, error) {
			return c.SetTags(ctx, deviceRef(argv[0]), argv[1:])
		})
	separate := func(undo bool) change {
		return func(ctx context.Context, c *client.Client, argv []string) (*lanfolk.Device, error) {
			id, err := identifierOf(ctx, c, deviceRef(argv[0]), argv[1], undo)
			if err != nil {
				return nil, err
			}
			if undo {
				return c.Rejoin(ctx, deviceRef(argv[0]), id)
			}
			return c.Separate(ctx, deviceRef(argv[0]), id)
		}
	}
	add("separate DEVICE IDENTIFIER", "Let an identifier join no facts any more",
		"separate undoes a join: IDENTIFIER, as \"lanfolk explain\" prints it (such as\n\"ip 192.0.2.7 on eth0\", or just its value), joins facts no longer.", cobra.ExactArgs(2), separate(false))
	add("rejoin DEVICE IDENTIFIER", "Take a separation back", "", cobra.ExactArgs(2), separate(true))
	return cmd
}

// identifierOf finds the identifier that text names: one of the device's
// evidence or, if separated is wanted, sooner one that a person separated.
func identifierOf(ctx context.Context, c *client.Client, ref, text string, separated bool) (lanfolk.Identifier, error) {
	e, err := c.Explain(ctx, ref)
	if err != nil {
		return lanfolk.Identifier{}, err
	}
	var found []lanfolk.Identifier
	look := func(ids []lanfolk.Identifier) {
		for _, id := range ids {
			if (id.String() == text || strings.EqualFold(id.Value, text)) && !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
	}
	if separated {
		look(e.Device.Separated)
	}
	if len(found) == 0 {
		for _, ev := range e.Evidence {
			look(ev.Identifiers)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return lanfolk.Identifier{}, outcome{text + ": no evidence for the device has this identifier; see lanfolk explain", errNotFound}
	}
	return lanfolk.Identifier{}, usagef("%s: %d identifiers have this value; name one as lanfolk explain prints it", text, len(found))
}
