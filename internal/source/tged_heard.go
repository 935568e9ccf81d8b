package source

import (
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/tged"
)

const (
	// tgedTold is how often an asker is told of anew.
	tgedTold = 30 * time.Second
	// maxTGEDAskers bounds the askers that are remembered for it.
	maxTGEDAskers = 4096
)

// TGEDHeard turns requests of others into observations, who asked for what, and the
// askers into sightings. Record and Observe must be set. Hear may be called from any goroutine.
type TGEDHeard struct {
	Gateway string // this node's name, "" for a node alone
	// Own says whether an address is this machine's: what is asked here isn't news.
	Own func(netip.Addr) bool
	// MAC knows neighbours by their link's index and address; nil: nobody does.
	MAC     func(link int, host netip.Addr) (net.HardwareAddr, bool)
	Record  func(...lanfolk.Observation)
	Observe func(...lanfolk.Sighting)

	mu    sync.Mutex
	told  map[tgedAsker]time.Time
	swept time.Time // when told was last looked through
}

type tgedAsker struct {
	link int
	addr netip.Addr
}

// Hear takes over a request.
func (x *TGEDHeard) Hear(now time.Time, q tged.Request) {
	src, service := q.Src.Addr().Unmap(), string(q.Service)
	if tged.CheckName(service) != nil || x.Own != nil && x.Own(src) {
		return
	}
	name := capitals(service)
	o := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Gateway: x.Gateway, Link: q.Link.Name, Protocol: ProtocolTGED, Query: name,
			DstMAC: lanfolk.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, DstClass: lanfolk.Broadcast,
		},
		SrcIP: src, DstIP: q.Dst.Addr().Unmap(), First: now, Last: now, Count: 1,
	}
	if x.MAC != nil {
		if mac, ok := x.MAC(q.Link.Index, src); ok && len(mac) == len(o.SrcMAC) {
			o.SrcMAC = lanfolk.MAC(mac)
		}
	}
	if q.Link.Has(o.DstIP) {
		o.DstMAC, o.DstClass = lanfolk.MAC{}, lanfolk.Unicast
		if len(q.Link.MAC) == len(o.DstMAC) {
			o.DstMAC = lanfolk.MAC(q.Link.MAC)
		}
	}
	x.Record(o)
	if x.due(now, tgedAsker{q.Link.Index, src}) {
		x.Observe(x.asker(now, q, src, name))
	}
}

// asker returns the sighting of a device that asks.
func (x *TGEDHeard) asker(now time.Time, q tged.Request, src netip.Addr, name string) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: ProtocolTGED, Gateway: x.Gateway, Link: q.Link.Name, Source: src.String()}
	return lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice, Key: "asker " + src.String(), Addresses: []netip.Addr{src},
		Identifiers: []lanfolk.Identifier{lanfolk.IPIdentifier(src, o)},
		What:        src.String() + " asked where " + name + " is", State: lanfolk.Reachable, Time: now, Lifetime: lanfolk.DefaultLifetime,
	}
}

// due says whether an asker is to be told of, and notes that he is.
func (x *TGEDHeard) due(now time.Time, a tgedAsker) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	last, known := x.told[a]
	if known && now.Sub(last) < tgedTold {
		return false
	}
	if x.told == nil {
		x.told = map[tgedAsker]time.Time{}
	}
	if !known && len(x.told) >= maxTGEDAskers {
		// A flood of made-up askers isn't to cost a look at all of them each.
		if now.Sub(x.swept) >= time.Second {
			x.swept = now
			maps.DeleteFunc(x.told, func(_ tgedAsker, t time.Time) bool { return now.Sub(t) >= tgedTold })
		}
		if len(x.told) >= maxTGEDAskers {
			return false // made up, most of them
		}
	}
	x.told[a] = now
	return true
}
