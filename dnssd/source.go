package dnssd

import (
	"context"

	"github.com/lanfolk/lanfolk/mdns"
)

// Source is what can be asked: multicast DNS now, unicast DNS in its time.
type Source interface {
	// Via names the source in events: "mdns".
	Via() string
	// Feed begins to ask nothing; refreshes asks for mdns.OpUpdate events.
	Feed(refreshes bool) Feed
}

// Feed asks questions and gets what happens to their answers. Its methods
// behave as those of *mdns.Subscription, which is one.
type Feed interface {
	Ask(...mdns.Question)
	Forget(...mdns.Question)
	Next(context.Context) ([]mdns.Event, error)
	Close()
}

// Multicast returns the source that asks an engine's links.
func Multicast(e *mdns.Engine) Source { return multicast{e} }

type multicast struct{ engine *mdns.Engine }

func (multicast) Via() string { return "mdns" }

func (m multicast) Feed(refreshes bool) Feed {
	return m.engine.Subscribe(mdns.SubscribeOptions{Refreshes: refreshes})
}
