package broker

import (
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// sendRetained writes all retained messages that a new subscription matches.
// It is called on the goroutine that reads the client's packets and waits for a
// slow client, so that nothing is left out, however much there is; SUBACK, and
// so whatever the client publishes when it has seen it, comes after them.
//
// Where QoS above 0 was asked for, as many as the client's window holds go out
// with it, and the rest at QoS 0: the acknowledgements can't be read meanwhile.
func (b *Broker) sendRetained(s *session, f packets.Subscription) {
	if len(f.ShareName) > 0 || isShared(f.Filter) { // MQTT 5 §4.8.2: none for shared subscriptions
		return
	}
	s.inSnapshot.Store(true)
	defer s.inSnapshot.Store(false)
	for _, topic := range b.index.matching(f.Filter) {
		if !s.grant.mayRead(topic) {
			continue
		}
		if s.conn.waitRoom() != nil {
			return
		}
		if b.sendOne(s, f, topic) != nil {
			return
		}
	}
}

// sendOne looks a topic's message up and writes it, with no newer one in
// between.
func (b *Broker) sendOne(s *session, f packets.Subscription, topic string) error {
	s.snapshot.Lock()
	defer s.snapshot.Unlock()
	pk, ok := b.server.Topics.Retained.Get(topic)
	if !ok || len(pk.Payload) == 0 {
		return nil
	}
	pk.FixedHeader = packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: min(pk.FixedHeader.Qos, f.Qos)}
	pk.PacketID = 0
	if f.Identifier > 0 {
		pk.Properties.SubscriptionIdentifier = []int{f.Identifier}
	}
	if pk.FixedHeader.Qos > 0 && !b.track(s, &pk) {
		pk.FixedHeader.Qos = 0
		b.count.downgraded.Add(1)
	}
	s.pending.Add(1) // OnPacketEncode takes it off again
	return s.client.WritePacket(pk)
}

// awaitSnapshot waits while a retained message is looked up and written: who
// delivers a newer one comes after it.
func (s *session) awaitSnapshot() {
	if s.inSnapshot.Load() {
		s.snapshot.Lock()
		defer s.snapshot.Unlock()
	}
}

// track gives pk a packet id and keeps it until it is acknowledged, if the
// client's window has room.
func (b *Broker) track(s *session, pk *packets.Packet) bool {
	flight := s.client.State.Inflight
	window := int(b.server.Options.Capabilities.MaximumInflight) / 2
	if most := int(s.client.Properties.Props.ReceiveMaximum); most > 0 {
		window = min(window, most)
	}
	if flight.Len() >= window {
		return false
	}
	id, err := s.client.NextPacketID()
	if err != nil || !s.waits(uint16(id), int64(len(pk.Payload)), b.limits.QueuedBytes) {
		return false
	}
	pk.PacketID = uint16(id)
	if flight.Set(*pk) {
		atomic.AddInt64(&b.server.Info.Inflight, 1)
		flight.DecreaseSendQuota()
	}
	return true
}
