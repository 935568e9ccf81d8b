package main

import (
	"cmp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// grant is one run of a command that makes a grant.
type grant struct {
	app
	at   hubFlags
	all  bool
	form format
}

func hubGrantCommand(a app) *cobra.Command {
	x := grant{app: a}
	cmd := &cobra.Command{
		Use:   "grant USER exec|get|capture {KEY=VALUE…|--all}",
		Short: "Let a user run programs, get files or capture at some gateways",
		Long: `grant lets a user run one of the commands that may do more than read, at all
gateways that have the labels: exec runs the programs that a gateway allows by
name, get fetches the files that it allows, capture records packets. The user's
role doesn't matter; an admin needs no grants. It prints the grant's id.

What a gateway has is said by its labels; see "lanfolk hub label". A grant holds
for gateways that get them later, too.`,
		Example: `  lanfolk hub grant ben exec site=north
  lanfolk hub grant ben get site=north kind=lab
  lanfolk hub grant ci get --all
  lanfolk hub grant list
  lanfolk hub grant remove JBSWY3DPEHPK`,
		Args: named(cobra.MinimumNArgs(2)),
		RunE: x.run,
	}
	x.flags(cmd)
	create := &cobra.Command{ // for a user whose name is that of a command
		Use:   "create USER exec|get|capture {KEY=VALUE…|--all}",
		Short: "Make a grant; the same as without create",
		Args:  named(cobra.MinimumNArgs(2)),
		RunE:  x.run,
	}
	x.flags(create)
	cmd.AddCommand(create, hubGrantListCommand(a), hubGrantRemoveCommand(a))
	return cmd
}

func (x *grant) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.all, "all", false, "at every gateway")
	x.form.flags(cmd)
	x.at.flags(cmd)
}

func (x *grant) run(cmd *cobra.Command, argv []string) error {
	if err := x.form.check(); err != nil {
		return err
	}
	selector, err := fleet.ParseSelector(strings.Join(argv[2:], ","))
	switch {
	case err != nil:
		return usage{err}
	case x.all == (len(selector) > 0):
		return usagef("say at which gateways: by labels, KEY=VALUE, or --all")
	}
	c, err := x.at.client()
	if err != nil {
		return err
	}
	g, err := c.Grant(cmd.Context(), argv[0], argv[1], selector)
	if err != nil {
		return err
	}
	return document(x.out, x.form, g, g.ID, printLine(g.ID))
}

func hubGrantListCommand(a app) *cobra.Command {
	cmd := &cobra.Command{Use: "list [USER]", Short: "List grants", Args: named(cobra.MaximumNArgs(1))}
	type row = wire.Grant
	return hubList(a, cmd, (*client.Client).Grants, func(now time.Time) printer[row] {
		return printer[row]{
			columns: []column[row]{
				{"ID", false, func(g row) string { return g.ID }},
				{"USER", false, func(g row) string { return g.User }},
				{"MAY", false, func(g row) string { return g.Verb }},
				{"AT", false, func(g row) string { return cmp.Or(pairs(g.Selector), "every gateway") }},
				{"CREATED", true, func(g row) string { return ago(now, g.Created) }},
				{"BY", true, func(g row) string { return g.By }},
			},
			id: func(g row) string { return g.ID },
		}
	})
}

func hubGrantRemoveCommand(app) *cobra.Command {
	return hubEach(&cobra.Command{
		Use:     "remove ID…",
		Short:   "Take grants back",
		Long:    `remove takes grants back, by the ids that "lanfolk hub grant list" shows.`,
		Example: `  lanfolk hub grant remove JBSWY3DPEHPK`,
	}, (*client.Client).RemoveGrant)
}
