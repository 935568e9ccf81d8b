package main

import "github.com/spf13/cobra"

func nmosCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nmos",
		Short: "Find and advertise a broadcast studio's APIs",
		Long: `nmos is about the APIs that AMWA's NMOS specifications advertise by DNS-SD: the
registry of a studio, its network control, its system parameters, its
authorization server, its MQTT broker.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(nmosSelectCommand(a), nmosAdvertiseCommand(a))
	return cmd
}
