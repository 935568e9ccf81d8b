package passive

import "net/netip"

// neighbour is who is said to be on the link: an address, and the MAC that it is at.
type neighbour struct {
	addr netip.Addr
	mac  MAC
	vlan uint16
}

// neighbours are those that ARP and neighbour discovery told of, where no subnet is
// known. Of a MAC that is said to have many addresses none is believed: it
// answers for others, which are behind it.
type neighbours struct {
	known map[neighbour]struct{}
	count map[MAC]int
}

const (
	maxNeighbours = 1 << 16 // beyond it all are learnt anew
	maxOwned      = 8       // addresses that a host may have, of both families
)

// learn takes in what a host says of itself.
func (t *neighbours) learn(n neighbour) {
	if _, there := t.known[n]; there || !n.addr.IsValid() || n.addr.IsUnspecified() || n.addr.IsLinkLocalUnicast() {
		return
	}
	if t.known == nil || len(t.known) >= maxNeighbours {
		t.known, t.count = make(map[neighbour]struct{}), make(map[MAC]int)
	}
	t.known[n] = struct{}{}
	t.count[n.mac]++
}

func (t *neighbours) has(n neighbour) bool {
	_, there := t.known[n]
	return there && t.count[n.mac] <= maxOwned
}

// routed says whether a TTL or hop limit is one that hosts begin with, less one
// or two: then a router passed the packet on, and be it within the subnet, as
// relays do that join wireless parts of a network.
func routed(ttl uint8) bool {
	switch ttl {
	case 62, 63, 126, 127, 253, 254:
		return true
	}
	return false
}

// learn remembers the neighbour that a claim of ARP or neighbour discovery tells of.
func (d *Decoder) learn(c *context, claim Claim) {
	if d.options.OnLink == nil && !claim.Hearsay && !claim.Gone && claim.MAC == c.srcMAC {
		d.neighbours.learn(neighbour{claim.IP, claim.MAC, c.vlan})
	}
}
