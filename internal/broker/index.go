package broker

import (
	"strings"
	"sync"
)

// index knows what is retained: topics, sizes, expiry. mochi has the messages.
type index struct {
	mu      sync.RWMutex
	topics  map[string]entry
	expires map[string]struct{} // those of topics that do
	bytes   int64
}

type entry struct {
	bytes   int64
	expires int64 // seconds since 1970, 0 for never
}

func newIndex() *index {
	return &index{topics: make(map[string]entry), expires: make(map[string]struct{})}
}

// room says whether a message of so many bytes may be retained.
func (x *index) room(topic string, payload int, l Limits) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	old, there := x.topics[topic]
	if payload == 0 {
		return true
	}
	return (there || len(x.topics) < l.Retained) && x.bytes-old.bytes+int64(len(topic)+payload) <= l.RetainedBytes
}

// put notes a retained message, or that there is none any more.
func (x *index) put(topic string, payload int, expires int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bytes -= x.topics[topic].bytes
	delete(x.expires, topic)
	if payload == 0 {
		delete(x.topics, topic)
		return
	}
	e := entry{bytes: int64(len(topic) + payload), expires: expires}
	x.topics[topic] = e
	x.bytes += e.bytes
	if expires > 0 {
		x.expires[topic] = struct{}{}
	}
}

// matching returns the topics that a filter matches.
func (x *index) matching(filter string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []string
	if !strings.ContainsAny(filter, "+#") {
		if _, ok := x.topics[filter]; ok {
			all = append(all, filter)
		}
		return all
	}
	for t := range x.topics {
		if matches(filter, t) {
			all = append(all, t)
		}
	}
	return all
}

// expired returns the topics whose message is over at now.
func (x *index) expired(now int64) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []string
	for t := range x.expires {
		if x.topics[t].expires < now {
			all = append(all, t)
		}
	}
	return all
}

func (x *index) size() (topics int, bytes int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.topics), x.bytes
}
