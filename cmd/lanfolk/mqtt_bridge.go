package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/config"
)

func mqttBridgeCommand(a app) *cobra.Command {
	var (
		client         mqttClient
		provider, meta string
		devices        string
	)
	cmd := &cobra.Command{
		Use:   "bridge --broker URL --devices FILE.jsonl",
		Short: "Announce the devices that a bridge connects on an MQTT broker",
		Long: `bridge says on a broker which devices it connects, as long as it runs, by the
Hemtjänst protocol: itself on provider/ID, each device on device/ID with the
bridge's id in it, and 1 or 0 on its reachable topic. The broker clears
provider/ID when the connection breaks, from which others see that its devices
can't be reached; bridge says 0 for each itself when it is interrupted.

The file has a JSON object a line:

  {"id":"lamp-7","root":"home/light/7","meta":{"type":"light"},"reachable":true}

When it changes, what is new, different or gone is published. Without --provider
each run has an id of its own, which is how it should be: then nothing that is
left of an earlier run is about this one. With --client-id the broker ends a
connection of an earlier run that it still believes in.

` + mqttClientHelp,
		Example: `  lanfolk mqtt bridge --broker mqtt://192.168.0.1 --client-id zigbee --devices devices.jsonl`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := client.broker(a)
			if err != nil {
				return err
			}
			if devices == "" {
				return usagef("--devices is missing: a file with a JSON object a line")
			}
			if provider != "" {
				if err := hemtjanst.CheckName(provider); err != nil {
					return usage{fmt.Errorf("--provider: %w", err)}
				}
			}
			m, err := a.metadata(meta)
			if err != nil {
				return err
			}
			log := a.logger(slog.LevelInfo, config.FormatAuto)
			bridge := &hemtjanst.Bridge{
				Broker: b, Tenant: client.tenant, Provider: provider, ClientID: client.clientID, Metadata: m,
				KeepAlive: client.keepAlive, Announced: a.readyOnce(), Log: log,
			}
			set := func() error {
				list, err := readBridgeDevices(devices)
				if err != nil {
					return err
				}
				return bridge.Set(list)
			}
			if err := set(); err != nil {
				return err
			}
			return a.withFile(cmd.Context(), devices, log, bridge.Run, set)
		},
	}
	client.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&devices, "devices", "", "the `FILE.jsonl` of devices")
	fl.StringVar(&provider, "provider", "", "the bridge's `ID` (default a fresh one)")
	fl.StringVar(&meta, "meta", "", "what the bridge is: a JSON `FILE`, or - for stdin (default {})")
	return cmd
}

// bridgeLine is a line of a file of devices.
type bridgeLine struct {
	ID        string             `json:"id"`
	Root      string             `json:"root"`
	Meta      hemtjanst.Metadata `json:"meta"`
	Reachable *bool              `json:"reachable"`
}

// maxBridgeLine bounds a line, in bytes: metadata and names, with escapes.
const maxBridgeLine = 1 << 20

// readBridgeDevices reads a file of devices. Errors name file and line.
func readBridgeDevices(path string) ([]hemtjanst.BridgeDevice, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := parseBridgeDevices(f)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return list, nil
}

func parseBridgeDevices(r io.Reader) ([]hemtjanst.BridgeDevice, error) {
	var list []hemtjanst.BridgeDevice
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxBridgeLine)
	n := 1
	for ; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var l bridgeLine
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%d: more than one object", n)
		}
		switch {
		case l.Reachable == nil:
			return nil, fmt.Errorf("%d: reachable is missing: true or false", n)
		case hemtjanst.CheckName(l.ID) != nil:
			return nil, fmt.Errorf("%d: id: %w", n, hemtjanst.CheckName(l.ID))
		case hemtjanst.CheckName(l.Root) != nil:
			return nil, fmt.Errorf("%d: root: %w", n, hemtjanst.CheckName(l.Root))
		}
		list = append(list, hemtjanst.BridgeDevice{ID: l.ID, Root: l.Root, Metadata: l.Meta, Reachable: *l.Reachable})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %w", n, err)
	}
	return list, nil
}
