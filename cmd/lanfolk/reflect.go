package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/reflector"
)

// reflecting is one run of the command.
type reflecting struct {
	app
	format     format
	interfaces *[]string
	all        bool
	allow      []string
	deny       []string
	guests     []string
	proxy      bool
	cross      bool
	dryRun     bool
	every      time.Duration
}

func reflectCommand(a app) *cobra.Command {
	x := reflecting{app: a, format: format{stream: true}}
	cmd := &cobra.Command{
		Use:   "reflect {-i IF -i IF... | --all}",
		Short: "Pass multicast DNS on between links",
		Long: `reflect passes multicast DNS on between links, so that services of one subnet
are found from others. IPv4 is passed on to IPv4 and IPv6 to IPv6. It works
alone, until it is interrupted; a node does the same if its configuration says
so, see [reflect] in "lanfolk config reference".

It prints "ready" when it works, and at the end what was let through and what was
stopped by which rule. With --dry-run nothing is sent: each question and record
has a line that says what would become of it. Lines begin with + for what would
cross and - for what wouldn't.

Who may see what is decided by the first that fits: --deny, --guests, --allow. A
service that may not be seen crosses in no form: no answer about it does, no
question for it, and no address of a host that has nothing else to offer.`,
		Example: `  lanfolk reflect -i eth0 -i wlan0
  lanfolk reflect --all --deny _smb._tcp --deny _ssh._tcp
  lanfolk reflect -i lan -i guests --guests guests --dry-run -o jsonl`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.format.flags(cmd)
	x.interfaces = interfaceFlag(cmd)
	cmd.Flags().Lookup("interface").Usage = "pass on between this interface and the others; to be repeated"
	fl := cmd.Flags()
	fl.BoolVar(&x.all, "all", false, "pass on between all usable interfaces")
	fl.StringSliceVar(&x.allow, "allow", nil, "let services of this `TYPE` cross and no others; may be repeated")
	fl.StringSliceVar(&x.deny, "deny", nil, "let no services of this `TYPE` cross; may be repeated")
	fl.StringSliceVar(&x.guests, "guests", nil, "`INTERFACE` of guests: they see printers and casters, nobody sees them; may be repeated")
	fl.BoolVar(&x.proxy, "proxy", false, "answer from what is known instead of asking everywhere")
	fl.BoolVar(&x.cross, "cross-families", false, "pass on from IPv4 to IPv6 and back, too")
	fl.BoolVar(&x.dryRun, "dry-run", false, "send nothing; say what would cross")
	fl.DurationVar(&x.every, "every", 0, "say what was let through this often, too (default at the end alone)")
	return cmd
}

func (x *reflecting) run(ctx context.Context) error {
	if err := x.format.check(); err != nil {
		return err
	}
	if x.every < 0 {
		return usagef("--every %v: want no less than 0", x.every)
	}
	if x.dryRun && x.proxy {
		return usagef("--dry-run says what becomes of packets; --proxy passes on none: give one")
	}
	rules, err := reflector.NewRules(reflector.RulesOptions{Allow: x.allow, Deny: x.deny, Guests: x.guests})
	if err != nil {
		return usage{err}
	}
	selection, err := x.selection()
	if err != nil {
		return err
	}
	lines := newDecisionLines(x.format, x.out)
	log := x.logger(slog.LevelWarn, config.FormatAuto)
	r := &reflector.Reflector{Rules: rules, DryRun: x.dryRun, CrossFamilies: x.cross, Log: log}
	if x.dryRun {
		r.Decided = lines.add
	}
	engine := sockets.Engine(selection, 0, log)
	engine.Relays = []mdns.Relay{r, &opening{links: map[int]bool{}, ready: x.ready}}
	tasks, ctx := errgroup.WithContext(ctx)
	if x.proxy {
		r.Proxy = &reflector.Proxy{}
		engine.Observers = append(engine.Observers, r.Proxy)
		tasks.Go(func() error { return r.Proxy.Run(ctx, engine) })
	}
	tasks.Go(func() error { return engine.Run(ctx) })
	tasks.Go(func() error { return lines.print(ctx) })
	if x.every > 0 {
		tasks.Go(func() error { return x.repeat(ctx, r) })
	}
	err = tasks.Wait()
	if n := lines.lost.Load(); n > 0 {
		fmt.Fprintf(x.err, "%d lines weren't printed: they came too fast\n", n)
	}
	return errors.Join(err, x.summary(r))
}

// selection checks that there are links to pass on between.
func (x *reflecting) selection() (sockets.Selection, error) {
	names := *x.interfaces
	switch {
	case x.all && len(names) > 0:
		return sockets.Selection{}, usagef("--all takes every usable interface and -i some; give one")
	case !x.all && len(names) < 2:
		return sockets.Selection{}, usagef("give two or more interfaces with -i, or --all")
	}
	all, err := lan.Links()
	if err != nil {
		return sockets.Selection{}, err
	}
	s := sockets.Selection{Names: names}
	chosen, err := s.Choose(all)
	if err != nil {
		return s, usage{err}
	}
	if len(chosen) < 2 {
		fmt.Fprintf(x.err, "%d usable interface; waiting for another\n", len(chosen))
	}
	return s, nil
}

// ready is said when two links are open: with the data, unless that is lines
// of decisions.
func (x *reflecting) ready() {
	to := x.out
	if x.dryRun {
		to = x.err
	}
	fmt.Fprintln(to, "ready")
}

func (x *reflecting) repeat(ctx context.Context, r *reflector.Reflector) error {
	tick := time.NewTicker(x.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := x.summary(r); err != nil {
				return err
			}
		}
	}
}

// summary says on stderr what was let through and what was stopped.
func (x *reflecting) summary(r *reflector.Reflector) error {
	out := bufio.NewWriter(x.err)
	packets := r.Stats()
	for _, p := range packets.Sides {
		for _, why := range sortedKeys(p.Stopped) {
			fmt.Fprintf(out, "packets from %s %v: %s: %d\n", p.Interface, p.Family, why, p.Stopped[why])
		}
		for _, a := range p.Reflectors {
			fmt.Fprintf(out, "another reflector on %s: %v\n", p.Interface, a)
		}
	}
	for _, p := range packets.Pairs {
		for _, why := range sortedKeys(p.Packets) {
			fmt.Fprintf(out, "packets from %s %v to %s %v: %s: %d\n", p.From, p.FromFamily, p.To, p.ToFamily, why, p.Packets[why])
		}
	}
	s := r.Rules.Stats()
	for _, h := range s.Hits {
		fmt.Fprintf(out, "%s, seen from %s: %s: %d passed, %d stopped\n", h.From, h.To, h.Rule, h.Passed, h.Stopped)
	}
	const most = 20 // lines
	for i, stop := range s.Stops {
		if i == most {
			fmt.Fprintf(out, "and %d more names\n", uint64(len(s.Stops)-most)+s.Others)
			break
		}
		fmt.Fprintf(out, "stopped %s %s of %s, towards %s: %s, %d times\n", visible(stop.Name), stop.Type, stop.From, stop.To, stop.Rule, stop.Count)
	}
	return out.Flush()
}

// opening waits for two links to be open.
type opening struct {
	mu    sync.Mutex
	links map[int]bool
	ready func()
	once  sync.Once
}

// Opened implements mdns.Relay.
func (o *opening) Opened(p mdns.RelayPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.links[p.Zone.Link] = true; len(o.links) == 2 {
		o.once.Do(o.ready)
	}
}

// Closed implements mdns.Relay.
func (o *opening) Closed(mdns.Zone) {}

// Relay implements mdns.Relay.
func (o *opening) Relay(_ mdns.Zone, packets []mdns.Packet) []mdns.Packet { return packets }

// decision is a line of a dry run.
type decision struct {
	Time    time.Time `json:"time"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Source  string    `json:"source"`
	Section string    `json:"section"`
	Name    string    `json:"name"`
	Type    string    `json:"type"`
	Passed  bool      `json:"passed"`
	Rule    string    `json:"rule"`
}

// decisionLines prints decisions without keeping the reflector waiting.
type decisionLines struct {
	format format
	out    io.Writer
	queue  chan reflector.Decision

	lost atomic.Uint64
}

func newDecisionLines(f format, out io.Writer) *decisionLines {
	const waiting = 4096 // lines
	return &decisionLines{format: f, out: out, queue: make(chan reflector.Decision, waiting)}
}

// add queues a line. A reader that is too slow misses some.
func (l *decisionLines) add(d reflector.Decision) {
	select {
	case l.queue <- d:
	default:
		l.lost.Add(1)
	}
}

// print writes lines until ctx ends, or until nobody reads them any more.
func (l *decisionLines) print(ctx context.Context) error {
	p := decisionPrinter()
	out := bufio.NewWriter(l.out)
	line := func(d reflector.Decision) error {
		d.Time = d.Time.UTC()
		return p.one(out, l.format, decision(d))
	}
	for {
		select {
		case <-ctx.Done():
			for len(l.queue) > 0 {
				if err := line(<-l.queue); err != nil {
					return err
				}
			}
			return out.Flush()
		case d := <-l.queue:
			if err := line(d); err != nil {
				return err
			}
			if len(l.queue) == 0 {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
	}
}

func decisionPrinter() printer[decision] {
	return printer[decision]{
		columns: []column[decision]{
			{"", false, func(d decision) string {
				if d.Passed {
					return "+"
				}
				return "-"
			}},
			{"FROM", false, func(d decision) string { return d.From }},
			{"TO", false, func(d decision) string { return d.To }},
			{"SECTION", false, func(d decision) string { return d.Section }},
			{"NAME", false, func(d decision) string { return d.Name }},
			{"TYPE", false, func(d decision) string { return d.Type }},
			{"RULE", false, func(d decision) string { return d.Rule }},
			{"SOURCE", true, func(d decision) string { return d.Source }},
		},
		id: func(d decision) string { return d.Name },
	}
}
