package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
)

// enumerateEvery is how often it is asked which domains are recommended.
const enumerateEvery = 15 * time.Minute

// domains is what runs of unicast DNS-SD, and where it looks.
type domains struct {
	mu      sync.Mutex
	source  *unicast.Source
	browsed []string
}

func (d *domains) set(s *unicast.Source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.source, d.browsed = s, nil
}

// get returns what to ask, nil while nothing runs.
func (d *domains) get() dnssd.Source {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		return nil
	}
	return d.source
}

// add returns whether the domain is a new one.
func (d *domains) add(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.browsed, func(b string) bool { return strings.EqualFold(b, name) }) {
		return false
	}
	d.browsed = append(d.browsed, name)
	return true
}

func (d *domains) list() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.browsed)
}

// dnsPart is there if the config names a domain.
func (n *Node) dnsPart() *daemon.Task {
	return &daemon.Task{Name: "dns-sd", Run: n.runDNS, Detail: n.domains.detail, Counters: n.domains.counters}
}

// openResolver takes the servers of the config, or else those of the machine.
func (n *Node) openResolver() {
	n.resolver = &source.Resolver{
		Read: os.ReadFile, Dial: (&net.Dialer{}).DialContext, Advice: "name one in dns.servers", Log: n.Log,
	}
	for _, s := range n.Config.DNS.Servers {
		n.resolver.Servers = append(n.resolver.Servers, s.AddrPort)
	}
}

// runDNS browses the domains that the config names, and those that are
// recommended, and tells the registry.
func (n *Node) runDNS(ctx context.Context) error {
	c := n.Config.DNS
	src, err := n.resolver.Source()
	if err != nil {
		return err
	}
	n.domains.set(src)
	defer n.domains.set(nil)

	tasks, ctx := errgroup.WithContext(ctx)
	browse := func(domain string) {
		if n.domains.add(domain) {
			tasks.Go(func() error { return source.Unicast{Gateway: n.Config.Name}.Feed(ctx, src, domain, n.registry.Observe) })
		}
	}
	for _, d := range c.Browse {
		browse(d.String())
	}
	tasks.Go(func() error {
		for len(c.Search) > 0 {
			n.recommended(ctx, src, browse)
			select {
			case <-time.After(enumerateEvery):
			case <-ctx.Done():
				return nil
			}
		}
		<-ctx.Done()
		return nil
	})
	return tasks.Wait()
}

// recommended browses what the domains to search recommend (RFC 6763 §11).
func (n *Node) recommended(ctx context.Context, src dnssd.Source, browse func(string)) {
	e := unicast.Enumeration{Unicast: src, Addresses: n.prefixes()}
	for _, d := range n.Config.DNS.Search {
		e.Search = append(e.Search, d.String())
	}
	found, err := e.Domains(ctx)
	if err != nil && ctx.Err() == nil {
		n.Log.Warn("no DNS server says which domains to browse", "err", err)
	}
	for _, w := range found.Warnings {
		n.Log.Warn("domains to browse", "reason", w)
	}
	for _, d := range found.Domains {
		for _, k := range d.Kinds {
			if !d.Multicast && (k == unicast.Browse || k == unicast.DefaultBrowse || k == unicast.LegacyBrowse) {
				browse(d.Name)
			}
		}
	}
}

// prefixes are the addresses of the links in use.
func (n *Node) prefixes() []netip.Prefix {
	links, err := lan.Links()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, l := range n.selection.Filter(links) {
		out = append(out, l.Prefixes...)
	}
	return out
}

func (d *domains) detail() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		return ""
	}
	s := fmt.Sprintf("%d domains, %d questions", len(d.browsed), d.source.Stats().Questions)
	if err := d.source.Failure(); err != nil {
		s += "; " + err.Error()
	}
	return s
}

func (d *domains) counters() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		return map[string]uint64{}
	}
	s := d.source.Stats()
	return map[string]uint64{
		"queries": s.Queries, "answered": s.Answered, "failed": s.Failed, "refused": s.Refused, "spared": s.Spared, "sent": s.Sent, "sent_by_tcp": s.ByTCP,
	}
}
