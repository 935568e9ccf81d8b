package hemtjanst

import "sync"

// maxQueued is how many bytes of messages may wait for a role's goroutine.
const maxQueued = 64 << 20

// queue takes messages from the goroutine that reads a connection. That must not be kept waiting: a broker
// drops what a client doesn't read at once, without a word.
type queue struct {
	mu      sync.Mutex
	room    sync.Cond
	waiting []Message
	bytes   int
	stalled bool
	closed  bool
	ready   chan struct{} // has a value when something waits
}

func newQueue() *queue {
	q := &queue{ready: make(chan struct{}, 1)}
	q.room.L = &q.mu
	return q
}

// push adds a message. It waits only when very much is there already.
func (q *queue) push(m Message) {
	size := len(m.Topic) + len(m.Payload) + 64
	q.mu.Lock()
	for q.bytes > 0 && q.bytes+size > maxQueued && !q.closed {
		q.stalled = true
		q.room.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.bytes += size
	q.waiting = append(q.waiting, m)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns all that waits, in a slice that may be given back in the next call, and
// whether push had to wait.
func (q *queue) take(used []Message) (all []Message, stalled bool) {
	clear(used)
	q.mu.Lock()
	defer q.mu.Unlock()
	all, q.waiting, q.bytes = q.waiting, used[:0], 0
	stalled, q.stalled = q.stalled, false
	q.room.Broadcast()
	return all, stalled
}

// close makes push return at once, for good.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.room.Broadcast()
}
