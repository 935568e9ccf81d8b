package mqtt

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// observer hears everything that is published, from before the first step of a
// scenario, over restarts of the broker.
type observer struct {
	mu      sync.Mutex
	heard   []message
	stop    chan struct{}
	stopped sync.WaitGroup
}

// observe begins, and returns when the observer hears.
func observe(t *testing.T, dial dialFunc) *observer {
	t.Helper()
	o := &observer{stop: make(chan struct{})}
	ready := make(chan struct{})
	o.stopped.Go(func() {
		first := sync.OnceFunc(func() { close(ready) })
		for {
			o.listen(dial, first)
			select {
			case <-o.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		close(o.stop)
		o.stopped.Wait()
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the observer can't connect")
	}
	return o
}

// listen hears until the connection ends.
func (o *observer) listen(dial dialFunc, connected func()) {
	r, err := dialRaw(dial)
	if err != nil {
		return
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-o.stop:
		case <-done:
		}
		r.conn.Close()
	}()
	add := func(m message) {
		m.at = time.Now()
		o.mu.Lock()
		o.heard = append(o.heard, m)
		o.mu.Unlock()
	}
	if r.subscribe(add, "#") != nil {
		return
	}
	connected()
	for {
		kind, body, err := r.read(10 * time.Minute)
		if err != nil {
			return
		}
		if m, ok := parse(kind, body); ok {
			add(m)
		}
	}
}

// count returns how many messages with the payload came under a prefix.
func (o *observer) count(prefix, payload string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, m := range o.heard {
		if m.payload == payload && strings.HasPrefix(m.topic, prefix) {
			n++
		}
	}
	return n
}

// after says whether a payload came on a topic after "1" had.
func (o *observer) after(topic, payload string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	one := false
	for _, m := range o.heard {
		if m.topic != topic {
			continue
		}
		if one && m.payload == payload {
			return true
		}
		one = one || m.payload == "1"
	}
	return false
}

// first returns when a payload was heard on a topic first, the zero Time if it wasn't.
func (o *observer) first(topic, payload string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.heard {
		if m.topic == topic && m.payload == payload {
			return m.at
		}
	}
	return time.Time{}
}

// published returns what came that the broker hadn't kept.
func (o *observer) published() []message {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []message
	for _, m := range o.heard {
		if !m.retained {
			all = append(all, m)
		}
	}
	return all
}
