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

// records is the audit: of whatever people change it is told first, so it is known soon,
// too.
type records struct {
	fleet.Audit
	pulse *pulse
}

// Append implements fleet.Audit.
func (r records) Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	head, err := r.Audit.Append(ctx, entries...)
	r.pulse.beat(ctx, err)
	return head, err
}

// orders is the log of commands.
type orders struct {
	fleet.CommandLog
	pulse *pulse
}

// Create implements fleet.CommandLog.
func (o orders) Create(ctx context.Context, entries []fleet.Entry, commands ...fleet.Command) error {
	err := o.CommandLog.Create(ctx, entries, commands...)
	o.pulse.beat(ctx, err)
	return err
}

// Update implements fleet.CommandLog.
func (o orders) Update(ctx context.Context, c fleet.Command, entries ...fleet.Entry) (fleet.Command, error) {
	after, err := o.CommandLog.Update(ctx, c, entries...)
	if !errors.Is(err, fleet.ErrConflict) && !errors.Is(err, fleet.ErrState) && !errors.Is(err, fleet.ErrUnknown) { // the database's answer, and no failure of it
		o.pulse.beat(ctx, err)
	}
	return after, err
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
