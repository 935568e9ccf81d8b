package unicast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Kind is a recommendation of RFC 6763 §11, by the label that is asked for.
type Kind string

// The kinds of recommendation.
const (
	Browse          Kind = "b"  // a domain to browse
	DefaultBrowse   Kind = "db" // the one to browse by default
	Register        Kind = "r"  // a domain to register in
	DefaultRegister Kind = "dr" // the one to register in by default
	LegacyBrowse    Kind = "lb" // one to browse without a word, for simple programs
)

// kinds are all of them, in the order of RFC 6763 §11.
func kinds() []Kind { return []Kind{Browse, DefaultBrowse, Register, DefaultRegister, LegacyBrowse} }

// Domain is a domain that somebody recommends, or that a person searches.
type Domain struct {
	Name  string // as dnswire.Name prints it, in lower case
	Kinds []Kind
	// From are the domains that recommend it: one that is searched, "local", or
	// one that was made of an address, "0.2.0.192.in-addr.arpa".
	From []string
	Via  []string // "mdns", "unicast": by what they were asked
	// Multicast says that its own names are asked for by multicast alone.
	Multicast bool
}

// Enumeration finds the domains that are recommended for browsing and for
// registration (RFC 6763 §11).
type Enumeration struct {
	// Unicast is asked in the domains of Search and of Addresses, Multicast in
	// .local. nil isn't asked.
	Unicast, Multicast dnssd.Source
	Search             []string
	// Addresses are the host's, with the length of their prefix. Those that only
	// hold on a link, or on the host itself, aren't used.
	Addresses []netip.Prefix
}

// Bounds of an enumeration.
const (
	maxDomains  = 256
	multicastIn = 700 * time.Millisecond // for answers by multicast
	enumerateIn = 10 * time.Second
)

// Found is what an Enumeration finds.
type Found struct {
	Domains []Domain // by name
	// Warnings explain what doesn't go together.
	Warnings []string
}

// place is where recommendations are asked for.
type place struct {
	base dnswire.Name
	from string
	src  dnssd.Source
}

// Domains asks all at once and returns what is recommended. Nothing is not an
// error; an error says that no unicast server answered, and what else was found
// comes with it.
func (e Enumeration) Domains(ctx context.Context) (Found, error) {
	var out Found
	places := e.places(&out)
	ctx, cancel := context.WithTimeout(ctx, enumerateIn)
	defer cancel()
	domains := map[dnswire.Name]*Domain{}
	var failure error
	for _, src := range []dnssd.Source{e.Multicast, e.Unicast} {
		if src == nil {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(places), func(p place) bool { return p.src != src })
		if err := enumerate(ctx, src, mine, domains); err != nil {
			failure = err
		}
	}
	for _, d := range domains {
		slices.SortFunc(d.Kinds, func(a, b Kind) int { return cmp.Compare(slices.Index(kinds(), a), slices.Index(kinds(), b)) })
		slices.Sort(d.From)
		slices.Sort(d.Via)
		out.Domains = append(out.Domains, *d)
	}
	slices.SortFunc(out.Domains, func(a, b Domain) int { return strings.Compare(a.Name, b.Name) })
	out.warn()
	return out, failure
}

// places returns where to ask.
func (e Enumeration) places(out *Found) []place {
	var places []place
	add := func(base dnswire.Name, src dnssd.Source) {
		if src != nil && !slices.ContainsFunc(places, func(p place) bool { return p.base.Equal(base) }) && len(places) < maxDomains {
			places = append(places, place{base, base.String(), src})
		}
	}
	if n, err := dnswire.NameOf(dnssd.DefaultDomain); err == nil {
		add(n, e.Multicast)
	}
	for _, s := range e.Search {
		n, err := dnswire.ParseName(s)
		switch {
		case err != nil:
			out.Warnings = append(out.Warnings, fmt.Sprintf("the domain to search %q is none: %v", s, err))
		case Multicast(n):
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s is among the domains to search by unicast DNS, but belongs to multicast DNS: no server is asked (RFC 6762 §3)", n))
		default:
			add(n, e.Unicast)
		}
	}
	for _, p := range e.Addresses {
		if n, ok := ReverseDomain(p); ok {
			add(n, e.Unicast)
		}
	}
	return places
}

// ReverseDomain returns the domain that is made of a subnet's address (RFC 6763
// §11): for 192.0.2.7/24 it is 0.2.0.192.in-addr.arpa. false for addresses that
// mean something only on a link or on the host.
func ReverseDomain(p netip.Prefix) (dnswire.Name, bool) {
	a := p.Addr().WithZone("")
	if a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	} else {
		p = netip.PrefixFrom(a, p.Bits())
	}
	a = p.Addr()
	if !p.IsValid() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() {
		return "", false
	}
	n, err := dnssd.ReverseName(p.Masked().Addr())
	return n, err == nil && !Multicast(n)
}

// enumerate asks one source in its places.
func enumerate(ctx context.Context, src dnssd.Source, places []place, domains map[dnswire.Name]*Domain) error {
	open := map[dnswire.Name]struct {
		place
		Kind
	}{}
	feed := src.Feed(false)
	defer feed.Close()
	for _, p := range places {
		for _, k := range kinds() {
			n, err := dnswire.NameOf(append([]string{string(k), "_dns-sd", "_udp"}, slices.Collect(p.base.Labels())...)...)
			if err != nil {
				continue // longer than any server could know
			}
			open[n.Fold()] = struct {
				place
				Kind
			}{p, k}
			feed.Ask(mdns.Question{Name: n, Type: dnswire.TypePTR})
		}
	}
	whole, definite := src.(dnssd.Definite)
	waiting := len(open)
	dealt := map[dnswire.Name]bool{} // with: whether it was answered
	if !definite {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, multicastIn)
		defer cancel()
	}
	for waiting > len(dealt) || !definite && waiting > 0 {
		events, err := feed.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("unicast: domains: %w", err)
		}
		for _, ev := range events {
			n := ev.RR.Name.Fold()
			switch ev.Op {
			case mdns.OpNone, mdns.OpFailed:
				n = ev.Question.Name.Fold()
			case mdns.OpAdd:
			default:
				continue
			}
			at, mine := open[n]
			if !mine {
				continue
			}
			dealt[n] = ev.Op != mdns.OpFailed || dealt[n]
			if to, ok := ev.RR.PTR(); ok && ev.Op == mdns.OpAdd {
				recommend(domains, to, at.Kind, at.from, src.Via())
			}
		}
	}
	if !definite || waiting == 0 {
		return nil
	}
	for _, answered := range dealt {
		if answered {
			return nil
		}
	}
	return errors.Join(ErrNoAnswer, whole.Failure())
}

func recommend(domains map[dnswire.Name]*Domain, n dnswire.Name, k Kind, from, via string) {
	d := domains[n.Fold()]
	if d == nil {
		if len(domains) >= maxDomains || n == dnswire.Root {
			return
		}
		d = &Domain{Name: n.Fold().String(), Multicast: Multicast(n)}
		domains[n.Fold()] = d
	}
	if !slices.Contains(d.Kinds, k) {
		d.Kinds = append(d.Kinds, k)
	}
	if !slices.Contains(d.From, from) {
		d.From = append(d.From, from)
	}
	if !slices.Contains(d.Via, via) {
		d.Via = append(d.Via, via)
	}
}

// warn explains recommendations that don't go together.
func (f *Found) warn() {
	for _, k := range []Kind{DefaultBrowse, DefaultRegister} {
		var names []string
		for _, d := range f.Domains {
			if slices.Contains(d.Kinds, k) {
				names = append(names, d.Name+" (by "+strings.Join(d.From, ", ")+")")
			}
		}
		if len(names) > 1 {
			f.Warnings = append(f.Warnings, fmt.Sprintf("more than one domain is recommended as the default (%s): %s; all are used", k, strings.Join(names, ", ")))
		}
	}
	for _, d := range f.Domains {
		if d.Multicast && slices.Contains(d.Via, "unicast") {
			f.Warnings = append(f.Warnings, fmt.Sprintf("a DNS server recommends %s, which belongs to multicast DNS: it is looked for there alone (RFC 6762 §3)", d.Name))
		}
	}
}
