package broker

import (
	"sync/atomic"
	"time"
)

// Limits bound what clients can take. A zero field means its default.
type Limits struct {
	Clients       int           // that are connected, 1,000
	Sessions      int           // of clients that are away, 10,000
	SessionExpiry time.Duration // how long such a session lasts, 7 days
	Message       int           // bytes of a packet, 256 KiB
	Retained      int           // messages, 500,000
	RetainedBytes int64         // of their topics and payloads, 512 MiB
	Queued        int           // QoS 1 and 2 messages that wait for one client, 4,096
	QueuedBytes   int64         // of their payloads, 8 MiB
	WriteBuffer   int           // bytes on their way to one client, 1 MiB
	// Subscriptions of one client, 250,000, and of all together, 1,000,000: a bridge
	// has two for each of its devices.
	Subscriptions, AllSubscriptions int
	ConnectTimeout                  time.Duration // until CONNECT is whole, 10 s
	Stall                           time.Duration // how long a client may take nothing of what is sent, 30 s
}

func (l Limits) withDefaults() Limits {
	set(&l.Clients, 1000)
	set(&l.Sessions, 10_000)
	set(&l.SessionExpiry, 7*24*time.Hour)
	set(&l.Message, 256<<10)
	set(&l.Retained, 500_000)
	set(&l.RetainedBytes, 512<<20)
	set(&l.Queued, 4096)
	set(&l.QueuedBytes, 8<<20)
	set(&l.WriteBuffer, 1<<20)
	set(&l.Subscriptions, 250_000)
	set(&l.AllSubscriptions, 1_000_000)
	set(&l.ConnectTimeout, 10*time.Second)
	set(&l.Stall, 30*time.Second)
	return l
}

func set[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// What no client needs more of.
const (
	maxTopicLevels = 32
	maxTopicBytes  = 2048
	maxClientID    = 512     // bytes
	maxConnect     = 100_000 // bytes of a CONNECT packet, as in Mosquitto
	writesPending  = 256     // messages between mochi's router and a connection
	unknownClients = 64      // connections beyond Limits.Clients that haven't said CONNECT
)

// Stats count what happened since the broker started.
type Stats struct {
	Connected     int64 // now
	Sessions      int64 // now, of clients that are there or away
	Retained      int64 // messages, now
	RetainedBytes int64 // now

	RefusedConnections int64 // for want of room, rights or sense
	RefusedMessages    int64 // by topic rules, bad topics
	RefusedFilters     int64 // of subscriptions
	NotRetained        int64 // delivered, but there is no room to keep them
	Dropped            int64 // messages for clients that are too slow
	Stalled            int64 // clients cut off for taking nothing
	Wills              int64 // spoken
	Downgraded         int64 // retained messages sent at QoS 0 because the client's window was full
	Malformed          int64 // packets that broke a connection in an unforeseen way
	// Unsaved is why the journal can't be written now, nil if it can.
	Unsaved error
}

// counters are the part of Stats that only grows.
type counters struct {
	refusedConnections, refusedMessages, refusedFilters, notRetained, dropped, stalled, wills, downgraded, malformed atomic.Int64
}
