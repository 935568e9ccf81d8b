package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/syncthing"
	"github.com/lanfolk/lanfolk/tged"
)

// finding is one run of the command.
type finding struct {
	asking
	format  format
	via     []string
	timeout time.Duration
	first   bool
	servers []string // global servers of Syncthing's discovery
	broker  string   // of MQTT
	mqtt    *source.AskMQTT
	rows    *store.DB // nil if there is no database to look into
}

func findCommand(a app) *cobra.Command {
	x := finding{asking: asking{app: a}}
	cmd := &cobra.Command{
		Use:   "find QUERY",
		Short: "Ask every protocol at once who offers, or who is, QUERY",
		Long: `find asks now. QUERY is a service type (_ipp._tcp), a host name, a MAC or an IP
address, the ID of a Syncthing device in any of its forms, or the id or type of a device
on an MQTT broker; a single word may be a host name, the name of a service in TGED
(SQL), or such an id or type. A running node is asked to do
it, so that what answers enters the inventory and is shown with its ids; without
one, or with --direct, the command asks with sockets of its own.

Syncthing devices announce themselves every 30 to 60 seconds: a node knows those
that it heard, and asks the global servers of its configuration. A command by itself
needs a --timeout of 60s to hear every one, or --syncthing-server. A node asks the
MQTT broker of its configuration, a command the one of --broker; user, password and
certificates stand in the environment then, as for "lanfolk mqtt watch".

What passive monitoring heard answers, too: the newest announcement of the name by
mDNS, or else by another protocol, tells the MAC that sent it and the MAC that it was
sent to, the IP addresses and the link ("heard" in JSON). A command by itself reads
that from the database of the node that doesn't run now, in the folder that --state
names or the default one.

It exits with 6 when nobody answered, and with 5 when somebody who must know
said that there is none.`,
		Example: `  lanfolk find _ipp._tcp
  lanfolk find nas.local --first
  lanfolk find SQL
  lanfolk find P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2
  lanfolk find light --broker mqtt://192.168.0.1
  lanfolk find 192.0.2.7 -o jsonl`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error { return x.run(cmd.Context(), argv[0]) },
	}
	x.format.flags(cmd)
	x.asking.flags(cmd)
	timeoutFlag(cmd, &x.timeout)
	fl := cmd.Flags()
	fl.StringSliceVar(&x.via, "via", nil, "ask only by these `PROTOCOLS`: mdns, neighbours, fingerprints, dns-sd, tged, syncthing, mqtt")
	fl.StringArrayVar(&x.servers, "syncthing-server", nil, "ask this global server for a device ID, `HOST[:PORT]`, and don't ask a node; may be repeated")
	fl.StringVar(&x.broker, "broker", "", "look on this MQTT broker, and don't ask a node: its `URL`")
	fl.BoolVar(&x.first, "first", false, "end at the first answer")
	return cmd
}

func (x *finding) run(ctx context.Context, text string) error {
	if err := x.format.check(); err != nil {
		return err
	}
	if err := positive(x.timeout); err != nil {
		return err
	}
	query, err := find.ParseQuery(text)
	if err != nil {
		return usage{err}
	}
	if err := x.checkServers(query); err != nil {
		return err
	}
	if x.broker != "" {
		client := mqttClient{url: x.broker, version: "auto", keepAlive: mqtt.DefaultKeepAlive}
		b, err := client.broker(x.app)
		if err != nil {
			return err
		}
		x.mqtt, x.direct = askMQTT(b, x.logger(slog.LevelWarn, config.FormatAuto)), true
	}
	out := foundPrinter{w: bufio.NewWriter(x.out), format: x.format}
	if err := x.openRows(ctx); err != nil {
		return err
	}
	defer x.closeRows()
	err = x.askAny(ctx,
		func(c *client.Client) error {
			o := client.FindOptions{Via: x.via, Timeout: x.timeout, First: x.first}
			return each(c.Find(ctx, query.Text, o), out.add)
		},
		func(ctx context.Context, src dnssd.Source) error { return x.alone(ctx, src, query, out.add) })
	if end := out.end(); err == nil {
		err = end
	}
	if errors.Is(err, find.ErrProtocol) {
		return usage{err}
	}
	return found(text, err)
}

// askAny asks through the node, or alone where there is none. With a database to look
// into, or without mDNS, no link is needed.
func (x *finding) askAny(ctx context.Context, through func(*client.Client) error, alone func(context.Context, dnssd.Source) error) error {
	done, err := x.askNode(ctx, through)
	if done && (x.rows == nil || x.node.api != "" || !errors.Is(err, client.ErrNobodyListens)) {
		return err
	}
	if x.rows != nil || len(x.via) > 0 && !slices.Contains(x.via, "mdns") {
		return x.withLateEngine(ctx, *x.interfaces, alone)
	}
	return x.withMulticast(ctx, *x.interfaces, alone)
}

// openRows opens the database that the command reads by itself. That there is none
// is an error only where one was named.
func (x *finding) openRows(ctx context.Context) error {
	if x.node.api != "" {
		return nil
	}
	place := databaseFlags{state: x.node.state}
	db, err := place.openToRead(ctx)
	switch {
	case err == nil:
		x.rows = db
	case !errors.Is(err, errNotFound) && !errors.Is(err, fs.ErrPermission):
		x.logger(slog.LevelWarn, config.FormatAuto).Warn("what was heard before can't be read", "err", err)
	}
	return nil
}

func (x *finding) closeRows() {
	if x.rows != nil {
		_ = x.rows.Close() // nothing was written
	}
}

// checkServers reads --syncthing-server.
func (x *finding) checkServers(q find.Query) error {
	if len(x.servers) == 0 {
		return nil
	}
	if q.Device == (syncthing.DeviceID{}) {
		return usagef("--syncthing-server: these servers know device IDs, and %q is none", q.Text)
	}
	for _, s := range x.servers {
		if _, _, err := syncthing.SplitServer(s); err != nil {
			return usagef("--syncthing-server: %w", ofSyncthing(err))
		}
	}
	x.direct = true // a node asks those of its configuration
	return nil
}

func each(answers iter.Seq2[find.Answer, error], emit func(find.Answer) error) error {
	for a, err := range answers {
		if err != nil {
			return err
		}
		if err := emit(a); err != nil {
			return err
		}
	}
	return nil
}

func (x *finding) alone(ctx context.Context, src dnssd.Source, q find.Query, emit func(find.Answer) error) error {
	links, err := lan.Links()
	if err != nil {
		return err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	selection, log := sockets.Selection{Names: *x.interfaces}, x.logger(slog.LevelWarn, config.FormatAuto)
	f := find.Finder{Askers: []find.Asker{
		source.AskMDNS{Source: func() dnssd.Source { return src }},
		source.AskNeighbours{Neighbours: source.Neighbours{Interface: func(i int) string { return names[i] }}},
		source.AskTGED{Client: &tged.Client{
			Links:  func() ([]packet.Link, error) { return selection.Filter(links), nil },
			Listen: listenBroadcast, Timeout: source.TGEDWait, Log: log,
		}},
		askSyncthing(selection, x.servers, log),
	}}
	if x.mqtt != nil {
		f.Askers = append(f.Askers, *x.mqtt)
	}
	if x.rows != nil {
		rows := source.HashedRows{Rows: x.rows, Names: hiddenNames(ctx, x.rows)}
		f.Askers = append(f.Askers, source.AskFingerprints{Rows: rows})
		f.Heard = source.Announcements{Rows: rows}.Host
	}
	err = f.Find(ctx, find.Request{Query: q, Via: x.via, Timeout: x.timeout, First: x.first}, func(a find.Answer) {
		if err := emit(a); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// askSyncthing looks for devices alone: by what it hears itself, and at servers.
func askSyncthing(selection sockets.Selection, servers []string, log *slog.Logger) source.AskSyncthing {
	heard := &source.Syncthing{}
	a := source.AskSyncthing{Syncthing: heard, Listen: func(ctx context.Context) error {
		return heard.Feed(func(event func(syncthing.Event)) error {
			l := sockets.SyncthingListener(selection, log)
			l.Event = event
			return l.Run(ctx)
		}, func(...lanfolk.Sighting) {})
	}}
	if len(servers) > 0 {
		a.Lookup = source.SyncthingServers{Names: servers, Resolve: lookupHost, Listen: sockets.SyncthingConn}.Lookup
	}
	return a
}

// askMQTT looks for devices on a broker alone.
func askMQTT(b *mqtt.Broker, log *slog.Logger) *source.AskMQTT {
	return &source.AskMQTT{
		Hemtjanst: &source.Hemtjanst{Broker: b.Address()},
		Watch: func(ctx context.Context, event func(hemtjanst.Event)) error {
			w := &hemtjanst.Watcher{Broker: b, Event: event, Log: log}
			return w.Run(ctx)
		},
	}
}

// A device or a service as it is printed, with what was heard of its host.
type (
	heardDevice struct {
		*lanfolk.Device
		Heard *printedRow `json:"heard,omitempty"`
	}
	heardService struct {
		*lanfolk.Service
		Heard *printedRow `json:"heard,omitempty"`
	}
)

func itemOf(a find.Answer) any {
	var heard *printedRow
	if a.Heard != nil {
		heard = &printed([]lanfolk.Observation{*a.Heard})[0]
	}
	if a.Service != nil {
		return heardService{a.Service, heard}
	}
	return heardDevice{a.Device, heard}
}

// foundPrinter prints answers: at once where lines are asked for, else as a
// list at the end.
type foundPrinter struct {
	w       *bufio.Writer
	format  format
	answers []any
}

func (p *foundPrinter) add(a find.Answer) error {
	item := itemOf(a)
	now := time.Now()
	switch p.format.name {
	case "json", "yaml":
		p.answers = append(p.answers, item)
		return nil
	case "jsonl":
		if err := encoder(p.w).Encode(item); err != nil {
			return err
		}
	default:
		var err error
		if a.Service != nil {
			err = foundService(now).one(p.w, p.format, a.Service)
		} else {
			err = foundDevice(now).one(p.w, p.format, a.Device)
		}
		if err != nil {
			return err
		}
		if h := a.Heard; h != nil && p.format.name != "name" {
			fmt.Fprintf(p.w, "  heard %s on %s: %s from %s to %s\n", ago(now, h.Last), visible(h.Link), visible(h.Query), h.SrcMAC, h.DstMAC)
		}
	}
	return p.w.Flush()
}

func (p *foundPrinter) end() error {
	switch p.format.name {
	case "json", "yaml":
		list := printer[any]{}
		if err := list.list(p.w, p.format, p.answers); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

// foundService names a service by its instance where it has no id.
func foundService(now time.Time) printer[*lanfolk.Service] {
	p := servicePrinter(now)
	p.id = func(s *lanfolk.Service) string {
		if s.ID != "" {
			return s.ID
		}
		return fmt.Sprintf("%s.%s", s.Name, s.Type)
	}
	return p
}

// foundDevice names a device by its first name or address where it has no id.
func foundDevice(now time.Time) printer[*lanfolk.Device] {
	p := devicePrinter(now)
	p.id = func(d *lanfolk.Device) string {
		switch {
		case d.ID != "":
			return d.ID
		case len(d.Names) > 0:
			return d.Names[0]
		}
		return joined(d.Addresses)
	}
	return p
}
