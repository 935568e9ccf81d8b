package source

import (
	"context"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Late is multicast DNS that is found when it is asked: one that is opened only
// if it is needed, or whichever runs at that time.
type Late struct {
	// Open returns what to ask. Its error fails the feed.
	Open func() (dnssd.Source, error)
}

var _ dnssd.Reconfirmer = Late{}

// Via implements dnssd.Source.
func (Late) Via() string { return protocolMDNS }

// Feed implements dnssd.Source.
func (l Late) Feed(refreshes bool) dnssd.Feed {
	src, err := l.Open()
	if err != nil {
		return failedFeed{err}
	}
	return src.Feed(refreshes)
}

// Reconfirm implements dnssd.Reconfirmer.
func (l Late) Reconfirm(z mdns.Zone, rr dnswire.RR) {
	src, err := l.Open()
	if err != nil {
		return // nothing is known there
	}
	if r, ok := src.(dnssd.Reconfirmer); ok {
		r.Reconfirm(z, rr)
	}
}

// failedFeed is a feed of what can't be asked.
type failedFeed struct{ err error }

func (failedFeed) Ask(...mdns.Question)    {}
func (failedFeed) Forget(...mdns.Question) {}
func (failedFeed) Close()                  {}

func (f failedFeed) Next(context.Context) ([]mdns.Event, error) { return nil, f.err }
