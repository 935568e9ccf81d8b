package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// leases are the gateways' records and sessions. By the hub's lease, which is extended
// every few seconds, it is known whether the database takes what is written.
type leases struct {
	fleet.Sessions
	pulse *pulse
}

// Attend implements fleet.Sessions.
func (l leases) Attend(ctx context.Context, hub string, now, until time.Time) (uint64, error) {
	run, err := l.Sessions.Attend(ctx, hub, now, until)
	l.pulse.beat(ctx, err)
	return run, err
}

// Extend implements fleet.Sessions.
func (l leases) Extend(ctx context.Context, hub string, run uint64, until time.Time) error {
	err := l.Sessions.Extend(ctx, hub, run, until)
	l.pulse.beat(ctx, err)
	return err
}

// intents is the audit: of whatever happens it is told first, so it is known soon, too.
type intents struct {
	fleet.Audit
	pulse *pulse
}

// Append implements fleet.Audit.
func (i intents) Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	head, err := i.Audit.Append(ctx, entries...)
	i.pulse.beat(ctx, err)
	return head, err
}

// pulse is whether the database took what was written last.
type pulse struct {
	mu    sync.Mutex
	err   error
	since time.Time // of err
}

func (p *pulse) beat(ctx context.Context, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled): // nobody waited for it
	case err == nil:
		p.err, p.since = nil, time.Time{}
	default:
		if p.err == nil {
			p.since = time.Now()
		}
		p.err = err
	}
}

func (p *pulse) feel() (since time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since, p.err
}
