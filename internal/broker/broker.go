package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"
)

// DefaultWillGrace is how long clients have to come back after a restart of the
// broker before their wills are spoken.
const DefaultWillGrace = 5 * time.Second

// Options say how a broker works. With none of Users, Certificates and
// Anonymous, clients on this machine come in without a name, and no others.
type Options struct {
	Listeners []Listener
	// Dir is the state folder, "" to keep everything in memory alone.
	Dir string
	// Users may come in with their passwords.
	Users *Passwords
	// Certificates says that TLS listeners ask for them: the common name of a
	// client's is its user.
	Certificates bool
	// Anonymous lets in who has no name, from anywhere.
	Anonymous bool
	// Rules say who may read and write what; nil: everybody everything.
	Rules  *Rules
	Limits Limits
	// WillGrace is DefaultWillGrace if 0.
	WillGrace time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// Broker is an MQTT broker. Make it with Open, then Run it.
type Broker struct {
	options Options
	limits  Limits
	log     *slog.Logger
	server  *mqtt.Server
	inline  *mqtt.Client // whose wills' words are
	journal *journal     // nil without a state folder
	index   *index
	count   counters

	closing   atomic.Bool
	connected atomic.Int64 // connections, also those that haven't said CONNECT
	// subscriptions of all sessions
	subscriptions atomic.Int64

	mu       sync.Mutex
	sessions map[string]*session // by client id
}

// Open makes a broker and reads what an earlier one left in its state folder.
// The error is ErrInUse when another broker uses that.
func Open(o Options) (*Broker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.WillGrace <= 0 {
		o.WillGrace = DefaultWillGrace
	}
	b := &Broker{options: o, limits: o.Limits.withDefaults(), log: o.Log, index: newIndex(), sessions: make(map[string]*session)}
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: b.capabilities(),
		// mochi logs whole packets, and each at the level of a warning.
		Logger:                   slog.New(slog.DiscardHandler),
		ClientNetReadBufferSize:  4 << 10,
		ClientNetWriteBufferSize: 4 << 10,
		SysTopicResendInterval:   3600,
	})
	if err := b.server.AddHook(&hook{b: b, empty: []byte{0}}, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.inline = b.server.NewClient(nil, "", "", true)
	if o.Dir != "" {
		j, err := openJournal(o.Dir, o.Log, b.restore)
		if err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
		j.state, b.journal = b, j
	}
	b.revive()
	return b, nil
}

func (b *Broker) capabilities() *mqtt.Capabilities {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = int64(b.limits.Clients)
	c.MaximumMessageExpiryInterval = 0 // retained messages stay
	c.MaximumClientWritesPending = writesPending
	c.MaximumSessionExpiryInterval = uint32(b.limits.SessionExpiry / time.Second)
	c.MaximumPacketSize = uint32(b.limits.Message)
	c.MaximumInflight = uint16(min(b.limits.Queued, 60_000))
	c.TopicAliasMaximum = 0
	return c
}

// Run serves until ctx is done, which is no error, or a listener fails. It
// closes the listeners. The wills of those who are connected then are not
// spoken: they are kept, and spoken after the next start if their clients don't
// come back within the grace time, just as after a kill.
func (b *Broker) Run(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	written := make(chan struct{})
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		if b.journal != nil {
			b.journal.run(written)
			b.journal.close()
		}
	}()
	conns := &sync.WaitGroup{}
	for i, l := range b.options.Listeners {
		id := fmt.Sprintf("%s-%d", l.kind(), i)
		tasks.Go(func() error { return b.listen(ctx, l, id, conns) })
	}
	tasks.Go(func() error { b.housekeeping(ctx); return nil })
	<-ctx.Done()
	b.closing.Store(true)
	for _, s := range b.all() {
		if !b.isOver(s) {
			b.disconnect(s, packets.ErrServerShuttingDown)
		}
	}
	err := tasks.Wait()
	conns.Wait()
	close(written)
	<-saved
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// Close gives the state folder back; for a broker that is never run.
func (b *Broker) Close() {
	if b.journal != nil {
		b.journal.close()
	}
}

// Stats returns what happened so far.
func (b *Broker) Stats() Stats {
	topics, bytes := b.index.size()
	b.mu.Lock()
	sessions, connected := len(b.sessions), 0
	for _, s := range b.sessions {
		if !s.over {
			connected++
		}
	}
	b.mu.Unlock()
	return Stats{
		Connected: int64(connected), Sessions: int64(sessions), Retained: int64(topics), RetainedBytes: bytes,
		RefusedConnections: b.count.refusedConnections.Load(), RefusedMessages: b.count.refusedMessages.Load(),
		RefusedFilters: b.count.refusedFilters.Load(), NotRetained: b.count.notRetained.Load(), Dropped: b.count.dropped.Load(),
		Stalled: b.count.stalled.Load(), Wills: b.count.wills.Load(), Downgraded: b.count.downgraded.Load(),
		Malformed: b.count.malformed.Load(), Unsaved: b.journal.failure(),
	}
}

func (b *Broker) all() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s)
	}
	return all
}

func (b *Broker) isOver(s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.over
}

// sessionOf returns a client's session, nil if it has none yet.
func (b *Broker) sessionOf(cl *mqtt.Client) *session {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.session.Load()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[cl.ID]; s != nil && s.client == cl { // one that was restored
		return s
	}
	return nil
}

// disconnect ends a client's connection. MQTT 3.1.1 has no DISCONNECT from a
// server.
func (b *Broker) disconnect(s *session, code packets.Code) {
	if s.conn.backlog() {
		s.conn.abort() // it wouldn't hear it
	}
	if s.client.Properties.ProtocolVersion == 5 {
		_ = b.server.DisconnectClient(s.client, code) // the connection is closed either way
	}
	s.client.Stop(code)
}

// establish makes a session the one of its client id. An older connection with
// that id is ended first, and its will spoken, so that what the new one says
// comes after it.
func (b *Broker) establish(cl *mqtt.Client, clean bool) {
	s := b.sessionOf(cl)
	if s == nil {
		return
	}
	var due *will
	for {
		b.mu.Lock()
		old := b.sessions[s.id]
		if old == nil || old.over {
			if old != nil && old.will != nil {
				// MQTT 5 §3.1.2.5: the old session ends here. One of before a restart ended then.
				if clean && !old.restored || old.restored && (clean || old.will.Delay == 0) && !b.claimed(old.will.Topic, s) {
					due = old.will
				}
			}
			b.sessions[s.id] = s
			b.mu.Unlock()
			if old != nil {
				b.subscriptions.Add(-old.counted.Swap(0))
			}
			break
		}
		b.mu.Unlock()
		b.disconnect(old, packets.ErrSessionTakenOver)
		<-old.ended
	}
	if due != nil {
		b.speak(s.id, due)
	}
	b.journal.changedClient(s.id)
	b.log.Debug("client connected", "client", s.id, "user", s.user, "addr", cl.Net.Remote)
}

// claimed says whether a client that is there, or the one of s that is about to be, has a will
// on a topic. Then it says there itself how things are: after a restart an older will would be
// about the living. The lock is held.
func (b *Broker) claimed(topic string, s *session) bool {
	if s.will != nil && s.will.Topic == topic {
		return true
	}
	for _, other := range b.sessions {
		if !other.over && other.will != nil && other.will.Topic == topic {
			return true
		}
	}
	return false
}

// left is called when a connection is over. A client that didn't take its leave
// has its will spoken, now or later.
func (b *Broker) left(cl *mqtt.Client) {
	s := b.sessionOf(cl)
	if s == nil {
		return
	}
	graceful := errors.Is(cl.StopCause(), packets.CodeDisconnect)
	b.mu.Lock()
	if s.over || b.sessions[s.id] != s {
		b.mu.Unlock()
		return
	}
	s.expiry = expiryOf(cl, b.limits.SessionExpiry) // MQTT 5: DISCONNECT may change it
	var due *will
	switch {
	case graceful:
		s.will = nil
	case b.closing.Load() && b.journal != nil: // the next run speaks it
	case s.will != nil && s.will.Delay > 0:
		s.speakAt = time.Now().Add(time.Duration(s.will.Delay) * time.Second)
	default:
		due, s.will = s.will, nil
	}
	b.mu.Unlock()
	if due != nil {
		b.speak(s.id, due)
	}
	b.mu.Lock()
	s.over = true
	if s.expiry == 0 && s.will == nil && b.sessions[s.id] == s {
		delete(b.sessions, s.id)
	}
	b.mu.Unlock()
	b.journal.changedClient(s.id)
	b.log.Debug("client left", "client", s.id, "graceful", graceful, "err", cl.StopCause())
}

// speak publishes a will.
func (b *Broker) speak(client string, w *will) {
	b.count.wills.Add(1)
	b.log.Debug("will spoken", "client", client, "topic", w.Topic)
	if err := b.server.InjectPacket(b.inline, w.packet()); err != nil {
		b.log.Warn("a will could not be spoken", "client", client, "topic", w.Topic, "err", err)
	}
}

const tick = 200 * time.Millisecond

// housekeeping speaks wills that are due, and forgets what is over.
func (b *Broker) housekeeping(ctx context.Context) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	var said Stats
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			b.speakDue(now)
			if n%5 == 0 {
				b.expire(now)
			}
			if n%300 == 0 {
				said = b.report(said)
			}
		}
	}
}

// report logs what went wrong since the last time, once a minute.
func (b *Broker) report(last Stats) Stats {
	s := b.Stats()
	if s.Dropped != last.Dropped || s.Stalled != last.Stalled || s.NotRetained != last.NotRetained || s.Malformed != last.Malformed {
		b.log.Warn("messages are lost", "slow", s.Dropped-last.Dropped, "stalled", s.Stalled-last.Stalled,
			"not_retained", s.NotRetained-last.NotRetained, "malformed", s.Malformed-last.Malformed)
	}
	if s.RefusedMessages != last.RefusedMessages || s.RefusedFilters != last.RefusedFilters {
		b.log.Info("clients try what they may not", "messages", s.RefusedMessages-last.RefusedMessages,
			"subscriptions", s.RefusedFilters-last.RefusedFilters)
	}
	return s
}

func (b *Broker) speakDue(now time.Time) {
	type saying struct {
		client string
		will   *will
	}
	var due []saying
	b.mu.Lock()
	living := make(map[string]bool) // topics of wills of clients that are there
	for _, s := range b.sessions {
		if !s.over && s.will != nil {
			living[s.will.Topic] = true
		}
	}
	for id, s := range b.sessions {
		if s.will == nil || s.speakAt.IsZero() || now.Before(s.speakAt) {
			continue
		}
		// After a restart a client may be back under another client id: then the
		// old will would be about the living.
		if !s.restored || !living[s.will.Topic] {
			due = append(due, saying{id, s.will})
		}
		s.will, s.speakAt = nil, time.Time{}
		if s.expiry == 0 {
			delete(b.sessions, id)
		}
		b.journal.changedClient(id)
	}
	b.mu.Unlock()
	for _, x := range due {
		b.speak(x.client, x.will)
	}
}

// expire ends sessions and retained messages whose time is over, and the
// oldest sessions where there are too many.
func (b *Broker) expire(now time.Time) {
	for _, topic := range b.index.expired(now.Unix()) {
		b.server.Topics.RetainMessage(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true}, TopicName: topic})
		b.index.put(topic, 0, 0)
		b.journal.changedTopic(topic)
	}
	for _, s := range b.overdue(now) {
		if now, there := b.server.Clients.Get(s.id); there && now != s.client {
			continue // it has just come back
		}
		b.subscriptions.Add(-s.counted.Swap(0))
		b.forget(s)
	}
}

// forget takes a session that is over out of mochi.
func (b *Broker) forget(s *session) {
	b.server.UnsubscribeClient(s.client)
	s.client.ClearInflights()
	b.server.Clients.Delete(s.id)
	b.journal.changedClient(s.id)
}

// overdue takes the sessions out whose time is over.
func (b *Broker) overdue(now time.Time) (over []*session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var away []*session
	for _, s := range b.sessions {
		if s.over && s.will == nil && s.client != nil && mochiDone(s) {
			away = append(away, s)
		}
	}
	slices.SortFunc(away, func(x, y *session) int { return int(x.client.StopTime() - y.client.StopTime()) })
	for i, s := range away {
		if s.client.StopTime()+int64(s.expiry) >= now.Unix() && len(away)-i <= b.limits.Sessions {
			continue
		}
		delete(b.sessions, s.id)
		over = append(over, s)
	}
	return over
}

// mochiDone says whether mochi is done with a session's connection.
func mochiDone(s *session) bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}
