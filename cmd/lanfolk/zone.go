package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func zoneCommand(a app) *cobra.Command {
	var (
		from    nodeFlags
		include bool
	)
	cmd := &cobra.Command{
		Use:   "zone [DOMAIN]",
		Short: "Print the zone file of what a node publishes by unicast DNS",
		Long: `zone prints a DNS-SD zone of the running node as a zone file, for those who don't
delegate the domain to it. With --include it prints what another zone file takes
in by $INCLUDE: all but the SOA and NS records. DOMAIN can be left out where the
node has one zone.

Which services are in the zone is what [[zone]] in the node's configuration says.
It exits with 5 when there is no such zone.`,
		Example: `  lanfolk zone > /etc/bind/db.lan.example.com
  lanfolk zone lan.example.com --include`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := from.client()
			if err != nil {
				return err
			}
			var domain string
			if len(argv) > 0 {
				domain = strings.TrimSuffix(argv[0], ".")
			} else {
				zones, err := c.Zones(cmd.Context())
				if err != nil {
					return err
				}
				var names []string
				for _, z := range zones {
					names = append(names, z.Domain)
				}
				switch len(names) {
				case 0:
					return fmt.Errorf("the node has no zone; [[zone]] in its configuration makes one: %w", errNotFound)
				case 1:
					domain = names[0]
				default:
					return usagef("the node has several zones; name one of %s", strings.Join(names, ", "))
				}
			}
			return c.ZoneFile(cmd.Context(), domain, include, a.out)
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&include, "include", false, "print what another zone file can include")
	return cmd
}
