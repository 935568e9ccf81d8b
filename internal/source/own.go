package source

import (
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
)

// Service returns the sighting of a service that this node announces on a link:
// one of its own host's with the addresses that it has there, or, with here
// false, one of another machine's.
func (x Self) Service(now time.Time, s dnssd.Service, here bool) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: ProtocolSelf, Gateway: x.Gateway, Link: s.Interface}
	out := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindService, Key: Key(s.Instance.String()),
		Name: text(s.Name), Type: s.Instance.Service, Host: text(s.Host), Addresses: s.Addresses, Port: s.Port, Attributes: txt(s.TXT),
		What: "lanfolk announces " + text(s.Name) + " of type " + s.Instance.Service, State: lanfolk.Reachable,
		Time: now, Lifetime: selfLifetime,
	}
	if here {
		out.Identifiers = []lanfolk.Identifier{lanfolk.ProtocolIdentifier("lanfolk", x.ID)}
		return out
	}
	out.Identifiers = identifiers(lanfolk.MAC{}, "", text(s.Host), o)
	for _, a := range s.Addresses {
		out.Identifiers = append(out.Identifiers, lanfolk.IPIdentifier(a, o))
	}
	return out
}

// Key is what tells a DNS name in a sighting's key from others.
func Key(name string) string { return fold(name) }
