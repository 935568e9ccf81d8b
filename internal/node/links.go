package node

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

// links is the node's view of the machine's links.
type links struct {
	mu  sync.Mutex
	all []packet.Link
	use map[int]string // names by index of those that are used
}

// openLinks takes a first look. A name in the config that no link has is an
// error: later it may come and go.
func (n *Node) openLinks() error {
	all, err := lan.Links()
	if err != nil {
		return err
	}
	if _, err := n.selection.Choose(all); err != nil {
		return fmt.Errorf("node: interfaces: %w", err)
	}
	n.links.set(all, n.selection.Filter(all))
	return nil
}

// tellSelf is how often the node says where it runs itself, so that it doesn't
// run out of its own inventory.
const tellSelf = 4 * time.Minute

// runLinks keeps the view current and tells the registry of this host itself.
func (n *Node) runLinks(ctx context.Context) error {
	changes, err := lan.WatchLinks(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(tellSelf)
	defer tick.Stop()
	var used []packet.Link
	for {
		select {
		case all, ok := <-changes:
			if !ok {
				return nil
			}
			used = n.selection.Filter(all)
			n.links.set(all, used)
		case <-tick.C:
		}
		for _, l := range used {
			n.registry.Observe(n.self.Link(time.Now(), l, used))
		}
	}
}

func (l *links) set(all, used []packet.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all, l.use = all, make(map[int]string, len(used))
	for _, u := range used {
		l.use[u.Index] = u.Name
	}
}

// name returns the name of a link that is used, "" for any other.
func (l *links) name(index int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.use[index]
}

// used returns the link with the name, if it is used.
func (l *links) used(name string) (packet.Link, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.all {
		if x.Name == name && l.use[x.Index] == name {
			return x, true
		}
	}
	return packet.Link{}, false
}

// names are those of the links that are used.
func (l *links) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Values(l.use))
}

// of returns the name of the link on whose subnet an address is, "" for none.
func (l *links) of(a netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	link, _ := source.LinkOf(l.all, a)
	return link.Name
}

// master returns the name of the bridge or the like that a link is a port of, its own
// if it is of none.
func (l *links) master(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, port := range l.all {
		if port.Name != name || port.Master == 0 {
			continue
		}
		for _, m := range l.all {
			if m.Index == port.Master {
				return m.Name
			}
		}
	}
	return name
}

// has says whether an address is this machine's.
func (l *links) has(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(x packet.Link) bool { return x.Has(a) })
}

// status returns the links for the status.
func (l *links) status() []Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Link, 0, len(l.all))
	for _, x := range l.all {
		s := Link{Name: x.Name, MAC: x.MAC.String(), Up: x.Up(), Addresses: []string{}, Used: l.use[x.Index] != ""}
		for _, p := range x.Prefixes {
			s.Addresses = append(s.Addresses, p.String())
		}
		if !s.Used {
			s.Why = whyNot(x)
		}
		out = append(out, s)
	}
	return out
}

func whyNot(l packet.Link) string {
	switch {
	case !l.Up():
		return "it is down"
	case len(l.Prefixes) == 0:
		return "it has no address"
	case !lan.Usable(l):
		return "discovery by multicast makes no sense on it"
	}
	return "the config leaves it out"
}
