package hemtjanst

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

const (
	// window is how many marks are on their way at a time, from the decision until they are heard.
	window = 1024
	// freshFor is how long after something was sent that came back what is known is good enough to act on.
	freshFor = 2 * time.Second
	// unheardFor is how long a message of our own may take to come back.
	unheardFor = 5 * time.Second
	// electFor is how long we wait to hear our own name; who may not write it works without.
	electFor = 3 * time.Second
	// overdue is how long work may lie there before a janitor that rests takes it over.
	overdue = 3 * time.Second
	// settle is how long a provider has to be heard before it is listed as unconfirmed. In this time
	// those that live connect again after a broker's restart.
	settle = time.Minute
)

// caretaker is a Janitor at work. The follower's goroutine owns it.
type caretaker struct {
	janitor *Janitor
	ctx     context.Context //nolint:containedctx // Run's, which the terms' connections live in
	log     *slog.Logger
	topics  Topics
	topic   string // of the name of the janitor that works
	model   *Model
	sweep   sweep
	wake    chan struct{}
	terms   sync.WaitGroup

	term     *term     // nil while it neither works nor tries to
	worker   string    // who works, as the topic says
	last     string    // our own last name there
	try      time.Time // when to try to work; zero is never
	failures int       // attempts in a row that came to nothing
	unheard  map[string]*saying
	probe    *saying
	probed   time.Time // when the probe was handed over
	look     time.Time // when the unheard are looked through again
	ready    bool      // Ready was called
	bulk     *bulk     // while very many devices are marked
	blind    bool      // marks nothing until all that is retained was told again
	ears     *follower

	problems map[string]Problem // devices that are left alone
	heardOf  map[string]bool    // providers that have spoken on this connection
	listed   map[string]bool    // providers that were told to be unconfirmed
	list     time.Time          // when they are listed; zero is never

	out   []JanitorEvent
	state JanitorStatus
}

func newCaretaker(j *Janitor) *caretaker {
	t := Topics{j.Tenant}
	m := &Model{MaxDevices: j.MaxDevices, MaxBytes: j.MaxBytes, lean: true}
	grace := j.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	return &caretaker{
		janitor: j, log: silentIfNil(j.Log), topics: t, topic: t.worker(), model: m,
		sweep: sweep{model: m, grace: max(grace, 0)}, wake: make(chan struct{}, 1),
		unheard: map[string]*saying{}, problems: map[string]Problem{}, heardOf: map[string]bool{}, listed: map[string]bool{},
	}
}

// name is what the worker's topic says.
type name struct {
	Janitor string `json:"janitor"`
	// Grace is in milliseconds, so that others know when work is overdue.
	Grace int64 `json:"grace_ms"`
}

// heard takes in a message before the model does.
func (c *caretaker) heard(now time.Time, m Message) {
	if m.Topic == c.topic {
		c.named(now, string(m.Payload))
		return
	}
	if c.probe != nil && m.Topic == c.probe.Topic && bytes.Equal(m.Payload, c.probe.Payload) {
		c.fresh(c.probe)
		c.probe = nil
		return
	}
	if s := c.unheard[m.Topic]; s != nil && string(m.Payload) == "0" {
		c.marked(now, s)
		return
	}
	if m.Retain {
		return
	}
	if len(c.sweep.dead) == 0 && !strings.HasPrefix(m.Topic, c.topics.Provider("")) {
		return
	}
	switch kind, id := c.topics.Parse(m.Topic); kind {
	case ProviderTopic:
		if len(m.Payload) > 0 {
			c.confirm(id)
		}
	case ReachableTopic:
		c.sweep.said(now, id, m.Payload)
	case DeviceTopic, OtherTopic, UnusableTopic:
	}
}

// named takes in who works.
func (c *caretaker) named(now time.Time, who string) {
	if len(who) > 256 {
		who = who[:256]
	}
	c.worker = who
	t := c.term
	switch {
	case t == nil && who == "":
		c.try = now.Add(20*time.Millisecond + rand.N(250*time.Millisecond))
	case t == nil:
		c.try = time.Time{}
	case who == t.token:
		t.foreign = time.Time{}
		c.elect(now)
	case who == "" && t.elected && !t.resting:
		// An earlier connection's will.
		c.say(&saying{Message: c.nameOf(t)})
	case who != "" && t.foreign.IsZero():
		t.foreign = now
	}
}

func (c *caretaker) nameOf(t *term) Message {
	return Message{Topic: c.topic, Payload: []byte(t.token), Retain: true, QoS: 1}
}

// elect begins to work.
func (c *caretaker) elect(now time.Time) {
	t := c.term
	if t.elected || t.resting {
		return
	}
	t.elected, c.failures = true, 0
	t.fresh.Store(int64(now.Sub(t.began)))
	c.log.Info("looks after the devices on the MQTT broker")
	c.tell(JanitorEvent{Kind: Working})
}

// works says whether this janitor is the one.
func (c *caretaker) works() bool {
	t := c.term
	return t != nil && t.elected && !t.resting && (c.worker == t.token || c.worker == "")
}

// fresh takes note that what was sent has come back, and with it all that the broker had said before.
func (c *caretaker) fresh(s *saying) {
	if t := c.term; t != nil && s.state.Load() == sent {
		if until := s.sent.Load() + int64(freshFor); until > t.fresh.Load() {
			t.fresh.Store(until)
		}
	}
}

// marked takes note that a device's topic says 0.
func (c *caretaker) marked(now time.Time, s *saying) {
	if s.state.CompareAndSwap(queued, dropped) || s.state.Load() == stale {
		delete(c.unheard, s.Topic)
		return // somebody else said it
	}
	c.fresh(s)
	c.arrived(now, s)
}

// arrived takes note that the broker has a mark.
func (c *caretaker) arrived(now time.Time, s *saying) {
	delete(c.unheard, s.Topic)
	e := JanitorEvent{Kind: Marked, Device: s.device}
	if d := c.model.devices[s.device]; d != nil {
		e.Root, e.Provider = rootOf(d), providerOf(d)
	}
	if s.late {
		e.Kind = MarkLate
		c.state.Late++
		c.log.Warn("a provider came back while its device was being marked", "device", s.device, "provider", e.Provider)
	} else {
		c.state.Marked++
	}
	c.sweep.progress = now
	c.tell(e)
}

func rootOf(d *device) string {
	if d.root == nil {
		return ""
	}
	return d.root.name
}

func providerOf(d *device) string {
	if d.provider == nil {
		return ""
	}
	return d.provider.id
}

// confirm takes note that a provider has spoken, or is gone.
func (c *caretaker) confirm(id string) {
	if len(c.heardOf) < orDefault(c.model.MaxProviders, DefaultMaxProviders) {
		c.heardOf[id] = true
	}
	if c.listed[id] {
		delete(c.listed, id)
		c.tell(JanitorEvent{Kind: Confirmed, Provider: id})
	}
}

// events takes in what the model says has changed.
func (c *caretaker) events(now time.Time, events []Event) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case DeviceAdded, DeviceChanged:
			c.device(now, &e.Device)
		case DeviceRemoved:
			delete(c.problems, e.Device.ID)
		case ProviderAdded:
			if c.sweep.present(e.Provider.ID) {
				c.state.Spared++
				c.tell(JanitorEvent{Kind: Spared, Provider: e.Provider.ID})
			}
		case ProviderRemoved:
			c.confirm(e.Provider.ID)
			delete(c.heardOf, e.Provider.ID)
			if c.model.providers[e.Provider.ID] != nil {
				c.sweep.absent(now, e.Provider.ID)
			}
		case ProviderChanged:
		case Complete:
			c.complete(now)
		case Lost:
			c.lost()
		}
	}
	if len(c.unheard) > 0 {
		c.recheck()
	}
	c.publish()
}

// device takes in a device that came or has changed.
func (c *caretaker) device(now time.Time, d *Device) {
	if old := c.problems[d.ID]; old != d.Problem {
		if d.Problem == 0 {
			delete(c.problems, d.ID)
		} else {
			c.problems[d.ID] = d.Problem
			c.tell(JanitorEvent{Kind: LeftAlone, Device: d.ID, Root: d.Root, Provider: d.Provider, Problem: d.Problem})
		}
	}
	c.sweep.stray(now, c.model.devices[d.ID])
}

// complete takes note that all that is retained is known, as far as it can be.
func (c *caretaker) complete(now time.Time) {
	c.state.Complete, c.blind = true, false
	if !c.model.confirmed {
		c.log.Warn("the MQTT broker may have left something out, marks nothing")
	} else {
		c.sweep.complete(now)
	}
	if c.list.IsZero() {
		c.list = now.Add(settle)
	}
	if (c.worker == "" || c.worker == c.last) && c.term == nil && c.try.IsZero() && !c.janitor.DryRun {
		c.try = now
	}
}

// lost forgets what can't be known any more.
func (c *caretaker) lost() {
	c.state.Complete = false
	c.sweep.reset()
	c.worker, c.try, c.list = "", time.Time{}, time.Time{}
	clear(c.heardOf)
	clear(c.listed)
	for _, s := range c.unheard {
		s.state.CompareAndSwap(queued, dropped)
	}
	clear(c.unheard)
	c.probe, c.bulk, c.blind = nil, nil, false
	c.rest()
}

// rest stops working.
func (c *caretaker) rest() {
	if t := c.term; t != nil && !t.resting {
		t.resting = true
		t.leave()
		if t.elected {
			c.tell(JanitorEvent{Kind: Resting})
		}
	}
}

// recheck takes back marks that aren't right any more, as far as they aren't sent.
func (c *caretaker) recheck() {
	for topic, s := range c.unheard {
		d := c.model.devices[s.device]
		if d != nil && d.root != nil && c.topics.Reachable(d.root.name) == topic && c.sweep.doomed(d) {
			continue
		}
		if s.state.CompareAndSwap(queued, dropped) {
			delete(c.unheard, topic)
		} else if d != nil && d.provider != nil && (d.provider.present || !c.sweep.dead[d.provider.id]) {
			s.late = true
		}
	}
}

// due returns when advance has something to do.
func (c *caretaker) due() time.Time {
	due := c.sweep.next()
	sooner := func(at time.Time) {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	at := time.Unix(0, 0) // at once
	if len(c.out) > 0 || c.muchDone() || c.janitor.DryRun && len(c.sweep.work) > 0 {
		return at
	}
	sooner(c.list)
	if t := c.term; t != nil {
		if t.hasNews() {
			return at
		}
		if c.works() && !c.blind && len(c.sweep.work) > 0 && c.mayHandOver() {
			if len(t.out) <= window {
				return at
			}
			sooner(time.Now().Add(10 * time.Millisecond)) // full of what was taken back
		}
		if !t.elected && !t.since.IsZero() {
			sooner(t.since.Add(electFor))
		}
		if !t.foreign.IsZero() {
			sooner(t.foreign.Add(freshFor))
		}
		if len(c.unheard) > 0 || c.probe != nil {
			sooner(c.look)
		}
		return due
	}
	sooner(c.try)
	if len(c.sweep.work) > 0 && c.worker != "" {
		sooner(c.overdue())
	}
	return due
}

// overdue is when the work should have been done by the one that works, if he had done any.
func (c *caretaker) overdue() time.Time {
	var w name
	wait := overdue
	if json.Unmarshal([]byte(c.worker), &w) == nil {
		wait += min(max(0, time.Duration(w.Grace)*time.Millisecond-c.sweep.grace), time.Hour)
	}
	return c.sweep.progress.Add(wait)
}

// advance does what is due.
func (c *caretaker) advance(now time.Time) {
	c.sweep.advance(now)
	if !c.list.IsZero() && !c.list.After(now) {
		c.list = time.Time{}
		c.unconfirmed()
	}
	switch {
	case c.janitor.DryRun:
		c.pretend()
	case c.term != nil:
		c.serve(now)
	case !c.try.IsZero() && !c.try.After(now):
		if c.try = (time.Time{}); c.model.IsComplete() && (c.worker == "" || c.worker == c.last) {
			c.start(now)
		}
	case len(c.sweep.work) > 0 && c.worker != "" && !c.overdue().After(now):
		if !c.sweep.left() {
			break
		}
		if c.sweep.progress = now; c.model.IsComplete() {
			c.log.Warn("the janitor that works does nothing, takes over", "id", c.worker)
			c.start(now)
		}
	}
	if c.muchDone() {
		c.hearAgain(now)
	}
	c.publish()
}

// unconfirmed lists providers that nobody has heard.
func (c *caretaker) unconfirmed() {
	for _, p := range c.model.providers {
		if p.present && !c.heardOf[p.id] && !c.listed[p.id] {
			c.listed[p.id] = true
			c.tell(JanitorEvent{Kind: Unconfirmed, Provider: p.id})
		}
	}
}

// pretend tells what would be marked.
func (c *caretaker) pretend() {
	for {
		d, ok := c.sweep.take()
		if !ok {
			return
		}
		c.tell(JanitorEvent{Kind: WouldMark, Device: d.id, Root: rootOf(d), Provider: providerOf(d)})
	}
}

// start tries to become the one that works.
func (c *caretaker) start(now time.Time) {
	b, err := json.Marshal(name{randomID(), c.sweep.grace.Milliseconds()})
	if err != nil {
		panic(err) // a string and a number can always be marshalled
	}
	t := &term{topics: c.topics, token: string(b), out: make(chan *saying, 2*window), wake: c.wake, began: now}
	ctx, leave := context.WithCancel(c.ctx)
	t.leave = leave
	c.term, c.last = t, t.token
	session := Session{ClientID: stableID("janitor", c.janitor.Tenant), KeepAlive: c.janitor.KeepAlive}
	c.terms.Go(func() {
		defer leave()
		t.run(ctx, c.janitor.Broker, session, c.topic)
	})
}

// serve goes on with a term.
func (c *caretaker) serve(now time.Time) {
	t := c.term
	accepted, ended, err := t.news()
	refused, taken, returned := t.answers()
	c.returned(returned)
	c.taken(now, taken)
	if ended {
		c.ended(now, err)
		return
	}
	if accepted && t.since.IsZero() {
		t.since = now
	}
	for _, topic := range refused {
		if s := c.unheard[topic]; s != nil {
			c.failed(now, s)
		}
	}
	if t.resting {
		return
	}
	if !t.elected && !t.since.IsZero() && now.Sub(t.since) >= electFor {
		c.log.Warn("doesn't hear its own name on the MQTT broker, other janitors can't see that it works", "topic", c.topic)
		c.elect(now)
	}
	if !t.foreign.IsZero() && now.Sub(t.foreign) >= freshFor {
		t.foreign = time.Time{} // the connection holds: it is we who work
		c.say(&saying{Message: c.nameOf(t)})
	}
	if t.stale.Swap(false) || !c.look.After(now) {
		c.look = now.Add(time.Second)
		c.review(now)
	}
	if c.works() && !c.blind {
		c.handOver(now)
	}
}

// ended notes that a term is over.
func (c *caretaker) ended(now time.Time, err error) {
	t := c.term
	c.term, c.probe = nil, nil
	c.blind = c.blind || c.bulk != nil
	if t.elected && !t.resting {
		c.tell(JanitorEvent{Kind: Resting})
	}
	for _, s := range c.unheard {
		s.state.CompareAndSwap(queued, dropped)
		c.sweep.work = append(c.sweep.work, s.device)
	}
	clear(c.unheard)
	c.sweep.progress = now
	if c.worker != "" && c.worker != t.token {
		c.log.Info("another janitor looks after the devices", "id", c.worker)
		return
	}
	if !c.model.IsComplete() {
		return // it begins anew when it is
	}
	wait := time.Second + rand.N(time.Second)
	wait = min(wait<<min(c.failures, 5), lastRetry)
	c.failures++
	c.try = now.Add(wait)
	if err != nil {
		c.log.Warn("can't look after the devices now, tries again", "err", err, "dur", wait.Round(time.Millisecond))
	}
}

// review looks for what didn't come back.
func (c *caretaker) review(now time.Time) {
	t := c.term
	for topic, s := range c.unheard {
		switch s.state.Load() {
		case stale:
			delete(c.unheard, topic)
			c.sweep.work = append(c.sweep.work, s.device)
		case sent:
			if now.Sub(t.began)-time.Duration(s.sent.Load()) > unheardFor {
				c.failed(now, s)
			}
		}
	}
	if c.probe != nil && now.Sub(c.probed) > unheardFor {
		c.log.Warn("the MQTT broker doesn't send our own message back, doesn't mark anything")
		c.probe = nil
		c.rest() // another janitor may fare better
	}
}

// failed gives a mark up for now.
func (c *caretaker) failed(now time.Time, s *saying) {
	delete(c.unheard, s.Topic)
	c.sweep.retry(now, s.device)
	c.state.Failed++
	c.tell(JanitorEvent{Kind: MarkFailed, Device: s.device})
}

func (c *caretaker) tell(e JanitorEvent) {
	if c.janitor.Events != nil || len(c.out) == 0 {
		c.out = append(c.out, e)
	}
}

// publish tells what happened, and the state.
func (c *caretaker) publish() {
	j := c.janitor
	if len(c.out) > 0 {
		if j.Events != nil {
			j.Events(c.out)
		}
		if c.out = c.out[:0]; cap(c.out) > 4*window {
			c.out = nil
		}
	}
	s := c.state
	s.Working, s.Worker, s.Waiting, s.Left = c.works(), c.worker, len(c.sweep.waiting.at), len(c.sweep.work)+len(c.unheard)
	s.LeftAlone, s.Unconfirmed, s.Model = len(c.problems), len(c.listed), c.model.Stats()
	j.mu.Lock()
	j.state = s
	j.mu.Unlock()
	if !c.ready && s.Complete && (j.DryRun || c.works() || c.term == nil && c.worker != "") {
		if c.ready = true; j.Ready != nil {
			j.Ready()
		}
	}
}
