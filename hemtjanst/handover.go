package hemtjanst

import "time"

// handOver has work done: each device is looked at once more, and no more are handed over than may be on
// their way. What is known must be fresh: after a pause the broker is asked first.
func (c *caretaker) handOver(now time.Time) {
	t := c.term
	if len(c.sweep.work) == 0 || !c.mayHandOver() {
		return
	}
	if int64(now.Sub(t.began)) >= t.fresh.Load() {
		c.ask(now)
		return
	}
	if c.bulk == nil && len(c.sweep.work) >= bulkFrom && c.model.IsComplete() && t.connection().NoLocal() {
		c.mute()
	}
	if c.bulk != nil {
		c.ask(now)
	}
	for len(c.unheard) < window {
		d, ok := c.sweep.take()
		if !ok {
			return
		}
		s := &saying{Message: Message{Topic: c.topics.Reachable(d.root.name), Payload: []byte("0"), Retain: true, QoS: 1}, device: d.id}
		if c.unheard[s.Topic] != nil {
			continue // another one with this root
		}
		if !c.say(s) {
			c.sweep.work = append(c.sweep.work, d.id)
			return
		}
		c.unheard[s.Topic] = s
	}
}

// ask publishes a probe, unless one is on its way.
func (c *caretaker) ask(now time.Time) {
	if c.probe != nil {
		return
	}
	if probe := c.probing(); c.say(probe) {
		c.probe, c.probed = probe, now
	}
}

// mayHandOver says whether there is room for more marks, or for a probe before them.
func (c *caretaker) mayHandOver() bool {
	if len(c.unheard) > window/2 {
		return false
	}
	return c.probe == nil || c.bulk != nil && int64(time.Since(c.term.began)) < c.term.fresh.Load()
}

// rouse makes the follower ask what is due.
func (c *caretaker) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// say hands a message over, if there is room.
func (c *caretaker) say(s *saying) bool {
	select {
	case c.term.out <- s:
		return true
	default:
		return false
	}
}
