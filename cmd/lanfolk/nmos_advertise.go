package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/nmos"
)

// advertising is one run of the command.
type advertising struct {
	announcing
	kind, proto, selector string
	versions              []string
	priority              int
	auth                  string
	development           bool
	legacy, noMDNS        bool
	zoneFile              string
}

func nmosAdvertiseCommand(a app) *cobra.Command {
	x := &advertising{announcing: announcing{app: a, format: format{stream: true}}}
	cmd := &cobra.Command{
		Use:   "advertise NAME PORT",
		Short: "Advertise one of a studio's APIs by mDNS and in a domain",
		Long: `advertise tells the network that the API NAME is on PORT, with the TXT record that
the API's specification wants, until it is interrupted; then it takes everything
back. What a specification forbids is refused: an API that clients would pass over.

It does so by mDNS and, with --domain, by DNS updates (RFC 2136) with that domain's
server, signed with the key in --tsig-file. --no-mdns leaves the first one out. If
this program dies, the domain is cleaned up when the --lease has run out, by any
lanfolk that registers APIs of the type there.

--zone-file writes the records for the zone file of the domain, to take in by
$INCLUDE, and advertises nothing.

With --health the API is advertised only while it works, in every way. --legacy
has a registration API advertised by its former name, too, as IS-04's upgrade path
wants it. Lines are those of "lanfolk announce"; via says which way.

The key needs to update these names in the zone, here for a BIND:

  update-policy {
    grant KEY name "NAME._nmos-register._tcp.DOMAIN" SRV TXT;
    grant KEY name "_lease.NAME._nmos-register._tcp.DOMAIN" TXT;
    grant KEY name _nmos-register._tcp.DOMAIN PTR;
    grant KEY name _services._dns-sd._udp.DOMAIN PTR;
    grant KEY name HOST.DOMAIN A AAAA;
    grant KEY name _lease.HOST.DOMAIN TXT;
  };

Where it may not write the lease's names, it goes on without a lease. To clean up
after others it needs their names as well.`,
		Example: `  lanfolk nmos advertise reg-1 8080 --type register --legacy --api-version v1.2,v1.3
  lanfolk nmos advertise ctl-1 443 --api-version v1.0 --proto https --auth true --pri 10 \
      --health https://ctl-1.example.com/x-nmos/netctrl/ \
      --domain example.com --server 192.0.2.53 --tsig-file update.key --no-mdns
  lanfolk nmos advertise query-1 80 --type query --api-version v1.3 \
      --host query-1 --address 192.0.2.7 --domain example.com --zone-file -`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error { return x.run(cmd.Context(), argv) },
	}
	x.common(cmd)
	x.registerFlags.flags(cmd, "register in this domain by DNS updates, too")
	fl := cmd.Flags()
	fl.StringVar(&x.kind, "type", "netctrl", "the `API`: netctrl, register, registration, query, node, system, auth or mqtt")
	fl.StringSliceVar(&x.versions, "api-version", nil, "the `VERSIONS` that the API speaks: v1.2,v1.3; needed, but for mqtt")
	fl.StringVar(&x.proto, "proto", "", "http or https, for mqtt mqtt or secure-mqtt (default the first one that the API may have)")
	fl.StringVar(&x.auth, "auth", "false", "whether clients need authorization, true or false")
	fl.IntVar(&x.priority, "pri", 0, "the priority, 0 to 99, 0 being the highest; with --development 100 and more")
	fl.StringVar(&x.selector, "selector", "", "the `PATH` of one of an authorization server's issuers")
	fl.BoolVar(&x.development, "development", false, "allow a --pri from 100, with which live clients pass the API over")
	fl.BoolVar(&x.legacy, "legacy", false, "with --type register: advertise it as _nmos-registration._tcp, too")
	fl.BoolVar(&x.noMDNS, "no-mdns", false, "don't advertise by mDNS")
	fl.StringVar(&x.zoneFile, "zone-file", "", "write the records of the --domain into `FILE`, - for stdout, and end")
	return cmd
}

func (x *advertising) run(ctx context.Context, argv []string) error {
	if err := x.format.check(); err != nil {
		return err
	}
	all, err := x.advertisements(argv)
	if err != nil {
		return usage{err}
	}
	if x.zoneFile != "" {
		return x.writeZone(ctx, all)
	}
	log := x.logger(slog.LevelWarn, config.FormatAuto)
	check, err := x.check(dnssd.Announcement{Port: all[0].Port, Host: all[0].Host})
	if err != nil {
		return usage{err}
	}
	return saidBy(ctx, func(ctx context.Context, said func(error)) error {
		ways, err := x.inDomain(ctx, all, log, said)
		if err != nil {
			return err
		}
		if x.noMDNS {
			return announce.Run(ctx, check, ways...)
		}
		return x.withEngine(ctx, *x.interfaces, func(ctx context.Context, engine *mdns.Engine) error {
			onLinks, err := x.onLinks(all, x.publisher(engine, log), said)
			if err != nil {
				return err
			}
			return announce.Run(ctx, check, append(ways, onLinks...)...)
		})
	})
}

// advertisements reads what the command line says of the API: one advertisement
// or, with its former name, two. They are right in every domain that is asked for.
func (x *advertising) advertisements(argv []string) ([]nmos.Advertisement, error) {
	x.domain = strings.TrimSuffix(x.domain, ".")
	switch update := x.server != "" || x.tsigFile != ""; {
	case strings.EqualFold(x.domain, dnssd.DefaultDomain):
		return nil, errors.New("--domain local: that is what mDNS is for")
	case x.zoneFile != "" && (x.domain == "" || update):
		return nil, errors.New("--zone-file needs --domain, and no server")
	case x.zoneFile == "" && x.domain != "" && x.server == "":
		return nil, errors.New("--domain needs --server: the domain's primary server takes the updates")
	case x.domain == "" && update:
		return nil, errors.New("--server and --tsig-file are for --domain")
	case x.domain == "" && x.noMDNS:
		return nil, errors.New("--no-mdns leaves no way to advertise it; name a --domain")
	}
	k, ok := nmos.KindOf(x.kind)
	if !ok {
		return nil, fmt.Errorf("--type %q: want netctrl, register, registration, query, node, system, auth or mqtt", x.kind)
	}
	port, err := strconv.ParseUint(argv[1], 10, 16)
	if err != nil {
		return nil, fmt.Errorf("PORT %q: want a number from 1 to 65535", argv[1])
	}
	if x.auth != "true" && x.auth != "false" {
		return nil, fmt.Errorf("--auth %q: want true or false", x.auth)
	}
	a := nmos.Advertisement{
		Kind: k, Name: argv[0], Port: uint16(port), Subtypes: x.subtypes, Proto: x.proto, Auth: x.auth == "true",
		Priority: x.priority, Selector: x.selector, Development: x.development,
	}
	for _, text := range x.versions {
		v, err := nmos.ParseVersion(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--api-version: %w", err)
		}
		a.Versions = append(a.Versions, v)
	}
	if a.Host, err = x.machine(a.Name); err != nil {
		return nil, err
	}
	all := []nmos.Advertisement{a}
	if x.legacy {
		old, ok := a.Legacy()
		if !ok {
			return nil, fmt.Errorf("--legacy: %s has no former name, it is for --type register", k.Service)
		}
		all = append(all, old)
	}
	for _, a := range all {
		if x.domain != "" {
			if _, err := a.Announcement(x.domain); err != nil {
				return nil, err
			}
		}
		if x.domain == "" || x.zoneFile == "" && !x.noMDNS {
			if _, err := a.OnLinks(); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// inDomain returns the ways in which the API is registered in the domain, none if
// there is none.
func (x *advertising) inDomain(ctx context.Context, all []nmos.Advertisement, log *slog.Logger, said func(error)) ([]announce.Way, error) {
	if x.domain == "" {
		return nil, nil
	}
	var ways []announce.Way
	for _, ad := range all {
		r, err := x.registrar(log)
		if err != nil {
			return nil, err
		}
		a, err := ad.Announcement(x.domain)
		if err != nil {
			return nil, err
		}
		t, err := x.target(ctx, a.Host, *x.interfaces)
		if err != nil {
			return nil, err
		}
		r.Instance = dnssd.Instance{Name: a.Name, Service: a.Type, Domain: x.domain}
		r.Offer = unicast.Offer{Subtypes: a.Subtypes, Port: a.Port, TXT: a.TXT, Host: t.host, Addresses: t.addresses}
		r.Keeper = x.keeper(log)
		out := x.lines(a.Name)
		ways = append(ways, announce.InDomain(r, t.changes, func(st announce.Registration) { said(out.registration(st, a)) }))
	}
	return ways, nil
}

// onLinks returns the ways in which the API is announced by mDNS.
func (x *advertising) onLinks(all []nmos.Advertisement, p *dnssd.Publisher, said func(error)) ([]announce.Way, error) {
	var ways []announce.Way
	for _, ad := range all {
		a, err := ad.OnLinks()
		if err != nil {
			return nil, err
		}
		out := x.lines(a.Name)
		ways = append(ways, announce.OnLinks(p, a, func(st announce.State) { said(out.tell(st, a)) }))
	}
	return ways, nil
}

// lines prints what happens in one way. Each has its own, and they take turns.
func (x *advertising) lines(name string) *announceLines {
	if _, ok := x.out.(*turns); !ok {
		x.out = &turns{w: x.out}
	}
	return &announceLines{w: x.out, f: x.format, name: name}
}

// turns lets several goroutines write, one line at a time.
type turns struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *turns) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(b)
}

// writeZone writes the records of the domain.
func (x *advertising) writeZone(ctx context.Context, all []nmos.Advertisement) error {
	z, err := zone.New(zone.Config{Domain: x.domain}, time.Now())
	if err != nil {
		return usage{err}
	}
	for _, ad := range all {
		a, err := ad.Announcement(x.domain)
		if err != nil {
			return err
		}
		t, err := x.target(ctx, a.Host, *x.interfaces)
		if err != nil {
			return err
		}
		s := zone.Service{
			Name: a.Name, Type: a.Type, Subtypes: a.Subtypes, TXT: []dnssd.TXT{a.TXT}, TTL: unicast.DefaultRecordTTL,
			Targets: []dnssd.Target{{Host: t.host, Port: a.Port, Addresses: t.addresses}},
		}
		if err := z.Put(time.Now(), a.Type, s); err != nil {
			return usage{err}
		}
	}
	if x.zoneFile == "-" {
		_, err := z.WriteInclude(x.out)
		return err
	}
	var text bytes.Buffer
	if _, err := z.WriteInclude(&text); err != nil {
		return err
	}
	if err := os.WriteFile(x.zoneFile, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--zone-file: %w", err)
	}
	return nil
}
