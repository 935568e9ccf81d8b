package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/config"
)

// resolver is the DNS servers that the machine uses, or those of the config.
type resolver struct {
	config config.DNS
	read   func(string) ([]byte, error) // os.ReadFile
	log    *slog.Logger

	mu      sync.Mutex
	source  *unicast.Source // of the servers that were asked last
	servers unicast.Servers
}

// resolvConfEvery is how often resolv.conf is looked at.
const resolvConfEvery = 3 * time.Second

// ask is a source.NMOS's Unicast. Those who name no servers share one source, and
// what it knows.
func (r *resolver) ask(servers []string) (dnssd.Source, []string, error) {
	system, err := r.system()
	if len(servers) == 0 {
		if err != nil {
			return nil, nil, err
		}
		return r.shared(system.Servers), system.Search, nil
	}
	var own unicast.Servers
	for _, s := range servers {
		at, err := unicast.ParseServer(s)
		if err != nil {
			return nil, nil, err
		}
		own.Addrs = append(own.Addrs, at)
	}
	return r.open(own), system.Search, nil
}

// system returns the servers, and the domains to search.
func (r *resolver) system() (unicast.ResolvConf, error) {
	system, err := unicast.ReadSystem(r.read)
	if len(r.config.Servers) > 0 {
		system.Servers = unicast.Servers{}
		for _, s := range r.config.Servers {
			system.Addrs = append(system.Addrs, s.AddrPort)
		}
		return system, nil
	}
	if err == nil && len(system.Addrs) == 0 {
		err = errors.New("no DNS server is known: resolv.conf names none; name one in dns.servers")
	}
	return system, err
}

func (r *resolver) shared(s unicast.Servers) *unicast.Source {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil || !sameServers(r.servers, s) {
		r.source, r.servers = r.open(s), s
	}
	return r.source
}

func (r *resolver) open(s unicast.Servers) *unicast.Source {
	s.Dial = (&net.Dialer{}).DialContext
	return &unicast.Source{Servers: s, Log: r.log}
}

func sameServers(a, b unicast.Servers) bool {
	return slices.Equal(a.Addrs, b.Addrs) && a.Timeout == b.Timeout && a.Attempts == b.Attempts && a.Rotate == b.Rotate && a.TCP == b.TCP
}

// wait returns when resolv.conf names other servers or domains than at the
// beginning, or ctx ends. What is seen once may be half a change: it must stay.
func (r *resolver) wait(ctx context.Context) {
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
		if !sameConf(now, was) && sameConf(now, before) {
			return
		}
		before = now
	}
}

func sameConf(a, b unicast.ResolvConf) bool {
	return sameServers(a.Servers, b.Servers) && slices.Equal(a.Search, b.Search)
}
