package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
)

// hubList makes cmd list what a hub has. Ask gets the word that argv narrows it by, "" for
// all.
func hubList[T any](a app, cmd *cobra.Command, ask func(c *client.Client, ctx context.Context, of string) ([]T, error), columns func(now time.Time) printer[T]) *cobra.Command {
	var at hubFlags
	var f format
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		if err := f.check(); err != nil {
			return err
		}
		c, err := at.client()
		if err != nil {
			return err
		}
		items, err := ask(c, cmd.Context(), first(argv))
		if err != nil {
			return err
		}
		return columns(time.Now()).list(a.out, f, items)
	}
	f.flags(cmd)
	at.flags(cmd)
	return cmd
}

// hubEach makes cmd do one thing to each of a hub's things that argv names, until one fails.
func hubEach(cmd *cobra.Command, do func(c *client.Client, ctx context.Context, id string) error) *cobra.Command {
	var at hubFlags
	cmd.Args = named(cobra.MinimumNArgs(1))
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		c, err := at.client()
		if err != nil {
			return err
		}
		for _, id := range argv {
			if err := do(c, cmd.Context(), id); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
		return nil
	}
	at.flags(cmd)
	return cmd
}
