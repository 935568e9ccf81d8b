package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/config"
)

// maxMetaFile bounds what is read of a metadata file, in bytes.
const maxMetaFile = 16 << 20

func mqttAnnounceCommand(a app) *cobra.Command {
	var (
		client   mqttClient
		id, root string
		meta     string
	)
	cmd := &cobra.Command{
		Use:   "announce --broker URL --id ID --root TOPIC --meta FILE|-",
		Short: "Announce a device on an MQTT broker",
		Long: `announce says on a broker that a device is there, as long as it runs, by the
Hemtjänst protocol: what it is on device/ID, and 1 on current/TOPIC/reachable. The
broker says 0 there when the connection breaks; announce says so itself when it is
interrupted.

The metadata is a JSON object; its root is set to TOPIC. When the file changes
the new metadata is published. A connection that is lost is made again, and all
of it said once more. It prints "ready" when the broker has it.

` + mqttClientHelp,
		Example: `  lanfolk mqtt announce --broker mqtt://192.168.0.1 --id lamp-7 --root home/light/7 --meta lamp.json`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := client.broker(a)
			if err != nil {
				return err
			}
			for _, x := range []struct{ flag, value string }{{"--id", id}, {"--root", root}} {
				if x.value == "" {
					return usagef("%s is missing", x.flag)
				}
				if err := hemtjanst.CheckName(x.value); err != nil {
					return usage{fmt.Errorf("%s: %w", x.flag, err)}
				}
			}
			m, err := a.metadata(meta)
			if err != nil {
				return err
			}
			log := a.logger(slog.LevelInfo, config.FormatAuto)
			announcer := &hemtjanst.Announcer{
				Broker: b, Tenant: client.tenant, ID: id, Root: root, Metadata: m, ClientID: client.clientID,
				KeepAlive: client.keepAlive, Announced: a.readyOnce(), Log: log,
			}
			return a.withFile(cmd.Context(), meta, log, announcer.Run, func() error {
				m, err := a.metadata(meta)
				if err != nil {
					return err
				}
				return announcer.Update(m)
			})
		},
	}
	client.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&id, "id", "", "the device's `ID`, which stays the same")
	fl.StringVar(&root, "root", "", "the `TOPIC` that its features' topics begin with")
	fl.StringVar(&meta, "meta", "", "what the device is: a JSON `FILE`, or - for stdin (default {})")
	return cmd
}

// readyOnce returns what prints "ready" when it is first called.
func (a app) readyOnce() func() {
	var once sync.Once
	return func() { once.Do(func() { fmt.Fprintln(a.out, "ready") }) }
}

// metadata reads a JSON object from a file, from stdin, or none.
func (a app) metadata(path string) (hemtjanst.Metadata, error) {
	if path == "" {
		return hemtjanst.Metadata{}, nil
	}
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return hemtjanst.Metadata{}, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxMetaFile+1))
	if err != nil {
		return hemtjanst.Metadata{}, err
	}
	m, err := hemtjanst.ParseMetadata(b)
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// withFile runs a role until ctx is done or it fails, and calls changed when
// the file at path, if there is one, has changed. What changed returns is
// logged: the last good content stays.
func (a app) withFile(ctx context.Context, path string, log *slog.Logger, role func(context.Context) error, changed func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		defer cancel()
		return role(ctx)
	})
	if path != "" && path != "-" {
		tasks.Go(func() error {
			first := true // it may have changed since it was read
			followFile(ctx, path, log, func() {
				if err := changed(); err != nil {
					log.Warn("the file can't be used; what it said before stays", "path", path, "err", err)
				} else if !first {
					log.Info("the file has changed", "path", path)
				}
				first = false
			})
			return nil
		})
	}
	return tasks.Wait()
}
