package syncthing

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// LocalLifetime is how long a device that was heard on the local network counts as
// there: three of the longest intervals between its announcements.
const LocalLifetime = 3 * time.Minute

// refreshEvery is how often a [Listener] tells at most that a device was heard again.
const refreshEvery = 10 * time.Second

// Bounds of what is remembered of one link. Who comes when there is no more room isn't heard
// until others are gone.
const (
	maxHeard           = 4096
	maxHeardFromSource = 64 // of one address: itself, its extras, and others behind it
)

// Heard is what was said of a device on a link. The same device is heard several times if it
// speaks by IPv4 and by IPv6, or if others speak of it.
type Heard struct {
	ID DeviceID
	// Addresses are as they were announced: whatever they are good for. In the place of one without
	// an IP there is that of Source. A link-local one of IPv6 has the link's name as its zone.
	Addresses []netip.AddrPort
	Source    netip.AddrPort // whose packet it was; any port
	Link      packet.Link    // on which link
	Extra     bool           // it was another device that said so: hearsay
}

// EventKind says what happened to what was heard.
type EventKind uint8

// The kinds of events.
const (
	Appeared  EventKind = iota // it is heard for the first time
	Changed                    // it has other addresses now
	Gone                       // it wasn't heard for LocalLifetime, or its link is gone
	Refreshed                  // it was heard again, with the same addresses; see Listener.Refreshes
)

// String returns "appeared", "changed", "gone" or "refreshed".
func (k EventKind) String() string {
	return [...]string{"appeared", "changed", "gone", "refreshed"}[k]
}

// Event is a change of what is heard.
type Event struct {
	Kind  EventKind
	Heard Heard
}

// hearing is what was heard on all links. It is told the time.
type hearing struct {
	entries map[hearingKey]*entry
	links   map[int]int          // how many entries there are of a link
	sources map[sourceOnLink]int // and of an address on it
}

type sourceOnLink struct {
	link int
	addr netip.Addr
}

type hearingKey struct {
	sourceOnLink
	id    DeviceID
	extra bool
}

type entry struct {
	Heard
	until time.Time
	told  time.Time // when the last event of it was
}

func newHearing() *hearing {
	return &hearing{entries: map[hearingKey]*entry{}, links: map[int]int{}, sources: map[sourceOnLink]int{}}
}

// put takes in an announcement. It returns what changed, and how much of it there
// was no room for.
func (h *hearing) put(now time.Time, link *packet.Link, src netip.AddrPort, a *Announcement) (events []Event, full int) {
	one := func(d *Device, extra bool) {
		key := hearingKey{sourceOnLink{link.Index, src.Addr()}, d.ID, extra}
		heard := Heard{ID: d.ID, Addresses: local(d.Addresses, src.Addr(), link.Name), Source: src, Link: *link, Extra: extra}
		e := h.entries[key]
		switch {
		case e == nil && (h.links[link.Index] >= maxHeard || h.sources[key.sourceOnLink] >= maxHeardFromSource):
			full++
			return
		case e == nil:
			e = &entry{}
			h.entries[key] = e
			h.links[link.Index]++
			h.sources[key.sourceOnLink]++
			events, e.told = append(events, Event{Appeared, heard}), now
		case !slices.Equal(e.Addresses, heard.Addresses):
			events, e.told = append(events, Event{Changed, heard}), now
		case now.Sub(e.told) >= refreshEvery:
			events, e.told = append(events, Event{Refreshed, heard}), now
		}
		e.Heard, e.until = heard, now.Add(LocalLifetime)
	}
	one(&a.Device, false)
	for i := range a.Extra {
		one(&a.Extra[i], true)
	}
	return events, full
}

// advance forgets what is too old, and what was heard on links that there says are
// no more.
func (h *hearing) advance(now time.Time, there func(link int) bool) (events []Event) {
	for key, e := range h.entries {
		if e.until.After(now) && there(key.link) {
			continue
		}
		delete(h.entries, key)
		subtract(h.links, key.link)
		subtract(h.sources, key.sourceOnLink)
		events = append(events, Event{Gone, e.Heard})
	}
	slices.SortFunc(events, func(a, b Event) int { return slices.Compare(a.Heard.ID[:], b.Heard.ID[:]) })
	return events
}

// subtract keeps no zeroes.
func subtract[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}

// local returns addresses as Heard has them.
func local(all []netip.AddrPort, src netip.Addr, zone string) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(all))
	for _, a := range all {
		ip := a.Addr()
		if !ip.IsValid() {
			ip = src
		}
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(zone)
		}
		out = append(out, netip.AddrPortFrom(ip, a.Port()))
	}
	return out
}
