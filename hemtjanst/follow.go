package hemtjanst

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	// maxLooks is how often a snapshot is taken until one brings what those before it brought.
	maxLooks = 10
	// quiet is how long nothing must come before a snapshot counts as complete without its sentinel: the
	// broker may not let us publish one.
	quiet = 3 * time.Second
	// late is when we haven't had our turn for so long that what came meanwhile may not have been read
	// yet. There is as much time for that then.
	late = 500 * time.Millisecond
	// A snapshot that couldn't be confirmed is taken again, first after firstLook and then ever
	// more seldom.
	firstLook = 10 * time.Second
	lastLook  = time.Hour
)

// follower keeps a model of what a broker says. Its goroutine owns the model.
type follower struct {
	broker    Transport
	topics    Topics
	clientID  string
	keepAlive time.Duration
	log       *slog.Logger
	status    *status
	model     *Model

	// events is called with what has changed, and with Lost.
	events func(now time.Time, events []Event)
	// due, if it isn't nil, returns when advance is to be called next; the zero Time means never.
	due     func() time.Time
	advance func(now time.Time)
	// also are topics that are listened to beside the model's. heard, if it isn't nil, is called with each
	// message before the model is told. wake makes due be asked again.
	also  []string
	heard func(now time.Time, m Message)
	wake  <-chan struct{}

	conn  Conn          // while it is connected
	again time.Time     // when a snapshot that wasn't confirmed is taken again
	pause time.Duration // before that
}

// run follows until ctx is done.
func (f *follower) run(ctx context.Context) error {
	if err := f.topics.Check(); err != nil {
		return err
	}
	f.model.Topics = f.topics
	var q *queue
	l := link{broker: f.broker, status: f.status, log: f.log}
	l.session = func() Session {
		q = newQueue()
		return Session{ClientID: f.clientID, KeepAlive: f.keepAlive, Receive: f.receive(q)}
	}
	return l.run(ctx, func(ctx context.Context, conn Conn) error { return f.serve(ctx, conn, q) })
}

// receive drops at once what the model doesn't read, features' values above all.
func (f *follower) receive(q *queue) func(Message) {
	return func(m Message) {
		if kind, _ := f.topics.Parse(m.Topic); kind != OtherTopic || len(m.Payload) == sentinelSize || slices.Contains(f.also, m.Topic) {
			q.push(m)
		}
	}
}

// look is a snapshot that is being taken.
type look struct {
	number   int    // how many there were before it on this connection
	sentinel string // the topic that ends it
	asked    chan error
	heard    time.Time // when something came last
}

const sentinelSize = 5 // bytes of a sentinel's payload

// serve follows on one connection.
func (f *follower) serve(parent context.Context, conn Conn, q *queue) (err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer q.close()
	f.again, f.pause, f.conn = time.Time{}, firstLook, conn
	now := f.ask(ctx, conn, 0)
	defer func() {
		f.model.Lost()
		if parent.Err() == nil {
			f.events(time.Now(), []Event{{Kind: Lost, Err: err}})
		}
	}()
	var used []Message
	var events []Event
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		timer.Reset(f.wait(now))
		var asked <-chan error
		if now != nil {
			asked = now.asked
		}
		select {
		case <-ctx.Done():
			leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
			_ = conn.Disconnect(leave) // there is no will to be kept from
			return nil
		case <-conn.Done():
			return conn.Err()
		case err := <-asked:
			if err != nil {
				return err
			}
			now.asked, now.heard = nil, time.Now()
		case <-timer.C:
			if len(q.ready) > 0 {
				continue // it came in time: it is we who are late
			}
		case <-f.wake:
		case <-q.ready:
			all, stalled := q.take(used)
			at := time.Now()
			for _, m := range all {
				if now != nil && m.Topic == now.sentinel {
					now, events = f.ended(ctx, conn, now, at, events)
					continue
				}
				if f.heard != nil {
					f.heard(at, m)
				}
				events = f.model.Observe(at, m, events)
			}
			used = all
			if cap(used) > 4096 {
				used = nil // not kept for the few that come later
			}
			if now != nil {
				now.heard = at
			} else if stalled {
				f.log.Warn("MQTT messages came faster than they were read, looks again")
				now = f.ask(ctx, conn, 0)
			}
		}
		at := time.Now()
		if now != nil && now.asked == nil {
			switch silent := at.Sub(now.heard); {
			case silent >= quiet+late:
				now.heard = at.Add(late - quiet)
			case silent >= quiet:
				f.log.Warn("MQTT broker doesn't send our own message back, may lack the rest of what is retained")
				events = f.completed(at, events, false)
				now = nil
			}
		}
		if now == nil && !f.again.IsZero() && !f.again.After(at) {
			now = f.ask(ctx, conn, 0)
		}
		if len(events) > 0 {
			f.events(at, events)
			if events = events[:0]; cap(events) > 1024 {
				events = nil
			}
		}
		if f.due != nil {
			if due := f.due(); !due.IsZero() && !due.After(at) {
				f.advance(at)
			}
		}
	}
}

// wait returns how long to sleep if nothing happens.
func (f *follower) wait(now *look) time.Duration {
	wait := time.Hour
	switch {
	case now != nil && now.asked == nil:
		wait = quiet - time.Since(now.heard)
	case now == nil && !f.again.IsZero():
		wait = time.Until(f.again)
	}
	if f.due != nil {
		if due := f.due(); !due.IsZero() {
			wait = min(wait, time.Until(due))
		}
	}
	return max(wait, 0)
}

// ask begins to take a snapshot: asks for all that is retained, and publishes a message to ourselves that the
// broker sends behind it.
func (f *follower) ask(ctx context.Context, conn Conn, number int) *look {
	if number == 0 {
		f.model.Begin()
	} else {
		f.model.look()
	}
	l := &look{number: number, sentinel: f.topics.sentinel(randomID()), asked: make(chan error, 1)}
	filters := slices.Concat(f.also, f.topics.filters())
	each := len(filters)
	if number > 0 {
		each = 1 // less at a time for a broker that has cut it short
	}
	go func() {
		for some := range slices.Chunk(filters, each) {
			if err := conn.Subscribe(ctx, SubscribeOptions{}, some...); err != nil {
				l.asked <- err
				return
			}
		}
		l.asked <- conn.Publish(ctx, Message{Topic: l.sentinel, Payload: make([]byte, sentinelSize)})
	}()
	return l
}

// ended judges the snapshot that the sentinel ended. Where something is missing that
// should be there the broker may have cut it short, and the next one tells.
func (f *follower) ended(ctx context.Context, conn Conn, l *look, at time.Time, events []Event) (*look, []Event) {
	again := f.model.doubtful()
	if l.number > 0 { // once there was doubt, that it all fits together isn't enough
		again = !f.model.settled()
	}
	if again && l.number+1 < maxLooks {
		f.log.Debug("retained MQTT messages don't add up, looks again", "n", l.number+1)
		return f.ask(ctx, conn, l.number+1), events
	}
	if again {
		f.log.Warn("MQTT broker sends other retained messages each time; set its limit of queued messages higher (Mosquitto: max_queued_messages 0)")
	}
	return nil, f.completed(at, events, !again)
}

func (f *follower) completed(at time.Time, events []Event, confirmed bool) []Event {
	if f.again = (time.Time{}); !confirmed {
		f.again = at.Add(f.pause)
		f.pause = min(2*f.pause, lastLook)
	}
	return f.model.Complete(at, confirmed, events)
}

var errNoBroker = errors.New("hemtjanst: no broker given")
