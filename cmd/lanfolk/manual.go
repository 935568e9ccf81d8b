package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

//go:generate go run . manual ../../docs/man

// manualCommand writes the manual from the commands themselves, so that it
// can't say anything else than --help.
func manualCommand(a app) *cobra.Command {
	return &cobra.Command{
		Use:   "manual FOLDER",
		Short: "Write a manual page a command into a folder",
		Long: `manual writes lanfolk.1 and a page for each command into FOLDER, which is made
if it isn't there. Packages install them; "man -l FOLDER/lanfolk.1" reads one.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			dir := argv[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			root := cmd.Root()
			root.InitDefaultCompletionCmd()
			day := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC) // pages that are the same every day
			err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "lanfolk", Manual: "lanfolk manual", Date: &day}, dir)
			if err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			_, err = fmt.Fprintln(a.err, "wrote the manual to", dir)
			return err
		},
	}
}
