package broker

import (
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// restore takes one record of the journal. Those of clients are kept for
// revive: a later record may replace them.
func (b *Broker) restore(r record) {
	switch {
	case r.Topic != "":
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true}, TopicName: r.Topic}
		if m := r.Message; m != nil {
			pk.FixedHeader.Qos, pk.Payload, pk.Created, pk.Expiry, pk.Origin = m.QoS, m.Payload, m.Created, m.Expires, m.Origin
			p := &pk.Properties
			p.ContentType, p.ResponseTopic, p.CorrelationData, p.User = m.ContentType, m.Response, m.Correlation, pairsUser(m.User)
			if m.Format != nil {
				p.PayloadFormat, p.PayloadFormatFlag = *m.Format, true
			}
		}
		b.server.Topics.RetainMessage(pk)
		b.index.put(r.Topic, len(pk.Payload), pk.Expiry)
	case r.Client != "":
		if r.Session == nil {
			delete(b.sessions, r.Client)
			return
		}
		a := r.Session
		s := &session{id: r.Client, user: a.Username, expiry: a.Expiry, will: a.Will, over: true, restored: true, ended: make(chan struct{})}
		close(s.ended)
		if a.Keeps {
			s.client = b.server.NewClient(nil, "", r.Client, false)
			s.client.Properties.ProtocolVersion = a.MQTT
			s.client.Properties.Username = []byte(a.Username)
			s.client.Properties.Props.SessionExpiryInterval = a.Expiry
			s.client.Properties.Props.SessionExpiryIntervalFlag = a.MQTT == 5
			for _, x := range a.Subscriptions {
				s.client.State.Subscriptions.Add(x.Filter, packets.Subscription{
					Filter: x.Filter, Qos: x.QoS, Identifier: x.Identifier, RetainHandling: x.RetainHandling,
					RetainAsPublished: x.RetainAsPublished, NoLocal: x.NoLocal,
				})
			}
		}
		b.sessions[r.Client] = s
	}
}

// revive gives what restore collected to mochi, and the wills their time.
func (b *Broker) revive() {
	at := time.Now().Add(b.options.WillGrace)
	for id, s := range b.sessions {
		if s.will != nil {
			s.speakAt = at
		}
		if s.client == nil {
			continue
		}
		s.client.Stop(packets.ErrServerShuttingDown) // it isn't there; its expiry counts from now
		b.server.Clients.Add(s.client)
		for _, f := range s.client.State.Subscriptions.GetAll() {
			b.server.Topics.Subscribe(id, f)
		}
		s.counted.Store(int64(s.client.State.Subscriptions.Len()))
		b.subscriptions.Add(s.counted.Load())
		s.grant = b.options.Rules.grant(s.user, id)
	}
	if n, _ := b.index.size(); n > 0 || len(b.sessions) > 0 {
		b.log.Info("state restored", "retained", n, "sessions", len(b.sessions))
	}
}

// recordTopic implements state.
func (b *Broker) recordTopic(topic string) *retained {
	pk, ok := b.server.Topics.Retained.Get(topic)
	if !ok || len(pk.Payload) == 0 {
		return nil
	}
	p := pk.Properties
	r := &retained{
		Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Created: pk.Created, Expires: pk.Expiry, Origin: pk.Origin,
		ContentType: p.ContentType, Response: p.ResponseTopic, Correlation: p.CorrelationData, User: userPairs(p.User),
	}
	if p.PayloadFormatFlag {
		r.Format = &p.PayloadFormat
	}
	return r
}

// recordClient implements state.
func (b *Broker) recordClient(id string) *away {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[id]
	if s == nil || s.expiry == 0 && s.will == nil {
		return nil
	}
	a := &away{Username: s.user, Expiry: s.expiry, Keeps: s.expiry > 0 && s.client != nil, Will: s.will}
	if a.Keeps {
		a.MQTT = s.client.Properties.ProtocolVersion
		a.Subscriptions = subscriptions(s.client)
	}
	return a
}

func subscriptions(cl *mqtt.Client) []subscription {
	var all []subscription
	for _, f := range cl.State.Subscriptions.GetAll() {
		all = append(all, subscription{
			Filter: f.Filter, QoS: f.Qos, Identifier: f.Identifier, RetainHandling: f.RetainHandling,
			RetainAsPublished: f.RetainAsPublished, NoLocal: f.NoLocal,
		})
	}
	return all
}

// each implements state.
func (b *Broker) each(topic, client func(string)) {
	for _, t := range b.index.matching("#") {
		topic(t)
	}
	for _, s := range b.all() {
		client(s.id)
	}
}
