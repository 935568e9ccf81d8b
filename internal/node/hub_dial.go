package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/locate"
	"github.com/lanfolk/lanfolk/internal/source"
)

// hubDialler connects to the hub, wherever it is, and to nobody else.
type hubDialler struct {
	identity *enrol.Identity // nil: it is a server without TLS
	known    []string        // by the config; none: those of the identity
	ways     func() []locate.Way
	log      *slog.Logger

	mu        sync.Mutex
	last      string // where it was last time
	err       error  // why it wasn't there the last time
	impostors uint64
	warned    []string // addresses of impostors that were said
}

const maxWarned = 64

func (n *Node) newHubDialler(identity *enrol.Identity) *hubDialler {
	c := n.Config.Gateway
	d := &hubDialler{identity: identity, log: n.Log}
	if identity == nil {
		d.known = []string{c.Insecure.Hub.String()}
		return d
	}
	for _, a := range c.Hub {
		d.known = append(d.known, a.String())
	}
	d.ways = n.waysToHub
	return d
}

// waysToHub are where hubs may be announced: in the domains that the config and
// resolv.conf name, by unicast DNS, then on the links, by mDNS.
func (n *Node) waysToHub() []locate.Way {
	var named []string
	for _, d := range slices.Concat(n.Config.DNS.Browse, n.Config.DNS.Search) {
		named = append(named, d.String())
	}
	ways, err := UnicastWays(n.resolver, named)
	if err != nil {
		n.Log.Debug("no hub is looked for by unicast DNS", "err", err)
	}
	if n.Config.MDNS.Enabled && !n.Config.MDNS.Silent {
		ways = append(ways, locate.Way{Name: "the local network", Browser: source.DNSSD{Source: n.mdns.source}})
	}
	return ways
}

// maxHubDomains bounds where a hub is looked for by unicast DNS: resolv.conf has six.
const maxHubDomains = 16

// UnicastWays returns the ways to a hub by unicast DNS: the named domains, and those
// that the machine searches.
func UnicastWays(r *source.Resolver, named []string) ([]locate.Way, error) {
	src, search, err := r.Ask(nil)
	if err != nil {
		return nil, err
	}
	var ways []locate.Way
	for _, domain := range append(slices.Clone(named), search...) {
		domain = strings.TrimSuffix(domain, ".")
		known := slices.ContainsFunc(ways, func(w locate.Way) bool { return strings.EqualFold(w.Name, domain) })
		if known || domain == "" || strings.EqualFold(domain, dnssd.DefaultDomain) || len(ways) == maxHubDomains {
			continue
		}
		ways = append(ways, locate.Way{Name: domain, Browser: source.DNSSD{Source: func() dnssd.Source { return src }, Domain: domain}})
	}
	return ways, nil
}

// dial is reverse.Client's Dial.
func (d *hubDialler) dial(ctx context.Context) (net.Conn, error) {
	var failed []error
	s := locate.Search{Known: d.addresses(), Ways: d.ways, Dial: (&net.Dialer{}).DialContext}
	for raw, err := range s.Conns(ctx) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		conn, err := d.secure(ctx, raw)
		if err == nil {
			d.found(raw.RemoteAddr().String())
			return conn, nil
		}
		raw.Close()
		if ctx.Err() == nil {
			failed = append(failed, fmt.Errorf("at %s: %w", raw.RemoteAddr(), err))
			d.suspect(raw.RemoteAddr().String(), err)
		}
	}
	if err := ctx.Err(); err != nil {
		failed = append(failed, err)
	}
	err := inLine(failed)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return nil, err
}

func (d *hubDialler) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if d.identity == nil {
		return raw, nil
	}
	return d.identity.Secure(ctx, raw)
}

// addresses are those at which to try first.
func (d *hubDialler) addresses() []string {
	known := d.known
	if len(known) == 0 && d.identity != nil {
		known = d.identity.Status().Hubs
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == "" || slices.Contains(known, d.last) {
		return known
	}
	return append([]string{d.last}, known...)
}

func (d *hubDialler) found(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.err = address, nil
}

// forget makes the next search begin where the identity says.
func (d *hubDialler) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = ""
}

// suspect says, once for each address, that somebody is taken for the hub who isn't it.
func (d *hubDialler) suspect(address string, err error) {
	if !errors.Is(err, enrol.ErrPin) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.impostors++
	if d.last == address {
		d.last = ""
	}
	if !slices.Contains(d.warned, address) && len(d.warned) < maxWarned {
		d.warned = append(d.warned, address)
		d.log.Warn("somebody else is where the hub should be", "addr", address, "err", err)
	}
}

// state returns where the hub was last time, and why it couldn't be reached since.
func (d *hubDialler) state() (last string, impostors uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.impostors, d.err
}

// inLine joins errors to one whose text is one line.
func inLine(errs []error) error {
	switch len(errs) {
	case 0:
		return errors.New("node: there is no address of the hub")
	case 1:
		return errs[0]
	}
	return lineOf(errs)
}

type lineOf []error

func (l lineOf) Error() string {
	const most = 4 // of the reasons; all look alike
	var b strings.Builder
	for i, err := range l[:min(len(l), most)] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	if more := len(l) - most; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

func (l lineOf) Unwrap() []error { return l }
