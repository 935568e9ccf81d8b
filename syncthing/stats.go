package syncthing

import "sync/atomic"

// ServerStats counts what a [Server] heard and what became of it. Every datagram is in
// Received and, once it is dealt with, in just one of the others up to Failed.
type ServerStats struct {
	Received uint64
	// Answered and Unknown are queries; the latter are for devices that aren't known.
	Answered, Unknown uint64
	// Stored and Nothing are announcements; the latter brought no address that could be kept.
	Stored, Nothing uint64
	// Foreign are no packets of this version of the protocol, Invalid are bad ones.
	Foreign, Invalid uint64
	// NoHost came from what is no host's address, or went to all on a network.
	NoHost uint64
	// PrefixLimit were more than a source's prefix may send, DeviceLimit more announcements
	// of one device than count, NewLimit more devices than a prefix may bring.
	PrefixLimit, DeviceLimit, NewLimit uint64
	// Denied are of devices that the server doesn't serve, and Full found no room.
	Denied, Full uint64
	// Conflict are of devices that are pinned to another prefix.
	Conflict uint64
	// Failed are answers that could not be sent.
	Failed uint64

	// Unsaved is how many times the Journal failed.
	Unsaved uint64
	// Overflow is how many datagrams the kernel had no room for, as far as Conns tell. They aren't in Received.
	Overflow uint64
	// Devices is how many are known now.
	Devices uint64
}

// reason is where a datagram is counted.
type reason uint8

const (
	answered reason = iota
	unknown
	stored
	nothing
	foreign
	invalid
	noHost
	prefixLimit
	deviceLimit
	newLimit
	denied
	full
	conflict
	failed
	reasons
)

type counters struct {
	received, devices, unsaved atomic.Uint64
	by                         [reasons]atomic.Uint64
}

// add adds what became of a number of datagrams, and empties by.
func (c *counters) add(received uint64, by *[reasons]uint64) {
	c.received.Add(received)
	for r, n := range by {
		if n > 0 {
			c.by[r].Add(n)
			by[r] = 0
		}
	}
}

func (c *counters) stats() ServerStats {
	at := func(r reason) uint64 { return c.by[r].Load() }
	return ServerStats{
		Received: c.received.Load(), Devices: c.devices.Load(), Unsaved: c.unsaved.Load(),
		Answered: at(answered), Unknown: at(unknown), Stored: at(stored), Nothing: at(nothing),
		Foreign: at(foreign), Invalid: at(invalid), NoHost: at(noHost),
		PrefixLimit: at(prefixLimit), DeviceLimit: at(deviceLimit), NewLimit: at(newLimit),
		Denied: at(denied), Full: at(full), Conflict: at(conflict), Failed: at(failed),
	}
}
