package hemtjanst_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// fakeBroker is a broker in memory. What is published is there, and heard by all, when Publish returns.
type fakeBroker struct {
	mu       sync.Mutex
	retained map[string]string
	conns    map[*fakeConn]bool
	log      []string // all that was published: "topic payload"
	connects int
	// refuse, if it is set, says why a connection is refused; deny which topics nobody may publish
	// on; cut how many retained messages the next subscription gets at most, if it isn't 0; noLocal
	// whether the broker has that.
	refuse  func() error
	deny    func(topic string) bool
	cut     []int
	noLocal bool
	greet   []hemtjanst.Message // what a new connection gets unasked
	// judge, if it is set, is asked about each message before it is published. From connections that
	// are dead nothing arrives any more.
	judge func(*fakeConn, hemtjanst.Message)
	// deaf, if it is set, says which messages don't reach a client.
	deaf func(clientID, topic string) bool
	dead map[*fakeConn]bool
}

func newFake() *fakeBroker {
	return &fakeBroker{retained: map[string]string{}, conns: map[*fakeConn]bool{}, noLocal: true}
}

type fakeConn struct {
	b       *fakeBroker
	s       hemtjanst.Session
	filters map[string]bool // true is No Local
	done    chan struct{}
	err     error
}

func (b *fakeBroker) Connect(_ context.Context, s hemtjanst.Session) (hemtjanst.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connects++
	if b.refuse != nil {
		if err := b.refuse(); err != nil {
			return nil, err
		}
	}
	for c := range b.conns {
		if c.s.ClientID == s.ClientID {
			b.end(c, hemtjanst.ErrTakenOver, true)
		}
	}
	c := &fakeConn{b: b, s: s, filters: map[string]bool{}, done: make(chan struct{})}
	b.conns[c] = true
	for _, m := range b.greet {
		s.Receive(m)
	}
	return c, nil
}

// end ends a connection, with its will or without.
func (b *fakeBroker) end(c *fakeConn, err error, will bool) {
	if !b.conns[c] {
		return
	}
	delete(b.conns, c)
	c.err = err
	close(c.done)
	if will && c.s.Will != nil {
		b.publish(nil, *c.s.Will)
	}
}

// cutOff ends all connections of a client without a farewell.
func (b *fakeBroker) cutOff(clientID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if strings.HasPrefix(c.s.ClientID, clientID) {
			b.end(c, errors.New("reset"), true)
		}
	}
}

func (b *fakeBroker) publish(from *fakeConn, m hemtjanst.Message) {
	if b.judge != nil {
		b.judge(from, m)
	}
	b.log = append(b.log, m.Topic+" "+string(m.Payload))
	if m.Retain {
		if b.retained[m.Topic] = string(m.Payload); len(m.Payload) == 0 {
			delete(b.retained, m.Topic)
		}
	}
	for c := range b.conns {
		for f, noLocal := range c.filters {
			if matches(f, m.Topic) && (c != from || !noLocal || !b.noLocal) && (b.deaf == nil || !b.deaf(c.s.ClientID, m.Topic)) {
				c.s.Receive(hemtjanst.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS})
				break
			}
		}
	}
}

// say publishes a retained message from outside.
func (b *fakeBroker) say(topic, payload string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(nil, hemtjanst.Message{Topic: topic, Payload: []byte(payload), Retain: true})
}

func (b *fakeBroker) state() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.retained)
}

func (b *fakeBroker) published(message string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.log {
		if m == message {
			n++
		}
	}
	return n
}

func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

func (c *fakeConn) Subscribe(_ context.Context, o hemtjanst.SubscribeOptions, filters ...string) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if !c.b.conns[c] {
		return c.err
	}
	most := len(c.b.retained)
	if len(c.b.cut) > 0 {
		most, c.b.cut = c.b.cut[0], c.b.cut[1:]
	}
	for _, f := range filters {
		c.filters[f] = o.NoLocal
		for _, topic := range slices.Sorted(maps.Keys(c.b.retained)) {
			if matches(f, topic) && most > 0 {
				c.s.Receive(hemtjanst.Message{Topic: topic, Payload: []byte(c.b.retained[topic]), Retain: true})
				most--
			}
		}
	}
	return nil
}

func (c *fakeConn) Unsubscribe(_ context.Context, filters ...string) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, f := range filters {
		delete(c.filters, f)
	}
	return nil
}

func (c *fakeConn) Publish(ctx context.Context, m hemtjanst.Message) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !c.b.conns[c] {
		return c.err
	}
	if c.b.dead[c] || c.b.deny != nil && c.b.deny(m.Topic) {
		return nil // as brokers do: without a word
	}
	c.b.publish(c, m)
	if c.b.noLocal && m.QoS > 0 && c.s.Taken != nil {
		c.s.Taken(m.Topic)
	}
	return nil
}

func (c *fakeConn) Flush(context.Context) error { return nil }
func (c *fakeConn) NoLocal() bool               { return c.b.noLocal }
func (c *fakeConn) Done() <-chan struct{}       { return c.done }

func (c *fakeConn) Err() error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.err
}

func (c *fakeConn) Disconnect(context.Context) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.b.end(c, errors.New("left"), c.b.dead[c])
	return nil
}

func (c *fakeConn) Close() error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.b.end(c, errors.New("closed"), true)
	return nil
}
