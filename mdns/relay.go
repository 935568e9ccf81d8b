package mdns

import (
	"errors"

	"github.com/lanfolk/lanfolk/packet"
)

// Relay sees packets before the engine does and may pass them on to other
// links. Its methods are called for different zones at the same time.
type Relay interface {
	// Opened says that a zone has a socket. It is called before anything of the
	// zone is relayed, and again when something in the RelayPort changed.
	Opened(RelayPort)
	// Closed says that the zone's socket is closed. A Relay that began before
	// may still be under way.
	Closed(Zone)
	// Relay gets the packets that one read brought, on the goroutine that
	// reads them: it must not wait. It returns those that the engine shall
	// hear, in the same slice: not those that the relay itself sent. Packets
	// with Malformed set come, too; the engine never uses them. All of it is
	// valid until Relay returns.
	Relay(z Zone, packets []Packet) []Packet
}

// RelayPort is a zone's socket, as a Relay gets it.
type RelayPort struct {
	Zone Zone
	Link packet.Link
	// Unicast says that what is sent to our address and port 5353 by unicast
	// comes to us: no other program on this host could get it in our place.
	Unicast bool
	// Send sends datagrams on the zone's link, to the group where Dst is zero,
	// and never waits for room. It returns how many were sent and, if that is
	// fewer, why the next was not. It may be called at any time, from any
	// goroutine; once the socket is closed it fails.
	Send func([]packet.Datagram) (int, error)
	// Drain relays, on the calling goroutine, what has come on the link and was
	// not read yet. It may be nil. Relay may call it for other zones, to keep to
	// the order in which packets came.
	Drain func()
}

// hasty is what a Conn may have beside WriteBatch: the same, but it fails at
// once where WriteBatch would wait for room.
type hasty interface {
	TryWriteBatch([]packet.Datagram) (int, error)
}

// relayOpened tells the relays of a zone that has a socket.
func (c *core) relayOpened(p *place) {
	if len(c.engine.Relays) == 0 {
		return
	}
	port := RelayPort{Zone: p.zone.id, Link: p.zone.link, Unicast: p.zone.unicast, Send: p.port.send, Drain: p.port.drain}
	for _, r := range c.engine.Relays {
		r.Opened(port)
	}
}

// errSilent says that an engine with Silent sends nothing.
var errSilent = errors.New("mdns: the engine is silent")

// send is a RelayPort's.
func (t *port) send(d []packet.Datagram) (int, error) {
	if t.silent {
		return 0, errSilent
	}
	write := t.conn.WriteBatch
	if h, ok := t.conn.(hasty); ok {
		write = h.TryWriteBatch
	}
	n, err := write(d)
	t.stats.sent.Add(uint64(n))
	if err != nil {
		t.stats.sendErrors.Add(uint64(len(d) - n))
	}
	return n, err
}

// eager is what a Conn may have besides: it reads what is there, beside a
// ReadBatch that waits.
type eager interface {
	TryReadBatch([]packet.Datagram) (int, error)
}

// drain is a RelayPort's.
func (t *port) drain() {
	c, ok := t.conn.(eager)
	if !ok {
		return
	}
	t.draining.Lock()
	defer t.draining.Unlock()
	for range maxDrain {
		n, err := c.TryReadBatch(t.drained[:])
		if n == 0 || err != nil {
			return // what goes wrong the reader will see, too
		}
		t.stats.received.Add(uint64(n))
		b := t.newBatch()
		b.fill(t.zone, t.drained[:n], t.stats, true)
		if b.packets = t.relay(t.zone, b.packets); len(b.packets) == 0 {
			continue
		}
		select {
		case t.queue <- b:
		default:
			t.stats.drop(dropQueue, len(b.packets))
		}
	}
}

// maxDrain bounds the batches that one call of drain reads.
const maxDrain = 4

// relay shows the packets to the relays and returns those that are left for
// the engine.
func (t *port) relay(zone Zone, packets []Packet) []Packet {
	for _, r := range t.relays {
		packets = r.Relay(zone, packets)
	}
	if t.deaf.Load() {
		return packets[:0]
	}
	n := 0
	for i := range packets {
		if packets[i].Malformed == nil {
			packets[n] = packets[i]
			n++
		}
	}
	return packets[:n]
}

// localIgnorer is what a Conn may have besides: it need not hear the packets
// of this host.
type localIgnorer interface{ IgnoreLocal(bool) error }

// listen finds out whether anybody needs what the engine would hear. If not,
// packets that are only relayed don't wake it, and this host's own needn't even
// be read: no relay passes them on.
func (c *core) listen() {
	deaf := len(c.engine.Relays) > 0 && len(c.engine.Observers) == 0 && len(c.subs) == 0 && len(c.pubs) == 0
	if deaf == c.relayOnly.Load() {
		return
	}
	c.relayOnly.Store(deaf)
	for _, p := range c.places {
		c.ignoreLocal(p)
	}
}

// ignoreLocal tells the place's socket, if it is open, whether this host's own
// packets are wanted. Where it can't be told they are heard, and no harm done.
func (c *core) ignoreLocal(p *place) {
	if p.port == nil || len(c.engine.Relays) == 0 {
		return
	}
	if i, ok := p.port.conn.(localIgnorer); ok {
		_ = i.IgnoreLocal(c.relayOnly.Load())
	}
}
