package source

import (
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/packet"
)

// ProtocolSelf is the protocol of what a node knows of itself.
const ProtocolSelf = "self"

// Self turns what a node knows of its own host into sightings, so that it
// stands in the inventory with a name like everybody else.
type Self struct {
	Gateway string // this node's name, "" for a node alone
	Name    string // the host's name
	ID      string // this node's own, unique in the world: it joins the host's links
}

// selfLifetime is how long what Link says holds; it is said anew in half of it.
const selfLifetime = 10 * time.Minute

// Link returns the sighting of the host on one of its links. all are the links
// that the node uses: two of them may be joined outside, and then the host's own
// address is heard on the other one, too.
func (x Self) Link(now time.Time, l packet.Link, all []packet.Link) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: ProtocolSelf, Gateway: x.Gateway, Link: l.Name}
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindGateway, Key: l.Name, Name: x.Name, Host: x.Name,
		What: "lanfolk runs here", State: lanfolk.Reachable, Time: now, Lifetime: selfLifetime,
	}
	var mac lanfolk.MAC
	if len(l.MAC) == len(mac) {
		mac = lanfolk.MAC(l.MAC)
	}
	s.Identifiers = append(identifiers(mac, "", "", o), lanfolk.ProtocolIdentifier("lanfolk", x.ID))
	for _, other := range all {
		if other.Name != l.Name && mac.Local() {
			s.Identifiers = append(s.Identifiers, lanfolk.MACIdentifier(mac, lanfolk.Origin{Gateway: x.Gateway, Link: other.Name}))
		}
	}
	for _, p := range l.Prefixes {
		s.Addresses = append(s.Addresses, p.Addr())
		s.Identifiers = append(s.Identifiers, lanfolk.IPIdentifier(p.Addr(), o))
	}
	return s
}
