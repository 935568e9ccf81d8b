package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

// running is the command that has a command run at gateways.
type running struct {
	app
	format  format
	from    hubFlags
	labels  []string
	all     bool
	timeout time.Duration
	queue   bool
	noWait  bool
	client  *client.Client
}

func runCommand(a app) *cobra.Command {
	x := &running{app: a}
	cmd := &cobra.Command{
		Use:   "run {GATEWAY | -l KEY=VALUE | --all} COMMAND [ARG…]",
		Short: "Have a gateway run a command, and print its result",
		Long: `run has a gateway, or many, run a command, and prints what comes of it. The gateway
decides what it runs, and the hub who may ask for it. The commands are

  list                         the files that can be fetched
  get NAME                     one of them
  status                       how the gateway is
  devices [TEXT]               its inventory: --protocol P, --type T, --state S, --new D
  services [TEXT]              the same
  find QUERY                   asks its network now: --timeout D
  browse [TYPE]                by DNS-SD: --resolve
  fingerprints                 what passive monitoring keeps: --query Q, --mac M, --since D, …
  capture INTERFACE SECONDS    a pcap file, where the gateway's configuration allows it
  exec NAME [ARG…]             a program that the gateway's configuration names

Flags of run may stand anywhere before "--"; a flag that run doesn't know belongs to
COMMAND. Behind "--" all do: lanfolk run barn -- find --timeout 10s _ipp._tcp.

The result of one gateway goes to stdout as it comes, byte for byte; on a terminal
what could steer it is shown by codes. The results of many come as they end, each
line behind its gateway's name; -o jsonl prints an object for each, with the first
64 KiB of the result where that is text. "lanfolk commands output ID" prints a
whole one again.

The first Ctrl-C calls the command off and waits for its end, the second one
doesn't wait.

It exits with 0 when the command went well; with 1 when it failed at the gateway,
whatever a program's own exit code, which JSON tells, or when the gateway is
offline; with 4 when the hub or the gateway denied it, 5 when there is no such
gateway, 6 when its time was over, with --queue before the gateway came, too, and
130 after Ctrl-C. Of many gateways it is the code that all have, or 1.`,
		Example: `  lanfolk run barn status
  lanfolk run barn get backup.tar >backup.tar
  lanfolk run barn exec reboot --queue --timeout 12h
  lanfolk run -l site=north devices --new 24h -o jsonl
  lanfolk run --all status -o json | jq 'select(.status != "ok")'`,
		DisableFlagParsing: true, // COMMAND has flags, too
		RunE: func(cmd *cobra.Command, argv []string) error {
			words, help, err := x.parse(cmd.Flags(), argv)
			switch {
			case err != nil:
				return usage{fmt.Errorf("%w\nusage: lanfolk %s [flags]", err, cmd.Use)}
			case help:
				return cmd.Help()
			}
			return x.run(cmd.Context(), words)
		},
	}
	x.format.stream = true
	x.format.flags(cmd)
	x.from.flags(cmd)
	fl := cmd.Flags()
	selectorFlag(cmd, &x.labels)
	fl.BoolVar(&x.all, "all", false, "run it at every gateway")
	fl.DurationVar(&x.timeout, "timeout", 0, "how long it may take, from now on (default an hour, a day with --queue; at most a week)")
	fl.BoolVar(&x.queue, "queue", false, "keep it for a gateway that is offline, until its time is over")
	fl.BoolVar(&x.noWait, "no-wait", false, "don't wait for the end; print the command's id, or with -o jsonl how it stands")
	complete := completeGateways(&x.from.nodeFlags)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, argv []string, last string) ([]string, cobra.ShellCompDirective) {
		words, _, err := x.parse(cmd.Flags(), argv)
		switch {
		case err != nil:
			return nil, cobra.ShellCompDirectiveNoFileComp
		case len(words) == 0 && !x.many():
			return complete(cmd, argv, last)
		case len(words) == 1 && !x.many(), len(words) == 0:
			return verbs(), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// verbs are what gateways know.
func verbs() []string {
	return []string{"list", "get", "status", "devices", "services", "find", "fingerprints", "browse", "capture", "exec"}
}

func (x *running) many() bool { return x.all || len(x.labels) > 0 }

// parse takes run's own flags out of argv and leaves the words: the gateway, if one is
// named, and the command.
func (x *running) parse(fl *pflag.FlagSet, argv []string) (words []string, help bool, err error) {
	var flags []string
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		if arg == "--" {
			words = append(words, argv[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		var f *pflag.Flag
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if strings.HasPrefix(arg, "--") {
			f = fl.Lookup(name)
		} else if f = fl.ShorthandLookup(arg[1:2]); len(arg) > 2 {
			value, hasValue = strings.TrimPrefix(arg[2:], "="), true
		}
		next := ""
		if i+1 < len(argv) {
			next = argv[i+1]
		}
		if arg == "--help" || arg == "-h" {
			if len(words) == 0 {
				return nil, true, nil
			}
			f = nil
		}
		switch ours := f != nil && (len(words) == 0 || isOurs(f.Name, hasValue, value, next)); {
		case !ours && len(words) == 0:
			return nil, false, fmt.Errorf("unknown flag: %s", arg)
		case !ours:
			words = append(words, arg)
		case hasValue || f.NoOptDefVal != "":
			flags = append(flags, arg)
		case i+1 == len(argv):
			return nil, false, fmt.Errorf("flag needs an argument: %s", arg)
		default:
			flags = append(flags, arg, next)
			i++
		}
	}
	return words, false, fl.Parse(flags)
}

// isOurs says whether a flag behind the first word is meant for run and not for the
// command: a letter only if its value can be nothing else.
func isOurs(name string, hasValue bool, value, next string) bool {
	if !hasValue {
		value = next
	}
	switch name {
	case "output":
		return slices.Contains(formats(), value)
	case "selector":
		return strings.Contains(value, "=")
	}
	return true
}

func (x *running) run(ctx context.Context, words []string) error {
	if err := x.format.check(); err != nil {
		return err
	}
	r, err := x.request(words)
	if err != nil {
		return err
	}
	if x.client, err = x.from.client(); err != nil {
		return err
	}
	defer x.client.Close()
	commands, err := x.client.Run(ctx, r)
	if err != nil {
		return err
	}
	// The first signal calls the commands off, and the work goes on to their end.
	work, stop := x.interruptible(ctx, commands)
	defer stop()
	switch {
	case x.noWait:
		err = x.announce(commands)
	case len(r.Gateways) == 1 && x.raw():
		err = x.one(work, commands[0])
	default:
		err = x.each(work, commands)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// raw says whether results are printed as they are.
func (x *running) raw() bool { return x.format.name == "table" || x.format.name == "wide" }

// request is what the words and flags ask for.
func (x *running) request(words []string) (wire.NewCommand, error) {
	r := wire.NewCommand{All: x.all, Queue: x.queue}
	if x.timeout < 0 {
		return r, usagef("--timeout %v: want more than 0", x.timeout)
	}
	if x.timeout > 0 {
		r.Timeout = x.timeout.String()
	}
	var err error
	if r.Selector, err = labelSelector(x.labels); err != nil {
		return r, err
	}
	switch {
	case x.all && len(x.labels) > 0:
		return r, usagef("--all and -l: give one")
	case len(words) > 1 && !slices.Contains(verbs(), words[0]) && slices.Contains(verbs(), words[1]) && x.many():
		// A program's own --all must not let it run everywhere.
		return r, usagef("%q is a gateway or a command? Name a gateway, or give --all or -l; flags of COMMAND that run has, too, stand behind --", words[0])
	case !x.many() && len(words) > 0 && words[0] != "":
		r.Gateways, words = words[:1], words[1:]
	case !x.many():
		return r, usagef("name a gateway, or give --all or -l")
	}
	if len(words) == 0 {
		return r, usagef("name a command: %s", strings.Join(verbs(), ", "))
	}
	r.Argv = words
	return r, nil
}

// lastWait is how long the end of what was called off is waited for.
const lastWait = 30 * time.Second

// interruptible returns a context that outlives ctx for as long as it takes to call the
// commands off. A second signal ends it.
func (x *running) interruptible(ctx context.Context, commands []wire.Command) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if x.noWait {
		return work, cancel
	}
	unwatch := context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		if terminal(x.err) {
			fmt.Fprintln(x.err, "\ncalling it off; again to leave at once")
		}
		limit, stop := context.WithTimeout(work, lastWait)
		defer stop()
		go func() {
			select {
			case <-again:
			case <-limit.Done():
			}
			cancel()
		}()
		for _, c := range commands {
			if open(c) {
				// What can't be called off any more has ended.
				_, _ = x.client.CancelCommand(limit, c.ID)
			}
		}
		<-limit.Done()
	})
	return work, func() { unwatch(); cancel() }
}

// open says whether a command goes on.
func open(c wire.Command) bool {
	return c.ID != "" && (c.Status == "queued" || c.Status == "running")
}

// announce prints what was begun.
func (x *running) announce(commands []wire.Command) error {
	var errs tally
	for _, c := range commands {
		if !open(c) {
			errs.add(ended(c))
		}
		switch {
		case x.raw() && c.ID != "":
			fmt.Fprintln(x.out, c.ID)
		case !x.raw():
			if err := commandPrinter(time.Now()).one(x.out, x.format, keyed(c)); err != nil {
				return err
			}
		}
	}
	return errs.err()
}

// one prints a command's result as it comes.
func (x *running) one(ctx context.Context, c wire.Command) error {
	if c.Status == "queued" && c.Queue {
		x.sayQueued(ctx, c)
	}
	err := x.copyOutput(ctx, c, open(c))
	if err != nil {
		return x.goesOn(ctx, c, err)
	}
	if c, err = x.client.Command(ctx, c.ID); err != nil {
		return err
	}
	return ended(c)
}

// goesOn tells a person how to come to the result of a command that was left.
func (x *running) goesOn(ctx context.Context, c wire.Command, err error) error {
	if ctx.Err() == nil && errors.Is(err, client.ErrNotRunning) {
		return fmt.Errorf("%w; the command goes on: lanfolk commands output %s", err, c.ID)
	}
	return err
}

// sayQueued tells a person why nothing comes.
func (x *running) sayQueued(ctx context.Context, c wire.Command) {
	if g, err := x.client.Gateway(ctx, c.Gateway); err == nil && g.State == "offline" && c.Deadline != nil {
		fmt.Fprintf(x.err, "lanfolk: %s is offline; the command waits for it until %s\n", called(c.Gateway, c.GatewayName), c.Deadline.Local().Format(time.DateTime))
	}
}

// copyOutput prints a result: as it is, or safe for a terminal.
func (x *running) copyOutput(ctx context.Context, c wire.Command, follow bool) error {
	return copyOutput(ctx, x.app, x.client, c, follow)
}

func copyOutput(ctx context.Context, a app, from *client.Client, c wire.Command, follow bool) error {
	var w io.Writer = a.out
	end := func() error { return nil }
	if terminal(a.out) {
		safe := &safeWriter{w: a.out}
		w, end = safe, safe.end
	}
	sum := newSummer(w)
	n, err := from.Output(ctx, c.ID, follow, sum)
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	if follow {
		if c, err = from.Command(ctx, c.ID); err != nil {
			return err
		}
	}
	return sum.check(c, n)
}
