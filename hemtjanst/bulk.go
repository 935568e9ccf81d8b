package hemtjanst

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// bulkFrom is how many devices there must be to mark before the janitor stops its ears.
const bulkFrom = 4 * window

// bulk is how very many devices are marked. To send each mark back to us costs the broker as much as to take
// it. So the janitor doesn't listen to devices' states meanwhile, and takes the broker's answers for it that
// marks have arrived. It goes on listening to providers, to metadata, and to probes of its own, by which
// it knows how fresh its knowledge is. Where it publishes it listens to providers, too: there one that comes back is
// heard before the answers to marks that came after it, however late the other connection is. Afterwards it looks at
// everything once more.
//
// That needs MQTT 5: by 3.1.1 a broker answers also to what it refuses.
type bulk struct {
	probes string // their topic, which is listened to by itself
	number uint64 // of the last
	// counts says that answers count, and done that what was to be done so that they do is over.
	counts, done atomic.Bool
}

// mute stops listening to devices' states.
func (c *caretaker) mute() {
	b := &bulk{probes: c.topics.sentinel(randomID())}
	c.bulk = b
	mouth, ears, ctx := c.term.connection(), c.ears.conn, c.ctx
	states := c.topics.prefix() + "current/#"
	c.terms.Go(func() {
		// Where it fails all is heard as before, which is no more than slow. What was answered to before
		// answers count comes back, for until then all is listened to.
		if mouth.Subscribe(ctx, SubscribeOptions{}, c.topics.Provider("#")) == nil && ears.Subscribe(ctx, SubscribeOptions{}, b.probes) == nil {
			b.counts.Store(true)
			_ = ears.Unsubscribe(ctx, states)
		}
		b.done.Store(true)
		c.rouse()
	})
}

// muchDone says whether very much was done, so that it is time to listen again.
func (c *caretaker) muchDone() bool {
	b := c.bulk
	return b != nil && b.done.Load() && c.model.IsComplete() && (c.term == nil || c.term.resting || len(c.sweep.work) == 0 && len(c.unheard) == 0)
}

// hearAgain listens to devices' states again, and marks nothing until they were told.
func (c *caretaker) hearAgain(now time.Time) {
	ears, ctx, probes, t := c.ears.conn, c.ctx, c.bulk.probes, c.term
	c.terms.Go(func() {
		_ = ears.Unsubscribe(ctx, probes)
		if t != nil && t.connection() != nil {
			_ = t.connection().Unsubscribe(ctx, c.topics.Provider("#"))
		}
	})
	c.bulk, c.blind, c.probe = nil, true, nil
	c.ears.again = now
}

// probing returns a new message of our own by which we learn how fresh our knowledge is.
func (c *caretaker) probing() *saying {
	m := Message{Topic: c.topics.sentinel(randomID()), Payload: make([]byte, sentinelSize)}
	if b := c.bulk; b != nil {
		b.number++
		m.Topic = b.probes
		copy(m.Payload, binary.BigEndian.AppendUint64(nil, b.number)[8-sentinelSize:])
	}
	return &saying{Message: m}
}

// taken takes note of marks that the broker has answered to.
func (c *caretaker) taken(now time.Time, topics []string) {
	if c.bulk == nil || !c.bulk.counts.Load() {
		return // all is heard
	}
	for _, topic := range topics {
		if s := c.unheard[topic]; s != nil && s.state.Load() == sent {
			c.arrived(now, s)
			_ = c.model.Observe(now, s.Message, nil) // a janitor's model has no states in its events
		}
	}
}

// returned takes note of providers that were heard where the marks are published. The model will hear of them; until then
// their devices aren't marked.
func (c *caretaker) returned(ids []string) {
	if c.bulk == nil {
		return // the model has heard of them
	}
	dead := false
	for _, id := range ids {
		dead = dead || c.sweep.dead[id]
		c.sweep.present(id)
	}
	if dead {
		c.recheck()
	}
}
