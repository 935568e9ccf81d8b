// Package newest tells watchers what is new, without ever waiting for one of them.
package newest

import (
	"context"
	"sync"
)

// MaxBehind bounds how many keys wait for one watcher.
const MaxBehind = 64 << 10

// A Board passes on the newest value of each key. The zero value has no watchers.
type Board[K comparable, V any] struct {
	mu       sync.Mutex
	watchers map[*Watcher[K, V]]struct{}
}

// Post tells all watchers, and returns at once.
func (b *Board[K, V]) Post(key K, value V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		if w.want == nil || w.want[key] {
			w.Tell(key, value)
		}
	}
}

// Watched says whether anybody watches.
func (b *Board[K, V]) Watched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers) > 0
}

// A Watcher has what waits for one reader: a value a key, in the order in which the
// keys came up.
type Watcher[K comparable, V any] struct {
	board *Board[K, V]
	want  map[K]bool // nil is all

	mu      sync.Mutex
	waiting map[K]V
	order   []K
	over    bool          // too much waits: it is cut off
	some    chan struct{} // holds a token when there is something new
}

// Watch adds a watcher of the keys, or of all if keys is nil. Pass must be called,
// which takes it off again.
func (b *Board[K, V]) Watch(keys []K) *Watcher[K, V] {
	w := &Watcher[K, V]{board: b, waiting: map[K]V{}, some: make(chan struct{}, 1)}
	if keys != nil {
		w.want = make(map[K]bool, len(keys))
		for _, k := range keys {
			w.want[k] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = map[*Watcher[K, V]]struct{}{}
	}
	b.watchers[w] = struct{}{}
	return w
}

// Tell tells this watcher alone.
func (w *Watcher[K, V]) Tell(key K, value V) { w.tell(key, value, true) }

// TellFirst is Tell for a value that is older than whatever waits.
func (w *Watcher[K, V]) TellFirst(key K, value V) { w.tell(key, value, false) }

func (w *Watcher[K, V]) tell(key K, value V, newest bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, waits := w.waiting[key]
	if w.over || waits && !newest {
		return
	}
	if !waits {
		if len(w.order) >= MaxBehind {
			w.over, w.waiting, w.order = true, nil, nil
		} else {
			w.order = append(w.order, key)
		}
	}
	if !w.over {
		w.waiting[key] = value
	}
	select {
	case w.some <- struct{}{}:
	default:
	}
}

// Pass hands values to send until ctx is done, send returns false, or the reader is
// too far behind.
func (w *Watcher[K, V]) Pass(ctx context.Context, send func(K, V) bool) {
	defer func() {
		w.board.mu.Lock()
		delete(w.board.watchers, w)
		w.board.mu.Unlock()
	}()
	for {
		key, value, ok, over := w.take()
		switch {
		case over:
			return
		case ok:
			if !send(key, value) {
				return
			}
			continue
		}
		select {
		case <-w.some:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Watcher[K, V]) take() (key K, value V, ok, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || len(w.order) == 0 {
		return key, value, false, w.over
	}
	key, w.order = w.order[0], w.order[1:]
	value = w.waiting[key]
	delete(w.waiting, key)
	return key, value, true, false
}
