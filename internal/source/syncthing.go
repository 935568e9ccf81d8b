package source

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/syncthing"
)

// ProtocolSyncthing is the name of Syncthing's discovery in sightings, and the type of
// the services that it tells of.
const ProtocolSyncthing = "syncthing"

// Syncthing keeps who announces itself on the links, as a syncthing.Listener bounds it, and
// tells it as sightings:
//
//   - of the device, one for each host that speaks of it. The ID is its strong
//     identifier, the address from which it announces itself a weak one. Of
//     what others say of it (hearsay) there is no address to go by, for they
//     could join it with whatever host they like;
//   - of a service on each port that it announces, with its addresses there; from
//     hearsay only while the device itself isn't heard.
//
// Nobody signs announcements: whoever speaks may be anyone. So each piece of evidence says
// whose word it is, and of one hardware address it is told of syncthingTied devices at most that
// they have it: who makes up IDs by the thousand is not to undo what others are known by.
//
// The zero Syncthing is ready for use. Its methods may be called from any goroutine.
type Syncthing struct {
	Gateway string // this node's name, "" for a node alone
	// MAC knows neighbours by their link's index and address; nil: nobody does.
	MAC func(link int, host netip.Addr) (net.HardwareAddr, bool)

	mu      sync.Mutex
	devices map[syncthingKey]*syncthingDevice
	tied    map[lanfolk.MAC]map[syncthing.DeviceID]int // how many words tie them
	changed chan struct{}                              // closed by the next event; nil while nobody waits
}

type syncthingKey struct {
	id   syncthing.DeviceID
	link string
}

// syncthingWords is of how many hosts at most what they say of a device on a link counts for its services: a
// device has some addresses, and the same false name from ever more made-up sources must not cost ever more.
const syncthingWords = 8

// syncthingTied is of how many devices at most a hardware address is told: a machine runs one
// Syncthing, or one for each of a few users.
const syncthingTied = 4

// syncthingDevice is what is said of a device on a link.
type syncthingDevice struct {
	said  []syncthingWord // the one that was heard first comes first; at most syncthingWords
	ports []uint16        // of the services that were told of
}

// syncthingWord is what one host says.
type syncthingWord struct {
	syncthing.Heard
	at  time.Time
	mac lanfolk.MAC // from where, the zero MAC if that isn't known or not to be told
}

// Feed hears until run returns, which it hands what to call with each event, and tells what
// is heard. It forgets what an earlier run heard.
func (x *Syncthing) Feed(run func(event func(syncthing.Event)) error, observe func(...lanfolk.Sighting)) error {
	x.mu.Lock()
	x.devices, x.tied = nil, nil
	x.mu.Unlock()
	return run(func(e syncthing.Event) { observe(x.Event(time.Now(), e)...) })
}

// Event takes in an event and returns what it tells. Of a device that falls silent it tells
// nothing: the last sightings run out.
func (x *Syncthing) Event(now time.Time, e syncthing.Event) []lanfolk.Sighting {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed != nil {
		close(x.changed)
		x.changed = nil
	}
	h := e.Heard
	key := syncthingKey{h.ID, h.Link.Name}
	d := x.devices[key]
	if d == nil {
		if e.Kind == syncthing.Gone {
			return nil
		}
		if x.devices == nil {
			x.devices = map[syncthingKey]*syncthingDevice{}
		}
		d = &syncthingDevice{}
		x.devices[key] = d
	}
	i := slices.IndexFunc(d.said, func(w syncthingWord) bool { return w.Source.Addr() == h.Source.Addr() && w.Extra == h.Extra })
	switch {
	case e.Kind == syncthing.Gone:
		if i >= 0 {
			x.untie(d.said[i])
			d.said = slices.Delete(d.said, i, i+1)
		}
		if len(d.said) == 0 {
			delete(x.devices, key)
			return nil
		}
		return x.services(now, d)
	case i >= 0:
		d.said[i].Heard, d.said[i].at = h, now
	case !d.add(syncthingWord{Heard: h, at: now}):
		return []lanfolk.Sighting{x.device(syncthingWord{Heard: h, at: now})}
	default:
		i = len(d.said) - 1
	}
	x.tie(&d.said[i])
	return append([]lanfolk.Sighting{x.device(d.said[i])}, x.services(now, d)...)
}

// tie notes which hardware address the word came from, if that is to be told.
func (x *Syncthing) tie(w *syncthingWord) {
	if w.Extra || x.MAC == nil {
		return
	}
	found, ok := x.MAC(w.Link.Index, bare(w.Source.Addr()))
	if !ok || len(found) != len(w.mac) || lanfolk.MAC(found) == w.mac {
		return // what was known before holds: the kernel forgets who is silent for a while
	}
	x.untie(*w)
	w.mac = lanfolk.MAC{}
	mac := lanfolk.MAC(found)
	ids := x.tied[mac]
	if _, known := ids[w.ID]; !known && len(ids) >= syncthingTied {
		return
	}
	if ids == nil {
		if x.tied == nil {
			x.tied = map[lanfolk.MAC]map[syncthing.DeviceID]int{}
		}
		ids = map[syncthing.DeviceID]int{}
		x.tied[mac] = ids
	}
	ids[w.ID]++
	w.mac = mac
}

// untie forgets what tie noted.
func (x *Syncthing) untie(w syncthingWord) {
	ids := x.tied[w.mac]
	if ids == nil {
		return
	}
	if ids[w.ID]--; ids[w.ID] <= 0 {
		delete(ids, w.ID)
	}
	if len(ids) == 0 {
		delete(x.tied, w.mac)
	}
}

// add adds what one more host says, if there is room: who came first stays, but for hearsay, which makes
// room for the device itself.
func (d *syncthingDevice) add(w syncthingWord) bool {
	if len(d.said) >= syncthingWords {
		i := slices.IndexFunc(d.said, func(w syncthingWord) bool { return w.Extra })
		if i < 0 || w.Extra {
			return false
		}
		d.said = slices.Delete(d.said, i, i+1)
	}
	d.said = append(d.said, w)
	return true
}

// Len returns how many devices are heard now, or heard of.
func (x *Syncthing) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := make(map[syncthing.DeviceID]struct{}, len(x.devices))
	for key := range x.devices {
		ids[key.id] = struct{}{}
	}
	return len(ids)
}

// Known returns what is heard of a device now, services first, and whether it is heard itself. The
// channel is closed when something else is heard.
func (x *Syncthing) Known(id syncthing.DeviceID) (all []lanfolk.Sighting, itself bool, changed <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed == nil {
		x.changed = make(chan struct{})
	}
	var devices []lanfolk.Sighting
	for key, d := range x.devices {
		if key.id != id {
			continue
		}
		all = append(all, x.current(d)...)
		for _, w := range d.said {
			devices = append(devices, x.device(w))
			itself = itself || !w.Extra
		}
	}
	for _, s := range [][]lanfolk.Sighting{all, devices} {
		slices.SortFunc(s, func(a, b lanfolk.Sighting) int {
			return cmp.Or(cmp.Compare(a.Origin.Link, b.Origin.Link), cmp.Compare(a.Key, b.Key))
		})
	}
	return append(all, devices...), itself, x.changed
}

func (x *Syncthing) origin(h *syncthing.Heard) lanfolk.Origin {
	return lanfolk.Origin{Protocol: ProtocolSyncthing, Gateway: x.Gateway, Link: h.Link.Name, Source: bare(h.Source.Addr()).String()}
}

// device is the sighting of a device by what one host says.
func (x *Syncthing) device(w syncthingWord) lanfolk.Sighting {
	h := &w.Heard
	o := x.origin(h)
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice, Key: h.ID.String() + " by " + o.Source,
		Identifiers: []lanfolk.Identifier{syncthingIdentifier(h.ID)},
		What:        o.Source + " announces " + h.ID.Short() + atAddresses(h.Addresses),
		State:       lanfolk.Reachable, Time: w.at, Lifetime: syncthing.LocalLifetime,
	}
	if h.Extra {
		s.Key += " hearsay"
		s.What = "hearsay: " + o.Source + " says of " + h.ID.Short() + " that it is" + atAddresses(h.Addresses)
		s.State = lanfolk.Unreachable // it wasn't heard itself: no sign of life
	} else {
		if w.mac != (lanfolk.MAC{}) {
			s.Identifiers = append(s.Identifiers, lanfolk.MACIdentifier(w.mac, o))
		}
		s.Identifiers = append(s.Identifiers, lanfolk.IPIdentifier(h.Source.Addr(), o))
		s.Addresses = oneAddr(h.Source.Addr())
	}
	for _, a := range h.Addresses {
		if ip := bare(a.Addr()); hostOn(ip, h) && !slices.Contains(s.Addresses, ip) {
			s.Addresses = append(s.Addresses, ip)
		}
	}
	return s
}

// services are the sightings of a device's services on a link, and of the end of those that it
// no longer has.
func (x *Syncthing) services(now time.Time, d *syncthingDevice) []lanfolk.Sighting {
	all := x.current(d)
	was := d.ports
	d.ports = nil
	for _, s := range all {
		d.ports = append(d.ports, s.Port)
	}
	for _, port := range was {
		if !slices.Contains(d.ports, port) {
			gone := x.service(d.said[:1], port)
			gone.Time, gone.Gone = now, true
			all = append(all, gone)
		}
	}
	return all
}

// current are the sightings of a device's services by what was said last: by itself, or else
// by others. One that announces no address that could be a host's has a service without a port,
// so that it is seen.
func (x *Syncthing) current(d *syncthingDevice) []lanfolk.Sighting {
	said := slices.DeleteFunc(slices.Clone(d.said), func(w syncthingWord) bool { return w.Extra })
	if len(said) == 0 {
		said = d.said
	}
	var ports []uint16
	for _, w := range said {
		for _, a := range w.Addresses {
			if hostOn(bare(a.Addr()), &w.Heard) && !slices.Contains(ports, a.Port()) {
				ports = append(ports, a.Port())
			}
		}
	}
	if len(ports) == 0 {
		ports = []uint16{0}
	}
	out := make([]lanfolk.Sighting, len(ports))
	for i, port := range ports {
		out[i] = x.service(said, port)
	}
	return out
}

// service is the sighting of a device's service on a port.
func (x *Syncthing) service(said []syncthingWord, port uint16) lanfolk.Sighting {
	first := &said[0].Heard
	s := syncthingService(first.ID, port)
	s.Origin, s.State, s.Time, s.Lifetime = x.origin(first), lanfolk.Reachable, said[0].at, syncthing.LocalLifetime
	for _, w := range said {
		if w.at.After(s.Time) {
			s.Time = w.at
		}
		for _, a := range w.Addresses {
			if ip := bare(a.Addr()); a.Port() == port && hostOn(ip, &w.Heard) && !slices.Contains(s.Addresses, ip) {
				s.Addresses = append(s.Addresses, ip)
			}
		}
		if port == 0 && !w.Extra && !slices.Contains(s.Addresses, bare(w.Source.Addr())) {
			s.Addresses = append(s.Addresses, bare(w.Source.Addr()))
		}
	}
	s.What = first.ID.Short() + " takes connections" + onPort(port)
	if first.Extra {
		s.State = lanfolk.Unreachable
		s.Attributes["hearsay"] = "said by " + s.Origin.Source
		s.What = "hearsay: " + s.What
	}
	return s
}

// syncthingService is what the sightings of a service have in common, however it was heard of.
func syncthingService(id syncthing.DeviceID, port uint16) lanfolk.Sighting {
	return lanfolk.Sighting{
		Kind: lanfolk.KindService, Key: id.String() + " " + strconv.Itoa(int(port)),
		Name: id.Short(), Type: ProtocolSyncthing, Port: port,
		Attributes:  map[string]string{"device_id": id.String()},
		Identifiers: []lanfolk.Identifier{syncthingIdentifier(id)},
	}
}

func syncthingIdentifier(id syncthing.DeviceID) lanfolk.Identifier {
	return lanfolk.ProtocolIdentifier(ProtocolSyncthing, id.String())
}

func onPort(port uint16) string {
	if port == 0 {
		return ", but doesn't say where"
	}
	return " on port " + strconv.Itoa(int(port))
}

// atAddresses says for people where a device is: " at 192.0.2.7:22000, …".
func atAddresses(all []netip.AddrPort) string {
	const most = 3
	if len(all) == 0 {
		return ", nowhere"
	}
	var b strings.Builder
	for i, a := range all[:min(len(all), most)] {
		b.WriteString([...]string{" at ", ", "}[min(i, 1)])
		b.WriteString(netip.AddrPortFrom(bare(a.Addr()), a.Port()).String())
	}
	if more := len(all) - most; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// bare is an address as sightings hold it.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// hostOn says whether an announced address could be a host's that others reach from the link where
// that was heard.
func hostOn(a netip.Addr, h *syncthing.Heard) bool {
	return hostAddress(a) && !slices.Contains(lan.DirectedBroadcasts(h.Link), a)
}

// hostAddress says whether others could reach a host by an address.
func hostAddress(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return false
	}
	const thisNetwork, reserved = 0, 240 // 0.0.0.0/8, 240.0.0.0/4 with the broadcast address
	return !a.Is4() || a.As4()[0] != thisNetwork && a.As4()[0] < reserved
}
