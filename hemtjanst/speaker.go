package hemtjanst

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// batch is how many devices are announced, or topics subscribed to, before anything else is looked at.
const batch = 256

// wideFrom is how many devices are listened to each by its own topics. Mosquitto 2.0 takes a time that grows with
// the square of a client's subscriptions: 50 s for 200,000.
const wideFrom = 200

// asking is how many batches the broker is asked for at a time.
const asking = 16

// speaker announces devices: all that it claims after each connect, and then what changes. It
// is a Bridge, or an Announcer without a provider.
type speaker struct {
	mu     sync.Mutex
	claims map[string]claim
	roots  map[string]string // whose a root is
	dirty  []string          // ids that may differ from what was published, each once
	marked map[string]bool   // ids in dirty
	wake   chan struct{}
	// heard is what others said on topics of ours and Run's goroutine hasn't looked at: whether it is wrong.
	heard map[string]bool
	// moved are devices that name another provider now, and no longer ours; repairs is about topics of
	// ours that others overwrote. Run's goroutine changes them, with the lock held.
	moved   map[string]bool
	repairs map[string]*repair
	status  status

	// From here on Run's goroutine owns it.
	broker     Transport
	topics     Topics
	provider   string // "" is a single device
	meta       string // of the provider
	clientID   string
	keepAlive  time.Duration
	log        *slog.Logger
	announced  func()
	conn, ears Conn
	news       chan struct{}    // has a value when something was heard
	published  map[string]claim // on this connection
	before     map[string]claim // on earlier ones, and not published again yet
	wide       map[string]bool  // filters that match others' topics, too
}

// run announces until ctx is done, and leaves.
func (s *speaker) run(ctx context.Context, will Message) error {
	s.mu.Lock()
	s.awake()
	// A broker may send what nobody asked for as soon as it is connected.
	s.heard, s.moved, s.repairs, s.news = map[string]bool{}, map[string]bool{}, map[string]*repair{}, make(chan struct{}, 1)
	s.mu.Unlock()
	l := link{broker: s.broker, status: &s.status, log: s.log}
	l.session = func() Session {
		return Session{ClientID: s.clientID, KeepAlive: s.keepAlive, Will: &will, Receive: s.receive}
	}
	return l.run(ctx, s.serve)
}

// serve announces on one connection.
func (s *speaker) serve(ctx context.Context, conn Conn) error {
	s.conn, s.ears = conn, conn
	if s.before == nil {
		s.before = map[string]claim{}
	}
	maps.Copy(s.before, s.published)
	s.published, s.wide = map[string]claim{}, map[string]bool{}
	if s.provider != "" && !conn.NoLocal() {
		// What it publishes would come back to it between the acknowledgements, and make it slow.
		ears, err := s.broker.Connect(ctx, Session{ClientID: s.clientID + "e", KeepAlive: s.keepAlive, Receive: s.receive})
		if err != nil {
			return fmt.Errorf("hemtjanst: second connection: %w", err)
		}
		defer func() { _ = ears.Close() }() // it has no will and nothing to flush
		s.ears = ears
	}
	s.mu.Lock()
	s.heard, s.repairs = map[string]bool{}, map[string]*repair{}
	s.dirty, s.marked = nil, nil
	for id := range s.claims {
		s.mark(id)
	}
	for id := range s.before {
		s.mark(id)
	}
	slices.Sort(s.dirty)
	s.mu.Unlock()
	err := s.speak(ctx)
	if ctx.Err() == nil {
		return err
	}
	return s.leave(ctx)
}

// speak announces everything, and then what changes, until the connection is lost or ctx done.
func (s *speaker) speak(ctx context.Context) error {
	if s.provider != "" {
		// Listen first: of a topic that is cleared before that nothing is retained to be heard.
		if err := s.listen(ctx, s.topics.Provider(s.provider)); err != nil {
			return err
		}
		if err := s.say(ctx, s.topics.Provider(s.provider), s.meta); err != nil {
			return err
		}
	}
	if err := s.sync(ctx); err != nil {
		return err
	}
	if err := s.conn.Flush(ctx); err != nil {
		return err
	}
	s.log.Info("announced over MQTT", "n", len(s.published))
	if s.announced != nil {
		s.announced()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.wait())
		select {
		case <-ctx.Done():
			return nil
		case <-s.conn.Done():
			return s.conn.Err()
		case <-s.ears.Done():
			return s.ears.Err()
		case <-s.wake:
			if err := s.sync(ctx); err != nil {
				return err
			}
		case <-s.news:
			s.hear(time.Now())
		case <-timer.C:
		}
		if err := s.repair(ctx, time.Now()); err != nil {
			return err
		}
	}
}

// sync publishes what differs from what was published, and listens to what is new.
func (s *speaker) sync(ctx context.Context) error {
	var listen, ignore []string
	for {
		s.mu.Lock()
		n := min(len(s.dirty), batch)
		ids := slices.Clone(s.dirty[:n])
		now := make([]claim, n) // without an id where there is none
		free := make([]bool, n) // nobody has the root that was published
		for i, id := range ids {
			now[i] = s.claims[id]
			_, used := s.roots[s.last(id).root]
			free[i] = !used
			delete(s.marked, id)
		}
		if s.dirty = s.dirty[n:]; len(s.dirty) == 0 {
			s.dirty = nil
		}
		s.mu.Unlock()
		if n == 0 {
			break
		}
		for i, id := range ids {
			old, known := s.published[id]
			if !known && now[i].id == "" {
				old = s.before[id] // gone while there was no connection; or it came and went unseen
			}
			if err := s.change(ctx, old, now[i], free[i]); err != nil {
				return err
			}
			if b := s.before[id]; b.root != "" && b.root != now[i].root && now[i].id != "" && free[i] && !known && !s.moved[id] {
				if err := s.say(ctx, s.topics.Reachable(b.root), ""); err != nil {
					return err
				}
			}
			delete(s.before, id)
			if now[i].id == "" {
				delete(s.published, id)
				s.move(id, false)
				if !known {
					continue
				}
				ignore = append(ignore, s.topics.Device(id))
				if free[i] {
					ignore = append(ignore, s.topics.Reachable(old.root))
				}
				continue
			}
			s.published[id] = now[i]
			if known && old.root != now[i].root && free[i] {
				ignore = append(ignore, s.topics.Reachable(old.root))
			}
			if !known {
				listen = append(listen, s.topics.Device(id))
			}
			if !known || old.root != now[i].root {
				listen = append(listen, s.topics.Reachable(now[i].root))
			}
		}
	}
	s.mu.Lock()
	for _, t := range ignore {
		delete(s.repairs, t)
	}
	s.mu.Unlock()
	if len(s.published) > wideFrom || len(s.wide) > 0 {
		return s.listen(ctx, s.widen(listen)...)
	}
	err := inBatches(ignore, func(some []string) error { return s.ears.Unsubscribe(ctx, some...) })
	if err != nil {
		return err
	}
	return s.listen(ctx, listen...)
}

// last returns what was published last of a device.
func (s *speaker) last(id string) claim {
	if c, ok := s.published[id]; ok {
		return c
	}
	return s.before[id]
}

// widen returns filters that match the topics and those of others with as many levels, without those that are
// there already.
func (s *speaker) widen(topics []string) []string {
	var filters []string
	for _, t := range topics {
		kind, name := s.topics.Parse(t)
		any := strings.Repeat("/+", 1+strings.Count(name, "/"))[1:]
		f := s.topics.Device(any)
		if kind == ReachableTopic {
			f = s.topics.Reachable(any)
		}
		if !s.wide[f] {
			s.wide[f] = true
			filters = append(filters, f)
		}
	}
	return filters
}

// change publishes what turns one claim into another; either may be none. free says that nobody has
// the old root now.
func (s *speaker) change(ctx context.Context, old, now claim, free bool) error {
	id := old.id
	if id == "" {
		id = now.id
	}
	if s.moved[id] {
		if old.id == "" || now.id == "" {
			return nil // neither taken back at a connect, nor cleared
		}
		s.move(id, false) // it was changed here: ours again
		old = claim{}
	}
	type step struct{ topic, payload string }
	var steps []step
	switch {
	case now.id == "" && old.id == "":
	case now.id == "":
		if free {
			steps = append(steps, step{s.topics.Reachable(old.root), "0"}, step{s.topics.Reachable(old.root), ""})
		}
		steps = append(steps, step{s.topics.Device(id), ""})
	case old.id == "":
		steps = append(steps, step{s.topics.Device(id), now.doc}, step{s.topics.Reachable(now.root), digit(now.reachable)})
	default:
		// First the new root's state, for who reads the metadata looks there next.
		if old.root != now.root || old.reachable != now.reachable {
			steps = append(steps, step{s.topics.Reachable(now.root), digit(now.reachable)})
		}
		if old.doc != now.doc {
			steps = append(steps, step{s.topics.Device(id), now.doc})
		}
		if old.root != now.root && free {
			steps = append(steps, step{s.topics.Reachable(old.root), ""})
		}
	}
	for _, st := range steps {
		if err := s.say(ctx, st.topic, st.payload); err != nil {
			return err
		}
	}
	return nil
}

func digit(reachable bool) string {
	if reachable {
		return "1"
	}
	return "0"
}

// say publishes a retained message.
func (s *speaker) say(ctx context.Context, topic, payload string) error {
	return s.conn.Publish(ctx, Message{Topic: topic, Payload: []byte(payload), Retain: true, QoS: 1})
}

// listen subscribes to topics, so that what others say there is heard. The broker then sends what is
// retained: what was overwritten before is heard, too.
func (s *speaker) listen(ctx context.Context, topics ...string) error {
	return inBatches(topics, func(some []string) error {
		return s.ears.Subscribe(ctx, SubscribeOptions{NoLocal: true}, some...)
	})
}

// inBatches calls f with all topics, some at a time and several of those at once: a broker with
// Nagle's algorithm on may take 40 ms to answer to one.
func inBatches(topics []string, f func([]string) error) error {
	var g errgroup.Group
	g.SetLimit(asking)
	for some := range slices.Chunk(topics, batch) {
		g.Go(func() error { return f(some) })
	}
	return g.Wait()
}

// leave says that all devices are unreachable and the provider gone, and then farewell. If it
// doesn't come to that the broker speaks the will.
func (s *speaker) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell+time.Duration(len(s.published))*time.Millisecond/2)
	defer cancel()
	for id, c := range s.published {
		if c.reachable && !s.moved[id] {
			if err := s.say(ctx, s.topics.Reachable(c.root), "0"); err != nil {
				return err
			}
		}
	}
	if s.provider != "" {
		if err := s.say(ctx, s.topics.Provider(s.provider), ""); err != nil {
			return err
		}
	}
	if err := s.conn.Flush(ctx); err != nil {
		return err
	}
	return s.conn.Disconnect(ctx)
}
