// Package announce keeps services announced as long as they work. The node and
// the command line share it.
package announce

import (
	"context"
	"fmt"

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

// State is how a service stands.
type State struct {
	// Standing is what the network can know. Without a name in it the service
	// isn't announced.
	dnssd.Standing
	// Dead is why the service isn't announced, nil while it works or has not
	// been tried yet.
	Dead error
}

// Run announces the service until ctx ends; then it takes it back and returns
// nil. changed is told how it stands, first and after each change, by one
// goroutine. An error is one of the announcement's or the check's.
func (s Service) Run(ctx context.Context, p *dnssd.Publisher, changed func(State)) error {
	tasks, ctx := errgroup.WithContext(ctx)
	verdicts := make(chan error)
	if s.Check.Probe != nil {
		tasks.Go(func() error {
			return s.Check.Run(ctx, func(dead error) {
				select {
				case verdicts <- dead:
				case <-ctx.Done():
				}
			})
		})
	}
	tasks.Go(func() error { return s.follow(ctx, p, verdicts, changed) })
	return tasks.Wait()
}

// follow publishes and takes back as the verdicts say.
func (s Service) follow(ctx context.Context, p *dnssd.Publisher, verdicts <-chan error, changed func(State)) error {
	var published *dnssd.Published
	works := s.Check.Probe == nil
	var dead error
	for {
		if works && published == nil {
			var err error
			if published, err = p.Publish(s.Announcement); err != nil {
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
		case dead = <-verdicts:
			works = dead == nil
		case <-moved:
		case <-ctx.Done():
			if published != nil {
				published.Withdraw()
			}
			return nil
		}
	}
}
