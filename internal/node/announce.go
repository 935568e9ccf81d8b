package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/names"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/mdns"
)

// announced is what the node announces, and how that stands.
type announced struct {
	mu                          sync.Mutex
	services                    []announcedService // as the config lists them
	deaths, recoveries, renames uint64
	changed                     chan struct{} // has room for one
	own                         map[ownName]struct{}
}

type announcedService struct {
	announce.Service
	announce.State
	err  error // why it can't be announced at all
	nmos int   // which of the config's NMOS APIs it is, from 1; 0 for none
}

// ownName is a name that this node publishes on a link.
type ownName struct{ link, key string }

// runAnnouncer announces the services of the config on whichever engine runs.
func (n *Node) runAnnouncer(ctx context.Context) error {
	switch {
	case len(n.Config.Announce) == 0 && !n.Config.NMOS.OnLinks():
		return daemon.Unavailable{Reason: errors.New("the config announces nothing")}
	case !n.Config.MDNS.Enabled:
		return daemon.Unavailable{Reason: errors.New("the config says mdns.enabled = false")}
	}
	keeper := names.Open(filepath.Join(n.State, "names.json"), n.Log)
	n.announced.begin(n)
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return n.tellAnnounced(ctx) })
	tasks.Go(func() error {
		for ctx.Err() == nil {
			engine, changed := n.mdns.watch()
			if engine != nil {
				n.announceOn(ctx, engine, keeper, changed)
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		return nil
	})
	return tasks.Wait()
}

// announceOn announces everything until ctx ends or the engine is gone.
func (n *Node) announceOn(ctx context.Context, engine *mdns.Engine, keeper *names.File, gone <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	publisher := &dnssd.Publisher{Engine: engine, Host: dnssd.HostLabel(n.self.Name), Keeper: keeper, Log: n.Log}
	n.mdns.publish(engine, publisher)
	var tasks sync.WaitGroup
	for i := range n.announced.services {
		s := n.announced.services[i].Service
		if n.announced.services[i].err != nil {
			continue
		}
		tasks.Go(func() {
			err := s.Run(ctx, publisher, func(st announce.State) { n.announcedState(i, st) })
			if err != nil {
				n.Log.Error("a service can't be announced", "service", s.Name, "type", s.Type, "err", err)
			}
			n.announced.set(i, announce.State{}, err)
		})
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
	cancel()
	tasks.Wait()
}

// announcedState takes over how a service stands.
func (n *Node) announcedState(i int, now announce.State) {
	was := n.announced.set(i, now, nil)
	switch {
	case now.Dead != nil && was.Dead == nil:
		n.Log.Warn("a service doesn't work and isn't announced", "service", n.announced.services[i].Name, "err", now.Dead)
	case now.Dead == nil && was.Dead != nil:
		n.Log.Info("a service works again", "service", n.announced.services[i].Name)
	case renamed(was, now):
		n.Log.Warn("a service has another name now: another host has the old one", "service", was.Instance.Name, "name", now.Instance.Name)
	}
}

// renamed says whether a conflict changed a service's name.
func renamed(was, now announce.State) bool {
	return was.Instance.Name != "" && now.Instance.Name != "" && was.Instance.Name != now.Instance.Name
}

// hostName is what {host} stands for in the name of a service.
func (n *Node) hostName() string { return cmp.Or(n.self.Name, dnssd.HostLabel("")) }

// begin fills in the services of the config.
func (a *announced) begin(n *Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services, a.changed = nil, make(chan struct{}, 1)
	for _, c := range n.Config.Announce {
		s := announce.FromConfig(c, n.hostName(), (&net.Dialer{}).DialContext)
		a.services = append(a.services, announcedService{Service: s})
	}
	a.services = append(a.services, n.nmosServices(n.hostName())...)
}

// set takes over how a service stands and returns how it stood.
func (a *announced) set(i int, now announce.State, err error) (was announce.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.services[i]
	was = s.State
	s.State, s.err = now, err
	switch {
	case now.Dead != nil && was.Dead == nil:
		a.deaths++
	case was.Dead != nil && now.Dead == nil && err == nil:
		a.recoveries++
	case renamed(was, now):
		a.renames++
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return was
}

// tellAnnounced tells the registry what the node announces itself, so that it
// stands in the inventory like what others announce.
func (n *Node) tellAnnounced(ctx context.Context) error {
	tick := time.NewTicker(tellSelf)
	defer tick.Stop()
	said := map[lanfolk.ID]lanfolk.Sighting{}
	tell := func(current map[lanfolk.ID]lanfolk.Sighting) {
		for id, s := range said {
			if _, still := current[id]; !still {
				s.Time, s.Gone = time.Now(), true
				n.registry.Observe(s)
			}
		}
		for _, s := range current {
			n.registry.Observe(s)
		}
		said = current
	}
	for {
		sightings, services := n.ownSightings(time.Now())
		tell(sightings)
		n.announcedOnLinks(services)
		select {
		case <-n.announced.changed:
		case <-tick.C:
		case <-ctx.Done():
			tell(nil)
			return nil
		}
	}
}

// ownSightings are those of the services that can be found, on each link; it takes
// over which names are the node's own. It returns the services, too.
func (n *Node) ownSightings(now time.Time) (map[lanfolk.ID]lanfolk.Sighting, []dnssd.Service) {
	a := &n.announced
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = map[ownName]struct{}{}
	out := map[lanfolk.ID]lanfolk.Sighting{}
	var own []dnssd.Service
	for i := range a.services {
		s := &a.services[i]
		for _, name := range s.Interfaces() {
			x := dnssd.Service{
				Instance: s.Instance, Subtypes: s.Subtypes, Host: s.Standing.Host, Port: s.Service.Port, TXT: s.TXT,
				Addresses: s.Service.Host.Addresses, Interface: name,
			}
			here := s.Service.Host.Name == ""
			if link, ok := n.links.used(name); ok && here {
				for _, p := range link.Prefixes {
					x.Addresses = append(x.Addresses, p.Addr())
				}
			}
			own = append(own, x)
			sighting := n.self.Service(now, x, here)
			out[sighting.ID()] = sighting
			a.own[ownName{name, sighting.Key}] = struct{}{}
			if here || len(s.Service.Host.Addresses) > 0 {
				a.own[ownName{name, source.Key(x.Host)}] = struct{}{}
			}
		}
	}
	return out, own
}

// owns says whether the node publishes the name itself on the link.
func (a *announced) owns(link, key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.own[ownName{link, key}]
	return ok
}

// ownsService says whether what was heard is a service that the node publishes itself,
// on whatever link.
func (a *announced) ownsService(s dnssd.Service) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	instance, host := false, false
	for own := range a.own {
		instance = instance || own.key == source.Key(s.Instance.String())
		host = host || own.key == source.Key(s.Host)
	}
	return instance && host
}

// maxDetailed bounds the services that the status names.
const maxDetailed = 20

// detail says what is announced as what, and what isn't and why.
func (a *announced) detail() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var parts []string
	for i := range a.services {
		s := &a.services[i]
		name := dnssd.Instance{Name: s.Name, Service: s.Type, Domain: dnssd.DefaultDomain}.String()
		switch {
		case s.err != nil:
			name += ": " + s.err.Error()
		case s.Dead != nil:
			name += " is dead: " + s.Dead.Error()
		case len(s.Announced) > 0:
			name = s.Instance.String() + " on " + strings.Join(s.Interfaces(), " ")
		default:
			name += " not yet"
		}
		parts = append(parts, name)
	}
	if more := len(parts) - maxDetailed; more > 0 {
		parts = append(parts[:maxDetailed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

func (a *announced) counters() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return map[string]uint64{"deaths": a.deaths, "recoveries": a.recoveries, "renames": a.renames}
}
