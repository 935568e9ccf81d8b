package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/node"
)

func configCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a configuration, show it, or print the reference",
	}
	onlyCommands(cmd)
	cmd.AddCommand(
		&cobra.Command{
			Use:   "check [FILE]",
			Short: "Check a configuration file",
			Long: `check reads FILE, or the file that the node would read, and the rules and learnt
devices that its section [naming] names, and prints every error with its line and
column. It changes nothing.`,
			Args: args(cobra.MaximumNArgs(1)),
			RunE: func(_ *cobra.Command, argv []string) error {
				path, c, err := loadConfig(argv)
				if err != nil {
					return err
				}
				if _, err := node.OpenClassifier(c.Naming, c.State); err != nil {
					return err
				}
				if path == "" {
					path = "no file: the defaults"
				}
				_, err = fmt.Fprintf(a.err, "%s: good\n", path)
				return err
			},
		},
		&cobra.Command{
			Use:   "show [FILE]",
			Short: "Print the configuration that results from a file, defaults included",
			Args:  args(cobra.MaximumNArgs(1)),
			RunE: func(_ *cobra.Command, argv []string) error {
				_, c, err := loadConfig(argv)
				if err != nil {
					return err
				}
				text, err := c.TOML()
				if err != nil {
					return err
				}
				_, err = a.out.Write(text)
				return err
			},
		},
		&cobra.Command{
			Use:   "reference",
			Short: "Print a commented file with every key and its default",
			Args:  args(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				_, err := a.out.Write(config.Reference())
				return err
			},
		},
	)
	return cmd
}
