package lanfolk

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// watcher is one stream of events on its way to a reader.
type watcher struct {
	filter Filter
	max    int
	ready  chan struct{}

	mu      sync.Mutex
	waiting []Event
	resync  bool // waiting overflowed, or nothing was sent yet
}

// put queues events, or gives up on them when too many wait already: then
// the reader gets the differences to a fresh picture instead.
func (w *watcher) put(events []Event) (overflow bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.resync:
		return false
	case len(w.waiting)+len(events) > w.max:
		w.waiting, w.resync, overflow = nil, true, true
	default:
		w.waiting = append(w.waiting, events...)
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
	return overflow
}

// tell hands events to all watchers; mu is held.
func (r *Registry) tell(events []Event) {
	if len(events) == 0 {
		return
	}
	for _, w := range r.watchers {
		if w.put(events) {
			r.saved.resyncs++
		}
	}
}

// Watch streams the changes of what the filter chooses until ctx is done, then
// the channel is closed. First come all objects as OpAdd and one OpSynced;
// then each change. An object that comes to fit the filter is added, one that
// fits it no more is removed; a refresh that moves nothing but times is no
// change. A service stands in the stream by itself and within its device,
// unless Filter.Kind chooses one sort.
//
// Watch never slows the registry down. For a reader that falls too far behind
// events are left out; it then gets what differs from what it was told, and
// another OpSynced.
func (r *Registry) Watch(ctx context.Context, f Filter) <-chan Event {
	w := &watcher{filter: f, max: r.o.WatchQueue, ready: make(chan struct{}, 1), resync: true}
	w.ready <- struct{}{}
	r.mu.Lock()
	if len(r.watchers) == 0 {
		r.core.pictures() // from now on events tell what differs from these
		r.core.watching = true
	}
	r.watchers = append(r.watchers, w)
	r.mu.Unlock()
	out := make(chan Event)
	go func() {
		defer close(out)
		defer r.unwatch(w)
		t := told{devices: map[string]*Device{}, services: map[string]*Service{}, w: w}
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.ready:
			}
			for _, e := range r.news(w, &t) {
				select {
				case <-ctx.Done():
					return
				case out <- e:
				}
			}
		}
	}()
	return out
}

func (r *Registry) unwatch(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = slices.DeleteFunc(r.watchers, func(x *watcher) bool { return x == w })
	if len(r.watchers) == 0 {
		r.core.unwatched()
	}
}

// unwatched stops the making of events.
func (c *core) unwatched() {
	c.watching = false
	for _, d := range c.touched {
		d.touched = false
	}
	c.touched, c.removed = nil, nil
}

// news returns what a watcher has to be told now.
func (r *Registry) news(w *watcher, t *told) []Event {
	w.mu.Lock()
	if !w.resync {
		events := w.waiting
		w.waiting = nil
		w.mu.Unlock()
		return t.changes(events)
	}
	w.mu.Unlock()
	r.mu.Lock()
	devices, orphans := r.core.pictures()
	w.mu.Lock()
	w.resync, w.waiting = false, nil
	w.mu.Unlock()
	r.mu.Unlock()
	return t.difference(devices, orphans)
}

// told is what a watcher's reader knows.
type told struct {
	w        *watcher
	devices  map[string]*Device
	services map[string]*Service
}

// changes turns the registry's events into those for the reader.
func (t *told) changes(events []Event) []Event {
	out := make([]Event, 0, len(events))
	for _, e := range events {
		switch {
		case e.Device != nil && e.Op == OpRemove:
			out = t.dropDevice(out, e.Device)
		case e.Device != nil:
			out = t.putDevice(out, e.Device)
		case e.Service != nil && e.Op == OpRemove:
			out = t.dropService(out, e.Service)
		case e.Service != nil:
			out = t.putService(out, e.Service)
		}
	}
	return out
}

// difference returns the events that lead from what the reader knows to a
// fresh picture, and OpSynced.
func (t *told) difference(devices []*Device, orphans []*Service) []Event {
	var out []Event
	haveDevice, haveService := map[string]bool{}, map[string]bool{}
	for _, d := range devices {
		haveDevice[d.ID] = true
		for _, s := range d.Services {
			haveService[s.ID] = true
		}
	}
	for _, s := range orphans {
		haveService[s.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(t.services)) {
		if !haveService[id] {
			out = t.dropService(out, t.services[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.devices)) {
		if !haveDevice[id] {
			out = t.dropDevice(out, t.devices[id])
		}
	}
	for _, d := range devices {
		out = t.putDevice(out, d)
		for _, s := range d.Services {
			out = t.putService(out, s)
		}
	}
	for _, s := range orphans {
		out = t.putService(out, s)
	}
	return append(out, Event{Op: OpSynced})
}

func (t *told) putDevice(out []Event, d *Device) []Event {
	f := &t.w.filter
	old := t.devices[d.ID]
	switch {
	case f.Kind == KindService:
		return out
	case !f.MatchDevice(d):
		return t.dropDevice(out, d)
	case old == nil:
		out = append(out, Event{Op: OpAdd, Device: d})
	case old != d && !sameDevice(old, d):
		out = append(out, Event{Op: OpUpdate, Device: d})
	}
	t.devices[d.ID] = d
	return out
}

func (t *told) dropDevice(out []Event, d *Device) []Event {
	if t.devices[d.ID] == nil {
		return out
	}
	delete(t.devices, d.ID)
	return append(out, Event{Op: OpRemove, Device: d})
}

func (t *told) putService(out []Event, s *Service) []Event {
	f := &t.w.filter
	old := t.services[s.ID]
	switch {
	case f.Kind == KindDevice:
		return out
	case !f.MatchService(s):
		return t.dropService(out, s)
	case old == nil:
		out = append(out, Event{Op: OpAdd, Service: s})
	case old != s && !sameService(old, s):
		out = append(out, Event{Op: OpUpdate, Service: s})
	}
	t.services[s.ID] = s
	return out
}

func (t *told) dropService(out []Event, s *Service) []Event {
	if t.services[s.ID] == nil {
		return out
	}
	delete(t.services, s.ID)
	return append(out, Event{Op: OpRemove, Service: s})
}
