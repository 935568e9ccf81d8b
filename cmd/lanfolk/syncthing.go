package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/syncthing"
)

func syncthingCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "syncthing",
		Short: "Listen, announce, ask and answer by Syncthing's Device Discovery Protocol v2",
		Long: `syncthing speaks the Syncthing Device Discovery Protocol v2: devices announce where
they can be reached, on the local network by broadcast to UDP port 21025 and
multicast to [ff32::5222]:21026, and to global servers on UDP port 22026, which
others ask.

A device's ID is written as Syncthing does, 56 digits in groups of seven; without the
check digits (52), and in hexadecimal (64), it is understood, too.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(syncthingListenCommand(a), syncthingAnnounceCommand(a), syncthingQueryCommand(a), syncthingServeCommand(a))
	return cmd
}

// syncthingID reads a device ID; what is wrong is the user's mistake.
func syncthingID(s string) (syncthing.DeviceID, error) {
	id, err := syncthing.ParseID(s)
	if err != nil {
		return id, usage{ofSyncthing(err)}
	}
	return id, nil
}

// ofSyncthing takes the package's name off an error about a flag.
func ofSyncthing(err error) error { return errors.New(strings.TrimPrefix(err.Error(), "syncthing: ")) }

// checkServers holds the names of global servers to what they must be.
func checkServers(servers []string) error {
	for _, s := range servers {
		if _, _, err := syncthing.SplitServer(s); err != nil {
			return usagef("--server: %w", ofSyncthing(err))
		}
	}
	return nil
}

// lookupHost asks the system's DNS servers for a host's addresses of both families.
func lookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return (&net.Resolver{}).LookupNetIP(ctx, "ip", host)
}
