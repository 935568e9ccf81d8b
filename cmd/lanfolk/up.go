package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/node"
)

func upCommand(a app) *cobra.Command {
	var configPath, state, listen string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the node: hear, ask, remember, and serve the page",
		Long: `up runs the node until it is told to stop. With no configuration it asks by mDNS
and DNS-SD, listens to what it may capture, and announces nothing.

When it serves it prints "ready" and the page's address with a sign-in that
works once. "lanfolk status" says what runs, and what it would gain with more
rights.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var named []string
			if configPath != "" {
				named = []string{configPath}
			}
			path, c, err := loadConfig(named)
			if err != nil {
				return err
			}
			if listen != "" {
				address, err := config.ParseListen(listen)
				if err != nil {
					return usagef("--listen: %w", err)
				}
				c.HTTP.Listen, c.HTTP.Enabled = address, true
			}
			if state == "" {
				state = c.State
			}
			dir, err := stateFolder(state)
			if err != nil {
				return err
			}
			log := a.logger(c.Log.Level.Level(), c.Log.Format)
			slog.SetDefault(log) // for libraries that know no other
			n := node.Node{
				Config: c, ConfigPath: path, State: dir, Version: versionString(), Log: log,
				Ready: func(page string) { fmt.Fprintln(a.out, readyLine(page)) },
			}
			return n.Run(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&configPath, "config", "c", "", "the configuration `FILE`")
	fl.StringVar(&state, "state", "", "the state `FOLDER`")
	fl.StringVar(&listen, "listen", "", "the `ADDRESS:PORT` of the page (default 127.0.0.1:4747)")
	return cmd
}

func readyLine(page string) string {
	if page == "" {
		return "ready"
	}
	return "ready " + page
}
