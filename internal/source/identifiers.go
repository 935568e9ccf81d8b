package source

import (
	"github.com/lanfolk/lanfolk"
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
