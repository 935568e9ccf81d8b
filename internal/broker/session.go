package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// session is what the broker knows of a client besides what mochi does. One
// that has ended stays as long as the client's session lasts or its will waits.
type session struct {
	id     string
	user   string
	client *mqtt.Client
	conn   *conn // nil for one that was restored from the journal
	grant  grant
	expiry uint32        // seconds that the session lasts after its connection
	ended  chan struct{} // closed when mochi is done with the connection

	// snapshot is held while a retained message is looked up and written, and
	// waited for by who delivers a newer one.
	snapshot   sync.Mutex
	inSnapshot atomic.Bool
	flows      flows
	counted    atomic.Int64 // of its subscriptions, in Broker.subscriptions

	// subscribing is set while mochi asks about the filters of a SUBSCRIBE, and
	// not about a delivery.
	subscribing atomic.Bool
	// pending is about how many messages mochi has queued for the client and not
	// yet written into its connection.
	pending atomic.Int64

	queuedMu    sync.Mutex
	queued      map[uint16]int64 // payload bytes by packet id, of what waits for an acknowledgement
	queuedBytes int64

	// Of the SUBSCRIBE in hand, by filter: whether it was there before, and the
	// retain handling that was asked for.
	existed  map[string]bool
	handling map[string]byte

	// The broker's mutex guards the rest.
	will     *will
	speakAt  time.Time // when the will is due, zero if it isn't
	over     bool      // the connection has ended
	restored bool      // the connection ended with an earlier run of the broker
}

// newWill takes the will out of a CONNECT.
func newWill(pk packets.Packet, sessionExpiry uint32) *will {
	c := pk.Connect
	if !c.WillFlag {
		return nil
	}
	w := &will{
		Topic: c.WillTopic, Payload: slices.Clone(c.WillPayload), QoS: c.WillQos, Retain: c.WillRetain,
		Delay: c.WillProperties.WillDelayInterval, Expiry: c.WillProperties.MessageExpiryInterval,
		ContentType: c.WillProperties.ContentType, User: userPairs(c.WillProperties.User),
	}
	// A will is spoken when the session ends, if that is earlier, MQTT 5 §3.1.2.5.
	w.Delay = min(w.Delay, sessionExpiry)
	return w
}

// packet is what is published for w.
func (w *will) packet() packets.Packet {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: w.QoS, Retain: w.Retain},
		TopicName:   w.Topic, Payload: w.Payload, PacketID: uint16(w.QoS), // mochi wants one with QoS above 0
	}
	pk.Properties.ContentType = w.ContentType
	pk.Properties.MessageExpiryInterval = w.Expiry
	pk.Properties.User = pairsUser(w.User)
	return pk
}

func userPairs(u []packets.UserProperty) [][2]string {
	var p [][2]string
	for _, x := range u {
		p = append(p, [2]string{x.Key, x.Val})
	}
	return p
}

func pairsUser(p [][2]string) []packets.UserProperty {
	var u []packets.UserProperty
	for _, x := range p {
		u = append(u, packets.UserProperty{Key: x[0], Val: x[1]})
	}
	return u
}

// expiryOf returns how many seconds a client's session lasts after its
// connection, 0 for one that ends with it.
func expiryOf(cl *mqtt.Client, most time.Duration) uint32 {
	p := cl.Properties
	limit := uint32(most / time.Second)
	switch {
	case p.ProtocolVersion == 5:
		return min(p.Props.SessionExpiryInterval, limit)
	case p.Clean:
		return 0
	}
	return limit
}

// queue counts a message that is about to be queued for the client. mochi drops
// what its queue has no room for, even where only the goroutine that empties it
// hasn't had its turn: then queue waits for that. It doesn't for a client that
// takes nothing.
func (s *session) queue() {
	if s.pending.Add(1) <= writesPending*3/4 || s.conn == nil {
		return
	}
	for range queuePauses {
		if s.pending.Load() <= writesPending/2 || !s.conn.roomy() {
			return
		}
		time.Sleep(queuePause)
	}
	s.pending.Store(0) // it has lost count: not all that is queued is written
}

// unqueue is its opposite.
func (s *session) unqueue() {
	if s.pending.Add(-1) < 0 {
		s.pending.Store(0)
	}
}

const (
	queuePause  = 200 * time.Microsecond
	queuePauses = 500
)

// waits counts a message that waits for an acknowledgement, and says whether
// there is room for it.
func (s *session) waits(id uint16, bytes int64, most int64) bool {
	s.queuedMu.Lock()
	defer s.queuedMu.Unlock()
	s.queuedBytes -= s.queued[id]
	delete(s.queued, id)
	if s.queuedBytes+bytes > most && len(s.queued) > 0 {
		return false
	}
	if s.queued == nil {
		s.queued = make(map[uint16]int64)
	}
	s.queued[id] = bytes
	s.queuedBytes += bytes
	return true
}

// waitsNoMore is its opposite.
func (s *session) waitsNoMore(id uint16) {
	s.queuedMu.Lock()
	defer s.queuedMu.Unlock()
	s.queuedBytes -= s.queued[id]
	delete(s.queued, id)
}
