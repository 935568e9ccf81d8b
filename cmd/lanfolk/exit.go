package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
)

// The exit codes that scripts may rely on.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitNoDaemon    = 3
	exitDenied      = 4
	exitNotFound    = 5
	exitTimeout     = 6
	exitInterrupted = 130
)

// usage marks an error in how a command was called.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// args makes cobra's complaint about a command's arguments a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usage{fmt.Errorf("%w\nusage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// named is args for commands whose words name things. An empty one names nothing: it is
// a variable of a script that isn't set.
func named(check cobra.PositionalArgs) cobra.PositionalArgs {
	return args(func(cmd *cobra.Command, a []string) error {
		err := check(cmd, a)
		if i := slices.Index(a, ""); err == nil && i >= 0 {
			err = fmt.Errorf("argument %d is empty", i+1)
		}
		return err
	})
}

// onlyCommands makes a command that only holds others: a word that names none
// of them is a usage error, no word shows the help.
func onlyCommands(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2 // letters
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if len(a) == 0 {
			return nil
		}
		err := fmt.Errorf("unknown command %q for %q", a[0], cmd.CommandPath())
		for _, s := range cmd.SuggestionsFor(a[0]) {
			err = fmt.Errorf("%w; did you mean %q?", err, s)
		}
		return usage{err}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// Outcomes that have an exit code of their own.
var (
	errNotFound    = errors.New("not found")
	errNoAnswer    = errors.New("nobody answered")
	errInterrupted = errors.New("interrupted")
)

// exitCodes is the one table from errors to exit codes; the first match counts.
func exitCodes() []struct {
	code int
	is   func(error) bool
} {
	match := func(targets ...error) func(error) bool {
		return func(err error) bool {
			for _, t := range targets {
				if errors.Is(err, t) {
					return true
				}
			}
			return false
		}
	}
	return []struct {
		code int
		is   func(error) bool
	}{
		{exitUsage, func(err error) bool { var u usage; return errors.As(err, &u) }},
		{exitInterrupted, match(errInterrupted)},
		{exitNoDaemon, match(client.ErrNotRunning)},
		{exitDenied, match(client.ErrDenied, fs.ErrPermission)},
		{exitNotFound, match(errNotFound, client.ErrNotFound)},
		{exitTimeout, match(errNoAnswer, client.ErrNoAnswer, context.DeadlineExceeded)},
	}
}

// coded is an error with an exit code of its own.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// exitCode is what err means to scripts.
func exitCode(err error) int {
	var own coded
	if errors.As(err, &own) {
		return own.code
	}
	for _, e := range exitCodes() {
		if e.is(err) {
			return e.code
		}
	}
	return exitError
}

// exit reports err to people and returns the code for scripts.
func (a app) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if errors.Is(err, syscall.EPIPE) { // the reader has seen enough: head, less
		return exitDone
	}
	code := exitCode(err)
	if code != exitInterrupted {
		fmt.Fprintf(a.err, "lanfolk: %v\n", err)
	}
	return code
}
