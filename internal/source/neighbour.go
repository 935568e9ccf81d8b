package source

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/lan"
)

// Neighbours turns the kernel's neighbour table into sightings.
type Neighbours struct {
	Gateway string // this node's name, "" for a node alone
	// Interface returns the name of the link with an index, "" for one that
	// isn't used.
	Interface func(index int) string
}

// Sighting returns what a row tells at the time now, and whether it tells of a
// device: a row without a MAC doesn't.
func (ns Neighbours) Sighting(now time.Time, n lan.Neighbour) (lanfolk.Sighting, bool) {
	link := ns.Interface(n.Link)
	if link == "" || len(n.MAC) != 6 || !n.IP.IsValid() || n.IP.IsMulticast() {
		return lanfolk.Sighting{}, false
	}
	mac := lanfolk.MAC(n.MAC)
	if mac == (lanfolk.MAC{}) || mac.Group() {
		return lanfolk.Sighting{}, false
	}
	protocol := "arp"
	if n.IP.Is6() {
		protocol = "ndp"
	}
	o := lanfolk.Origin{Protocol: protocol, Gateway: ns.Gateway, Link: link, Source: n.IP.String()}
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice, Type: lanfolk.TypeAnswer, // as the kernel asked for it
		// Not the key of what capture hears by the same protocol: the kernel
		// keeps its rows after the device has fallen silent.
		Key:         mac.String() + " " + n.IP.String() + " kernel",
		Addresses:   oneAddr(n.IP),
		Identifiers: append(identifiers(mac, "", "", o), addressOf(mac, n.IP, o)...),
		What:        "the kernel's table says that " + n.IP.String() + " is at " + mac.String(),
		State:       lanfolk.Unknown, // it was right once
		Time:        now, Lifetime: neighbourLifetime,
		Gone: n.State == lan.NeighbourGone || n.State == lan.NeighbourFailed,
	}
	if n.State == lan.NeighbourReachable {
		s.State = lanfolk.Reachable
	}
	return s, true
}

// oneAddr returns a list of one address, without its zone.
func oneAddr(a netip.Addr) []netip.Addr { return []netip.Addr{a.Unmap().WithZone("")} }
