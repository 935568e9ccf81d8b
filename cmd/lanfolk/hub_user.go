package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

func hubUserCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Accounts of people and programs at the hub",
		Long: `user looks after the hub's accounts. There is none at first: who may open the hub's
socket makes it, and is admin there.

A viewer reads. An operator also runs the commands that only read. An admin does
everything. "lanfolk hub grant" lets a user do more at some gateways.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(hubUserCreateCommand(a), hubUserListCommand(a), hubUserRoleCommand(a), hubUserPasswordCommand(a), hubUserRemoveCommand(a))
	return cmd
}

func hubUserCreateCommand(a app) *cobra.Command {
	var at hubFlags
	var role string
	var bare bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account",
		Long: `create makes an account. It asks for the password on a terminal, and reads a line
of stdin elsewhere. The first account is an admin's, others are viewers', if --role
says nothing else.`,
		Example: `  lanfolk hub user create ann
  lanfolk hub user create ben --role operator <password
  lanfolk hub user create ci --role viewer --no-password`,
		Args: named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			password := ""
			if !bare {
				if password, err = a.newPassword(); err != nil {
					return err
				}
			}
			u, err := c.CreateUser(cmd.Context(), argv[0], role, password)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "%s is %s\n", u.Name, u.Role)
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, operator or admin")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&bare, "no-password", false, "an account that can use API tokens only")
	at.flags(cmd)
	return cmd
}

func roles() []string { return []string{"viewer", "operator", "admin"} }

// newPassword is password that must be one.
func (a app) newPassword() (string, error) {
	password, err := a.password()
	if err == nil && password == "" {
		return "", usagef("the password is empty")
	}
	return password, err
}

func hubUserListCommand(a app) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List accounts", Args: args(cobra.NoArgs)}
	type row = wire.User
	ask := func(c *client.Client, ctx context.Context, _ string) ([]row, error) { return c.Users(ctx) }
	return hubList(a, cmd, ask, func(now time.Time) printer[row] {
		return printer[row]{
			columns: []column[row]{
				{"NAME", false, func(u row) string { return u.Name }},
				{"ROLE", false, func(u row) string { return u.Role }},
				{"CREATED", false, func(u row) string { return ago(now, u.Created) }},
				{"BY", false, func(u row) string { return u.By }},
			},
			id: func(u row) string { return u.Name },
		}
	})
}

func hubUserRoleCommand(app) *cobra.Command {
	var at hubFlags
	cmd := &cobra.Command{
		Use:       "role NAME viewer|operator|admin",
		Short:     "Change what a user may do",
		Long:      `role changes what a user may do everywhere. The last admin stays one.`,
		Example:   `  lanfolk hub user role ben operator`,
		ValidArgs: roles(),
		Args:      named(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			return c.SetRole(cmd.Context(), argv[0], argv[1])
		},
	}
	at.flags(cmd)
	return cmd
}

func hubUserPasswordCommand(a app) *cobra.Command {
	var at hubFlags
	var currentFile string
	cmd := &cobra.Command{
		Use:   "password NAME",
		Short: "Give a user a new password",
		Long: `password gives a user a new password, which ends all of the user's sign-ins at the
page. It asks for it on a terminal, and reads a line of stdin elsewhere. It takes an
admin, as at the hub's socket, or with --api the password that the user has now.`,
		Example: `  lanfolk hub user password ben
  lanfolk hub user password ben <password`,
		Args: named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			current := ""
			if currentFile != "" {
				b, err := os.ReadFile(currentFile)
				if err != nil {
					return fmt.Errorf("--current-file: %w", err)
				}
				current, _, _ = strings.Cut(string(b), "\n")
			}
			password, err := a.newPassword()
			if err != nil {
				return err
			}
			return c.SetPassword(cmd.Context(), argv[0], strings.TrimSuffix(current, "\r"), password)
		},
	}
	cmd.Flags().StringVar(&currentFile, "current-file", "", "a `FILE` whose first line is the user's password of now")
	at.flags(cmd)
	return cmd
}

func hubUserRemoveCommand(app) *cobra.Command {
	var at hubFlags
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account with all that belongs to it",
		Long: `remove drops an account with its sign-ins, API tokens and grants; what it watches
ends within seconds. The last admin can't be removed.`,
		Example: `  lanfolk hub user remove ben`,
		Args:    named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			c, err := at.client()
			if err != nil {
				return err
			}
			return c.RemoveUser(cmd.Context(), argv[0])
		},
	}
	at.flags(cmd)
	return cmd
}
