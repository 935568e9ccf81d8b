package bridge

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// instance is a service's name in .local, which another service may have on another
// link.
type instance struct {
	key, name string
	heard     map[string]*heard // by link
	groups    []*group
}

// heard is what is said of an instance on one link.
type heard struct {
	in      *instance
	link    string
	first   time.Time
	feeds   map[int]dnssd.Service
	said    dnssd.Service // all feeds together
	targets []target
}

// target is where a service is. Addresses are those of use elsewhere.
type target struct {
	dnssd.Target
	local bool   // the host is one of a link, and has a name in the zone
	key   string // of a local host
}

// host is a host's name in .local, which another host may have on another link.
type host struct {
	key    string
	name   dnswire.Name // in the zone
	links  map[string]*presence
	alike  map[[2]string]int // by two links: how many services of the name are alike on both
	groups []*group
}

// presence is a host on one link.
type presence struct {
	first     time.Time
	addresses map[netip.Addr]int // and how many targets have it
	users     map[*heard]int
}

// group is one host or one service: what has a name on links that belong together.
type group struct {
	id        string
	name      string   // in the zone; of an instance without its type
	taken     string   // what it takes in Zone.taken
	links     []string // the one where it was first heard first
	addresses []netip.Addr
	published bool
}

// group returns the group on a link, nil if there is none.
func (h *host) group(link string) *group {
	if h == nil {
		return nil
	}
	for _, g := range h.groups {
		if slices.Contains(g.links, link) {
			return g
		}
	}
	return nil
}

// merge makes one picture of what the feeds say, for a zone of the domain.
func (h *heard) merge(domain string) {
	first := true
	for _, feed := range slices.Sorted(maps.Keys(h.feeds)) {
		s := h.feeds[feed]
		if first {
			h.said, first = s, false
			h.said.Subtypes = slices.Clone(s.Subtypes)
			continue
		}
		h.said.Subtypes = append(h.said.Subtypes, s.Subtypes...)
	}
	all := h.said.Targets
	if len(all) == 0 {
		all = []dnssd.Target{{Host: h.said.Host, Port: h.said.Port, Priority: h.said.Priority, Weight: h.said.Weight, Addresses: h.said.Addresses}}
	}
	h.targets = nil
	for _, t := range all {
		x := target{Target: t}
		name, err := dnswire.ParseName(t.Host)
		if err != nil {
			continue
		}
		if n := name.NumLabels(); n > 1 && strings.EqualFold(name.Label(n-1), dnssd.DefaultDomain) {
			if x.Host, x.key, err = inZone(name, domain); err != nil {
				continue // too long there
			}
			x.local = true
		}
		x.Addresses = slices.DeleteFunc(slices.Clone(t.Addresses), useless)
		h.targets = append(h.targets, x)
	}
}

// inZone puts the zone's domain in place of .local, and returns a key for the name, too.
func inZone(name dnswire.Name, domain string) (host, key string, err error) {
	d, err := dnswire.ParseName(domain)
	if err != nil {
		return "", "", err
	}
	labels := slices.Collect(name.Labels())
	n, err := dnswire.NameOf(slices.AppendSeq(labels[:len(labels)-1], d.Labels())...)
	return n.String(), string(name.Fold()), err
}

// useless says whether an address means nothing beyond its link (RFC 8766 §5.5.2).
func useless(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsValid() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified()
}

// attach enters what is said of an instance on a link under its hosts, and detach
// takes it out again. In between nothing of it changes. z.mu is held.
func (z *Zone) attach(h *heard) { z.enter(h, 1) }

func (z *Zone) detach(h *heard) { z.enter(h, -1) }

func (z *Zone) enter(h *heard, by int) {
	for i, t := range h.targets {
		if !t.local {
			continue
		}
		x := z.hosts[t.key]
		if x == nil {
			name, err := dnswire.ParseName(t.Host)
			if err != nil {
				continue // merge made it
			}
			x = &host{key: t.key, name: name, links: map[string]*presence{}, alike: map[[2]string]int{}}
			z.hosts[t.key] = x
		}
		z.touched[x] = struct{}{}
		p := x.links[h.link]
		if p == nil {
			p = &presence{first: h.first, addresses: map[netip.Addr]int{}, users: map[*heard]int{}}
			x.links[h.link] = p
		}
		if h.first.Before(p.first) {
			p.first = h.first
		}
		count(p.users, h, by)
		for _, a := range t.Addresses {
			count(p.addresses, a, by)
		}
		for link, o := range h.in.heard {
			if i == 0 && link != h.link && alike(h, o) {
				count(x.alike, pair(link, h.link), by)
			}
		}
		if len(p.users) == 0 {
			delete(x.links, h.link)
		}
	}
}

func count[K comparable](m map[K]int, k K, by int) {
	if m[k] += by; m[k] <= 0 {
		delete(m, k)
	}
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// alike says whether two links say the same of an instance. Then its host is most
// likely one with a foot in both: two that came out of one box would have to share
// the host's name, the service's, its port and every word of its TXT record.
func alike(a, b *heard) bool {
	return len(a.targets) > 0 && len(b.targets) > 0 && a.targets[0].local && a.targets[0].key == b.targets[0].key &&
		a.targets[0].Port == b.targets[0].Port && slices.Equal(a.said.TXT, b.said.TXT)
}

// settle brings hosts, names and the zone up to date after a change of an instance.
// z.mu is held.
func (z *Zone) settle(now time.Time, in *instance) {
	dirty := map[*instance]struct{}{in: {}}
	for x := range z.touched {
		if z.regroupHost(x) {
			for _, p := range x.links {
				for u := range p.users {
					dirty[u.in] = struct{}{}
				}
			}
		}
		if len(x.links) == 0 {
			delete(z.hosts, x.key)
		}
	}
	clear(z.touched)
	for i := range dirty {
		z.regroup(now, i)
	}
}

// regroupHost works out on which links a name means one host, and says whether anything
// changed.
func (z *Zone) regroupHost(x *host) bool {
	first := map[string]time.Time{}
	for link, p := range x.links {
		if len(p.addresses) > 0 {
			first[link] = p.first
		}
	}
	parts := partition(first, func(a, b string) bool {
		if x.alike[pair(a, b)] > 0 {
			return true
		}
		for addr := range x.links[a].addresses {
			if x.links[b].addresses[addr] > 0 {
				return true
			}
		}
		return false
	})
	before := make([]group, len(x.groups))
	for i, g := range x.groups {
		before[i] = *g
	}
	x.groups = z.assign(x.name.String(), x.groups, parts, func(*group) {}, func(link string, n int) string { return hostBeside(x.name, link, n) },
		func(name string) string { return fold(name) })
	for _, g := range x.groups {
		g.addresses = nil
		for _, link := range g.links {
			g.addresses = slices.AppendSeq(g.addresses, maps.Keys(x.links[link].addresses))
		}
		slices.SortFunc(g.addresses, netip.Addr.Compare)
		g.addresses = slices.Compact(g.addresses)
	}
	return !slices.EqualFunc(before, x.groups, func(a group, b *group) bool {
		return a.name == b.name && slices.Equal(a.links, b.links) && slices.Equal(a.addresses, b.addresses)
	})
}

// regroup works out on which links a name means one service, and publishes each.
func (z *Zone) regroup(now time.Time, in *instance) {
	first := map[string]time.Time{}
	for link, h := range in.heard {
		if len(z.reachable(h)) > 0 {
			first[link] = h.first
		}
	}
	parts := partition(first, func(a, b string) bool {
		return z.reachable(in.heard[a])[0] == z.reachable(in.heard[b])[0]
	})
	typ, _, _ := strings.Cut(in.key, "\x00")
	in.groups = z.assign(in.name, in.groups, parts, func(g *group) { z.unpublish(now, g) },
		func(link string, n int) string { return nameBeside(in.name, link, n) },
		func(name string) string { return typ + "\x00" + fold(name) })
	for _, g := range slices.Backward(in.groups) { // who gives a name away comes before who gets it
		z.publish(now, in, g)
	}
}

// reachable names where a service can be reached from elsewhere.
func (z *Zone) reachable(h *heard) []string {
	var out []string
	for _, t := range h.targets {
		if !t.local {
			out = append(out, fold(t.Host)+" "+strconv.Itoa(int(t.Port)))
		} else if g := z.hosts[t.key].group(h.link); g != nil {
			out = append(out, fold(g.name))
		}
	}
	return out
}

// partition puts links together that belong together, the one where something was
// heard first in front, and the parts in that order, too.
func partition(first map[string]time.Time, same func(a, b string) bool) [][]string {
	links := slices.SortedFunc(maps.Keys(first), func(a, b string) int { return cmp.Or(first[a].Compare(first[b]), cmp.Compare(a, b)) })
	var parts [][]string
	for _, l := range links {
		joined := -1
		for i := 0; i < len(parts); i++ {
			if !slices.ContainsFunc(parts[i], func(o string) bool { return same(l, o) }) {
				continue
			}
			if joined < 0 {
				joined = i
				parts[i] = append(parts[i], l)
				continue
			}
			parts[joined] = append(parts[joined], parts[i]...)
			parts = slices.Delete(parts, i, i+1)
			i--
		}
		if joined < 0 {
			parts = append(parts, []string{l})
		}
	}
	for _, p := range parts {
		slices.SortFunc(p, func(a, b string) int { return cmp.Or(first[a].Compare(first[b]), cmp.Compare(a, b)) })
	}
	return parts
}

// assign turns parts into groups. One that was there stays what it was and keeps its
// name; the plain name goes to whoever was there first, and the next ones get the
// name of their link beside it. Nobody is renamed because another one left.
func (z *Zone) assign(plain string, old []*group, parts [][]string, end func(*group), beside func(link string, n int) string, takes func(name string) string) []*group {
	out := make([]*group, len(parts))
	for i, p := range parts {
		at := slices.IndexFunc(old, func(g *group) bool {
			return g != nil && slices.ContainsFunc(g.links, func(l string) bool { return slices.Contains(p, l) })
		})
		if at < 0 {
			z.groups++
			out[i] = &group{id: strconv.FormatUint(z.groups, 10)}
		} else {
			out[i], old[at] = old[at], nil
		}
		out[i].links = p
	}
	for _, g := range old {
		if g != nil {
			end(g)
			delete(z.taken, g.taken)
		}
	}
	named := func(g *group, name string) {
		delete(z.taken, g.taken)
		g.name, g.taken = name, ""
		if name != "" {
			g.taken = takes(name)
			z.taken[g.taken] = struct{}{}
		}
	}
	if at := slices.IndexFunc(out, func(g *group) bool { return g.name == plain }); at > 0 && out[0].name == "" {
		named(out[at], "") // the newcomer is older
	}
	for _, g := range out {
		if g.name != "" {
			continue
		}
		name := plain
		for n := 1; name != ""; n++ {
			if _, taken := z.taken[takes(name)]; !taken {
				break
			}
			name = beside(g.links[0], n)
		}
		named(g, name)
	}
	return out
}

// nameBeside is what an instance is called that can't have its name: "Laser (eth1)",
// "Laser (eth1 2)".
func nameBeside(name, link string, n int) string {
	if n > 1 {
		link += " " + strconv.Itoa(n)
	}
	return cut(name, len(link)+3) + " (" + link + ")"
}

// hostBeside is what a host is called that can't have its name: "laser-eth1.lan.example.com".
// It is "" where the whole is too long: then it stays away.
func hostBeside(name dnswire.Name, link string, n int) string {
	link = strings.Map(func(r rune) rune { // "eth0.100" is no part of a host name
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, link)
	if n > 1 {
		link += "-" + strconv.Itoa(n)
	}
	out, err := name.Parent().Prepend(cut(name.Label(0), len(link)+1) + "-" + link)
	if err != nil {
		return ""
	}
	return out.String()
}

// cut shortens a text so that room bytes are left in a label.
func cut(s string, room int) string {
	const label = 63
	if len(s) <= label-room {
		return s
	}
	end := label - room
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
