package inventory

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
)

// maxWaiting is how many events may wait for one watcher before it is given up, and gets
// what differs from what it was told.
const maxWaiting = 1 << 13

// watcher is one stream of events on its way to a reader.
type watcher struct {
	match match
	ready chan struct{}

	mu      sync.Mutex
	waiting []lanfolk.Event
	resync  bool // waiting overflowed, or nothing was sent yet
}

func (w *watcher) put(events []lanfolk.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.resync:
		return
	case len(w.waiting)+len(events) > maxWaiting:
		w.waiting, w.resync = nil, true
	default:
		w.waiting = append(w.waiting, events...)
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// tell hands events to all watchers. mu is held.
func (i *Inventory) tell(events []lanfolk.Event) {
	if len(events) == 0 {
		return
	}
	for _, w := range i.watchers {
		w.put(events)
	}
}

// Watch implements api.Inventory, as lanfolk.Registry does: first come all objects and
// OpSynced, then what changes. A reader that falls too far behind gets what differs from
// what it was told, and another OpSynced.
func (i *Inventory) Watch(ctx context.Context, f lanfolk.Filter) <-chan lanfolk.Event {
	w := &watcher{match: matching(f), ready: make(chan struct{}, 1), resync: true}
	w.ready <- struct{}{}
	i.mu.Lock()
	i.watchers = append(i.watchers, w)
	i.mu.Unlock()
	out := make(chan lanfolk.Event)
	go func() {
		defer close(out)
		defer i.unwatch(w)
		t := told{kind: f.Kind, match: w.match, devices: make(map[string]*lanfolk.Device), services: make(map[string]*lanfolk.Service)}
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.ready:
			}
			for _, e := range i.news(w, &t) {
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

func (i *Inventory) unwatch(w *watcher) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watchers = slices.DeleteFunc(i.watchers, func(x *watcher) bool { return x == w })
}

// news returns what a watcher has to be told now.
func (i *Inventory) news(w *watcher, t *told) []lanfolk.Event {
	w.mu.Lock()
	if !w.resync {
		events := w.waiting
		w.waiting = nil
		w.mu.Unlock()
		return t.changes(events)
	}
	w.mu.Unlock()
	i.mu.Lock()
	devices, services := i.pictures()
	w.mu.Lock()
	w.resync, w.waiting = false, nil
	w.mu.Unlock()
	i.mu.Unlock()
	return t.difference(devices, services)
}

// told is what a watcher's reader knows.
type told struct {
	kind     lanfolk.Kind
	match    match
	devices  map[string]*lanfolk.Device
	services map[string]*lanfolk.Service
}

// changes turns events into those for the reader.
func (t *told) changes(events []lanfolk.Event) (out []lanfolk.Event) {
	for _, e := range events {
		switch {
		case e.Device != nil:
			out = t.device(out, e.Device, e.Op != lanfolk.OpRemove)
		case e.Service != nil:
			out = t.service(out, e.Service, e.Op != lanfolk.OpRemove)
		}
	}
	return out
}

// difference returns the events that lead from what the reader knows to a picture, and
// OpSynced.
func (t *told) difference(devices []*lanfolk.Device, services []*lanfolk.Service) (out []lanfolk.Event) {
	haveDevice, haveService := make(map[string]bool, len(devices)), make(map[string]bool, len(services))
	for _, d := range devices {
		haveDevice[d.ID] = true
	}
	for _, s := range services {
		haveService[s.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(t.services)) {
		if !haveService[id] {
			out = t.service(out, t.services[id], false)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.devices)) {
		if !haveDevice[id] {
			out = t.device(out, t.devices[id], false)
		}
	}
	for _, d := range devices {
		out = t.device(out, d, true)
	}
	for _, s := range services {
		out = t.service(out, s, true)
	}
	return append(out, lanfolk.Event{Op: lanfolk.OpSynced})
}

func (t *told) device(out []lanfolk.Event, d *lanfolk.Device, there bool) []lanfolk.Event {
	old := t.devices[d.ID]
	op := lanfolk.OpUpdate
	switch there = there && t.kind != lanfolk.KindService && t.match.device(d); {
	case !there && old == nil:
		return out
	case !there:
		delete(t.devices, d.ID)
		return append(out, lanfolk.Event{Op: lanfolk.OpRemove, Device: d})
	case old == nil:
		op = lanfolk.OpAdd
	}
	t.devices[d.ID] = d
	if old != nil && sameDevice(old, d) {
		return out
	}
	return append(out, lanfolk.Event{Op: op, Device: d})
}

func (t *told) service(out []lanfolk.Event, s *lanfolk.Service, there bool) []lanfolk.Event {
	old := t.services[s.ID]
	op := lanfolk.OpUpdate
	switch there = there && t.kind != lanfolk.KindDevice && t.match.service(s); {
	case !there && old == nil:
		return out
	case !there:
		delete(t.services, s.ID)
		return append(out, lanfolk.Event{Op: lanfolk.OpRemove, Service: s})
	case old == nil:
		op = lanfolk.OpAdd
	}
	t.services[s.ID] = s
	if old != nil && sameService(old, s) {
		return out
	}
	return append(out, lanfolk.Event{Op: op, Service: s})
}

// sameDevice says whether two pictures differ in nothing but when the device was heard
// last.
func sameDevice(a, b *lanfolk.Device) bool {
	if a == b {
		return true
	}
	x, y := *a, *b
	x.Services, y.Services = nil, nil
	x.LastSeen, y.LastSeen = time.Time{}, time.Time{}
	return slices.EqualFunc(a.Services, b.Services, sameService) && reflect.DeepEqual(x, y)
}

// sameService says whether two pictures differ in nothing but times that a refresh moves.
func sameService(a, b *lanfolk.Service) bool {
	if a == b {
		return true
	}
	x, y := *a, *b
	x.LastSeen, y.LastSeen, x.Expires, y.Expires = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(x, y)
}

// events returns what the edit changed, for watchers: what went first, then devices, then
// services.
func (e *edit) events() []lanfolk.Event {
	var gone, devices, services []lanfolk.Event
	for s, before := range e.services {
		var after *lanfolk.Service
		if !s.gone && !e.g.hidden {
			after = e.g.showService(s)
		}
		switch {
		case after == nil && before != nil:
			gone = append(gone, lanfolk.Event{Op: lanfolk.OpRemove, Service: before})
		case after != nil && before == nil:
			services = append(services, lanfolk.Event{Op: lanfolk.OpAdd, Service: after})
		case after != nil && !sameService(before, after):
			services = append(services, lanfolk.Event{Op: lanfolk.OpUpdate, Service: after})
		}
	}
	for d, before := range e.devices {
		var after *lanfolk.Device
		if !d.gone && !e.g.hidden {
			after = e.i.showDevice(e.g, d)
		}
		switch {
		case after == nil && before != nil:
			gone = append(gone, lanfolk.Event{Op: lanfolk.OpRemove, Device: before})
		case after != nil && before == nil:
			devices = append(devices, lanfolk.Event{Op: lanfolk.OpAdd, Device: after})
		case after != nil && !sameDevice(before, after):
			devices = append(devices, lanfolk.Event{Op: lanfolk.OpUpdate, Device: after})
		}
	}
	out := make([]lanfolk.Event, 0, len(gone)+len(devices)+len(services))
	for _, part := range [][]lanfolk.Event{gone, devices, services} {
		slices.SortFunc(part, func(a, b lanfolk.Event) int { return strings.Compare(idOf(a), idOf(b)) })
		out = append(out, part...)
	}
	return out
}

// idOf orders events of one sort: services before devices, each by id.
func idOf(e lanfolk.Event) string {
	if e.Service != nil {
		return cmp.Or(e.Service.ID, "-")
	}
	return "~" + e.Device.ID
}
