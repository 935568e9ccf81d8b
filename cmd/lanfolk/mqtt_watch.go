package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/config"
)

// mqttEvent is a line of mqtt watch. Synced has nothing but its event.
type mqttEvent struct {
	Event     string          `json:"event"` // add, update, remove, synced
	Kind      string          `json:"kind,omitempty"`
	ID        string          `json:"id,omitempty"`
	Root      string          `json:"root,omitempty"`
	Provider  string          `json:"provider,omitempty"`
	Reachable *bool           `json:"reachable"` // of a device, as far as can be known
	Said      *bool           `json:"said"`      // what its topic says, though its provider may be gone
	Problem   string          `json:"problem,omitempty"`
	Meta      json.RawMessage `json:"meta,omitempty"`
	// Unconfirmed, of synced: the broker may have left something out.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

func mqttWatchCommand(a app) *cobra.Command {
	var (
		client  mqttClient
		form    format
		once    bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "watch --broker URL",
		Short: "Watch the devices and providers on an MQTT broker",
		Long: `watch prints the devices and providers that a broker knows, by the Hemtjänst
protocol, then that the list is complete, and then what changes, until it is
interrupted. With --once it ends when the list is complete.

A device whose provider is gone can't be reached, whatever its topic still says;
"said" in the JSON is what that is.

` + mqttClientHelp,
		Example: `  lanfolk mqtt watch --broker mqtt://192.168.0.1
  lanfolk mqtt watch --broker mqtt://192.168.0.1 --once -o jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			form.stream = true
			if err := form.check(); err != nil {
				return err
			}
			if timeout < 0 {
				return usagef("--timeout %v: want 0 or more", timeout)
			}
			b, err := client.broker(a)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if timeout > 0 && once {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, timeout)
				defer stop()
			}
			p := &mqttWatching{form: form, once: once, out: bufio.NewWriter(a.out), end: cancel}
			w := &hemtjanst.Watcher{
				Broker: b, Tenant: client.tenant, ClientID: client.clientID, KeepAlive: client.keepAlive,
				Event: p.event, Log: a.logger(slog.LevelInfo, config.FormatAuto),
			}
			err = w.Run(ctx)
			switch {
			case p.err != nil:
				return p.err
			case err == nil && once && !p.synced:
				return fmt.Errorf("%w: the list isn't complete", errNoAnswer)
			}
			return err
		},
	}
	client.flags(cmd)
	form.flags(cmd)
	cmd.Flags().BoolVar(&once, "once", false, "end when the list is complete")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "with --once, how long to wait for that; 0 for ever")
	return cmd
}

// mqttWatching prints what a Watcher tells.
type mqttWatching struct {
	form   format
	once   bool
	out    *bufio.Writer
	end    func()
	synced bool
	err    error
}

func (p *mqttWatching) event(e hemtjanst.Event) {
	if p.err != nil || p.once && p.synced {
		return
	}
	v, ok := mqttEventOf(e)
	if !ok {
		return
	}
	p.err = mqttEvents().one(p.out, p.form, v)
	if p.err == nil && (p.synced || e.Kind == hemtjanst.Complete) { // until then in large pieces
		p.err = p.out.Flush()
	}
	p.synced = p.synced || e.Kind == hemtjanst.Complete
	if p.err != nil || p.once && p.synced {
		p.end()
	}
}

func mqttEventOf(e hemtjanst.Event) (v mqttEvent, ok bool) {
	switch e.Kind {
	case hemtjanst.DeviceAdded, hemtjanst.ProviderAdded:
		v.Event = "add"
	case hemtjanst.DeviceChanged, hemtjanst.ProviderChanged:
		v.Event = "update"
	case hemtjanst.DeviceRemoved, hemtjanst.ProviderRemoved:
		v.Event = "remove"
	case hemtjanst.Complete:
		return mqttEvent{Event: "synced", Unconfirmed: e.Unconfirmed}, true
	default: // Lost: the log has it
		return v, false
	}
	switch e.Kind {
	case hemtjanst.ProviderAdded, hemtjanst.ProviderChanged, hemtjanst.ProviderRemoved:
		v.Kind, v.ID = "provider", e.Provider.ID
		if json.Valid([]byte(e.Provider.Payload)) {
			v.Meta = json.RawMessage(e.Provider.Payload)
		}
	default:
		d := e.Device
		v.Kind, v.ID, v.Root, v.Provider = "device", d.ID, d.Root, d.Provider
		v.Reachable, v.Said, v.Meta = mqttState(d.State), mqttState(d.Said), d.Metadata.JSON()
		if d.Problem != 0 {
			v.Problem = d.Problem.String()
		}
	}
	return v, true
}

// mqttState is nil for a state that isn't known.
func mqttState(s hemtjanst.State) *bool {
	switch s {
	case hemtjanst.Reachable, hemtjanst.Unreachable:
		yes := s == hemtjanst.Reachable
		return &yes
	}
	return nil
}

func mqttEvents() printer[mqttEvent] {
	return printer[mqttEvent]{
		id: func(v mqttEvent) string { return v.ID },
		columns: []column[mqttEvent]{
			{title: "", value: func(v mqttEvent) string {
				return map[string]string{"add": "+", "update": "~", "remove": "-", "synced": "="}[v.Event]
			}},
			{title: "KIND", value: func(v mqttEvent) string {
				if v.Event == "synced" && v.Unconfirmed {
					return "the broker may have left something out"
				} else if v.Event == "synced" {
					return "complete"
				}
				return v.Kind
			}},
			{title: "ID", value: func(v mqttEvent) string { return v.ID }},
			{title: "ROOT", value: func(v mqttEvent) string { return v.Root }},
			{title: "STATE", value: func(v mqttEvent) string {
				switch {
				case v.Kind != "device":
					return ""
				case v.Reachable == nil:
					return hemtjanst.Unknown.String()
				case *v.Reachable:
					return hemtjanst.Reachable.String()
				}
				return hemtjanst.Unreachable.String()
			}},
			{title: "PROBLEM", value: func(v mqttEvent) string { return v.Problem }},
			{title: "PROVIDER", wide: true, value: func(v mqttEvent) string { return v.Provider }},
		},
	}
}
