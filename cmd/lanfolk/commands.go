package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/reverse"
)

// commandList is the command that lists what gateways were told.
type commandList struct {
	app
	format  format
	from    hubFlags
	filter  client.CommandFilter
	watch   bool
	maximum int
}

func commandsCommand(a app) *cobra.Command {
	x := &commandList{app: a}
	cmd := &cobra.Command{
		Use:   "commands",
		Short: "List what gateways were told, and how it went",
		Long: `commands lists the commands that gateways were told to run, newest first; -w shows
the newest ones and goes on with what changes. Results are left out: "lanfolk
commands output ID" prints one, as it was or while it comes.`,
		Example: `  lanfolk commands --gateway barn --status error -o wide
  lanfolk commands -w --json
  lanfolk commands output 01KFQ0V4GM8Q7Y2S5T9XWZ3ABC >backup.tar
  lanfolk commands cancel 01KFQ0V4GM8Q7Y2S5T9XWZ3ABC`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.format.flags(cmd)
	x.from.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.filter.Gateway, "gateway", "", "of this gateway: its id or name")
	fl.StringVar(&x.filter.By, "by", "", "asked for by this user")
	fl.StringSliceVar(&x.filter.Statuses, "status", nil, "in this `STATUS`: queued, running, ok, error, timeout, offline, denied, cancelled or interrupted; may be repeated")
	fl.IntVarP(&x.maximum, "limit", "n", 100, "at most so many")
	fl.BoolVarP(&x.watch, "watch", "w", false, "go on with what changes")
	_ = cmd.RegisterFlagCompletionFunc("gateway", completeGateways(&x.from.nodeFlags))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(
		[]string{"queued", "running", "ok", "error", "timeout", "offline", "denied", "cancelled", "interrupted"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(commandsOutput(a), commandsCancel(a), commandsShow(a))
	return cmd
}

func (x *commandList) run(ctx context.Context) error {
	x.format.stream = x.watch
	if err := x.format.check(); err != nil {
		return err
	}
	if x.maximum < 1 {
		return usagef("--limit %d: want at least 1", x.maximum)
	}
	c, err := x.from.client()
	if err != nil {
		return err
	}
	defer c.Close()
	p := commandPrinter(time.Now())
	if x.watch {
		events := c.WatchCommands(ctx, client.WatchedCommands{Gateway: x.filter.Gateway, By: x.filter.By})
		return printEvents(ctx, x.app, x.format, p, x.wanted(events), func(e wire.CommandEvent) (string, *keyedCommand) {
			return e.Event, keyed(e.Command)
		})
	}
	var list []*keyedCommand
	for more := true; more && len(list) < x.maximum; {
		x.filter.Limit = min(1000, x.maximum-len(list))
		var page []wire.Command
		if page, more, err = c.Commands(ctx, x.filter); err != nil {
			return err
		}
		for _, c := range page {
			list = append(list, keyed(c))
			x.filter.Before = c.ID
		}
	}
	return p.list(x.out, x.format, list)
}

// wanted leaves out the changes of commands in other states.
func (x *commandList) wanted(events func(func(wire.CommandEvent, error) bool)) func(func(wire.CommandEvent, error) bool) {
	return func(yield func(wire.CommandEvent, error) bool) {
		for e, err := range events {
			if err == nil && e.Event != wire.Synced && len(x.filter.Statuses) > 0 && !slices.Contains(x.filter.Statuses, e.Status) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// keyedCommand is a command with the id that all things in a list have.
type keyedCommand struct {
	Key string `json:"id"`
	wire.Command
}

func keyed(c wire.Command) *keyedCommand { return &keyedCommand{c.ID, c} }

func commandPrinter(now time.Time) printer[*keyedCommand] {
	type command = *keyedCommand
	return printer[command]{
		columns: []column[command]{
			{"ID", false, func(c command) string { return c.ID }},
			{"GATEWAY", false, func(c command) string { return called(c.Gateway, c.GatewayName) }},
			{"COMMAND", false, func(c command) string { return c.Line }},
			{"STATUS", false, func(c command) string { return c.Status }},
			{"EXIT", true, func(c command) string { return strconv.Itoa(c.Exit) }},
			{"SIZE", false, func(c command) string { return strconv.FormatInt(c.Size, 10) }},
			{"BY", false, func(c command) string { return c.By }},
			{"CREATED", false, func(c command) string { return ago(now, c.Created) }},
			{"ENDED", true, func(c command) string { return agoAt(now, c.Ended) }},
			{"ERROR", true, func(c command) string { return c.Error }},
		},
		id: func(c command) string { return c.ID },
	}
}

func commandsOutput(a app) *cobra.Command {
	var (
		from hubFlags
		now  bool
	)
	cmd := &cobra.Command{
		Use:   "output ID",
		Short: "Print a command's whole result",
		Long: `output prints a command's result byte for byte, while it comes if it isn't there yet.
On a terminal what could steer it is shown by codes. It exits as "lanfolk run"
does; -o json of "lanfolk commands show" has the status and the hash.`,
		Args: args(oneID),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := from.client()
			if err != nil {
				return err
			}
			defer c.Close()
			command, err := c.Command(cmd.Context(), argv[0])
			if err != nil {
				return err
			}
			follow := open(command) && !now
			if err := copyOutput(cmd.Context(), a, c, command, follow); err != nil || !follow {
				return err
			}
			if command, err = c.Command(cmd.Context(), argv[0]); err != nil {
				return err
			}
			return ended(command)
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&now, "now", false, "print what is there, and don't wait for more")
	return cmd
}

func commandsCancel(a app) *cobra.Command {
	var (
		f    format
		from hubFlags
	)
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Call a command off",
		Long: `cancel asks for a command's end. One that runs ends a little later, or too late:
"lanfolk commands show ID" tells. People may call their own commands off, admins
all of them.`,
		Args: args(oneID),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return oneCommand(cmd.Context(), a, f, from, func(ctx context.Context, c *client.Client) (wire.Command, error) {
				return c.CancelCommand(ctx, argv[0])
			})
		},
	}
	f.flags(cmd)
	from.flags(cmd)
	return cmd
}

func commandsShow(a app) *cobra.Command {
	var (
		f    format
		from hubFlags
	)
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show how a command went",
		Args:  args(oneID),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return oneCommand(cmd.Context(), a, f, from, func(ctx context.Context, c *client.Client) (wire.Command, error) {
				return c.Command(ctx, argv[0])
			})
		},
	}
	f.flags(cmd)
	from.flags(cmd)
	return cmd
}

// oneID wants the id of a command.
func oneID(cmd *cobra.Command, argv []string) error {
	if err := cobra.ExactArgs(1)(cmd, argv); err != nil {
		return err
	}
	return reverse.CheckID(argv[0])
}

// oneCommand prints the command that do returns.
func oneCommand(ctx context.Context, a app, f format, from hubFlags, do func(context.Context, *client.Client) (wire.Command, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	c, err := from.client()
	if err != nil {
		return err
	}
	defer c.Close()
	command, err := do(ctx, c)
	if err != nil {
		return err
	}
	return document(a.out, f, keyed(command), command.ID, func(w io.Writer) error { return printCommand(w, command, time.Now()) })
}

func printCommand(w io.Writer, c wire.Command, now time.Time) error {
	for _, row := range [][2]string{
		{"command", c.Line},
		{"gateway", called(c.Gateway, c.GatewayName)},
		{"id", c.ID},
		{"status", c.Status},
		{"error", c.Error},
		{"exit code", nonZero(int64(c.Exit))},
		{"result", nonZero(c.Size)},
		{"sha256", c.SHA256},
		{"by", c.By},
		{"called off", c.CancelledBy},
		{"created", ago(now, c.Created)},
		{"started", agoAt(now, c.Started)},
		{"ended", agoAt(now, c.Ended)},
	} {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-11s %s\n", row[0], visible(row[1])); err != nil {
			return err
		}
	}
	return nil
}

func nonZero(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
