package source

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

// Resolver is the DNS servers that the machine uses, and the domains that it
// searches, as resolv.conf says at the time.
type Resolver struct {
	// Servers are asked instead of those in resolv.conf, if there are any.
	Servers []netip.AddrPort
	// Read is os.ReadFile.
	Read func(string) ([]byte, error)
	Dial unicast.DialFunc
	// Advice says what to do where no server is known: "name one with --server".
	Advice string
	Log    *slog.Logger

	mu     sync.Mutex
	source *unicast.Source // of the servers that were asked last
	of     unicast.Servers
}

// Ask returns what asks the servers, the machine's if none is named, and the
// domains to search. Those who name no servers share one source, and what it knows.
func (r *Resolver) Ask(servers []string) (dnssd.Source, []string, error) {
	system, err := r.system()
	if len(servers) == 0 {
		if err != nil {
			return nil, nil, err
		}
		return r.shared(system.Servers), system.Search, nil
	}
	var named unicast.Servers
	for _, s := range servers {
		at, err := unicast.ParseServer(s)
		if err != nil {
			return nil, nil, invalid{err}
		}
		named.Addrs = append(named.Addrs, at)
	}
	return r.open(named), system.Search, nil
}

// Source returns what asks the machine's servers.
func (r *Resolver) Source() (*unicast.Source, error) {
	system, err := r.system()
	if err != nil {
		return nil, err
	}
	return r.shared(system.Servers), nil
}

func (r *Resolver) system() (unicast.ResolvConf, error) {
	system, err := unicast.ReadSystem(r.Read)
	if len(r.Servers) > 0 {
		system.Servers = unicast.Servers{Addrs: r.Servers}
		return system, nil
	}
	if err == nil && len(system.Addrs) == 0 {
		err = errors.New("no DNS server is known: resolv.conf names none; " + r.Advice)
	}
	return system, err
}

func (r *Resolver) shared(s unicast.Servers) *unicast.Source {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil || !sameServers(r.of, s) {
		r.source, r.of = r.open(s), s
	}
	return r.source
}

func (r *Resolver) open(s unicast.Servers) *unicast.Source {
	s.Dial = r.Dial
	return &unicast.Source{Servers: s, Log: r.Log}
}

// resolvConfEvery is how often Moved looks at resolv.conf.
const resolvConfEvery = 3 * time.Second

// Moved returns when resolv.conf names other servers or domains than at the
// beginning, or ctx ends. What is seen once may be half a change: it must stay. A
// machine that has no servers or domains any more has lost its network, and isn't elsewhere.
func (r *Resolver) Moved(ctx context.Context) {
	was, _ := r.system() // what can't be read names none
	before := was
	tick := time.NewTicker(resolvConfEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, _ := r.system()
		lost := len(now.Addrs) == 0 || len(now.Search) == 0 && len(was.Search) > 0
		if !lost && !sameConf(now, was) && sameConf(now, before) {
			return
		}
		before = now
	}
}

func sameConf(a, b unicast.ResolvConf) bool {
	return sameServers(a.Servers, b.Servers) && slices.Equal(a.Search, b.Search)
}

func sameServers(a, b unicast.Servers) bool {
	return slices.Equal(a.Addrs, b.Addrs) && a.Timeout == b.Timeout && a.Attempts == b.Attempts && a.Rotate == b.Rotate && a.TCP == b.TCP
}
