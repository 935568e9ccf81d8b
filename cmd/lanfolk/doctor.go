package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/doctor"
)

// errUnwell is the outcome of an examination that found a problem.
var errUnwell = errors.New("something doesn't work; see above")

func doctorCommand(a app) *cobra.Command {
	var (
		f          format
		configPath string
		state      string
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps lanfolk from seeing more",
		Long: `doctor checks the configuration, the interfaces, who else holds the ports of
multicast DNS and of Syncthing's discovery, the right to capture, the state folder,
the database where that is a server's, whether a node runs, and how that gets on
with its database, its MQTT broker and its hub, and how a hub is that runs here. It
says what to do about what it finds, and changes nothing. It exits with 1 if
something doesn't work.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			var named []string
			if configPath != "" {
				named = []string{configPath}
			}
			path, c, configErr := loadConfig(named)
			if state == "" && c != nil {
				state = c.State
			}
			dir, err := stateFolder(state)
			if err != nil {
				return err
			}
			d := doctor.Doctor{ConfigPath: path, Config: c, ConfigErr: configErr, State: dir, Node: func(ctx context.Context) (status doctor.NodeStatus, err error) {
				err = client.Unix(config.SocketPath(dir)).Status(ctx, &status)
				return status, err
			}}
			if _, err := os.Stat(filepath.Join(dir, "hub.lock")); err == nil {
				d.OwnHub = func(ctx context.Context) (status doctor.OwnHubStatus, err error) {
					err = client.Unix(config.HubSocketPath(dir)).Status(ctx, &status)
					return status, err
				}
			}
			if c != nil {
				d.Database = func(ctx context.Context) error { return tryDatabase(ctx, c.Store) }
			}
			found := d.Examine(cmd.Context())
			if err := doctorPrinter().list(a.out, f, found); err != nil {
				return err
			}
			for _, x := range found {
				if x.Grade == doctor.Problem {
					return errUnwell
				}
			}
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&configPath, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().StringVar(&state, "state", "", "the state `FOLDER`")
	return cmd
}

func doctorPrinter() printer[doctor.Finding] {
	return printer[doctor.Finding]{
		columns: []column[doctor.Finding]{
			{"CHECK", false, func(x doctor.Finding) string { return x.Check }},
			{"", false, func(x doctor.Finding) string { return string(x.Grade) }},
			{"FOUND", false, func(x doctor.Finding) string { return x.Found }},
			{"WHAT TO DO", false, func(x doctor.Finding) string { return x.Advice }},
		},
		id: func(x doctor.Finding) string { return x.Check },
	}
}
