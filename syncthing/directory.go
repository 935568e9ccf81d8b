package syncthing

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
)

// Lifetime is how long a server remembers an address that isn't announced again.
const Lifetime = 60 * time.Minute

// Defaults of a [Directory].
const (
	DefaultMaxDevices   = 1 << 20
	DefaultMaxAddresses = 4 << 20
)

// Announcements of one device that count: some at once, and then one a second.
// A device says the same every half an hour, to each server and by IPv4 and by IPv6.
const (
	deviceBurst = 10
	deviceEvery = time.Second
)

// Directory is what a global server knows: devices and their addresses, each
// with the time when it was announced last. It is told the time, which may not go back.
//
// A device has at most [MaxAddresses], and the newest stay. All of it together is bounded:
// where there is no more room, devices that are known already stay and can be
// announced anew, and others aren't taken in until some are forgotten. (The other
// way round a flood of made-up devices would drive out the real ones.)
//
// A device takes some 70 bytes and each of its addresses 28, and none of that is
// given back. The zero Directory is empty and ready for use. It isn't safe for concurrent use, but for
// Get, Has and Len, which may run beside each other.
type Directory struct {
	// MaxDevices and MaxAddresses bound all that is kept; 0 means DefaultMaxDevices and
	// DefaultMaxAddresses.
	MaxDevices, MaxAddresses int
	// Unlimited takes in as many announcements of one device as come.
	Unlimited bool
	// Pin takes in what a device announces only from the prefix, /24 of IPv4 or /64 of
	// IPv6, that it was first announced from: see Conflict.
	Pin bool

	epoch     time.Time // tick 0
	now       uint32
	index     index
	devices   slab[record]
	addresses slab[address]
	pins      pins   // of devices, by their number
	newest    uint32 // devices, in the order of their last announcement
	oldest    uint32
	marks     [tails]uint32 // the oldest devices that tails haven't handed out; 0 if they have all
}

// tick is the resolution of times. They are counted in 32 bits, which last for 13 years,
// and then begin anew: only differences count.
const tick = 100 * time.Millisecond

// record is a device. Numbers of records and addresses are those of the slabs, 0 is none.
type record struct {
	id           DeviceID
	newer, older uint32 // devices
	first        uint32 // its addresses, newest first; never none
	paid         uint32 // up to when its announcements are paid for (see limiter)
}

// address is one of a device's.
type address struct {
	endpoint
	seen uint32 // when it was announced last
	next uint32
}

// endpoint is an IP and a port. IPv4 is in its IPv6 form, which no announcement brings.
type endpoint struct {
	ip   [16]byte
	port uint16
}

// Outcome is what became of an announcement.
type Outcome uint8

// The outcomes of [Directory.Put].
const (
	Stored  Outcome = iota
	Nothing         // no address that could be kept
	Limited         // more announcements of that device than count
	Full            // no room for another device
	// Conflict is an announcement from another prefix than the device's, which Pin
	// tells apart. IPv4 and IPv6 have each a prefix of their own, and the first
	// announcement by each counts. A device keeps its prefixes until it is forgotten: one
	// that moves has to wait for that.
	Conflict
)

// Put takes in what a device announced from src. Addresses without an IP get src's;
// those that are no host's are left out (unspecified, multicast, broadcast), and so are
// loopback ones unless src is one, too. Addresses that the device announced earlier stay behind
// the new ones until they are too old or too many.
func (d *Directory) Put(now time.Time, device *Device, src netip.Addr) Outcome {
	d.setTime(now)
	hash := d.index.hash(&device.ID)
	return d.put(device, src, hash, d.number(hash, &device.ID))
}

// put is Put for a device whose hash and number are known; the latter is 0 for one that is new.
func (d *Directory) put(device *Device, src netip.Addr, hash uint64, i uint32) Outcome {
	var all [MaxAddresses]address
	n := 0
	for _, a := range device.Addresses {
		if e, ok := resolve(a, src); ok && n < len(all) && !has(all[:n], e) {
			all[n] = address{endpoint: e, seen: d.now}
			n++
		}
	}
	if n == 0 {
		return Nothing
	}
	known := i != 0
	if !known {
		if i = d.create(device.ID, hash); i == 0 {
			return Full
		}
	}
	r := d.devices.at(i)
	if d.Pin && known && d.conflict(i, src) {
		return Conflict
	}
	if !d.Unlimited && !d.pay(r) {
		return Limited
	}
	if d.Pin {
		d.pins.set(i, src)
	}
	for at := r.first; at != 0 && n < len(all); {
		a := d.addresses.at(at)
		if at = a.next; d.alive(d.now, a) && !has(all[:n], a.endpoint) {
			all[n] = *a
			n++
		}
	}
	d.write(r, all[:n])
	d.unlink(i)
	d.link(i)
	return Stored
}

// Get appends the addresses of a device, newest first, and among those of one
// announcement in its order.
func (d *Directory) Get(now time.Time, id DeviceID, dst []netip.AddrPort) []netip.AddrPort {
	if d.index.used == 0 {
		return dst
	}
	one := [1]sought{{id: id}}
	t := d.ticks(now)
	d.find(t, one[:])
	for at := one[0].first; at != 0; {
		a := d.addresses.at(at)
		if !d.alive(t, a) {
			break // and so are those behind it
		}
		dst = append(dst, netip.AddrPortFrom(netip.AddrFrom16(a.ip).Unmap(), a.port))
		at = a.next
	}
	return dst
}

// appendAnswer appends the announcement, as it is sent, that answers who asks for a device which
// was found: with what Get says, in the same order.
func (d *Directory) appendAnswer(dst []byte, t uint32, s *sought) []byte {
	dst = binary.BigEndian.AppendUint32(dst, magicAnnouncement)
	dst = appendBytes(dst, s.id[:])
	count, n := len(dst), uint32(0)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	for at := s.first; at != 0; n++ {
		a := d.addresses.at(at)
		if !d.alive(t, a) {
			break
		}
		if ip := netip.AddrFrom16(a.ip); ip.Is4In6() {
			dst = appendBytes(dst, a.ip[12:])
		} else {
			dst = appendBytes(dst, a.ip[:])
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(a.port))
		at = a.next
	}
	binary.BigEndian.PutUint32(dst[count:], n)
	return binary.BigEndian.AppendUint32(dst, 0) // no extras
}

// Has says whether a device is known, or was and isn't forgotten yet.
func (d *Directory) Has(id DeviceID) bool {
	return d.index.used > 0 && d.number(d.index.hash(&id), &id) != 0
}

// Len returns how many devices there are, with those that Expire hasn't forgotten yet.
func (d *Directory) Len() int { return d.index.used }

// Expire forgets devices that weren't announced for [Lifetime], at most 1,024 of
// them: Next says when to call it again. It returns how many.
func (d *Directory) Expire(now time.Time) int {
	d.setTime(now)
	n := 0
	for ; n < 1024 && d.oldest != 0; n++ {
		i := d.oldest
		r := d.devices.at(i)
		if d.alive(d.now, d.addresses.at(r.first)) {
			break
		}
		d.write(r, nil)
		d.unlink(i)
		d.pins.clear(i)
		d.index.remove(d.index.hash(&r.id), i)
		d.devices.give(i)
	}
	return n
}

// Next returns when Expire has something to forget; the zero Time means never.
func (d *Directory) Next() time.Time {
	if d.oldest == 0 {
		return time.Time{}
	}
	// Times are only kept modulo 2³² ticks: count from now.
	age := d.now - d.addresses.at(d.devices.at(d.oldest).first).seen
	at := time.Duration(d.now)*tick + Lifetime - time.Duration(age)*tick
	return d.epoch.Add(at)
}

func (d *Directory) setTime(now time.Time) {
	if d.epoch.IsZero() {
		d.epoch = now
		d.index.seed = maphash.MakeSeed()
	}
	// Every 13 years the ticks begin anew, and so does what they count from.
	for now.Sub(d.epoch) >= tick<<32 {
		d.epoch = d.epoch.Add(tick << 32)
	}
	d.now = d.ticks(now)
}

// ticks is a time in ticks, but none before the latest.
func (d *Directory) ticks(now time.Time) uint32 {
	if t := uint32(now.Sub(d.epoch) / tick); int32(t-d.now) > 0 {
		return t
	}
	return d.now
}

// alive says whether an address counts at a time in ticks.
func (d *Directory) alive(t uint32, a *address) bool { return t-a.seen < uint32(Lifetime/tick) }

// pay says whether one more announcement of a device counts.
func (d *Directory) pay(r *record) bool {
	each := uint32(deviceEvery / tick)
	if int32(r.paid-d.now) < 0 {
		r.paid = d.now
	}
	if r.paid+each-d.now > deviceBurst*each {
		return false
	}
	r.paid += each
	return true
}

// create makes a device without addresses; 0 if there is no room for it and one address.
func (d *Directory) create(id DeviceID, hash uint64) uint32 {
	if d.index.used >= orDefault(d.MaxDevices, DefaultMaxDevices) || d.addresses.used() >= orDefault(d.MaxAddresses, DefaultMaxAddresses) {
		return 0
	}
	i := d.devices.take()
	*d.devices.at(i) = record{id: id, paid: d.now}
	d.index.add(hash, i)
	d.link(i)
	return i
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// write makes these a device's addresses; the last of them are lost where there
// is no more room.
func (d *Directory) write(r *record, all []address) {
	most := orDefault(d.MaxAddresses, DefaultMaxAddresses)
	slot := &r.first
	for n := range all {
		if *slot == 0 {
			if d.addresses.used() >= most {
				return
			}
			*slot = d.addresses.take()
			d.addresses.at(*slot).next = 0
		}
		a := d.addresses.at(*slot)
		a.endpoint, a.seen = all[n].endpoint, all[n].seen
		slot = &a.next
	}
	rest := *slot
	*slot = 0
	for rest != 0 {
		next := d.addresses.at(rest).next
		d.addresses.give(rest)
		rest = next
	}
}

// link makes a device the newest.
func (d *Directory) link(i uint32) {
	r := d.devices.at(i)
	r.newer, r.older = 0, d.newest
	if d.newest != 0 {
		d.devices.at(d.newest).newer = i
	} else {
		d.oldest = i
	}
	d.newest = i
	for n := range d.marks {
		if d.marks[n] == 0 {
			d.marks[n] = i
		}
	}
}

// unlink takes a device out of the order.
func (d *Directory) unlink(i uint32) {
	r := d.devices.at(i)
	for n := range d.marks {
		if d.marks[n] == i {
			d.marks[n] = r.newer
		}
	}
	if r.newer != 0 {
		d.devices.at(r.newer).older = r.older
	} else {
		d.newest = r.older
	}
	if r.older != 0 {
		d.devices.at(r.older).newer = r.newer
	} else {
		d.oldest = r.newer
	}
}

func has(all []address, e endpoint) bool {
	return slices.ContainsFunc(all, func(a address) bool { return a.endpoint == e })
}

// resolve says what of an announced address can be kept.
func resolve(a netip.AddrPort, src netip.Addr) (endpoint, bool) {
	ip := a.Addr()
	if !ip.IsValid() {
		ip = src
	}
	ip, src = ip.Unmap().WithZone(""), src.Unmap()
	if !ip.IsValid() || a.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() ||
		ip == broadcast() || ip.IsLoopback() && !src.IsLoopback() {
		return endpoint{}, false
	}
	return endpoint{ip.As16(), a.Port()}, true
}
