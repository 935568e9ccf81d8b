package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/node"
)

func pageCommand(a app) *cobra.Command {
	var from nodeFlags
	cmd := &cobra.Command{
		Use:   "page",
		Short: "Print the page's address with a new sign-in",
		Long: `page prints the address of the running node's page with a sign-in that works
once and for a short time. Only those who may open the node's socket get one.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := from.client()
			if err != nil {
				return err
			}
			var s node.Status
			if err := c.Status(cmd.Context(), &s); err != nil {
				return err
			}
			if s.Page == "" {
				return errors.New("the node serves no page: http.enabled is false in its config")
			}
			path, expires, err := c.SignIn(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "good once, until %s\n", expires.Local().Format(time.TimeOnly))
			_, err = fmt.Fprintln(a.out, s.Page+path)
			return err
		},
	}
	from.flags(cmd)
	return cmd
}
