package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/hub"
	"github.com/lanfolk/lanfolk/internal/node"
)

func statusCommand(a app) *cobra.Command {
	var (
		f    format
		from nodeFlags
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the node or the hub is, and what it would gain with more rights",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, err := from.client()
			if err != nil {
				return err
			}
			var text json.RawMessage
			if err := c.Status(cmd.Context(), &text); err != nil {
				return err
			}
			var h hub.Status
			if err := json.Unmarshal(text, &h); err != nil {
				return err
			}
			if h.Kind == hub.Kind {
				return document(a.out, f, h, h.Name, func(w io.Writer) error { return printHubStatus(w, f, h, time.Now()) })
			}
			var s node.Status
			if err := json.Unmarshal(text, &s); err != nil {
				return err
			}
			return document(a.out, f, s, s.Name, func(w io.Writer) error { return printStatus(w, f, s, time.Now()) })
		},
	}
	f.flags(cmd)
	from.flags(cmd)
	return cmd
}

// printStatus writes a node's status for people.
func printStatus(w io.Writer, f format, s node.Status, now time.Time) error {
	out := bufio.NewWriter(w)
	row := rows(out)
	health := "healthy"
	if !s.Healthy {
		health = "NOT HEALTHY"
	}
	row("lanfolk", fmt.Sprintf("%s, %s, started %s (pid %d)", s.Version, health, ago(now, s.Started), s.PID))
	row("name", s.Name)
	row("page", s.Page)
	row("state", s.State)
	row("config", s.Config)
	row("inventory", fmt.Sprintf("%d devices, %d services, %d facts", s.Inventory.Devices, s.Inventory.Services, s.Inventory.Sightings))
	if s.Store.Healthy {
		row("store", s.Store.Path)
	} else {
		row("store", fmt.Sprintf("%s: %s; %d rows wait in memory", s.Store.Path, s.Store.Error, s.Store.Pending))
	}
	if s.Store.Dropped > 0 {
		row("", fmt.Sprintf("%d rows were dropped for want of memory", s.Store.Dropped))
	}
	if s.Store.DroppedShare > 0 {
		row("", fmt.Sprintf("%d rows were dropped because their MAC had taken its share of the memory", s.Store.DroppedShare))
	}
	if n := s.Store.Forgotten.Share; n > 0 {
		row("", fmt.Sprintf("%d rows were forgotten because their MAC had too many", n))
	}
	if n := s.Store.Forgotten.Room; n > 0 {
		row("", fmt.Sprintf("%d rows were forgotten for want of room", n))
	}
	fmt.Fprintln(out)
	for _, l := range s.Links {
		if l.Used {
			row("on", l.Name+"  "+strings.Join(l.Addresses, " "))
		} else if f.name == "wide" {
			row("not on", l.Name+"  "+l.Why)
		}
	}
	fmt.Fprintln(out)
	if s.Hub.Gateway != "" {
		statusHub(row, s.Hub, now)
		fmt.Fprintln(out)
	}
	for _, k := range s.NMOS {
		statusSelection(row, k, now)
	}
	for _, a := range s.Advertised {
		statusAdvertised(row, a)
	}
	if len(s.NMOS)+len(s.Advertised) > 0 {
		fmt.Fprintln(out)
	}
	statusParts(row, f, s.Parts)
	return out.Flush()
}

// rows writes lines of a key and a value.
func rows(w io.Writer) func(key, value string) {
	return func(key, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-11s %s\n", key, visible(value))
		}
	}
}

// statusParts says how what a daemon runs is.
func statusParts(row func(key, value string), f format, parts []daemon.Part) {
	for _, p := range parts {
		line := string(p.State)
		if p.Detail != "" {
			line += "  " + p.Detail
		}
		if p.Error != "" {
			line += "  " + p.Error
		}
		if p.Failures > 0 {
			line += fmt.Sprintf("  (%d failures)", p.Failures)
		}
		row(p.Name, line)
		if p.Gain != "" {
			row("", "  with that right it "+p.Gain)
		}
		if f.name == "wide" {
			for _, k := range sortedKeys(p.Counters) {
				row("", fmt.Sprintf("  %-28s %d", k, p.Counters[k]))
			}
		}
	}
}

// statusHub says how the node stands with the hub whose gateway it is.
func statusHub(row func(key, value string), h node.HubLink, now time.Time) {
	who := h.Gateway
	if h.Name != "" {
		who = h.Name + ", the gateway " + h.Gateway
	}
	switch {
	case h.Connected:
		row("hub", fmt.Sprintf("%s, connected %s to %s", who, ago(now, *h.Since), h.Address))
	case h.Error != "":
		row("hub", fmt.Sprintf("%s, NOT CONNECTED: %s", who, h.Error))
	default:
		row("hub", who+", NOT CONNECTED")
	}
	if h.Expires != nil {
		row("", "certificate until "+h.Expires.Local().Format(time.DateTime)+", to be renewed on "+h.Renew.Local().Format(time.DateOnly))
	}
	c := h.Commands
	line := fmt.Sprintf("%d commands, %d refused", c.Commands, c.Refused)
	if c.Waiting > 0 {
		line += fmt.Sprintf("; %d results wait for the hub, %d KiB on the disk", c.Waiting, c.ResultBytes>>10)
	}
	row("", line)
	if f := h.Feeds; f != nil {
		row("", fmt.Sprintf("of the inventory the hub has %d items, and %d wait; %d fingerprint rows wait", f.Inventory.Items, f.Inventory.Waiting, f.Fingerprints.Waiting))
		if f.Fingerprints.Dropped > 0 {
			row("", fmt.Sprintf("%d fingerprint rows never went up, for want of room", f.Fingerprints.Dropped))
		}
		for _, failed := range []string{f.Inventory.Error, f.Fingerprints.Error} {
			row("", failed)
		}
	}
}

// statusAdvertised says how an API that the node advertises stands in each way.
func statusAdvertised(row func(key, value string), a node.AdvertisedAPI) {
	key := "advertises"
	for _, w := range a.Ways {
		line := w.State + "  " + w.Instance
		if len(w.Interfaces) > 0 {
			line += " on " + strings.Join(w.Interfaces, " ")
		}
		if w.Expires != nil {
			line += ", lease until " + w.Expires.Local().Format(time.TimeOnly)
		}
		if w.Error != "" {
			line += "  " + w.Error
		}
		row(key, line)
		key = ""
	}
}

// maxReasons are told of one selection.
const maxReasons = 20

// statusSelection says what is chosen of a studio's APIs, and why not the others.
func statusSelection(row func(key, value string), k find.KeptSelection, now time.Time) {
	name := "nmos " + k.Name
	switch {
	case k.Error != "":
		row(name, k.Error)
	case k.Selected == nil:
		row(name, "none: "+k.Reason)
	default:
		row(name, fmt.Sprintf("%s  %s  chosen %s: %s", k.Selected.URL, k.Selected.Instance, ago(now, k.Since), k.Reason))
	}
	why := slices.Concat(k.Others, k.Discarded)
	for _, r := range why[:min(len(why), maxReasons)] {
		row("", "  not "+r.Instance+": "+r.Reason)
	}
	if more := len(why) - maxReasons; more > 0 {
		row("", fmt.Sprintf("  and %d more", more))
	}
	for _, step := range k.Steps {
		row("", "  "+step)
	}
}
