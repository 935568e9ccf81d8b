package source

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/leases"
	"github.com/lanfolk/lanfolk/packet"
)

// Leases turns what a DHCP server on this machine has given out into sightings.
// A lease is no sign of life: it says who had the address when it was renewed last.
// One goroutine at a time may use it.
type Leases struct {
	Gateway string      // this node's name, "" for a node alone
	Kind    leases.Kind // whose they are: the protocol of the sightings
	// Link returns the name of the link on which an address is, "" if it is on none that
	// is known here, and whether what is on it is to be told at all.
	Link func(netip.Addr) (name string, used bool)

	told map[string]toldLease // by key
}

// toldLease is what was told of an address.
type toldLease struct {
	lease leases.Lease
	spoke time.Time // when its client spoke with the server last, as far as is known
	link  string
	told  time.Time
}

// leaseMemory is how long ago a client may have spoken with the server to be told
// of: the inventory holds a fact for a month after it was heard.
const leaseMemory = 29 * 24 * time.Hour

// tellAgain is how long a lease that stays as it is isn't told again: a sighting
// of it holds as long as it does, but for those that end later than the inventory can hold.
const tellAgain = time.Hour

// Sightings returns what a table says at the time now that wasn't said before. changed is when the files
// were last written. A table whose lines can't all be understood takes nothing back that was told before.
func (x *Leases) Sightings(now time.Time, t leases.Table, changed time.Time) []lanfolk.Sighting {
	if x.told == nil {
		x.told = map[string]toldLease{}
	}
	if changed.IsZero() || changed.After(now) {
		changed = now
	}
	var out []lanfolk.Sighting
	stands := make(map[string]bool, len(t.Leases)) // in the table
	holds := make(map[string]bool, len(t.Leases))
	for _, l := range t.Leases {
		link, used := x.Link(l.Prefix.Addr())
		key := leaseKey(l.Prefix)
		stands[key] = true
		this := toldLease{l, x.spoke(key, l, changed), link, now}
		if !used || l.Free || this.over(now) {
			continue
		}
		if before, ok := x.told[key]; ok {
			if before.link == link && before.lease.Equal(&l) && now.Sub(before.told) < tellAgain {
				holds[key] = true
				continue
			}
			if before.link != link {
				out = append(out, x.gone(now, key, before))
			}
		}
		if s, ok := x.sighting(now, key, this); ok {
			holds[key] = true
			x.told[key] = this
			out = append(out, s)
		}
	}
	doubtful := t.Bad > 0 || t.Dropped > 0
	for _, key := range slices.Sorted(maps.Keys(x.told)) {
		before := x.told[key]
		if holds[key] || doubtful && !stands[key] && !before.over(now) {
			continue
		}
		out = append(out, x.gone(now, key, before))
	}
	return out
}

// spoke says when a lease's client spoke with the server: what the file says, or
// else when the lease was first seen as it is. The first look can only say that it was before the
// file was written.
func (x *Leases) spoke(key string, l leases.Lease, changed time.Time) time.Time {
	if l.Length > 0 && !l.Ends.IsZero() {
		return l.Ends.Add(-l.Length)
	}
	if before, ok := x.told[key]; ok && before.lease.Ends.Equal(l.Ends) && before.lease.Length == l.Length && slices.Equal(before.lease.MAC, l.MAC) {
		return before.spoke
	}
	return changed
}

// end is when a lease runs out, zero for never.
func (l *toldLease) end() time.Time {
	switch {
	case l.lease.Forever():
		return time.Time{}
	case l.lease.Ends.IsZero():
		return l.spoke.Add(l.lease.Length)
	}
	return l.lease.Ends
}

// over says whether a lease has run out.
func (l *toldLease) over(now time.Time) bool {
	end := l.end()
	return !end.IsZero() && !end.After(now)
}

func leaseKey(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (x *Leases) origin(link string) lanfolk.Origin {
	return lanfolk.Origin{Protocol: string(x.Kind), Gateway: x.Gateway, Link: link}
}

// sighting tells of a lease; ok is false for one that names no client.
func (x *Leases) sighting(now time.Time, key string, l toldLease) (lanfolk.Sighting, bool) {
	o := x.origin(l.link)
	host := strings.TrimSuffix(text(l.lease.Host), ".")
	id := duid(l.lease.DUID)
	if id == "" {
		id = clientDUID(l.lease.ClientID)
	}
	var mac lanfolk.MAC
	copy(mac[:], l.lease.MAC)
	s := lanfolk.Sighting{
		Origin: o, Kind: lanfolk.KindDevice, Key: key, Name: bareName(host), Host: host,
		Identifiers: identifiers(mac, id, host, o), State: lanfolk.Unknown,
		Time: l.spoke, Attributes: map[string]string{},
	}
	if len(l.lease.ClientID) > 0 {
		s.Attributes["client_id"] = hex.EncodeToString(l.lease.ClientID)
	}
	if len(l.lease.DUID) > 0 {
		s.Attributes["duid"] = hex.EncodeToString(l.lease.DUID)
	}
	who := mac.String()
	if mac == (lanfolk.MAC{}) {
		who = id
	}
	if who == "" {
		who = host
	}
	if who == "" {
		return s, false
	}
	s.What = string(x.Kind) + " leases " + key + " to " + who
	if host != "" && who != host {
		s.What += ", named " + host
	}
	if a := l.lease.Prefix; a.IsSingleIP() {
		s.Addresses = []netip.Addr{a.Addr()}
		s.Identifiers = append(s.Identifiers, lanfolk.IPIdentifier(a.Addr(), o))
	} else {
		s.Attributes["prefix"] = key
	}
	if oldest := now.Add(-leaseMemory); s.Time.Before(oldest) {
		s.Time = oldest
	}
	if s.Time.After(now) {
		s.Time = now
	}
	s.Lifetime = 2 * leaseMemory // what never ends holds as long as the inventory allows, and is told again
	if end := l.end(); !end.IsZero() {
		s.Lifetime = until(s.Time, end)
	}
	return s, true
}

// gone takes back what was told.
func (x *Leases) gone(now time.Time, key string, before toldLease) lanfolk.Sighting {
	delete(x.told, key)
	return lanfolk.Sighting{Origin: x.origin(before.link), Kind: lanfolk.KindDevice, Key: key, State: lanfolk.Unknown, Time: now, Gone: true,
		What: string(x.Kind) + " leases " + key + " no more"}
}

// LinkOf finds the link on whose subnet an address is, the narrowest of several. A port of a bridge
// counts as the bridge, where hosts are heard.
func LinkOf(all []packet.Link, a netip.Addr) (packet.Link, bool) {
	var best packet.Link
	bits := -1
	for _, l := range all {
		for _, p := range l.Prefixes {
			if p.Masked().Contains(a) && p.Bits() > bits {
				best, bits = l, p.Bits()
			}
		}
	}
	return best, bits >= 0
}

// The bounds of a DUID (RFC 8415 §11), in bytes.
const minDUID, maxDUID = 6, 130

// duid returns "duid:" and the digits of a DUID of a kind that is unique in the
// world, else "": the same as passive monitoring makes of a packet.
func duid(b []byte) string {
	if len(b) < minDUID || len(b) > maxDUID {
		return ""
	}
	if t := binary.BigEndian.Uint16(b); t < 1 || t > 4 || same(b[2:], 0) || same(b[2:], 0xff) {
		return ""
	}
	return "duid:" + hex.EncodeToString(b)
}

// clientDUID returns the DUID in a client id of RFC 4361 §6.1: type 255, 4 bytes
// that tell the client's interfaces apart, DUID.
func clientDUID(id []byte) string {
	if len(id) < 5 || id[0] != 255 {
		return ""
	}
	return duid(id[5:])
}

func same(b []byte, c byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x != c })
}
