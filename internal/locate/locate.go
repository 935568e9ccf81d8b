// Package locate finds where a gateway's hub is: at the addresses that are known,
// and then by DNS-SD (RFC 6763), asking one domain after another. It yields
// connections; whether it is the hub that answers there is for the caller to find
// out, for nobody else's word counts.
package locate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/find"
)

// Service is the type that hubs announce.
const Service = "_lanfolk-hub._tcp"

// A Browser asks by DNS-SD: a source.DNSSD, or a node.
type Browser interface {
	Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error]
}

// A Way is where to ask for hubs.
type Way struct {
	Name    string // for people: "example.com", "mDNS"
	Browser Browser
}

// A Search says where a hub may be.
type Search struct {
	Known []string // HOST:PORT, the best first; an IPv6 address may have a zone
	// Ways returns where to ask, one after another, when nobody at Known was the
	// hub. Nil is nowhere.
	Ways func() []Way
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Bounds of a search.
const (
	// The next address is tried beside the one before if that says nothing for so
	// long. It is more than the 250 ms of RFC 8305, as the order means something.
	nextAfter   = time.Second
	dialWithin  = 10 * time.Second
	browseFor   = 5 * time.Second
	browseAll   = 10 * time.Second // on all ways but the last: where one is dead, as a rule all are
	maxTargets  = 32               // addresses of one way
	maxInstance = 256
)

// ErrNobody is for a way on which no hub is announced.
var ErrNobody = errors.New("locate: no hub is announced")

// Conns yields a connection to each place where the hub may be, and an error for
// each where nobody is, until the caller has enough or ctx is done. A connection is
// the caller's to close.
func (s Search) Conns(ctx context.Context) iter.Seq2[net.Conn, error] {
	return func(yield func(net.Conn, error) bool) {
		if !s.dial(ctx, s.Known, yield) || s.Ways == nil {
			return
		}
		ways := s.Ways()
		for i, w := range ways {
			within := browseFor
			if i < len(ways)-1 {
				within = min(within, browseAll/time.Duration(len(ways)-1))
			}
			targets, err := w.targets(ctx, within)
			if ctx.Err() != nil || err != nil && !yield(nil, err) || !s.dial(ctx, targets, yield) {
				return
			}
		}
	}
}

// targets asks for hubs, and returns their addresses in the order in which to try
// them.
func (w Way) targets(ctx context.Context, within time.Duration) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	found := make(map[string]find.Instance)
	for i, err := range w.Browser.Browse(ctx, find.BrowseRequest{Type: Service, Resolve: true, Once: true}) {
		if err != nil {
			return nil, fmt.Errorf("locate: %s: %w", w.Name, err)
		}
		key := i.Name + "\x00" + i.Interface
		if i.Event == "remove" {
			delete(found, key)
		} else if len(found) < maxInstance {
			found[key] = i
		}
	}
	var all []dnssd.Target
	for _, i := range found {
		all = append(all, places(i)...)
	}
	dnssd.OrderTargets(all, nil)
	var targets []string
	for _, t := range all {
		for _, a := range addresses(t) {
			if !slices.Contains(targets, a) && len(targets) < maxTargets {
				targets = append(targets, a)
			}
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNobody, w.Name)
	}
	return targets, nil
}

// places returns where an instance is.
func places(i find.Instance) []dnssd.Target {
	l := i.Location
	if l == nil {
		return nil
	}
	all := l.Targets
	if len(all) == 0 {
		all = []find.Target{{Host: l.Host, Port: l.Port, Priority: l.Priority, Weight: l.Weight, Addresses: l.Addresses}}
	}
	var out []dnssd.Target
	for _, t := range all {
		if t.Port == 0 || t.Host == "" || t.Host == "." { // decidedly not there (RFC 2782)
			continue
		}
		p := dnssd.Target{Host: t.Host, Port: t.Port, Priority: t.Priority, Weight: t.Weight}
		for _, a := range t.Addresses {
			if a.IsLinkLocalUnicast() && a.Is6() && i.Interface != "" {
				a = a.WithZone(i.Interface)
			}
			p.Addresses = append(p.Addresses, a)
		}
		out = append(out, p)
	}
	return out
}

// addresses returns those of a target, IPv6 and IPv4 by turns, IPv6 first
// (RFC 8305 §4). A host whose addresses nobody said is looked up when it is dialled,
// unless multicast alone knows it.
func addresses(t dnssd.Target) (out []string) {
	port := strconv.Itoa(int(t.Port))
	if len(t.Addresses) == 0 {
		host := strings.TrimSuffix(t.Host, ".")
		if strings.HasSuffix(strings.ToLower(host), ".local") {
			return nil
		}
		return []string{net.JoinHostPort(host, port)}
	}
	var families [2][]netip.Addr
	for _, a := range t.Addresses {
		if a.Is4() {
			families[1] = append(families[1], a)
		} else {
			families[0] = append(families[0], a)
		}
	}
	for n := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if n < len(f) {
				out = append(out, net.JoinHostPort(f[n].String(), port))
			}
		}
	}
	return out
}

// dial yields a connection to each address that answers, in their order as far as
// they answer soon. It returns false if the caller has enough.
func (s Search) dial(ctx context.Context, targets []string, yield func(net.Conn, error) bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	begin := func(address string) {
		within, done := context.WithTimeout(ctx, dialWithin)
		defer done()
		conn, err := s.Dial(within, "tcp", address)
		if err != nil {
			err = fmt.Errorf("locate: at %s: %w", address, err)
		}
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}
	patience := time.NewTimer(0)
	defer patience.Stop()
	for running := 0; len(targets) > 0 || running > 0; {
		if len(targets) == 0 {
			patience.Stop()
		}
		select {
		case <-patience.C:
			go begin(targets[0])
			targets = targets[1:]
			running++
			patience.Reset(nextAfter)
		case r := <-results:
			running--
			if !yield(r.conn, r.err) {
				return false
			}
			patience.Reset(0) // this was not the hub: the next one needn't wait
		case <-ctx.Done():
			return false
		}
	}
	return true
}
