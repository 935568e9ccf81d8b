package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/lan"
)

// AskMDNS asks by mDNS and DNS-SD: for services of a type, for a host's
// addresses, or for the name behind an address.
type AskMDNS struct {
	MDNS MDNS
	// Source returns what to ask, nil while there's none.
	Source func() dnssd.Source
}

// errNoMDNS says that mDNS can't be asked.
var errNoMDNS = fmt.Errorf("mDNS %w", find.ErrOff)

// Protocol implements find.Asker.
func (AskMDNS) Protocol() string { return protocolMDNS }

// Ask implements find.Asker.
func (a AskMDNS) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	src := a.Source()
	if src == nil {
		return errNoMDNS
	}
	switch host := q.LocalHost(); {
	case q.ServiceType != "":
		return a.browse(ctx, src, q.ServiceType, emit)
	case q.Addr.IsValid():
		return a.lookup(ctx, emit, func() ([]dnssd.Answer, error) { return dnssd.LookupAddr(ctx, src, q.Addr) })
	case strings.HasSuffix(strings.ToLower(host), ".local"):
		return a.lookup(ctx, emit, func() ([]dnssd.Answer, error) { return dnssd.LookupHost(ctx, src, host) })
	}
	return nil
}

func (a AskMDNS) browse(ctx context.Context, src dnssd.Source, serviceType string, emit func(lanfolk.Sighting)) error {
	b := dnssd.Browser{Source: src, Resolve: true, Once: true}
	b.Type, b.Subtype = serviceAndSubtype(serviceType)
	for ev, err := range b.Events(ctx) {
		if err != nil {
			return err
		}
		if s, ok := a.MDNS.Service(time.Now(), ev); ok && !s.Gone {
			emit(s)
		}
	}
	return ctx.Err()
}

func (a AskMDNS) lookup(ctx context.Context, emit func(lanfolk.Sighting), ask func() ([]dnssd.Answer, error)) error {
	answers, err := ask()
	switch {
	case errors.Is(err, dnssd.ErrNone):
		return find.ErrNone
	case errors.Is(err, dnssd.ErrTimeout):
		return nil
	case err != nil:
		return err
	}
	now := time.Now()
	for _, x := range answers {
		emit(a.MDNS.Host(dnssd.HostEvent{
			Op: dnssd.Add, Host: x.Host, Addr: x.Addr, Link: x.Link, Interface: x.Interface,
			Source: x.Source, Time: now, Expires: x.Expires,
		}))
	}
	return nil
}

// AskNeighbours looks into the kernel's neighbour table for an address or a MAC.
type AskNeighbours struct{ Neighbours Neighbours }

// Protocol implements find.Asker.
func (AskNeighbours) Protocol() string { return "neighbours" }

// Ask implements find.Asker.
func (a AskNeighbours) Ask(_ context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	if !q.Addr.IsValid() && q.MAC == (lanfolk.MAC{}) {
		return nil
	}
	rows, err := lan.Neighbours()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, n := range rows {
		s, ok := a.Neighbours.Sighting(now, n)
		if ok && !s.Gone && (n.IP == q.Addr.WithZone("") || lanfolk.MAC(n.MAC) == q.MAC) {
			emit(s)
		}
	}
	return nil
}
