package source

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/find"
)

// protocolDNS is the name of unicast DNS-SD in sightings.
const protocolDNS = "dns-sd"

// Unicast turns what DNS-SD over unicast DNS tells into sightings. Their keys hold
// the domain, so that services of one name in two domains are two.
type Unicast struct {
	Gateway string // this node's name, "" for a node alone
}

func (u Unicast) origin(source string) lanfolk.Origin {
	return lanfolk.Origin{Protocol: protocolDNS, Gateway: u.Gateway, Source: source}
}

// Service returns the sighting of a service, and whether ev is one: events of
// types alone are not.
func (u Unicast) Service(now time.Time, ev dnssd.Event) (lanfolk.Sighting, bool) {
	return serviceSighting(u.origin(""), now, ev)
}

// unlisted are types that are looked for in each domain. A zone that is written by hand
// often doesn't list its types (RFC 6763 §9), and AMWA's documents don't ask for that.
func unlisted() []string { return []string{"_nmos-netctrl._tcp"} }

// Feed looks for every service of every type in a domain and tells what it finds
// until ctx ends; then it returns nil.
func (u Unicast) Feed(ctx context.Context, src dnssd.Source, domain string, observe func(...lanfolk.Sighting)) error {
	browsers := []dnssd.Browser{{All: true}}
	for _, t := range unlisted() {
		browsers = append(browsers, dnssd.Browser{Type: t})
	}
	tasks, ctx := errgroup.WithContext(ctx)
	for _, b := range browsers {
		b.Source, b.Domain, b.Resolve, b.Refreshes = src, domain, true, true
		tasks.Go(func() error {
			for ev, err := range b.Events(ctx) {
				if err != nil {
					return err
				}
				if s, ok := u.Service(time.Now(), ev); ok {
					observe(s)
				}
			}
			return nil
		})
	}
	return tasks.Wait()
}

// AskUnicast asks DNS servers: for services of a type in the configured domains,
// for hosts in them, or for the name behind an address.
type AskUnicast struct {
	Unicast Unicast
	// Source returns what to ask, nil while there's none.
	Source func() dnssd.Source
	// Domains returns where to look for services.
	Domains func() []string
}

// Protocol implements find.Asker.
func (AskUnicast) Protocol() string { return protocolDNS }

// Ask implements find.Asker.
func (a AskUnicast) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	src := a.Source()
	if src == nil {
		return nil // no domain is configured, or none yet
	}
	switch {
	case q.ServiceType != "":
		return a.browse(ctx, src, q.ServiceType, emit)
	case q.Addr.IsValid():
		err := a.lookup(ctx, emit, func() ([]dnssd.Answer, error) { return dnssd.LookupAddr(ctx, src, q.Addr) })
		if errors.Is(err, find.ErrNone) {
			return nil // an address without a name there may have one elsewhere
		}
		return err
	case q.Host != "" && !strings.HasSuffix(strings.ToLower(q.Host), "."+dnssd.DefaultDomain):
		return a.lookup(ctx, emit, func() ([]dnssd.Answer, error) { return dnssd.LookupHost(ctx, src, q.Host) })
	}
	return nil
}

func (a AskUnicast) browse(ctx context.Context, src dnssd.Source, serviceType string, emit func(lanfolk.Sighting)) error {
	sightings := make(chan lanfolk.Sighting)
	tasks, ctx := errgroup.WithContext(ctx)
	for _, domain := range a.Domains() {
		b := dnssd.Browser{Source: src, Domain: domain, Resolve: true, Once: true}
		b.Type, b.Subtype = serviceAndSubtype(serviceType)
		tasks.Go(func() error {
			for ev, err := range b.Events(ctx) {
				if err != nil {
					return err
				}
				if s, ok := a.Unicast.Service(time.Now(), ev); ok && !s.Gone {
					select {
					case sightings <- s:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return nil
		})
	}
	ended := make(chan error, 1)
	go func() {
		ended <- tasks.Wait()
		close(sightings)
	}()
	for s := range sightings {
		emit(s)
	}
	return silence(<-ended)
}

func (a AskUnicast) lookup(ctx context.Context, emit func(lanfolk.Sighting), ask func() ([]dnssd.Answer, error)) error {
	answers, err := ask()
	switch {
	case errors.Is(err, dnssd.ErrNone):
		return find.ErrNone
	case err != nil:
		return silence(err)
	}
	now := time.Now()
	for _, x := range answers {
		emit(hostSighting(a.Unicast.origin(x.Source.String()), dnssd.HostEvent{
			Op: dnssd.Add, Host: x.Host, Addr: x.Addr, Source: x.Source, Time: now, Expires: x.Expires,
		}))
	}
	return nil
}

// silence makes nothing of the error that nobody answered.
func silence(err error) error {
	if errors.Is(err, dnssd.ErrTimeout) {
		return nil
	}
	return err
}
