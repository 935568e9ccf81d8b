package lab

import (
	"context"
	"sync"
	"time"
)

// Meter measures by how much this machine is late: a packet that should have
// been sent, and was sent so much later, makes the gap to the next one shorter.
type Meter struct {
	mu   sync.Mutex // guards what follows
	max  time.Duration
	lags []lag
}

// lag is a time during which nothing of this process ran.
type lag struct{ from, to time.Time }

// Run measures until ctx ends.
func (m *Meter) Run(ctx context.Context) {
	const pause, worth = time.Millisecond, 3 * time.Millisecond
	for ctx.Err() == nil {
		before := time.Now()
		time.Sleep(pause)
		now := time.Now()
		m.mu.Lock()
		if d := now.Sub(before) - pause; d > worth {
			m.max = max(m.max, d)
			m.lags = append(m.lags, lag{before, now})
		}
		m.mu.Unlock()
	}
}

// Worst returns by how much it was late at most.
func (m *Meter) Worst() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.max
}

// Near returns how late something may have been at about a time, 0 where the machine was idle
// and at most a quarter of a second: what is later can't be told from what comes too early.
// Whoever sends waits in another thread than what measures, for more turns or fewer, and
// both see only that the machine is busy.
func (m *Meter) Near(t time.Time) time.Duration {
	const about, turns = 250 * time.Millisecond, 4
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum time.Duration
	for _, l := range m.lags {
		if !l.from.After(t.Add(about)) && !l.to.Before(t.Add(-about)) {
			sum += l.to.Sub(l.from)
		}
	}
	return min(turns*sum, about)
}
