package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/config"
)

// mqttTopic is a line of mqtt purge.
type mqttTopic struct {
	Event string `json:"event"` // clear, would-clear, keep
	Topic string `json:"topic"`
}

func mqttPurgeCommand(a app) *cobra.Command {
	var (
		client        mqttClient
		form          format
		dryRun, force bool
		timeout       time.Duration
	)
	cmd := &cobra.Command{
		Use:   "purge DEVICE --broker URL",
		Short: "Clear a device that is gone for good from an MQTT broker",
		Long: `purge clears what a broker retains of a device, by the Hemtjänst protocol: its
metadata, and the topics under current and desired that begin with its root. Topics
of another device stay, be its root the same or inside this one's; they are listed.

A device that is announced isn't purged unless --force is given: one whose bridge
is there, or one of its own that says 1. Whoever announces it would say it all
again.

` + mqttClientHelp,
		Example: `  lanfolk mqtt purge lamp-7 --broker mqtt://192.168.0.1 --dry-run
  lanfolk mqtt purge lamp-7 --broker mqtt://192.168.0.1`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if err := form.check(); err != nil {
				return err
			}
			if timeout < 0 {
				return usagef("--timeout %v: want 0 or more", timeout)
			}
			if err := hemtjanst.CheckName(words[0]); err != nil {
				return usage{fmt.Errorf("device: %w", err)}
			}
			b, err := client.broker(a)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			p := &hemtjanst.Purge{
				Broker: b, Tenant: client.tenant, ClientID: client.clientID, KeepAlive: client.keepAlive,
				DryRun: dryRun, Force: force, Log: a.logger(slog.LevelInfo, config.FormatAuto),
			}
			done, err := p.Run(ctx, words[0])
			switch {
			case errors.Is(err, hemtjanst.ErrNoDevice):
				return fmt.Errorf("%w: %w", errNotFound, err)
			case errors.Is(err, hemtjanst.ErrAlive):
				return fmt.Errorf("%w; --force clears it all the same", err)
			case err != nil:
				return err
			}
			var lines []mqttTopic
			event := "clear"
			if dryRun {
				event = "would-clear"
			}
			for _, t := range done.Cleared {
				lines = append(lines, mqttTopic{event, t})
			}
			for _, t := range done.Kept {
				lines = append(lines, mqttTopic{"keep", t})
			}
			return mqttTopics().list(a.out, form, lines)
		},
	}
	client.flags(cmd)
	form.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&dryRun, "dry-run", false, "print what would be cleared, and clear nothing")
	fl.BoolVar(&force, "force", false, "clear a device that is announced, too")
	fl.DurationVar(&timeout, "timeout", 30*time.Second, "how long it may take; 0 for ever")
	return cmd
}

func mqttTopics() printer[mqttTopic] {
	return printer[mqttTopic]{
		id: func(v mqttTopic) string { return v.Topic },
		columns: []column[mqttTopic]{
			{title: "EVENT", value: func(v mqttTopic) string { return v.Event }},
			{title: "TOPIC", value: func(v mqttTopic) string { return v.Topic }},
		},
	}
}
