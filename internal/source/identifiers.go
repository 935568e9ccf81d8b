package source

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/passive"
)

// identifiers lists what is known; zero values are left out.
func identifiers(mac lanfolk.MAC, id, host string, o lanfolk.Origin) []lanfolk.Identifier {
	var ids []lanfolk.Identifier
	if mac != (lanfolk.MAC{}) && !mac.Group() {
		ids = append(ids, lanfolk.MACIdentifier(mac, o))
	}
	if id != "" {
		ids = append(ids, lanfolk.Identifier{Kind: lanfolk.IDProtocol, Value: id})
	}
	if host != "" {
		ids = append(ids, lanfolk.HostIdentifier(host, o))
	}
	return ids
}

// addressOf lists what an address tells of the device with a MAC, the zero MAC if
// none is known. A MAC that speaks for an address made of another is a proxy's.
func addressOf(mac lanfolk.MAC, a netip.Addr, o lanfolk.Origin) []lanfolk.Identifier {
	ids := lanfolk.AddressIdentifiers(a, o)
	if len(ids) > 1 && mac != (lanfolk.MAC{}) && ids[1].Value != mac.String() {
		ids = ids[:1]
	}
	return ids
}

// idLifetime is how long an id holds that a device tells by DHCP: it does so only
// when it renews its lease, every half a day as some servers have it.
const idLifetime = 24 * time.Hour

// lasting returns a sighting that outlives the one of what a DHCP client says, and
// tells nothing but its id. It is no sign of life.
func lasting(s lanfolk.Sighting, f *passive.Fact, c passive.Claim) (lanfolk.Sighting, bool) {
	if c.ID == "" || c.MAC == (passive.MAC{}) || c.Hearsay || c.Gone || f.Protocol != passive.ProtoDHCP && f.Protocol != passive.ProtoDHCPv6 {
		return lanfolk.Sighting{}, false
	}
	return lanfolk.Sighting{
		Origin: s.Origin, Kind: s.Kind, Key: c.MAC.String() + " " + c.ID + " id", What: c.MAC.String() + " calls itself " + c.ID,
		Identifiers: identifiers(lanfolk.MAC(c.MAC), c.ID, "", s.Origin), State: lanfolk.Unreachable, Time: s.Time, Lifetime: idLifetime,
	}, true
}

// class tells the class of a destination by its hardware address.
func class(m lanfolk.MAC) lanfolk.DstClass {
	switch {
	case m == lanfolk.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return lanfolk.Broadcast
	case m.Group():
		return lanfolk.Multicast
	}
	return lanfolk.Unicast
}
