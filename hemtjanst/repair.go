package hemtjanst

import (
	"context"
	"time"
)

// Repairs of what somebody else overwrote: the first at once, then ever more seldom, for the
// other one may do the same.
const (
	firstRepair = time.Second
	lastRepair  = time.Minute
)

// repair is of a topic that somebody else overwrites.
type repair struct {
	due  time.Time // zero if nothing is to be repaired now
	wait time.Duration
	next time.Time // when another one may be made
}

// receive takes in what was said on a topic of ours. It keeps no more than the last word about each, and
// never waits: behind a message there may be the answer that Run's goroutine waits for.
func (s *speaker) receive(m Message) {
	kind, name := s.topics.Parse(m.Topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong bool
	switch kind {
	case ProviderTopic:
		if s.provider == "" || name != s.provider {
			return
		}
		wrong = len(m.Payload) == 0
	case DeviceTopic:
		c, ours := s.claims[name]
		if !ours || len(m.Payload) == 0 {
			return
		}
		if string(m.Payload) != c.doc {
			meta, err := ParseMetadata(m.Payload)
			wrong = err == nil && meta.Provider() != s.provider
		}
		if wrong == s.moved[name] && !s.heard[m.Topic] {
			return
		}
	case ReachableTopic:
		c, ours := s.claims[s.roots[name]]
		wrong = string(m.Payload) == "0"
		if !ours || !c.reachable || !wrong && s.repairs[m.Topic] == nil && !s.heard[m.Topic] {
			return
		}
	case OtherTopic, UnusableTopic:
		return
	}
	s.heard[m.Topic] = wrong
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// hear judges what was heard.
func (s *speaker) hear(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, wrong := range s.heard {
		kind, name := s.topics.Parse(topic)
		switch kind {
		case ProviderTopic:
			s.note(now, topic, wrong)
		case DeviceTopic:
			if _, ours := s.published[name]; !ours {
				continue
			}
			if wrong && !s.moved[name] {
				s.log.Warn("another provider has taken a device over", "device", name)
				s.moved[name] = true
			} else if !wrong {
				delete(s.moved, name)
			}
		case ReachableTopic:
			if s.says1(name) {
				s.note(now, topic, wrong)
			}
		case OtherTopic, UnusableTopic:
		}
	}
	clear(s.heard)
}

// says1 says whether we said of a root that its device can be reached. The lock is held.
func (s *speaker) says1(root string) bool {
	id := s.roots[root]
	c, ours := s.published[id]
	return ours && c.root == root && c.reachable && !s.moved[id]
}

// move notes whether a device names another provider.
func (s *speaker) move(id string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if away {
		s.moved[id] = true
	} else {
		delete(s.moved, id)
	}
}

// note remembers that a topic of ours was overwritten, or that it is as it should be. The lock is held.
func (s *speaker) note(now time.Time, topic string, wrong bool) {
	r := s.repairs[topic]
	if !wrong {
		if r != nil {
			r.due = time.Time{}
		}
		return
	}
	if r == nil || now.Sub(r.next) > lastRepair {
		r = &repair{}
		s.repairs[topic] = r
	}
	if r.due.IsZero() {
		r.due = r.next
		if r.due.Before(now) {
			r.due = now
			if !s.ears.NoLocal() {
				r.due = now.Add(100 * time.Millisecond) // it may be our own, from before
			}
		}
	}
}

// repair says again what somebody overwrote.
func (s *speaker) repair(ctx context.Context, now time.Time) error {
	for _, topic := range s.overwritten(now) {
		kind, _ := s.topics.Parse(topic)
		payload := "1"
		if kind == ProviderTopic {
			payload = s.meta
		}
		s.log.Warn("somebody else overwrote our MQTT topic, says it again", "topic", topic)
		if err := s.say(ctx, topic, payload); err != nil {
			return err
		}
	}
	return nil
}

// overwritten returns the topics that are to be repaired now.
func (s *speaker) overwritten(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var topics []string
	for topic, r := range s.repairs {
		if r.due.IsZero() {
			if now.Sub(r.next) > lastRepair {
				delete(s.repairs, topic)
			}
			continue
		}
		if r.due.After(now) {
			continue
		}
		r.wait = min(max(2*r.wait, firstRepair), lastRepair)
		r.due, r.next = time.Time{}, now.Add(r.wait)
		if kind, name := s.topics.Parse(topic); kind == ProviderTopic || s.says1(name) {
			topics = append(topics, topic)
		}
	}
	return topics
}

// wait returns how long to sleep until a repair is due.
func (s *speaker) wait() time.Duration {
	wait := time.Hour
	for _, r := range s.repairs {
		if !r.due.IsZero() {
			wait = min(wait, time.Until(r.due))
		}
	}
	return max(wait, 0)
}
