package hemtjanst

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// worker is the topic on which the janitor that works names itself. Its will clears it.
func (t Topics) worker() string { return t.prefix() + "lanfolk/janitor" }

// term is a janitor's time as the one that works, or an attempt to be it. It has a connection of its own, with
// a client id that all janitors of a tenant share: whoever connects next cuts it off, so that at no time two
// janitors can publish.
type term struct {
	topics Topics
	token  string // names it on the worker's topic
	// out is what is to be published. It has room for all that may be unheard at a time.
	out   chan *saying
	leave context.CancelFunc
	wake  chan<- struct{}
	// fresh is until when what the janitor knows is fresh enough to be acted on, in nanoseconds since began.
	fresh atomic.Int64
	began time.Time
	stale atomic.Bool // something wasn't published because what is known isn't fresh

	mu       sync.Mutex
	refused  []string // topics of messages that the broker didn't take
	taken    []string // topics of those that it took
	returned []string // providers that were heard
	conn     Conn     // once it was accepted
	ended    bool
	err      error
	accepted bool // by the broker

	// The caretaker's.
	since   time.Time // when it was accepted, as far as was noticed
	elected bool      // its own name was heard, and so all that others had published before
	foreign time.Time // when another name was heard last, on a connection that should have ended
	resting bool      // it was told to leave
}

// saying is a message to publish.
type saying struct {
	Message
	state  atomic.Uint32
	sent   atomic.Int64 // in nanoseconds since the term began
	device string       // of a mark
	late   bool         // of a mark: the provider came back while it was on its way
}

// States of a saying. The janitor's goroutine may take back what is queued, and the term's may publish it, but
// not both.
const (
	queued uint32 = iota
	sent
	dropped // taken back
	stale   // not published, because what is known isn't fresh
)

// run connects and publishes until ctx is done or the connection ends.
func (t *term) run(ctx context.Context, broker Transport, session Session, topic string) {
	err := t.work(ctx, broker, session, topic)
	t.mu.Lock()
	t.ended, t.err = true, err
	t.mu.Unlock()
	t.awake()
}

func (t *term) work(ctx context.Context, broker Transport, session Session, topic string) error {
	session.Will = &Will{Topic: topic, Retain: true, QoS: 1}
	session.Receive = t.hear
	session.Refused, session.Taken = t.refuse, t.take
	attempt, cancel := context.WithTimeout(ctx, connecting)
	conn, err := broker.Connect(attempt, session)
	cancel()
	if err != nil {
		return fmt.Errorf("hemtjanst: connect to publish: %w", err)
	}
	defer func() { _ = conn.Close() }() // the will says what is to be said
	t.mu.Lock()
	t.accepted, t.conn = true, conn
	t.mu.Unlock()
	t.awake()
	name := Message{Topic: topic, Payload: []byte(t.token), Retain: true, QoS: 1}
	if err := conn.Publish(ctx, name); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return t.farewell(ctx, conn, topic)
		case <-conn.Done():
			return orClosed(conn.Err())
		case s := <-t.out:
			if err := t.say(ctx, conn, s); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// say publishes, unless the message was taken back or what it rests on is too old.
func (t *term) say(ctx context.Context, conn Conn, s *saying) error {
	at := int64(time.Since(t.began))
	if s.device != "" && at > t.fresh.Load() {
		s.state.CompareAndSwap(queued, stale)
		t.stale.Store(true)
		t.awake()
		return nil
	}
	if !s.state.CompareAndSwap(queued, sent) {
		return nil
	}
	s.sent.Store(at)
	return conn.Publish(ctx, s.Message)
}

// farewell clears the topic, so that another one takes over at once.
func (t *term) farewell(ctx context.Context, conn Conn, topic string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := conn.Publish(ctx, Message{Topic: topic, Retain: true, QoS: 1}); err != nil {
		return err
	}
	if err := conn.Flush(ctx); err != nil {
		return err
	}
	return conn.Disconnect(ctx)
}

func (t *term) refuse(topic string, _ error) {
	t.mu.Lock()
	t.refused = append(t.refused, topic)
	t.mu.Unlock()
	t.awake()
}

func (t *term) take(topic string) {
	t.mu.Lock()
	t.taken = append(t.taken, topic)
	t.mu.Unlock()
	t.awake()
}

// hear takes note of providers that are there. That is all that it listens to, and only in bulk.
func (t *term) hear(m Message) {
	if kind, id := t.topics.Parse(m.Topic); kind == ProviderTopic && len(m.Payload) > 0 {
		t.mu.Lock()
		t.returned = append(t.returned, id)
		t.mu.Unlock()
		t.awake()
	}
}

// connection returns the connection, nil while there is none yet.
func (t *term) connection() Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn
}

func (t *term) awake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// hasNews says whether news has any.
func (t *term) hasNews() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended || t.accepted && t.since.IsZero() || len(t.refused) > 0 || len(t.taken) > 0 || len(t.returned) > 0 || t.stale.Load()
}

// news returns how it is.
func (t *term) news() (accepted, ended bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accepted, t.ended, t.err
}

// answers returns the topics of messages that the broker has refused and taken since it was asked last, and the
// providers that were heard.
func (t *term) answers() (refused, taken, returned []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused, taken, returned = t.refused, t.taken, t.returned
	t.refused, t.taken, t.returned = nil, nil, nil
	return refused, taken, returned
}
