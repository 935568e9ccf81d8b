package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/config"
)

// mqttChore is a line of mqtt janitor.
type mqttChore struct {
	Event    string `json:"event"` // as hemtjanst.JanitorEventKind says
	Device   string `json:"device,omitempty"`
	Root     string `json:"root,omitempty"`
	Provider string `json:"provider,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

func mqttJanitorCommand(a app) *cobra.Command {
	var (
		client mqttClient
		form   format
		grace  time.Duration
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "janitor --broker URL",
		Short: "Mark devices on an MQTT broker whose bridge is gone",
		Long: `janitor watches the devices on a broker, by the Hemtjänst protocol. When a bridge
is gone without a farewell, and doesn't come back within the grace time, it says 0
on the reachable topic of each of its devices. It also does so for bridges that
died while it wasn't there.

Several janitors may run on one broker: one works, another takes over when it is
gone. It prints "ready" when it knows what the broker retains, and then a line for
each thing that it does or leaves alone. With --dry-run it only says what it would
mark.

` + mqttClientHelp,
		Example: `  lanfolk mqtt janitor --broker mqtt://192.168.0.1
  lanfolk mqtt janitor --broker mqtt://192.168.0.1 --dry-run -o jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			form.stream = true
			if err := form.check(); err != nil {
				return err
			}
			if grace < 0 {
				return usagef("--grace %v: want 0 or more", grace)
			}
			b, err := client.broker(a)
			if err != nil {
				return err
			}
			if grace == 0 {
				grace = -1 // none, not the default
			}
			log := a.logger(slog.LevelInfo, config.FormatAuto)
			out, said := bufio.NewWriter(a.out), error(nil)
			j := &hemtjanst.Janitor{
				Broker: b, Tenant: client.tenant, ClientID: client.clientID, KeepAlive: client.keepAlive,
				Grace: grace, DryRun: dryRun, Ready: a.readyOnce(), Log: log,
			}
			j.Events = func(events []hemtjanst.JanitorEvent) {
				for _, e := range events {
					if said == nil {
						said = mqttChores().one(out, form, mqttChoreOf(e))
					}
				}
				if said == nil {
					said = out.Flush()
				}
			}
			if err := j.Run(cmd.Context()); err != nil {
				return err
			}
			s := j.Status()
			log.Info("leaves", "marked", s.Marked, "late", s.Late, "failed", s.Failed, "spared", s.Spared, "left_alone", s.LeftAlone, "unconfirmed", s.Unconfirmed)
			return said
		},
	}
	client.flags(cmd)
	form.flags(cmd)
	cmd.Flags().DurationVar(&grace, "grace", hemtjanst.DefaultGrace, "how long a bridge may be gone before its devices are marked")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be marked, and mark nothing")
	return cmd
}

func mqttChoreOf(e hemtjanst.JanitorEvent) mqttChore {
	v := mqttChore{Event: e.Kind.String(), Device: e.Device, Root: e.Root, Provider: e.Provider}
	if e.Problem != 0 {
		v.Problem = e.Problem.String()
	}
	return v
}

func mqttChores() printer[mqttChore] {
	return printer[mqttChore]{
		id: func(v mqttChore) string {
			if v.Device != "" {
				return v.Device
			}
			return v.Provider
		},
		columns: []column[mqttChore]{
			{title: "EVENT", value: func(v mqttChore) string { return v.Event }},
			{title: "DEVICE", value: func(v mqttChore) string { return v.Device }},
			{title: "ROOT", value: func(v mqttChore) string { return v.Root }},
			{title: "PROVIDER", value: func(v mqttChore) string {
				if v.Provider == "" {
					return ""
				}
				return fmt.Sprintf("(%s)", v.Provider)
			}},
			{title: "PROBLEM", value: func(v mqttChore) string { return v.Problem }},
		},
	}
}
