package main

import "github.com/spf13/cobra"

func mqttCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mqtt",
		Short: "Devices and bridges on an MQTT broker, and a broker for them",
		Long: `mqtt announces devices on an MQTT broker, lists them, and keeps the list true, by
version 1 of the Hemtjänst protocol. Where a network has no broker, it is one.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(mqttAnnounceCommand(a), mqttBridgeCommand(a), mqttWatchCommand(a), mqttJanitorCommand(a), mqttPurgeCommand(a), mqttBrokerCommand(a), mqttPasswdCommand(a))
	return cmd
}
