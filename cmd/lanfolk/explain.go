package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/syncthing"
)

func explainCommand(a app) *cobra.Command {
	var (
		f    format
		node nodeFlags
	)
	cmd := &cobra.Command{
		Use:   "explain DEVICE",
		Short: "Show every piece of evidence for a device",
		Long: `explain shows a device, named by its id, name, MAC, IP address or Syncthing ID, with
every fact behind it: what was heard, when, by which protocol on which interface,
and why it was taken to be about this device; and what speaks for and against the
model, OS and class that it is taken to have: which rule, by which signals.

"lanfolk device separate" undoes a join that is wrong.`,
		Args: named(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := f.check(); err != nil {
				return err
			}
			c, err := node.client()
			if err != nil {
				return err
			}
			e, err := c.Explain(cmd.Context(), deviceRef(argv[0]))
			if err != nil {
				return err
			}
			return document(a.out, f, e, e.Device.ID, func(w io.Writer) error { return explain(w, e, time.Now()) })
		},
	}
	f.flags(cmd)
	node.flags(cmd)
	return cmd
}

// deviceRef is what a node knows a device by: of a Syncthing ID, in any of its forms, the
// identifier that it makes.
func deviceRef(text string) string {
	if id, err := syncthing.ParseID(text); err == nil {
		return source.ProtocolSyncthing + ":" + id.String()
	}
	return text
}

// explain writes a device and the evidence for people.
func explain(w io.Writer, e client.Explanation, now time.Time) error {
	out := bufio.NewWriter(w)
	d := e.Device
	row := func(key, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-10s %s\n", key, visible(value))
		}
	}
	row("device", d.ID)
	row("names", strings.Join(d.Names, ", "))
	row("state", string(d.State))
	row("vendor", d.Vendor)
	row("model", withConfidence(d.Model, d.ModelConfidence))
	row("os", withConfidence(d.OS, d.OSConfidence))
	row("class", withConfidence(d.Class, d.ClassConfidence))
	row("macs", joined(d.MACs))
	row("addresses", joined(d.Addresses))
	row("tags", strings.Join(d.Tags, " "))
	row("separated", strings.Join(texts(d.Separated), "; "))
	row("aliases", strings.Join(d.Aliases, " "))
	row("seen", ago(now, d.LastSeen)+", first "+ago(now, d.FirstSeen))
	for _, s := range d.Services {
		row("service", fmt.Sprintf("%s %s %s:%d %s", s.Name, s.Type, s.Host, s.Port, s.State))
	}
	if len(e.Reasons) > 0 {
		fmt.Fprintln(out)
	}
	for _, r := range e.Reasons {
		fmt.Fprintf(out, "%s  %s %s\n    because: %s (%s)\n", r.Verdict, r.Answer, visible(withConfidence(r.Value, r.Confidence)), visible(r.Rule), visible(r.Source))
		for _, s := range r.Signals {
			fmt.Fprintf(out, "    signal: %s %s\n", visible(s.Kind), visible(s.Value))
		}
	}
	fmt.Fprintln(out)
	for _, ev := range e.Evidence {
		fmt.Fprintf(out, "%s  %s  %s  %s\n    because: %s\n    says: %s\n", ago(now, ev.Time), visible(ev.Interface),
			visible(ev.Protocol), visible(ev.What), visible(ev.WhyJoined), visible(strings.Join(texts(ev.Identifiers), "; ")))
	}
	return out.Flush()
}

// texts returns identifiers as people read them.
func texts(ids []lanfolk.Identifier) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}
