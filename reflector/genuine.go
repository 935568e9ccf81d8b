package reflector

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// genuine says whether a record comes from a host of the zone's own link, and
// isn't what another reflector copied from a link that we know, too: to hand
// that back would keep alive what is dead.
func (p *Proxy) genuine(now time.Time, z mdns.Zone, k *known) bool {
	m, ok := p.mirrors[z], true
	p.elsewhere(z, func(o mdns.Zone, other *mirror) {
		if x := other.find(k.key); x != nil && x.lives(now) && p.original(o, other, x, z, m, k) {
			ok = false
		}
	})
	return ok
}

// elsewhere calls f with each mirror of another link than the zone's, of the
// same family unless these aren't kept apart.
func (p *Proxy) elsewhere(z mdns.Zone, f func(mdns.Zone, *mirror)) {
	cross := p.reflector != nil && p.reflector.CrossFamilies
	for o, m := range p.mirrors {
		if o.Link != z.Link && (cross || o.Family == z.Family) {
			f(o, m)
		}
	}
}

// original says whether of two equal records in different zones a is the
// original and b a copy that a reflector made. The addresses of the record's
// host tell, if they are on one of the links alone. If not, copies don't live
// longer and come later; how long a record lives is told with a tolerance of
// a small part of its TTL.
func (p *Proxy) original(za mdns.Zone, ma *mirror, a *known, zb mdns.Zone, mb *mirror, b *known) bool {
	la, lb := p.links[za], p.links[zb]
	for _, m := range [...]*mirror{ma, mb} {
		for _, addr := range m.addresses(&a.rr) {
			if addr.IsLinkLocalUnicast() {
				continue
			}
			if on := la.OnLink(addr); on != lb.OnLink(addr) {
				return on
			}
		}
	}
	const part = 16
	d, same := a.expires.Sub(b.expires), time.Duration(a.rr.TTL)*time.Second/part
	return d > same || d >= -same && a.first < b.first
}

// maxRelated bounds the records of one name that are looked at.
const maxRelated = 16

// addresses returns those of the host that a record is about, as far as the
// mirror knows it.
func (m *mirror) addresses(rr *dnswire.RR) (out []netip.Addr) {
	const steps = 3 // from PTR to SRV to address
	return m.appendAddresses(nil, rr, steps)
}

func (m *mirror) appendAddresses(out []netip.Addr, rr *dnswire.RR, steps int) []netip.Addr {
	if a, ok := rr.Addr(); ok {
		return append(out, a)
	}
	name := rr.Name
	if srv, ok := rr.SRV(); ok {
		name = srv.Target
	} else if target, ok := rr.PTR(); ok {
		name = target
	}
	if steps == 0 || m == nil {
		return out
	}
	list := m.names[name.Fold()]
	for _, x := range list[:min(len(list), maxRelated)] {
		switch x.rr.Type {
		case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeSRV:
			out = m.appendAddresses(out, &x.rr, steps-1)
		}
	}
	return out
}
