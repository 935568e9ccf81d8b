package broker

import (
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// flows keeps apart the packet ids of the client's exchanges and those of the
// server's, which are two sets (MQTT 5 §2.2.1) that mochi has one table for. An
// id of the client's that the server uses too becomes another one on its way in,
// and itself again in the answer.
type flows struct {
	mu       sync.Mutex
	inside   map[uint16]uint16 // the client's id -> ours
	original map[uint16]uint16 // ours -> the client's
}

// in returns the id under which a client's packet is handled.
func (f *flows) in(cl *mqtt.Client, pk packets.Packet) uint16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id, ok := f.inside[pk.PacketID]; ok {
		return id
	}
	switch pk.FixedHeader.Type {
	case packets.Publish, packets.Subscribe, packets.Unsubscribe:
	default:
		return pk.PacketID
	}
	if pk.PacketID == 0 || !serverUses(cl, pk.PacketID) {
		return pk.PacketID
	}
	id, err := cl.NextPacketID() // one that nobody uses
	if err != nil {
		return pk.PacketID
	}
	if f.inside == nil {
		f.inside, f.original = make(map[uint16]uint16), make(map[uint16]uint16)
	}
	ours := uint16(id)
	f.inside[pk.PacketID], f.original[ours] = ours, pk.PacketID
	return ours
}

// out returns the id that the client knows an answer by. The last answer of an
// exchange ends it.
func (f *flows) out(id uint16, last bool) uint16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	theirs, ok := f.original[id]
	if !ok {
		return id
	}
	if last {
		delete(f.original, id)
		delete(f.inside, theirs)
	}
	return theirs
}

// serverUses says whether an exchange of the server's has the id.
func serverUses(cl *mqtt.Client, id uint16) bool {
	x, ok := cl.State.Inflight.Get(id)
	return ok && (x.FixedHeader.Type == packets.Publish || x.FixedHeader.Type == packets.Pubrel)
}
