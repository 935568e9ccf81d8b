package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/health"
	"github.com/lanfolk/lanfolk/internal/names"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/mdns"
)

func announceCommand(a app) *cobra.Command {
	x := announcing{app: a, format: format{stream: true}}
	cmd := &cobra.Command{
		Use:   "announce NAME TYPE PORT [KEY=VALUE]...",
		Short: "Announce a service by mDNS, or register it in a domain",
		Long: `announce tells the network that the service NAME of TYPE is on PORT, with a TXT
record of the KEYs and VALUEs, until it is interrupted; then it says goodbye. A
KEY alone has no value.

A line says "announced" when the service can be found, and "renamed" when
somebody else had its name: then it is called "NAME (2)". That name is tried
first the next time. With --health, "withdrawn" says why it isn't announced. As
JSON a line has event, name, type, domain, subtypes, host, port, interfaces, via
and error.

It announces for this machine, whose name in .local it publishes, too. --host
names another machine, with --address if that one doesn't publish its addresses
itself.

The command has sockets of its own: it works without a running node, beside one,
and beside other programs that use port 5353, such as avahi-daemon. Each of them
then speaks for itself: the machine's name is published by several programs,
which agree about it, and a host that asks for unicast answers gets them from one
of them alone. A node announces services by itself if its configuration says so,
see [[announce]] in "lanfolk config reference".

With --domain the service is registered in that domain by DNS updates (RFC 2136)
with the server, signed with the key in --tsig-file, and removed at the end. If
this program dies before, another lanfolk that registers services of the type in
the domain removes it when the --lease has run out.`,
		Example: `  lanfolk announce 'Build server' _http._tcp 8080 path=/jobs
  lanfolk announce Laser _ipp._tcp 631 rp=ipp/print --subtype _universal \
      --host laser --address 192.0.2.7
  lanfolk announce Files _https._tcp 443 --domain example.com \
      --server 192.0.2.53 --tsig-file update.key`,
		Args: args(cobra.MinimumNArgs(3)),
		RunE: func(cmd *cobra.Command, argv []string) error { return x.run(cmd.Context(), argv) },
	}
	x.common(cmd)
	x.registerFlags.flags(cmd, "register in this domain by DNS updates, not by mDNS")
	cmd.Flags().StringArrayVar(&x.placeholders, "placeholder", nil, "a further `TYPE` in which nobody else shall take the name; may be repeated")
	return cmd
}

// common adds the flags that "nmos advertise" has, too.
func (x *announcing) common(cmd *cobra.Command) {
	x.format.flags(cmd)
	x.interfaces = interfaceFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.host, "host", "", "the machine where the service runs (default this one)")
	fl.StringArrayVar(&x.addresses, "address", nil, "publish this address of the --host; may be repeated")
	fl.StringArrayVar(&x.subtypes, "subtype", nil, "a subtype by which the service is found, too; may be repeated")
	fl.StringVar(&x.health, "health", "", `announce only while it works: "tcp", "tcp://ADDRESS:PORT" or a URL`)
	fl.DurationVar(&x.healthEvery, "health-interval", 10*time.Second, "how often --health tries; two tries that work and three that fail change what is announced")
	fl.StringVar(&x.state, "state", "", "the `FOLDER` where changed names are remembered")
}

// announcing is one run of the command.
type announcing struct {
	app
	format
	interfaces          *[]string
	host, health        string
	healthEvery         time.Duration
	addresses, subtypes []string
	placeholders        []string
	registerFlags
	state string
}

func (x *announcing) run(ctx context.Context, argv []string) error {
	if err := x.format.check(); err != nil {
		return err
	}
	s, err := x.service(argv)
	if err != nil {
		return usage{err}
	}
	out := &announceLines{w: x.out, f: x.format, name: s.Name}
	log := x.logger(slog.LevelWarn, config.FormatAuto)
	if x.domain != dnssd.DefaultDomain {
		r, err := x.registrar(log)
		if err != nil {
			return err
		}
		return saidBy(ctx, func(ctx context.Context, said func(error)) error {
			t, err := x.target(ctx, s.Announcement.Host, *x.interfaces)
			if err != nil {
				return err
			}
			r.Instance = dnssd.Instance{Name: s.Name, Service: s.Type, Domain: x.domain}
			r.Offer = unicast.Offer{Subtypes: s.Subtypes, Port: s.Port, TXT: s.TXT, Host: t.host, Addresses: t.addresses}
			r.Keeper = x.keeper(log)
			return announce.Run(ctx, s.Check, announce.InDomain(r, t.changes, func(st announce.Registration) { said(out.registration(st, s.Announcement)) }))
		})
	}
	return x.withEngine(ctx, *x.interfaces, func(ctx context.Context, engine *mdns.Engine) error {
		return saidBy(ctx, func(ctx context.Context, said func(error)) error {
			return s.Run(ctx, x.publisher(engine, log), func(st announce.State) { said(out.tell(st, s.Announcement)) })
		})
	})
}

// publisher announces on an engine's links for this machine.
func (x *announcing) publisher(engine *mdns.Engine, log *slog.Logger) *dnssd.Publisher {
	machine, _ := os.Hostname() // one without a name gets a default
	return &dnssd.Publisher{Engine: engine, Host: dnssd.HostLabel(machine), Keeper: x.keeper(log), Log: log}
}

// keeper remembers changed names, nil where there is no folder for that.
func (x *announcing) keeper(log *slog.Logger) dnssd.Keeper {
	dir, err := stateFolder(x.state)
	if err != nil {
		return nil
	}
	return names.Open(filepath.Join(dir, "announce-names.json"), log)
}

// service reads what the command line says of the service.
func (x *announcing) service(argv []string) (announce.Service, error) {
	x.domain = strings.TrimSuffix(x.domain, ".")
	if x.domain == "" || strings.EqualFold(x.domain, dnssd.DefaultDomain) {
		x.domain = dnssd.DefaultDomain
	}
	switch inDomain := x.domain != dnssd.DefaultDomain; {
	case inDomain && x.server == "":
		return announce.Service{}, errors.New("--domain needs --server: the domain's primary server takes the updates")
	case !inDomain && (x.server != "" || x.tsigFile != ""):
		return announce.Service{}, errors.New("--server and --tsig-file are for --domain")
	case inDomain && len(x.placeholders) > 0:
		return announce.Service{}, errors.New("--placeholder is for mDNS, not for --domain")
	}
	service, subtype, err := source.ParseType(argv[1])
	if err != nil {
		return announce.Service{}, err
	}
	if service == "" {
		return announce.Service{}, errors.New("the TYPE is empty")
	}
	port, err := strconv.ParseUint(argv[2], 10, 16)
	if err != nil {
		return announce.Service{}, fmt.Errorf("PORT %q: want a number from 0 to 65535", argv[2])
	}
	a := dnssd.Announcement{Name: argv[0], Type: service, Subtypes: x.subtypes, Placeholders: x.placeholders, Port: uint16(port), TXT: argv[3:]}
	if subtype != "" {
		a.Subtypes = append([]string{subtype}, a.Subtypes...)
	}
	if a.Host, err = x.machine(a.Name); err != nil {
		return announce.Service{}, err
	}
	if a, err = a.Checked(x.domain, dnssd.DefaultMaxTXT); err != nil {
		return announce.Service{}, err
	}
	check, err := x.check(a)
	return announce.Service{Announcement: a, Check: check}, err
}

// check returns what --health asks for.
func (x *announcing) check(a dnssd.Announcement) (health.Check, error) {
	if x.health == "" {
		return health.Check{}, nil
	}
	h := config.DefaultAnnounceHealth()
	if x.healthEvery < 100*time.Millisecond {
		return health.Check{}, errors.New("--health-interval: want at least 100ms")
	}
	if err := h.Check.UnmarshalText([]byte(x.health)); err != nil {
		return health.Check{}, fmt.Errorf("--health: %w", err)
	}
	if h.Check.TCP == config.OwnPort && (a.Port == 0 || a.Host.Name != "" && len(a.Host.Addresses) == 0) {
		return health.Check{}, errors.New("--health tcp: which address and port to connect to isn't known here; name them, as tcp://ADDRESS:PORT")
	}
	c := announce.Check(h, a, (&net.Dialer{}).DialContext)
	c.Interval, c.Timeout = x.healthEvery, min(c.Timeout, x.healthEvery)
	return c, nil
}

// machine returns the host that --host and --address mean. An address alone is
// one of a machine that is called like the service.
func (x *announcing) machine(name string) (dnssd.Host, error) {
	h := dnssd.Host{Name: x.host}
	for _, text := range x.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return h, fmt.Errorf("--address: %q is no IP address", text)
		}
		h.Addresses = append(h.Addresses, a)
	}
	if h.Name == "" && len(h.Addresses) > 0 {
		h.Name = dnssd.HostLabel(name)
	}
	return h, nil
}

// announceEvent is a line of the command.
type announceEvent struct {
	Event      string   `json:"event"` // announced, renamed or withdrawn
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Domain     string   `json:"domain"`
	Subtypes   []string `json:"subtypes"`
	Host       string   `json:"host"`
	Port       uint16   `json:"port"`
	Interfaces []string `json:"interfaces"`
	Via        string   `json:"via"`
	Error      string   `json:"error"` // why it was withdrawn
}

func announcePrinter() printer[announceEvent] {
	return printer[announceEvent]{
		columns: []column[announceEvent]{
			{"EVENT", false, func(e announceEvent) string { return e.Event }},
			{"INTERFACES", false, func(e announceEvent) string { return strings.Join(e.Interfaces, " ") }},
			{"TYPE", false, func(e announceEvent) string { return e.Type }},
			{"NAME", false, func(e announceEvent) string { return e.Name }},
			{"WHERE", false, func(e announceEvent) string {
				if e.Host == "" {
					return ""
				}
				return fmt.Sprintf("%s:%d", e.Host, e.Port)
			}},
			{"ERROR", false, func(e announceEvent) string { return e.Error }},
			{"SUBTYPES", true, func(e announceEvent) string { return strings.Join(e.Subtypes, " ") }},
		},
		id: func(e announceEvent) string {
			return dnssd.Instance{Name: e.Name, Service: e.Type, Domain: e.Domain}.String()
		},
	}
}

// announceLines prints what happens to an announcement, and nothing twice.
type announceLines struct {
	w    io.Writer
	f    format
	name string // that was told last, or is wanted
	host string
	last announceEvent
	// began says that it was registered before: what a server refuses then may pass.
	began bool
}

func (l *announceLines) print(e announceEvent) error {
	if e.Subtypes == nil {
		e.Subtypes = []string{}
	}
	if e.Interfaces == nil {
		e.Interfaces = []string{}
	}
	l.last = e
	out := bufio.NewWriter(l.w)
	if err := announcePrinter().one(out, l.f, e); err != nil {
		return err
	}
	return out.Flush()
}

// tell prints what is new in how a service stands.
func (l *announceLines) tell(s announce.State, a dnssd.Announcement) error {
	e := announceEvent{
		Name: s.Instance.Name, Type: a.Type, Domain: dnssd.DefaultDomain, Subtypes: a.Subtypes, Host: s.Host, Port: a.Port,
		Interfaces: s.Interfaces(), Via: "mdns",
	}
	if s.Instance.Name == "" {
		if s.Dead == nil || l.last.Event == "withdrawn" {
			return nil
		}
		e.Event, e.Name, e.Error = "withdrawn", l.name, s.Dead.Error()
		return l.print(e)
	}
	if l.host == "" {
		l.host = s.Host
	}
	if e.Name != l.name || e.Host != l.host {
		l.name, l.host = e.Name, e.Host
		renamed := e
		renamed.Event, renamed.Interfaces = "renamed", nil
		if err := l.print(renamed); err != nil {
			return err
		}
	}
	if len(s.Announced) == 0 || len(s.Probing) > 0 || l.last.Event == "announced" && slices.Equal(l.last.Interfaces, e.Interfaces) {
		return nil
	}
	e.Event = "announced"
	return l.print(e)
}
