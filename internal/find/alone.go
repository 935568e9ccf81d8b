package find

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk"
)

// fresh is for how long an answer says that the thing is there. What was heard before
// the search says only that it was.
const fresh = time.Minute

// alone makes an answer of a sighting without an inventory: ids stay empty.
func alone(s lanfolk.Sighting) Answer {
	state := s.State
	switch state {
	case "", lanfolk.Unknown:
		if s.Time.IsZero() || time.Since(s.Time) < fresh {
			state = lanfolk.Reachable // it has just answered
		}
	case lanfolk.Lost:
		state = lanfolk.Unknown
	case lanfolk.Reachable, lanfolk.Unreachable:
	}
	addresses := s.Addresses
	if addresses == nil {
		addresses = []netip.Addr{}
	}
	if s.Kind == lanfolk.KindService {
		attributes := s.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		return Answer{Service: &lanfolk.Service{
			Name: s.Name, Type: s.Type, Protocol: s.Origin.Protocol, Host: s.Host,
			Addresses: addresses, Port: s.Port, Attributes: attributes, State: state,
			Interface: s.Origin.Link, Gateway: s.Origin.Gateway,
			FirstSeen: s.Time, LastSeen: s.Time, Expires: s.Expires(),
		}}
	}
	d := &lanfolk.Device{
		Aliases: []string{}, Names: []string{}, MACs: []lanfolk.MAC{}, Addresses: addresses,
		State: state, Protocols: []string{s.Origin.Protocol}, Services: []*lanfolk.Service{},
		Gateway: s.Origin.Gateway, Tags: []string{}, Separated: []lanfolk.Identifier{}, FirstSeen: s.Time, LastSeen: s.Time,
	}
	if s.Name != "" {
		d.Names = append(d.Names, s.Name)
	}
	for _, id := range s.Identifiers {
		if id.Kind != lanfolk.IDMAC {
			continue
		}
		if mac, err := lanfolk.ParseMAC(id.Value); err == nil {
			d.MACs = append(d.MACs, mac)
		}
	}
	d.RandomMAC = randomMAC(d.MACs)
	return Answer{Device: d}
}

// randomMAC says whether there are MACs, and all are locally administered.
func randomMAC(macs []lanfolk.MAC) bool {
	return len(macs) > 0 && !slices.ContainsFunc(macs, func(m lanfolk.MAC) bool { return !m.Local() })
}
