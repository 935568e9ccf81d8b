package hemtjanst

import (
	"container/heap"
	"time"
)

const (
	// strayGrace is the least time from when a device came to name a provider that is gone to its mark. Who
	// clears a device from the broker takes its topics away one after the other.
	strayGrace = 2 * time.Second
	// retryMark is when a mark that the broker didn't take is tried again.
	retryMark = time.Minute
	// maxSharing is how many devices of one root are looked at. Where there are more they are left alone.
	maxSharing = 16
)

// sweep decides which devices are to be marked as unreachable. It is told the time, and reads a model.
//
// A provider that isn't there waits for the grace time and is dead then. Its devices become work, and each is
// looked at again when it is taken.
type sweep struct {
	model *Model
	grace time.Duration

	ready   bool            // the model has all that is retained
	waiting timers          // providers that are gone, until their grace time is over
	dead    map[string]bool // those for which it is
	strays  timers          // devices to be looked at, each at its time
	work    []string        // devices that were to be marked when they were looked at
	// progress is when somebody marked a device last that is to be marked, or when work began.
	progress time.Time
}

// complete takes note that the model has all that is retained.
func (s *sweep) complete(now time.Time) {
	s.ready = true
	for _, p := range s.model.providers {
		if p.present || p.count == 0 {
			continue
		}
		s.absent(now, p.id)
		if !s.dead[p.id] {
			continue
		}
		for d := p.first; d != nil; d = d.next {
			if d.root != nil && d.root.said != Unreachable && !s.strays.has(d.id) {
				s.retry(now, d.id) // somebody said so while nobody listened, or a mark came to nothing
			}
		}
	}
}

// reset forgets everything: what happened meanwhile isn't known.
func (s *sweep) reset() { *s = sweep{model: s.model, grace: s.grace} }

// absent takes note that a provider isn't there.
func (s *sweep) absent(now time.Time, id string) {
	if s.ready && !s.dead[id] && !s.waiting.has(id) {
		s.waiting.put(id, now.Add(s.grace))
	}
}

// present takes note that a provider is there, and says whether it came back in time.
func (s *sweep) present(id string) (spared bool) {
	spared = s.waiting.has(id)
	s.waiting.drop(id)
	delete(s.dead, id)
	return spared
}

// stray takes note that a device has changed, or is to be looked at.
func (s *sweep) stray(now time.Time, d *device) {
	if !s.ready || d == nil || d.provider == nil || d.provider.present {
		return
	}
	switch id := d.provider.id; {
	case s.waiting.has(id): // it will be seen with all others
	case !s.dead[id]:
		s.absent(now, id)
	case !s.strays.has(d.id) && d.root != nil && d.root.said != Unreachable:
		s.strays.put(d.id, now.Add(max(s.grace, strayGrace)))
	}
}

// said takes in what somebody says about a root's device whose provider may be dead.
func (s *sweep) said(now time.Time, rootName string, payload []byte) {
	r := s.model.roots[rootName]
	if r == nil {
		return
	}
	n := 0
	for d := r.first; d != nil && n < maxSharing; d = d.nextAtRoot {
		n++
		switch {
		case d.provider == nil || !s.dead[d.provider.id]:
		case string(payload) == "0":
			s.progress = now
		case !s.strays.has(d.id):
			s.strays.put(d.id, now.Add(max(s.grace, strayGrace)))
		}
	}
}

// retry has a device looked at again after a while.
func (s *sweep) retry(now time.Time, id string) { s.strays.put(id, now.Add(retryMark)) }

// next returns when advance has something to do; the zero Time means never.
func (s *sweep) next() time.Time {
	a, b := s.waiting.next(), s.strays.next()
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// advance makes work of those whose time has come.
func (s *sweep) advance(now time.Time) {
	had := len(s.work)
	for {
		id, ok := s.waiting.pop(now)
		if !ok {
			break
		}
		p := s.model.providers[id]
		if p == nil || p.present {
			continue
		}
		if s.dead == nil || len(s.dead) > 2*len(s.model.providers)+1000 {
			s.prune()
		}
		s.dead[id] = true
		for d := p.first; d != nil; d = d.next {
			if d.problem == 0 && d.root != nil && d.root.said != Unreachable {
				s.work = append(s.work, d.id)
			}
		}
	}
	for {
		id, ok := s.strays.pop(now)
		if !ok {
			break
		}
		s.work = append(s.work, id)
	}
	if had == 0 && len(s.work) > 0 {
		s.progress = now
	}
}

// prune forgets dead providers that no device names any more.
func (s *sweep) prune() {
	dead := map[string]bool{}
	for id := range s.dead {
		if s.model.providers[id] != nil {
			dead[id] = true
		}
	}
	s.dead = dead
}

// take returns the next device that is to be marked, if there is one.
func (s *sweep) take() (d *device, ok bool) {
	for len(s.work) > 0 {
		d := s.model.devices[s.work[0]]
		if s.work = s.work[1:]; len(s.work) == 0 {
			s.work = nil
		}
		if s.doomed(d) {
			return d, true
		}
	}
	return nil, false
}

// left drops work that somebody else has done, and says whether there is any left.
func (s *sweep) left() bool {
	var left []string
	for _, id := range s.work {
		if s.doomed(s.model.devices[id]) {
			left = append(left, id)
		}
	}
	s.work = left
	return len(left) > 0
}

// doomed says whether a device is to be marked: its provider is dead, its topic doesn't say so, nothing is
// wrong with it, and the same is true of all others with its root. nil isn't.
func (s *sweep) doomed(d *device) bool {
	if !s.ready || d == nil || d.root == nil || d.root.said == Unreachable || !s.lost(d) {
		return false
	}
	n := 0
	for other := d.root.first; other != nil; other = other.nextAtRoot {
		if n++; n > maxSharing || !s.lost(other) {
			return false
		}
	}
	return true
}

// lost says whether a device's provider is dead beyond doubt.
func (s *sweep) lost(d *device) bool {
	p := d.provider
	if p == nil || p.present || d.problem != 0 || !s.dead[p.id] || s.model.devices[p.id] != nil {
		return false
	}
	if own := s.model.providers[d.id]; own != nil && own.present {
		return false
	}
	// Where there was no room for everything a provider that never was there may be there all the same.
	return s.model.stats.Full == s.model.fullBefore || !p.since.IsZero()
}

// timers are names with times.
type timers struct {
	at    map[string]time.Time
	queue timerQueue
}

type timer struct {
	at   time.Time
	name string
}

func (t *timers) has(name string) bool {
	_, ok := t.at[name]
	return ok
}

func (t *timers) put(name string, at time.Time) {
	if t.at == nil {
		t.at = map[string]time.Time{}
	}
	t.at[name] = at
	heap.Push(&t.queue, timer{at, name})
}

func (t *timers) drop(name string) { delete(t.at, name) }

// next returns when the first name's time comes; the zero Time means never.
func (t *timers) next() time.Time {
	for len(t.queue) > 0 {
		if first := t.queue[0]; t.at[first.name].Equal(first.at) {
			return first.at
		}
		heap.Pop(&t.queue) // it was dropped, or put anew
	}
	return time.Time{}
}

// pop returns a name whose time has come.
func (t *timers) pop(now time.Time) (name string, ok bool) {
	if at := t.next(); at.IsZero() || at.After(now) {
		return "", false
	}
	name = heap.Pop(&t.queue).(timer).name
	delete(t.at, name)
	return name, true
}

// timerQueue is a heap.
type timerQueue []timer

func (q timerQueue) Len() int           { return len(q) }
func (q timerQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q timerQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *timerQueue) Push(x any)        { *q = append(*q, x.(timer)) }
func (q *timerQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*q = old[:len(old)-1]
	return last
}
