package hemtjanst

import "time"

// Begin says that all that is retained is about to be told.
func (m *Model) Begin() {
	m.look()
	m.base = m.snapshot
	m.fullBefore = m.stats.Full
	m.complete = false
}

// look says that all that is retained is about to be told once more, because some of it may have been
// left out.
func (m *Model) look() {
	m.snapshot++
	m.fresh = 0
}

// Lost says that nothing will be told until the next Begin.
func (m *Model) Lost() { m.complete = false }

// IsComplete says whether all that is retained was told and none of it has been missed since.
func (m *Model) IsComplete() bool { return m.complete }

// Complete says that all that is retained was told since Begin. What wasn't is gone; unless the
// snapshot isn't confirmed, and something may be lacking: then it stays. The last event is Complete itself. It
// may be called again when more was told.
func (m *Model) Complete(now time.Time, confirmed bool, events []Event) []Event {
	if confirmed {
		events = m.sweep(now, events)
	}
	m.complete, m.confirmed = true, confirmed
	if cap(events) == 0 && !m.lean {
		events = make([]Event, 0, len(m.devices)+len(m.providers)+1)
	}
	for _, p := range m.providers {
		events = m.tellProvider(p, events)
	}
	for _, d := range m.devices {
		if m.lean && m.view(d).Problem == 0 {
			d.told, d.changed = 1, false
			continue
		}
		events = m.tell(d, events)
	}
	return append(events, Event{Kind: Complete, Unconfirmed: !confirmed || m.stats.Full != m.fullBefore})
}

// sweep takes out what wasn't told since Begin.
func (m *Model) sweep(now time.Time, events []Event) []Event {
	m.complete = false // what goes is told at once, the rest later
	for _, p := range m.providers {
		if p.present && p.snapshot < m.base {
			events = m.absent(now, p, events)
		}
	}
	for _, r := range m.roots {
		if r.there && r.snapshot < m.base {
			m.clear(r)
		}
	}
	for _, d := range m.devices {
		if d.snapshot < m.base {
			events = m.remove(d, events)
		}
	}
	return events
}

// mark notes that something was told in this snapshot.
func (m *Model) mark(snapshot *uint32) {
	if *snapshot < m.base {
		m.fresh++
	}
	*snapshot = m.snapshot
}

// doubtful says whether something wasn't told since Begin that should be retained: what was there
// before it, a device's reachable topic, a reachable topic's device, or a provider that devices name. It
// may really not be there.
func (m *Model) doubtful() bool {
	if m.orphans > 0 {
		return true
	}
	for _, p := range m.providers {
		if !p.present || p.snapshot < m.base {
			return true
		}
	}
	for _, d := range m.devices {
		if d.snapshot < m.base || d.root != nil && (!d.root.there || d.root.snapshot < m.base) {
			return true
		}
	}
	return false
}

// settled says whether this snapshot told all that those before it told since Begin, and nothing else.
func (m *Model) settled() bool {
	lacks := func(snapshot uint32) bool { return snapshot >= m.base && snapshot != m.snapshot }
	if m.fresh > 0 {
		return false
	}
	for _, p := range m.providers {
		if p.present && lacks(p.snapshot) {
			return false
		}
	}
	for _, r := range m.roots {
		if r.there && lacks(r.snapshot) {
			return false
		}
	}
	for _, d := range m.devices {
		if lacks(d.snapshot) {
			return false
		}
	}
	return true
}
