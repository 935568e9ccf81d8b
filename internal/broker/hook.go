package broker

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is what mochi calls. Calls about one client come from the goroutine that
// reads its connection, but for deliveries, which come from who publishes.
type hook struct {
	mqtt.HookBase
	b *Broker
	// empty stands for the payload of a will that has none while mochi validates
	// the CONNECT, which it would refuse. It is known by its address.
	empty []byte
	// refused is when a refusal was last worth more than a debug line, in seconds.
	refused atomic.Int64
}

func (h *hook) ID() string { return "lanfolk" }

func (h *hook) Provides(b byte) bool {
	return slices.Contains([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnDisconnect,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPublish, mqtt.OnRetainMessage,
		mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed,
		mqtt.OnQosPublish, mqtt.OnQosComplete, mqtt.OnQosDropped, mqtt.OnPublishDropped,
	}, b)
}

// OnPacketRead changes packets before mochi looks at them.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if pk.Connect.WillFlag && len(pk.Connect.WillPayload) == 0 {
			pk.Connect.WillPayload = h.empty
		}
		pk.Properties.TopicAliasMaximum = 0                                      // it loses aliases with the messages that it drops
		pk.Connect.Keepalive = min(pk.Connect.Keepalive, maxKeepalive)           // 1.5 times more overflows
		pk.Connect.ClientIdentifier = strings.Clone(pk.Connect.ClientIdentifier) // not a view of the whole packet
	case packets.Puback:
		// mochi forgets a message that waited for the client's receive maximum
		// when it sends it, and then what its PUBACK should give back.
		if _, known := cl.State.Inflight.Get(pk.PacketID); !known {
			cl.State.Inflight.IncreaseSendQuota()
			if s := h.b.sessionOf(cl); s != nil {
				s.waitsNoMore(pk.PacketID)
			}
		}
	case packets.Publish, packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if strings.HasPrefix(pk.TopicName, "$") {
			pk.TopicName = "$" // OnPublish refuses it; $SYS would never be acknowledged
		}
		if s := h.b.sessionOf(cl); s != nil && pk.PacketID != 0 {
			pk.PacketID = s.flows.in(cl, pk)
		}
	}
	return pk, nil
}

const maxKeepalive = 43690 // seconds

// OnPacketEncode puts back the packet ids that OnPacketRead changed.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch t := pk.FixedHeader.Type; t {
	case packets.Publish:
		if s := h.b.sessionOf(cl); s != nil {
			s.unqueue()
		}
	case packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Suback, packets.Unsuback:
		if s := h.b.sessionOf(cl); s != nil {
			last := t != packets.Pubrec || pk.ReasonCode >= packets.ErrUnspecifiedError.Code
			pk.PacketID = s.flows.out(pk.PacketID, last)
		}
	}
	return pk
}

// OnConnect decides whether a client may come in.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if p := pk.Connect.WillPayload; len(p) == 1 && &p[0] == &h.empty[0] {
		pk.Connect.WillPayload = nil
	}
	code, why := h.b.admit(cl, pk)
	if code == packets.CodeSuccess {
		return nil
	}
	h.b.count.refusedConnections.Add(1)
	level := slog.LevelDebug
	if now := time.Now().Unix(); h.refused.Swap(now) != now { // one a second: anybody can be refused
		level = slog.LevelInfo
	}
	h.b.log.Log(context.Background(), level, "client refused", "client", cl.ID, "user", string(pk.Connect.Username), "addr", cl.Net.Remote, "err", why)
	if cl.Properties.ProtocolVersion < 5 {
		// MQTT 3.1.1 §3.2.2.3 has few codes, and none for most of this.
		switch code {
		case packets.ErrClientIdentifierNotValid, packets.ErrServerUnavailable, packets.ErrBadUsernameOrPassword:
		default:
			code = packets.ErrBadUsernameOrPassword // "not authorized" in 3.1.1
		}
	}
	_ = h.b.server.SendConnack(cl, code, false, nil) // it is refused either way
	return code
}

func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true } // OnConnect has

// OnSessionEstablish comes before mochi lets the client take over an older
// session.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	h.b.establish(cl, pk.Connect.Clean)
}

func (h *hook) OnDisconnect(cl *mqtt.Client, _ error, _ bool) { h.b.left(cl) }

// deniedFilter is subscribed to by nobody.
const deniedFilter = "$lanfolk/denied"

// OnACLCheck is asked about publishing, subscribing and each delivery.
// OnPublish and OnSubscribe know more and have decided the first two.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	if write {
		return true
	}
	if topic == deniedFilter {
		return false
	}
	s := h.b.sessionOf(cl)
	if s == nil {
		return false
	}
	s.awaitSnapshot()
	if s.subscribing.Load() && (strings.ContainsAny(topic, "+#") || mqtt.IsSharedFilter(topic)) {
		return true // OnSubscribe has let it pass
	}
	if !s.grant.mayRead(topic) {
		return false
	}
	if !s.subscribing.Load() {
		s.queue()
	}
	return true
}

// OnPublish decides whether a message may pass. What is refused is acknowledged,
// as Mosquitto does; an MQTT 5 client that waits for an answer hears why.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil // a will, which was checked with its CONNECT
	}
	refuse := func(code packets.Code) (packets.Packet, error) {
		if cl.Properties.ProtocolVersion == 5 && pk.FixedHeader.Qos == 1 {
			return pk, code
		}
		return pk, packets.CodeSuccessIgnore
	}
	s := h.b.sessionOf(cl)
	if s == nil || !validTopic(pk.TopicName) {
		h.b.count.refusedMessages.Add(1)
		return refuse(packets.ErrTopicNameInvalid)
	}
	if !s.grant.mayWrite(pk.TopicName) {
		h.b.count.refusedMessages.Add(1)
		h.b.log.Debug("message refused", "client", cl.ID, "user", s.user, "topic", pk.TopicName)
		return refuse(packets.ErrNotAuthorized)
	}
	if pk.FixedHeader.Retain {
		pk.TopicName = strings.Clone(pk.TopicName) // not a view of the whole packet
		if !h.b.index.room(pk.TopicName, len(pk.Payload), h.b.limits) {
			if h.b.count.notRetained.Add(1) == 1 {
				h.b.log.Warn("no room for more retained messages; delivering them without keeping them")
			}
			pk.FixedHeader.Retain = false
		}
	}
	return pk, nil
}

func (h *hook) OnRetainMessage(_ *mqtt.Client, pk packets.Packet, _ int64) {
	h.b.index.put(pk.TopicName, len(pk.Payload), pk.Expiry)
	h.b.journal.changedTopic(pk.TopicName)
}

// OnSubscribe decides which filters may be subscribed to, and keeps mochi from
// sending what is retained: OnSubscribed does.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	s := h.b.sessionOf(cl)
	if s == nil {
		return pk
	}
	pk.Filters = slices.Clone(pk.Filters)
	s.subscribing.Store(true)
	s.existed, s.handling = make(map[string]bool), make(map[string]byte)
	room := min(h.b.limits.Subscriptions-cl.State.Subscriptions.Len(),
		h.b.limits.AllSubscriptions-int(h.b.subscriptions.Load()))
	for i := range pk.Filters {
		f := &pk.Filters[i]
		_, there := cl.State.Subscriptions.Get(f.Filter)
		if !there {
			room--
		}
		bare := f.Filter
		if mqtt.IsSharedFilter(bare) {
			_, bare, _ = strings.Cut(bare, "/")
			_, bare, _ = strings.Cut(bare, "/")
		}
		if checkFilter(bare) != nil || len(f.Filter) > maxTopicBytes || strings.Count(bare, "/") >= maxTopicLevels ||
			strings.HasPrefix(bare, "$") || !s.grant.maySubscribe(bare) || room < 0 && !there {
			h.b.count.refusedFilters.Add(1)
			h.b.log.Debug("subscription refused", "client", cl.ID, "user", s.user, "topic", f.Filter)
			f.Filter = deniedFilter
			continue
		}
		f.Filter = strings.Clone(f.Filter)
		s.existed[f.Filter], s.handling[f.Filter] = there, f.RetainHandling
		f.RetainHandling = 2 // MQTT 5 §3.8.3.1: send no retained messages
	}
	return pk
}

// OnSubscribed comes before SUBACK is written.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	s := h.b.sessionOf(cl)
	if s == nil {
		return
	}
	s.subscribing.Store(false)
	for i, f := range pk.Filters {
		if i < len(codes) && codes[i] < packets.ErrUnspecifiedError.Code {
			handling := s.handling[f.Filter]
			if handling == 0 || handling == 1 && !s.existed[f.Filter] {
				f.Qos = min(f.Qos, codes[i])
				h.b.sendRetained(s, f)
			}
		}
	}
	h.recount(cl)
	h.b.journal.changedClient(cl.ID)
}

func (h *hook) OnUnsubscribed(cl *mqtt.Client, _ packets.Packet) {
	h.recount(cl)
	h.b.journal.changedClient(cl.ID)
}

// OnSessionEstablished comes when a session has its older one's subscriptions.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) { h.recount(cl) }

// recount counts a client's subscriptions. mochi's own count goes down when a
// client unsubscribes from what others have.
func (h *hook) recount(cl *mqtt.Client) {
	if s := h.b.sessionOf(cl); s != nil {
		n := int64(cl.State.Subscriptions.Len())
		h.b.subscriptions.Add(n - s.counted.Swap(n))
	}
}

// OnQosPublish bounds the bytes that wait for a client.
func (h *hook) OnQosPublish(cl *mqtt.Client, pk packets.Packet, _ int64, _ int) {
	if pk.FixedHeader.Type != packets.Publish {
		return
	}
	s := h.b.sessionOf(cl)
	if s == nil {
		return
	}
	if s.waits(pk.PacketID, int64(len(pk.Payload)), h.b.limits.QueuedBytes) {
		return
	}
	// It is sent if the client is there, and not kept for later.
	if cl.State.Inflight.Delete(pk.PacketID) && cl.Closed() {
		h.b.count.dropped.Add(1)
	}
}

func (h *hook) OnQosComplete(cl *mqtt.Client, pk packets.Packet) {
	if s := h.b.sessionOf(cl); s != nil {
		s.waitsNoMore(pk.PacketID)
	}
}

func (h *hook) OnQosDropped(cl *mqtt.Client, pk packets.Packet) { h.OnQosComplete(cl, pk) }

func (h *hook) OnPublishDropped(cl *mqtt.Client, _ packets.Packet) {
	h.b.count.dropped.Add(1)
	if s := h.b.sessionOf(cl); s != nil {
		s.unqueue()
	}
}

// validTopic says whether a client may publish to a topic, whatever the rules.
func validTopic(t string) bool {
	return t != "" && len(t) <= maxTopicBytes && utf8.ValidString(t) && !strings.ContainsAny(t, "+#\x00") && t[0] != '$' &&
		strings.Count(t, "/") < maxTopicLevels
}
