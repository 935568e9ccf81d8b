package source

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
)

// engineFirst is how much earlier than a feed its engine may hear that both are to end.
const engineFirst = time.Second

// Feed looks for every service of every type and listens for hosts' addresses,
// and tells what it hears until ctx ends; then it returns nil. hosts observes
// the engine behind src. observe is called from two goroutines.
func (m MDNS) Feed(ctx context.Context, src dnssd.Source, hosts *dnssd.Hosts, observe func(...lanfolk.Sighting)) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		browser := dnssd.Browser{Source: src, All: true, Resolve: true, Refreshes: true}
		for ev, err := range browser.Events(ctx) {
			if err != nil {
				// The engine may have been told to end as the feed is, and heard it first.
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(engineFirst):
					return err
				}
			}
			if s, ok := m.Service(time.Now(), ev); ok {
				observe(s)
			}
		}
		return nil
	})
	tasks.Go(func() error {
		for {
			events, err := hosts.Next(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			for _, ev := range events {
				observe(m.Host(ev))
			}
		}
	})
	return tasks.Wait()
}
