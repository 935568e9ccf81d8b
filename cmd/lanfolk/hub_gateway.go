package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
)

// printLine prints one line for people.
func printLine(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := fmt.Fprintln(w, visible(s))
		return err
	}
}

func hubLabelCommand(a app) *cobra.Command {
	var at hubFlags
	var f format
	var name string
	cmd := &cobra.Command{
		Use:   "label GATEWAY {KEY=VALUE|KEY-}…",
		Short: "Set a gateway's labels, or its name",
		Long: `label sets labels of a gateway, which is named by its id or by a name that only one
has; KEY- takes one away. It prints the labels that the gateway has then. Grants
go by labels, and so does "lanfolk run -l". A gateway has no say in its own.`,
		Example: `  lanfolk hub label lab site=north kind=lab
  lanfolk hub label lab kind-
  lanfolk hub label gae3fk6qp7vzc2mxa --name lab`,
		Args: named(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			change := client.GatewayChange{Labels: make(map[string]*string)}
			if cmd.Flags().Changed("name") {
				change.Name = &name
			}
			for _, word := range argv[1:] {
				key, value, set := strings.Cut(word, "=")
				if set {
					change.Labels[key] = &value
				} else if key, take := strings.CutSuffix(word, "-"); take {
					change.Labels[key] = nil
				} else {
					return usagef("%q: want KEY=VALUE, or KEY- to take one away", word)
				}
			}
			if change.Name == nil && len(change.Labels) == 0 {
				return usagef("say which labels: KEY=VALUE, or KEY- to take one away")
			}
			c, err := at.client()
			if err != nil {
				return err
			}
			g, err := c.ChangeGateway(cmd.Context(), argv[0], change)
			if err != nil {
				return err
			}
			return document(a.out, f, g, g.ID, printLine(pairs(g.Labels)))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "call the gateway `NAME`")
	f.flags(cmd)
	at.flags(cmd)
	return cmd
}

func hubRevokeCommand(app) *cobra.Command {
	var at hubFlags
	var why string
	cmd := &cobra.Command{
		Use:   "revoke GATEWAY",
		Short: "Shut a gateway out for good",
		Long: `revoke makes a gateway's certificates worthless and ends at once what it has going
on. The machine comes back only by a new token, and under a new id.`,
		Example: `  lanfolk hub revoke lab --why "stolen"`,
		Args:    named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			return c.RevokeGateway(cmd.Context(), argv[0], why)
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "a reason for the audit")
	at.flags(cmd)
	return cmd
}

func hubForgetCommand(app) *cobra.Command {
	var at hubFlags
	cmd := &cobra.Command{
		Use:   "forget GATEWAY",
		Short: "Drop the record of a gateway that was revoked",
		Long: `forget drops the record of a gateway that was revoked, or that nobody vouches for,
and is offline. Its past commands and the audit stay.`,
		Example: `  lanfolk hub forget lab`,
		Args:    named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			return c.ForgetGateway(cmd.Context(), argv[0])
		},
	}
	at.flags(cmd)
	return cmd
}
