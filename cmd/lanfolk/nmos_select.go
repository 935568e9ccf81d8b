package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/nmos"
)

// selecting is one run of the command.
type selecting struct {
	asking
	format  format
	request find.SelectRequest
	auth    string
	caFile  string
	seed    uint64
	watch   bool
}

func nmosSelectCommand(a app) *cobra.Command {
	x := &selecting{asking: asking{app: a}}
	cmd := &cobra.Command{
		Use:   "select",
		Short: "Choose one of a studio's APIs by AMWA's procedure, and say why",
		Long: `select looks for an API by DNS-SD and says which one to use. It asks the DNS
servers in the domains that this machine searches, and by mDNS where they know
none. What doesn't fit is left out; the rest is in order of the version that
both sides speak, then of priority; of equals one is taken at random.

With --watch it goes on: it keeps the list, tries the chosen API again and again
and takes the next one when it doesn't work. A line says what is chosen, and why,
each time that changes.

A running node is asked where mDNS may be needed; without one, or with --direct,
the command asks with sockets of its own. DNS servers need neither.

-o name prints the URL alone. It exits with 5 when nothing fits.`,
		Example: `  lanfolk nmos select --type register --api-version v1.3
  lanfolk nmos select --type netctrl --domain example.com --server 192.0.2.53 -o json
  lanfolk nmos select --type query --proto https --watch
  lanfolk nmos select --type register --mode unicast -o name`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := x.complete(cmd); err != nil {
				return err
			}
			return x.run(cmd.Context())
		},
	}
	x.flags(cmd)
	return cmd
}

func (x *selecting) flags(cmd *cobra.Command) {
	x.format.flags(cmd)
	x.node.ownCA = true
	x.asking.flags(cmd)
	r, fl := &x.request, cmd.Flags()
	fl.StringVar(&r.Kind, "type", "netctrl", "the `API`: netctrl, register, registration, query, node, system, auth or mqtt")
	fl.StringSliceVar(&r.Versions, "api-version", nil, "the `VERSIONS` that you speak: v1.2,v1.3 (default any)")
	fl.StringVar(&r.Proto, "proto", "", "http or https, for mqtt mqtt or secure-mqtt (default any)")
	fl.StringVar(&x.auth, "auth", "", "whether the API must need authorization, true, or must not, false (default any)")
	fl.StringVar(&r.Mode, "mode", "both", "by what to look: unicast, mdns, or both: by mDNS where no DNS server knows one")
	fl.StringSliceVar(&r.Domains, "domain", nil, "look in this `DOMAIN` by unicast DNS; may be repeated (default those in resolv.conf)")
	fl.StringSliceVar(&r.Servers, "server", nil, "ask these DNS servers, `ADDRESS[:PORT]`, instead of those in resolv.conf")
	fl.StringVar(&r.URL, "url", "", "the API is at `URL`: look for nothing")
	fl.BoolVar(&r.Development, "development", false, "take APIs, too, that say they are for development")
	fl.BoolVar(&r.FallBack, "fall-back", false, "ask by mDNS, too, where DNS servers know APIs, but none that fits")
	fl.BoolVar(&r.Merge, "merge", false, "ask by both in any case, and make one list of it")
	fl.Uint64Var(&x.seed, "seed", 0, "choose the same one of equals for the same `NUMBER`")
	fl.BoolVarP(&x.watch, "watch", "w", false, "try the API again and again, and tell each change of the choice")
	fl.BoolVar(&r.Return, "return", false, "with --watch: go back to a better API when it comes")
	fl.DurationVar(&r.CheckEvery, "check-every", source.DefaultCheckEvery, "with --watch: how often to try the API")
	fl.DurationVar(&r.Timeout, "timeout", nmos.DefaultTimeout, "with --watch: how long the API may take to answer")
	fl.StringVar(&x.caFile, "ca-file", "", "with --watch: a `FILE` of certificates that sign the API's (default the system's)")
	var kinds []string
	for _, k := range nmos.Kinds() {
		kinds = append(kinds, k.Name)
	}
	for name, values := range map[string][]string{"type": kinds, "mode": {"both", "unicast", "mdns"}, "auth": {"true", "false"}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// complete checks the flags and fills in what they name.
func (x *selecting) complete(cmd *cobra.Command) error {
	x.format.stream = x.watch
	if err := x.format.check(); err != nil {
		return err
	}
	r := &x.request
	switch x.auth {
	case "":
	case "true", "false":
		must := x.auth == "true"
		r.Auth = &must
	default:
		return usagef("--auth %q: want true or false", x.auth)
	}
	if cmd.Flags().Changed("seed") {
		r.Seed = &x.seed
	}
	for _, name := range []string{"return", "check-every", "timeout", "ca-file"} {
		if cmd.Flags().Changed(name) && !x.watch {
			return usagef("--%s is for --watch", name)
		}
	}
	if r.CheckEvery <= 0 || r.Timeout <= 0 {
		return usagef("--check-every and --timeout: want more than 0")
	}
	if x.caFile != "" {
		b, err := os.ReadFile(x.caFile)
		if err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
		if r.CA = string(b); r.CA == "" {
			return usagef("--ca-file %s holds no certificate", x.caFile)
		}
	}
	if err := source.CheckSelect(*r); err != nil {
		return usage{err}
	}
	return nil
}

// selector chooses: a node, or this process.
type selector interface {
	Select(ctx context.Context, r find.SelectRequest) (find.Selection, error)
	WatchSelection(ctx context.Context, r find.SelectRequest) iter.Seq2[find.SelectionChange, error]
}

func (x *selecting) run(ctx context.Context) error {
	by := func(ctx context.Context, s selector) error {
		if x.watch {
			return x.follow(ctx, s.WatchSelection(ctx, x.request))
		}
		got, err := s.Select(ctx, x.request)
		if err != nil {
			return err
		}
		return x.print(got)
	}
	// Without mDNS there's nothing that only one process of a machine can do.
	named := x.node.api != "" || x.node.state != ""
	if named || x.request.URL == "" && x.request.Mode != "unicast" {
		if done, err := x.askNode(ctx, func(c *client.Client) error { return by(ctx, c) }); done {
			return err
		}
	}
	return x.withLateEngine(ctx, *x.interfaces, func(ctx context.Context, multicast dnssd.Source) error {
		dial := (&net.Dialer{}).DialContext
		resolver := source.Resolver{Read: os.ReadFile, Dial: dial, Advice: "name one with --server"}
		return by(ctx, source.NMOS{
			Unicast: resolver.Ask, Moved: resolver.Moved, Multicast: func() dnssd.Source { return multicast }, Dial: dial,
		})
	})
}

// print writes what was chosen; that nothing was is an error, too.
func (x *selecting) print(s find.Selection) error {
	url := ""
	if s.Selected != nil {
		url = s.Selected.URL
	}
	if x.format.name != "name" || url != "" {
		if err := document(x.out, x.format, s, url, func(w io.Writer) error { return printSelection(w, x.format, s) }); err != nil {
			return err
		}
	}
	if s.Selected != nil {
		return nil
	}
	return outcome{fmt.Sprintf("nmos: no %s API: %s", x.request.Kind, visible(s.Reason)), errNotFound}
}

// follow prints each change of what is chosen until ctx ends.
func (x *selecting) follow(ctx context.Context, changes iter.Seq2[find.SelectionChange, error]) error {
	out := bufio.NewWriter(x.out)
	for ch, err := range changes {
		if err != nil {
			return err
		}
		if ch.Event == find.SelectionUpdate {
			continue
		}
		if err := selectionPrinter().one(out, x.format, ch); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return ctx.Err() // of which a watch ends
}

// candidate is a line about one advertisement, for people.
type candidate struct {
	mark, why string
	find.Advert
}

// candidates lists all: the chosen one, those that fit in order, and those that don't.
func candidates(s find.Selection) []candidate {
	var out []candidate
	if s.Selected != nil {
		out = append(out, candidate{"*", s.Reason, *s.Selected})
	}
	// The others are in the order of the groups, without the chosen one. Two may
	// have the same name, of two types.
	others := s.Others
	for _, g := range s.Groups {
		for _, a := range g {
			chosen := s.Selected != nil && a.Instance == s.Selected.Instance && a.URL == s.Selected.URL
			if len(others) == 0 || chosen || others[0].Instance != a.Instance {
				continue
			}
			out = append(out, candidate{"", others[0].Reason, a})
			others = others[1:]
		}
	}
	for _, d := range s.Discarded {
		out = append(out, candidate{"x", d.Reason, find.Advert{Instance: d.Instance, Domain: d.Domain, Via: d.Via}})
	}
	return out
}

// printSelection writes a table of all that was found, and how it was looked for.
func printSelection(w io.Writer, f format, s find.Selection) error {
	p := printer[candidate]{columns: []column[candidate]{
		{" ", false, func(c candidate) string { return c.mark + " " }},
		{"INSTANCE", false, func(c candidate) string { return c.Instance }},
		{"URL", false, func(c candidate) string { return c.URL }},
		{"VERSIONS", false, func(c candidate) string { return strings.Join(c.Versions, ",") }},
		{"PRI", false, func(c candidate) string {
			if c.URL == "" {
				return ""
			}
			return strconv.Itoa(c.Priority)
		}},
		{"VIA", false, func(c candidate) string { return c.Via }},
		{"DOMAIN", true, func(c candidate) string { return c.Domain }},
		{"ADDRESSES", true, func(c candidate) string { return joined(c.Addresses) }},
		{"WHY", false, func(c candidate) string { return c.why }},
	}}
	if all := candidates(s); len(all) > 0 {
		if err := p.table(w, f, all); err != nil {
			return err
		}
	}
	for _, step := range s.Steps {
		if _, err := fmt.Fprintln(w, visible(step)); err != nil {
			return err
		}
	}
	return nil
}

func selectionPrinter() printer[find.SelectionChange] {
	chosen := func(get func(find.Advert) string) func(find.SelectionChange) string {
		return func(ch find.SelectionChange) string {
			if ch.Selected == nil {
				return ""
			}
			return get(*ch.Selected)
		}
	}
	return printer[find.SelectionChange]{
		columns: []column[find.SelectionChange]{
			{"", false, func(ch find.SelectionChange) string {
				return map[bool]string{true: "+", false: "-"}[ch.Selected != nil]
			}},
			{"TIME", false, func(ch find.SelectionChange) string { return ch.Time.Local().Format(time.TimeOnly) }},
			{"INSTANCE", false, chosen(func(a find.Advert) string { return a.Instance })},
			{"URL", false, chosen(func(a find.Advert) string { return a.URL })},
			{"WHY", false, func(ch find.SelectionChange) string { return ch.Reason }},
		},
		id: func(ch find.SelectionChange) string {
			return orDash(chosen(func(a find.Advert) string { return a.URL })(ch))
		},
	}
}
