package main

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/hub"
)

// hubDaemon is what the daemon is told by flags, which go before the configuration.
type hubDaemon struct {
	config, state          string
	grpc, listen, insecure string
	anywhere               bool
}

// gcPercent collects garbage twice as often as Go does by itself. Most of a hub's memory
// is what idle gateways keep, and what their connections leave behind comes in bursts:
// with 2,000 gateways BenchmarkDeliver measured 51.1 KB of each instead of 53.2, and 57.8
// instead of 60.8 after a command to all of them, in the same time as far as could be told.
const gcPercent = 50

func hubCommand(a app) *cobra.Command {
	var x hubDaemon
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Run a hub: gateways dial out to it, and it runs commands on them",
		Long: `hub looks after gateways that nobody can dial. They dial out to the hub, which
lists them, keeps one inventory of all their networks, and runs commands there. It
works until it is told to stop; when it serves it prints "ready" and the page's
address.

There is no account at first: "lanfolk hub user create" beside the running hub makes
one. "lanfolk hub token create" prints a string with which a gateway joins, by
"lanfolk join".

Gateways dial --grpc, by TLS with certificates on both sides. --insecure-grpc is for
clients that know the published reverse_access.Reverser only: there is no TLS, and
they are whoever they say they are. It has to be an address of this machine alone,
unless --insecure-anywhere is given, too.

All that it keeps lies in the state folder, or in the PostgreSQL database that the
configuration names. Its authority's key, hub/ca.pem in that folder, can't be made
anew: without it all gateways must join again.`,
		Example: `  lanfolk hub --state /var/lib/lanfolk
  lanfolk hub -c hub.toml --grpc 192.0.2.1:8513 --listen 192.0.2.1:443
  lanfolk hub --insecure-grpc 127.0.0.1:8514`,
	}
	onlyCommands(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return x.run(a, cmd) }
	fl := cmd.Flags()
	fl.StringVarP(&x.config, "config", "c", "", "the configuration `FILE`")
	fl.StringVar(&x.state, "state", "", "the state `FOLDER`")
	fl.StringVar(&x.grpc, "grpc", "", "the `ADDRESS:PORT` for gateways (default :8513)")
	fl.StringVar(&x.listen, "listen", "", "the `ADDRESS:PORT` of the page and the API (default :8443)")
	fl.StringVar(&x.insecure, "insecure-grpc", "", "an `ADDRESS:PORT` for clients without TLS (default none)")
	fl.BoolVar(&x.anywhere, "insecure-anywhere", false, "let --insecure-grpc be an address that others can reach")
	cmd.AddCommand(hubCommands(a)...)
	return cmd
}

// hubCommands lists the commands about a running hub; each has a file of its own.
func hubCommands(a app) []*cobra.Command {
	return []*cobra.Command{
		hubUserCommand(a), hubGrantCommand(a), hubTokenCommand(a), hubAPITokenCommand(a),
		hubLabelCommand(a), hubRevokeCommand(a), hubForgetCommand(a),
	}
}

func (x *hubDaemon) run(a app, cmd *cobra.Command) error {
	var named []string
	if x.config != "" {
		named = []string{x.config}
	}
	path, c, err := loadConfig(named)
	if err != nil {
		return err
	}
	if err := x.into(&c.Hub, cmd.Flags().Changed("insecure-anywhere")); err != nil {
		return err
	}
	if x.state == "" {
		x.state = c.State
	}
	dir, err := stateFolder(x.state)
	if err != nil {
		return err
	}
	log := a.logger(c.Log.Level.Level(), c.Log.Format)
	slog.SetDefault(log) // for libraries that know no other
	if a.env("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	h := hub.Hub{
		Config: c, ConfigPath: path, State: dir, Version: versionString(), Log: log,
		Ready: func(page string) { fmt.Fprintln(a.out, readyLine(page)) },
	}
	return h.Run(cmd.Context())
}

// into puts the flags into the configuration.
func (x *hubDaemon) into(c *config.Hub, anywhere bool) (err error) {
	for _, f := range []struct {
		flag, value string
		to          *config.Listen
	}{{"--grpc", x.grpc, &c.GRPC}, {"--listen", x.listen, &c.Listen}} {
		if f.value == "" {
			continue
		}
		if *f.to, err = config.ParseListen(f.value); err != nil {
			return usagef("%s: %w", f.flag, err)
		}
	}
	if anywhere {
		c.Insecure.Anywhere = x.anywhere
	}
	if x.insecure != "" {
		if c.Insecure, err = config.ParseHubInsecure(x.insecure, c.Insecure.Anywhere); err != nil {
			return usagef("--insecure-grpc: %w", err)
		}
	} else if anywhere && !c.Insecure.GRPC.On() {
		return usagef("--insecure-anywhere is for --insecure-grpc")
	}
	return nil
}
