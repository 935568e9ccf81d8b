package main

import "github.com/spf13/cobra"

func hubCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hub",
		Short: "Gateways that dial out: who they are, who may run what on them",
		Long: `hub looks after gateways that nobody can dial. They dial out to the hub, which
lists them, keeps one inventory of all their networks, and runs commands there.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(hubCommands(a)...)
	return cmd
}

// hubCommands lists the commands about a running hub; each has a file of its own.
func hubCommands(app) []*cobra.Command {
	return []*cobra.Command{}
}
