package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/announce"
)

// zoneOwn is what the node announces itself, as its zones are told of it.
type zoneOwn struct {
	mu      sync.Mutex
	onLinks []dnssd.Service // by mDNS, one for each link
	offers  []zoneOffer     // not by mDNS
	here    []netip.Addr    // this machine's addresses
}

// zoneOffer is a service that is announced in the zones alone.
type zoneOffer struct {
	announce.Service
	works bool
	dead  error
}

// zoneOffers are the services of the config that aren't announced by mDNS, if there
// is a zone that wants them.
func (n *Node) zoneOffers() []zoneOffer {
	if !slices.ContainsFunc(n.zones, func(z *publishedZone) bool { return z.config.Announced }) {
		return nil
	}
	dial := (&net.Dialer{}).DialContext
	var out []zoneOffer
	if !n.Config.MDNS.Enabled {
		for _, c := range n.Config.Announce {
			out = append(out, zoneOffer{Service: announce.FromConfig(c, n.hostName(), dial)})
		}
	}
	for _, c := range n.Config.NMOS.Advertise {
		if c.MDNS && n.Config.MDNS.Enabled {
			continue
		}
		for _, ad := range c.Advertisements(n.hostName()) {
			a, err := ad.Announcement(dnssd.DefaultDomain)
			if err != nil {
				// A host elsewhere doesn't suit .local; its zone has its addresses.
				if a, err = ad.OnLinks(); err != nil {
					n.Log.Error("an API can't be published in a zone", "service", ad.Name, "err", err)
					continue
				}
				a.Host = ad.Host
			}
			out = append(out, zoneOffer{Service: announce.Service{Announcement: a, Check: announce.Check(c.Health, a, dial)}})
		}
	}
	return out
}

// offerInZones publishes services in the zones, as long as they work.
func (n *Node) offerInZones(ctx context.Context, offers []zoneOffer) error {
	o := &n.zoneOwn
	o.mu.Lock()
	o.offers = offers
	o.mu.Unlock()
	addresses, err := n.selection.WatchAddresses(ctx)
	if err != nil {
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	for i := range offers {
		tasks.Go(func() error {
			return announce.Run(ctx, offers[i].Check, announce.Elsewhere(func(works bool, dead error) {
				o.mu.Lock()
				o.offers[i].works, o.offers[i].dead = works, dead
				o.mu.Unlock()
				n.tellZones()
			}))
		})
	}
	tasks.Go(func() error {
		for now := range addresses {
			o.mu.Lock()
			o.here = now
			o.mu.Unlock()
			n.tellZones()
		}
		return nil
	})
	return tasks.Wait()
}

// announcedOnLinks takes over what is announced by mDNS.
func (n *Node) announcedOnLinks(services []dnssd.Service) {
	n.zoneOwn.mu.Lock()
	n.zoneOwn.onLinks = services
	n.zoneOwn.mu.Unlock()
	n.tellZones()
}

// tellZones tells the zones that want it what the node announces itself.
func (n *Node) tellZones() {
	o := &n.zoneOwn
	o.mu.Lock()
	defer o.mu.Unlock() // so that the last told is the newest
	all := slices.Clone(o.onLinks)
	for _, x := range o.offers {
		if !x.works {
			continue
		}
		s := dnssd.Service{
			Instance: dnssd.Instance{Name: x.Name, Service: x.Type, Domain: dnssd.DefaultDomain}, Subtypes: x.Subtypes,
			Port: x.Port, TXT: x.TXT, Host: x.Host.Name, Addresses: x.Host.Addresses,
		}
		switch {
		case s.Host == "":
			s.Host, s.Addresses = dnssd.HostLabel(n.self.Name)+"."+dnssd.DefaultDomain, o.here
		case !strings.Contains(s.Host, "."):
			s.Host += "." + dnssd.DefaultDomain
		}
		all = append(all, s)
	}
	for _, z := range n.zones {
		if z.config.Announced {
			z.bridge.Announced(time.Now(), all)
		}
	}
}

func (o *zoneOwn) detail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var parts []string
	for _, x := range o.offers {
		s := x.Name + " of type " + x.Type
		switch {
		case x.dead != nil:
			s += fmt.Sprintf(" is dead: %v", x.dead)
		case !x.works:
			s += " not yet"
		}
		parts = append(parts, s)
	}
	if more := len(parts) - maxDetailed; more > 0 {
		parts = append(parts[:maxDetailed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}
