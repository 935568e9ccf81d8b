package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/names"
	"github.com/lanfolk/lanfolk/nmos"
)

// registered is one API that the config wants in one domain, by DNS updates.
type registered struct {
	config config.NMOSAdvertise
	domain config.NMOSDomain
	ads    []nmos.Advertisement // one or, with its former name, two

	mu                        sync.Mutex
	states                    []announce.Registration // of ads
	err                       error                   // why it can't be registered at all
	updates, failures, deaths uint64
}

// nmosServices are the APIs that the announcer announces beside the services of
// the config.
func (n *Node) nmosServices(host string) []announcedService {
	var out []announcedService
	for i, c := range n.Config.NMOS.Advertise {
		if !c.MDNS {
			continue
		}
		for _, ad := range c.Advertisements(host) {
			a, err := ad.OnLinks()
			if err != nil {
				a = dnssd.Announcement{Name: ad.Name, Type: ad.Kind.Service}
			}
			s := announce.Service{Announcement: a, Check: announce.Check(c.Health, dnssd.Announcement{Port: ad.Port, Host: ad.Host}, (&net.Dialer{}).DialContext)}
			out = append(out, announcedService{Service: s, err: err, nmos: i + 1})
		}
	}
	return out
}

// registerParts are those that register APIs by DNS updates.
func (n *Node) registerParts() []*daemon.Task {
	var out []*daemon.Task
	for _, c := range n.Config.NMOS.Advertise {
		for _, d := range c.Domains {
			r := &registered{config: c, domain: d, ads: c.Advertisements(n.hostName())}
			r.states = make([]announce.Registration, len(r.ads))
			n.registrations = append(n.registrations, r)
			out = append(out, &daemon.Task{
				Name: r.name(), Run: func(ctx context.Context) error { return n.runRegister(ctx, r) },
				Detail: r.detail, Counters: r.counters,
			})
		}
	}
	return out
}

// name is what the part is called.
func (r *registered) name() string {
	return "register " + dnssd.Instance{Name: r.ads[0].Name, Service: r.ads[0].Kind.Service, Domain: r.domain.Name.String()}.String()
}

// runRegister registers one API in one domain.
func (n *Node) runRegister(ctx context.Context, r *registered) error {
	err := n.register(ctx, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	return err
}

func (n *Node) register(ctx context.Context, r *registered) error {
	var key *unicast.Key
	if file := r.domain.KeyFile; file != "" {
		k, open, err := announce.ReadKey(file)
		if err != nil {
			return daemon.Unavailable{Reason: err}
		}
		if open {
			return daemon.Unavailable{Reason: fmt.Errorf("node: TSIG key: everybody on this machine can read %s; chmod 640 it", file)}
		}
		key = &k
	}
	domain := r.domain.Name.String()
	var ways []announce.Way
	for i, ad := range r.ads {
		a, err := ad.Announcement(domain)
		if err != nil {
			return daemon.Unavailable{Reason: err}
		}
		offer := unicast.Offer{Subtypes: a.Subtypes, Port: a.Port, TXT: a.TXT, Host: hostIn(a.Host.Name, n.self.Name, domain), Addresses: a.Host.Addresses}
		var changes <-chan []netip.Addr
		if a.Host.Name == "" {
			if offer.Addresses, changes, err = n.ownAddresses(ctx, a.Links); err != nil {
				return err
			}
		}
		ways = append(ways, announce.InDomain(&unicast.Registrar{
			Servers:  unicast.Servers{Addrs: []netip.AddrPort{r.domain.Server.AddrPort}, Dial: (&net.Dialer{}).DialContext},
			Key:      key,
			Instance: dnssd.Instance{Name: a.Name, Service: a.Type, Domain: domain},
			Offer:    offer,
			Lease:    r.domain.Lease.Duration(), Grace: r.domain.Grace.Duration(),
			Keeper: names.Open(filepath.Join(n.State, "names.json"), n.Log),
			Log:    n.Log.With("part", r.name()),
		}, changes, func(now announce.Registration) { r.set(i, now) }))
	}
	check := announce.Check(r.config.Health, dnssd.Announcement{Port: r.ads[0].Port, Host: r.ads[0].Host}, (&net.Dialer{}).DialContext)
	return announce.Run(ctx, check, ways...)
}

// hostIn is a host's full name in a domain; "" is this machine.
func hostIn(host, self, domain string) string {
	switch {
	case host == "":
		return dnssd.HostLabel(self) + "." + domain
	case strings.Contains(host, "."):
		return host
	}
	return host + "." + domain
}

// ownAddresses waits until this machine has addresses on the links, and returns
// them and what follows.
func (n *Node) ownAddresses(ctx context.Context, links []string) ([]netip.Addr, <-chan []netip.Addr, error) {
	selection := n.selection
	if len(links) > 0 {
		selection.Names = links
	}
	changes, err := selection.WatchAddresses(ctx)
	if err != nil {
		return nil, nil, err
	}
	for now := range changes {
		if len(now) > 0 {
			return now, changes, nil
		}
	}
	return nil, nil, context.Cause(ctx)
}

func (r *registered) set(i int, now announce.Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.states[i]
	r.states[i] = now
	switch {
	case now.Err != nil:
		r.failures++
	case now.State == unicast.Registered:
		r.updates++
	}
	if now.Dead != nil && was.Dead == nil {
		r.deaths++
	}
}

func (r *registered) detail() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	for i, ad := range r.ads {
		w := way(ad, r.domain.Name.String(), r.states[i])
		s := w.State + " as " + w.Instance
		if w.Error != "" {
			s += ": " + w.Error
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func (r *registered) counters() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string]uint64{"registered": r.updates, "failures": r.failures, "deaths": r.deaths}
}

// way is how an API stands in a domain.
func way(ad nmos.Advertisement, domain string, s announce.Registration) AdvertisedWay {
	w := AdvertisedWay{Via: "unicast", Instance: dnssd.Instance{Name: ad.Name, Service: ad.Kind.Service, Domain: domain}.String(), State: "registering", Interfaces: []string{}}
	if s.Instance.Name != "" {
		w.Instance, w.Host, w.State = s.Instance.String(), s.Host, s.State.String()
	}
	err := s.Err
	switch {
	case s.Dead != nil:
		w.State, err = "dead", errors.Join(s.Dead, s.Err)
	case s.State == unicast.Registered && s.LeaseErr != nil:
		err = fmt.Errorf("without a lease: %w", s.LeaseErr)
	case s.State == unicast.Renamed:
		w.State = "registering"
	}
	if err != nil {
		w.Error = err.Error()
	}
	if !s.Expires.IsZero() {
		at := s.Expires.UTC().Truncate(time.Second)
		w.Expires = &at
	}
	return w
}

// advertised is how the APIs of the config stand, in every way.
func (n *Node) advertised() []AdvertisedAPI {
	out := []AdvertisedAPI{}
	host := n.hostName()
	registrations := n.registrations
	for i, c := range n.Config.NMOS.Advertise {
		api := AdvertisedAPI{Name: c.Advertisements(host)[0].Name, Type: c.Kind.Name, Ways: n.announced.ways(i + 1)}
		for range c.Domains {
			r := registrations[0]
			registrations = registrations[1:]
			api.Ways = append(api.Ways, r.ways()...)
		}
		out = append(out, api)
	}
	return out
}

func (r *registered) ways() []AdvertisedWay {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []AdvertisedWay
	for i, ad := range r.ads {
		w := way(ad, r.domain.Name.String(), r.states[i])
		if r.err != nil {
			w.State, w.Error = "failed", r.err.Error()
		}
		out = append(out, w)
	}
	return out
}

// ways are how an API stands by mDNS, under each of its types. nmos is its place in
// the config, from 1.
func (a *announced) ways(nmos int) []AdvertisedWay {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []AdvertisedWay{}
	for i := range a.services {
		s := &a.services[i]
		if s.nmos != nmos {
			continue
		}
		w := AdvertisedWay{
			Via: "mdns", Instance: dnssd.Instance{Name: s.Name, Service: s.Type, Domain: dnssd.DefaultDomain}.String(),
			State: "probing", Interfaces: append([]string{}, s.Interfaces()...),
		}
		if s.Instance.Name != "" {
			w.Instance, w.Host = s.Instance.String(), s.Standing.Host
		}
		switch {
		case s.err != nil:
			w.State, w.Error = "failed", s.err.Error()
		case s.Dead != nil:
			w.State, w.Error = "dead", s.Dead.Error()
		case len(s.Announced) > 0:
			w.State = "announced"
		}
		out = append(out, w)
	}
	return out
}
