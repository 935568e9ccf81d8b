// Package announce keeps services announced as long as they work. The node and
// the command line share it.
package announce

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/health"
)

// Service is one service that is announced.
type Service struct {
	dnssd.Announcement
	// Check finds out whether it works. Without a probe it is taken to.
	Check health.Check
}

// State is how a service stands on the links.
type State struct {
	// Standing is what the network can know. Without a name in it the service
	// isn't announced.
	dnssd.Standing
	// Dead is why the service isn't announced, nil while it works or has not
	// been tried yet.
	Dead error
}

// Run announces the service by mDNS until ctx ends; then it takes it back and
// returns nil. changed is told how it stands, first and after each change, by one
// goroutine. An error is one of the announcement's or the check's.
func (s Service) Run(ctx context.Context, p *dnssd.Publisher, changed func(State)) error {
	return Run(ctx, s.Check, OnLinks(p, s.Announcement, changed))
}

// Way is one way of telling others of a service: while it works, until ctx ends.
type Way func(ctx context.Context, v *Verdict) error

// Run tells of a service in several ways at once, with one health check. It returns
// when ctx has ended and everything is taken back, or with the first error.
func Run(ctx context.Context, check health.Check, ways ...Way) error {
	tasks, ctx := errgroup.WithContext(ctx)
	v := &Verdict{works: check.Probe == nil, changed: make(chan struct{})}
	if check.Probe != nil {
		tasks.Go(func() error { return check.Run(ctx, v.set) })
	}
	for _, w := range ways {
		tasks.Go(func() error { return w(ctx, v) })
	}
	return tasks.Wait()
}

// Verdict is whether a service works, as far as is known.
type Verdict struct {
	mu      sync.Mutex
	works   bool
	dead    error
	changed chan struct{} // closed and made anew at each change
}

func (v *Verdict) set(dead error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.works, v.dead = dead == nil, dead
	close(v.changed)
	v.changed = make(chan struct{})
}

// now returns whether the service works, a channel that is closed when that
// changes, and why it doesn't if that is known.
func (v *Verdict) now() (works bool, changed <-chan struct{}, dead error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.works, v.changed, v.dead
}

// Elsewhere leaves the telling to changed: it is told whether the service is to be known
// of, and why not if that is known; first and after each change, by one goroutine.
func Elsewhere(changed func(works bool, dead error)) Way {
	return func(ctx context.Context, v *Verdict) error {
		for {
			works, turned, dead := v.now()
			changed(works, dead)
			select {
			case <-turned:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// OnLinks announces by mDNS. changed is told how that stands, first and after each
// change, by one goroutine.
func OnLinks(p *dnssd.Publisher, a dnssd.Announcement, changed func(State)) Way {
	return func(ctx context.Context, v *Verdict) error {
		var published *dnssd.Published
		for {
			works, turned, dead := v.now()
			if works && published == nil {
				var err error
				if published, err = p.Publish(a); err != nil {
					return fmt.Errorf("announce: %w", err)
				}
			}
			if !works && published != nil {
				published.Withdraw()
				published = nil
			}
			state := State{Dead: dead}
			var moved <-chan struct{}
			if published != nil {
				state.Standing, moved = published.Standing()
			}
			changed(state)
			select {
			case <-turned:
			case <-moved:
			case <-ctx.Done():
				if published != nil {
					published.Withdraw()
				}
				return nil
			}
		}
	}
}
