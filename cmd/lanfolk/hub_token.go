package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

func hubTokenCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Tokens that let gateways join",
		Long: `token looks after the tokens by which gateways join the hub: each lets one gateway
in, once.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(hubTokenCreateCommand(a), hubTokenListCommand(a), hubTokenRevokeCommand(a))
	return cmd
}

func hubTokenCreateCommand(a app) *cobra.Command {
	var at hubFlags
	var r client.JoinTokenRequest
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Print a string that lets one gateway join",
		Long: `create prints one string: the hub's address, a secret and the fingerprint of the
hub's authority, by which the gateway knows the hub before it says anything. Run
"lanfolk join STRING" on the gateway. The secret is kept nowhere else.

With --again a gateway that has a record joins again and keeps its id: for one
whose certificate has expired.`,
		Example: `  lanfolk hub token create --gateway lab
  lanfolk hub token create --ttl 24h | ssh lab lanfolk join -`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.TTL <= 0 {
				return usagef("--ttl %s: want more than 0", r.TTL)
			}
			c, err := at.client()
			if err != nil {
				return err
			}
			t, err := c.CreateJoinToken(cmd.Context(), r)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "good for one gateway, until %s\n", t.Expires.Local().Format(time.DateTime))
			_, err = fmt.Fprintln(a.out, t.Token)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&r.Name, "gateway", "", "what the gateway will be called, a `NAME`")
	fl.StringVar(&r.Gateway, "again", "", "let this `GATEWAY` join again, named by its id or name")
	fl.DurationVar(&r.TTL, "ttl", time.Hour, "how long the string is good")
	fl.BoolVar(&r.NoAddress, "no-address", false, "leave out where the hub is: the gateway looks for it by DNS-SD")
	at.flags(cmd)
	return cmd
}

func hubTokenListCommand(a app) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens that let gateways join", Args: args(cobra.NoArgs)}
	type row = wire.JoinToken
	ask := func(c *client.Client, ctx context.Context, _ string) ([]row, error) { return c.JoinTokens(ctx) }
	return hubList(a, cmd, ask, func(now time.Time) printer[row] {
		return printer[row]{
			columns: []column[row]{
				{"ID", false, func(t row) string { return t.ID }},
				{"FOR", false, func(t row) string { return cmp.Or(t.Gateway, t.Name) }},
				{"EXPIRES", false, func(t row) string { return until(now, &t.Expires) }},
				{"USED", false, func(t row) string { return since(now, t.Used) }},
				{"CREATED", true, func(t row) string { return ago(now, t.Created) }},
				{"BY", true, func(t row) string { return t.By }},
			},
			id: func(t row) string { return t.ID },
		}
	})
}

// since shows a moment that may not have been.
func since(now time.Time, t *time.Time) string {
	if t == nil {
		return ""
	}
	return ago(now, *t)
}

// until shows a moment to come; nil never does.
func until(now time.Time, t *time.Time) string {
	switch {
	case t == nil:
		return "never"
	case !t.After(now):
		return "expired"
	case t.Sub(now) > 48*time.Hour:
		return t.Local().Format(time.DateOnly)
	}
	return "in " + t.Sub(now).Round(time.Second).String()
}

func hubTokenRevokeCommand(app) *cobra.Command {
	return hubEach(&cobra.Command{
		Use:     "revoke ID…",
		Short:   "Take tokens back",
		Long:    `revoke takes tokens back. A gateway that joined by one stays; see "lanfolk hub revoke".`,
		Example: `  lanfolk hub token revoke t4f2kq7zrm3xa`,
	}, (*client.Client).RemoveJoinToken)
}

func hubAPITokenCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "api-token",
		Short: "Tokens by which programs call the hub's API",
		Long: `api-token looks after API tokens. Each stands for a user, and may what that user
may.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(hubAPITokenCreateCommand(a), hubAPITokenListCommand(a), hubAPITokenRevokeCommand(a))
	return cmd
}

func hubAPITokenCreateCommand(a app) *cobra.Command {
	var at hubFlags
	var user, name string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "create --user USER",
		Short: "Print a new API token",
		Long: `create prints a new API token. It can't be shown again: the hub keeps no more than
what it takes to know it.`,
		Example: `  lanfolk hub api-token create --user ci --name nightly >token
  lanfolk gateways --api https://hub.example.com:8443 --token-file token`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case ttl < 0:
				return usagef("--ttl %s: want 0, for ever, or more", ttl)
			case user == "" && at.api == "":
				return usagef("say whose token it is: --user USER")
			}
			c, err := at.client()
			if err != nil {
				return err
			}
			t, err := c.CreateAPIToken(cmd.Context(), user, name, ttl)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "token %s of %s\n", t.ID, t.User)
			_, err = fmt.Fprintln(a.out, t.Token)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&user, "user", "", "whose token it is, a `USER`; with --api by default your own")
	fl.StringVar(&name, "name", "", "what it is for")
	fl.DurationVar(&ttl, "ttl", 365*24*time.Hour, "how long it is good; 0 for ever")
	at.flags(cmd)
	return cmd
}

func hubAPITokenListCommand(a app) *cobra.Command {
	cmd := &cobra.Command{Use: "list [USER]", Short: "List API tokens", Args: named(cobra.MaximumNArgs(1))}
	type row = wire.APIToken
	return hubList(a, cmd, (*client.Client).APITokens, func(now time.Time) printer[row] {
		return printer[row]{
			columns: []column[row]{
				{"ID", false, func(t row) string { return t.ID }},
				{"USER", false, func(t row) string { return t.User }},
				{"NAME", false, func(t row) string { return t.Name }},
				{"EXPIRES", false, func(t row) string { return until(now, t.Expires) }},
				{"USED", false, func(t row) string { return since(now, t.Used) }},
				{"CREATED", true, func(t row) string { return ago(now, t.Created) }},
			},
			id: func(t row) string { return t.ID },
		}
	})
}

func hubAPITokenRevokeCommand(app) *cobra.Command {
	return hubEach(&cobra.Command{
		Use:     "revoke ID…",
		Short:   "End API tokens",
		Long:    `revoke ends API tokens, by the ids that "lanfolk hub api-token list" shows.`,
		Example: `  lanfolk hub api-token revoke JBSWY3DPEHPK`,
	}, (*client.Client).RevokeAPIToken)
}
