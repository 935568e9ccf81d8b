package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/tged"
)

func tgedCommand(a app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tged",
		Short: "Ask and answer by the Simple Discovery Protocol, TGED 1.0",
		Long: `tged speaks the Simple Discovery Protocol: a client broadcasts the name of a
service to UDP port 4745, and a server that knows it says where it is.`,
	}
	onlyCommands(cmd)
	cmd.AddCommand(tgedAskCommand(a), tgedServeCommand(a))
	return cmd
}

// listenBroadcast opens a link for TGED.
func listenBroadcast(l packet.Link, port uint16) (tged.Conn, error) {
	return lan.ListenBroadcast(l, port)
}

// tgedAnswer is an answer as it is printed.
type tgedAnswer struct {
	Service string            `json:"service"`
	Server  string            `json:"server"` // its address
	Fields  map[string]string `json:"fields"`
	order   []tged.Field
}

func tgedAskCommand(a app) *cobra.Command {
	var (
		form       format
		interfaces *[]string
		to         string
		timeout    time.Duration
		all        bool
	)
	cmd := &cobra.Command{
		Use:   "ask SERVICE",
		Short: "Ask where a service is",
		Long: `ask broadcasts the name of a service on every interface, or asks one server, and
prints the fields of the first answer; with --all those of every server, as they come, until the
time is over. An answer that knows the service is preferred over any that doesn't.

It exits with 5 when every answer said that there is no such service, and with 6
when none came.`,
		Example: `  lanfolk tged ask SQL
  lanfolk tged ask SQL --all --timeout 5s -o jsonl
  lanfolk tged ask SQL --to 192.168.0.1`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			form.stream = all
			if err := form.check(); err != nil {
				return err
			}
			if timeout <= 0 {
				return usagef("--timeout %v: want more than 0", timeout)
			}
			server, err := tgedServer(to)
			if err != nil {
				return err
			}
			if err := tged.CheckName(argv[0]); err != nil {
				return usage{err}
			}
			links, err := lan.Links()
			if err != nil {
				return err
			}
			if len(*interfaces) > 0 {
				if links, err = lan.Select(links, *interfaces); err != nil {
					return usage{err}
				}
			}
			client := &tged.Client{
				Links:  func() ([]packet.Link, error) { return links, nil },
				Listen: listenBroadcast, Server: server, Timeout: timeout, Log: a.logger(slog.LevelWarn, config.FormatAuto),
			}
			return tgedPrint(a.out, form, argv[0], client.All(cmd.Context(), argv[0]))
		},
	}
	form.flags(cmd)
	interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&to, "to", "", "ask this server alone: `ADDR[:PORT]`")
	fl.DurationVar(&timeout, "timeout", tged.DefaultTimeout, "how long to wait for answers")
	fl.BoolVar(&all, "all", false, "print the answers of all servers")
	return cmd
}

// tgedServer reads ADDR[:PORT]; "" is no server.
func tgedServer(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err != nil {
			return ap, usagef("--to %q: want ADDR or ADDR:PORT", s)
		}
		ap = netip.AddrPortFrom(a, tged.Port)
	}
	if !ap.Addr().Is4() || ap.Port() == 0 {
		return ap, usagef("--to %q: TGED servers have an IPv4 address and a port", s)
	}
	return ap, nil
}

// tgedPrint prints answers: all of a stream, the first one otherwise.
func tgedPrint(w io.Writer, form format, service string, answers iter.Seq2[tged.Answer, error]) error {
	for x, err := range answers {
		switch {
		case errors.Is(err, tged.ErrInvalid):
			return fmt.Errorf("service %q: %w: every answer said INVALID", service, errNotFound)
		case errors.Is(err, tged.ErrNoAnswer):
			return fmt.Errorf("service %q: %w", service, errNoAnswer)
		case err != nil:
			return err
		}
		v := tgedAnswer{Service: x.Service, Server: x.Server.Addr().String(), Fields: map[string]string{}, order: x.Fields}
		for _, f := range x.Fields {
			v.Fields[f.Key] = f.Value
		}
		if form.stream {
			err = tgedAnswers().one(w, form, v)
		} else {
			err = document(w, form, v, v.Server, v.people)
		}
		if err != nil || !form.stream {
			return err
		}
	}
	return nil
}

// people writes the answer for them: a line for each field, in the server's order.
func (v tgedAnswer) people(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "SVR\t%s\n", v.Server)
	for _, f := range v.order {
		fmt.Fprintf(tw, "%s\t%s\n", visible(f.Key), visible(f.Value))
	}
	return tw.Flush()
}

func tgedAnswers() printer[tgedAnswer] {
	return printer[tgedAnswer]{
		id: func(v tgedAnswer) string { return v.Server },
		columns: []column[tgedAnswer]{
			{title: "SERVER", value: func(v tgedAnswer) string { return v.Server }},
			{title: "FIELDS", value: func(v tgedAnswer) string {
				var all []string
				for _, f := range v.order {
					all = append(all, f.Key+"="+f.Value)
				}
				return strings.Join(all, " ")
			}},
		},
	}
}

// tgedServing is one run of the command.
type tgedServing struct {
	app
	interfaces *[]string
	services   string
	password   string // a file
	listen     string
	style      string
	rate       string
	offLink    bool
	tcp        bool
	check      bool
	log        *slog.Logger
}

func tgedServeCommand(a app) *cobra.Command {
	x := &tgedServing{app: a}
	cmd := &cobra.Command{
		Use:   "serve --services FILE|sqlite:FILE|postgres://…",
		Short: "Answer who asks for services",
		Long: `serve answers TGED requests with the services of a JSON file:

  {"SQL": {"HOST": "db", "IP": "192.168.0.34", "PORT": 3306}}

or of a table services(service, key, value) in a SQLite or PostgreSQL database. What
changes there is answered with within a second or so; a file that is broken and a
database that is away leave the last good services as they are. SIGHUP has the file
read at once.

The URL of a PostgreSQL database is as for psql, and so are PGPASSFILE and PGPASSWORD.
A server that can't be reached yet is waited for; one that refuses the password, or has
no such database or table, ends the start.

It prints "ready" when it listens, and works until it is interrupted. It answers
only those whose address lies in a subnet of the interface that they ask on.`,
		Example: `  lanfolk tged serve --services services.json
  lanfolk tged serve --services services.json --check
  lanfolk tged serve --services sqlite:services.db --listen 192.168.0.1:4745
  lanfolk tged serve --services postgres://lanfolk@db.example.com/site --password-file /etc/lanfolk/db.password`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd.Context()) },
	}
	x.interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.services, "services", "", "the services: a JSON `FILE`, sqlite:FILE, or postgres://USER@HOST/DATABASE")
	fl.StringVar(&x.password, "password-file", "", "a `FILE` whose first line is the password for PostgreSQL")
	fl.StringVar(&x.listen, "listen", "0.0.0.0:"+strconv.Itoa(tged.Port), "answer at this `ADDR:PORT`; 0.0.0.0 is every address")
	fl.StringVar(&x.style, "reply-style", "spaced", "how fields are written: spaced (KEY: value) or compact (KEY:value), for one old client")
	fl.StringVar(&x.rate, "rate-limit", strconv.Itoa(tged.DefaultPerSource)+"/s", "how many requests of one source are answered: `N/s`, or off for no limit at all, nor of all sources together")
	fl.BoolVar(&x.offLink, "off-link", false, "answer other subnets, too, with at most four times the bytes that they sent")
	fl.BoolVar(&x.tcp, "tcp", false, "answer over TCP, too, as one old server does")
	fl.BoolVar(&x.check, "check", false, "only say whether the services can be used")
	return cmd
}

func (x *tgedServing) run(ctx context.Context) error {
	s := &tged.Server{OffLink: x.offLink, Listen: listenBroadcast}
	if err := x.complete(s); err != nil {
		return err
	}
	x.log = x.logger(slog.LevelInfo, config.FormatAuto)
	s.Log = x.log
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks, ctx := errgroup.WithContext(ctx)
	closeServices, err := x.open(ctx, s, tasks)
	if err != nil {
		return err
	}
	defer closeServices()
	if x.check {
		fmt.Fprintln(x.out, "the services can be used")
		return nil
	}
	if err := x.serve(ctx, s, tasks); err != nil {
		return err
	}
	return tasks.Wait()
}

// complete reads the flags.
func (x *tgedServing) complete(s *tged.Server) error {
	at, err := netip.ParseAddrPort(x.listen)
	if err != nil || !at.Addr().Is4() || at.Port() == 0 {
		return usagef("--listen %q: want ADDR:PORT with an IPv4 address", x.listen)
	}
	s.Port = at.Port()
	if !at.Addr().IsUnspecified() {
		s.Address = at.Addr()
	}
	switch x.style {
	case "spaced":
	case "compact":
		s.Style = tged.Compact
	default:
		return usagef("--reply-style %q: want spaced or compact", x.style)
	}
	if s.PerSource, err = perSecond(x.rate); err != nil {
		return err
	}
	if s.PerSource < 0 {
		s.Total = -1 // no limit is none for all together either
	}
	switch {
	case x.services == "":
		return usagef("--services is missing: a JSON file, sqlite:FILE, or postgres://…")
	case x.password != "" && !store.IsPostgres(x.services):
		return usagef("--password-file is for postgres://… in --services")
	}
	return nil
}

// open opens the services. A file is watched by one of the tasks, a database checked.
func (x *tgedServing) open(ctx context.Context, s *tged.Server, tasks *errgroup.Group) (closeServices func(), err error) {
	if path, ok := strings.CutPrefix(x.services, "sqlite:"); ok {
		return x.openRows(ctx, s, tasks, &source.TGEDRows{Path: path})
	}
	if store.IsPostgres(x.services) {
		return x.openRows(ctx, s, tasks, &source.TGEDRows{Postgres: store.PostgresURL{URL: x.services, PasswordFile: x.password}})
	}
	file := &tged.File{Path: x.services, Log: x.log}
	if err := file.Load(); err != nil {
		return nil, err
	}
	s.Services = file
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	tasks.Go(func() error { return file.Run(ctx) })
	tasks.Go(func() error {
		defer signal.Stop(hup)
		for {
			select {
			case <-hup:
				file.Reload()
			case <-ctx.Done():
				return nil
			}
		}
	})
	return func() {}, nil
}

// openRows opens a database. One that is somewhere else need not be there yet.
func (x *tgedServing) openRows(ctx context.Context, s *tged.Server, tasks *errgroup.Group, rows *source.TGEDRows) (closeServices func(), err error) {
	if err := rows.Open(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := rows.Check(limited); err != nil && (x.check || rows.Path != "" || errors.Is(err, store.ErrRefused)) {
		_ = rows.Close() // nothing was written
		return nil, err
	}
	table := &tged.Table{Rows: rows, Log: x.log}
	s.Services = table
	tasks.Go(func() error { return table.Run(ctx) }) // it says what is wrong
	return func() { _ = rows.Close() }, nil
}

// serve adds the tasks that answer.
func (x *tgedServing) serve(ctx context.Context, s *tged.Server, tasks *errgroup.Group) error {
	selection := sockets.Selection{Names: *x.interfaces, Loopback: true}
	links, err := lan.Links()
	if err != nil {
		return err
	}
	chosen, err := selection.Choose(links)
	if err != nil {
		return usage{err}
	}
	there := !s.Address.IsValid()
	for _, l := range chosen {
		there = there || l.Has(s.Address)
	}
	if !there {
		return usagef("--listen %s: no interface has that address", x.listen)
	}
	s.Links = selection.Watch
	ready := false
	s.Opened = func(names []string) {
		if !ready {
			ready = true
			fmt.Fprintln(x.out, "ready")
		}
		x.log.Debug("listening", "if", strings.Join(names, ","))
	}
	if x.tcp {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", x.listen)
		if err != nil {
			return err
		}
		tasks.Go(func() error { return s.ServeTCP(ctx, l) })
	}
	tasks.Go(func() error { return s.Run(ctx) })
	return nil
}
