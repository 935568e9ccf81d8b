package dnssd

import (
	"context"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Source is what can be asked: multicast DNS by Multicast, unicast DNS by
// package dnssd/unicast.
type Source interface {
	// Via names the source in events: "mdns", "unicast".
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

// Definite is a Source of which an answer is whole: with the first mdns.OpAdd
// for a question come all the others, an mdns.OpNone says that there is nothing
// anywhere, and where nobody answers it says mdns.OpFailed, and why. So nobody needs to wait
// for more. An mdns.OpAnswered ends each answer, also one that says what the last one said.
type Definite interface {
	Source
	// Failure returns why the last question wasn't answered, nil if it was.
	Failure() error
}

// definite returns the source as one whose answers are whole, nil if they aren't.
func definite(s Source) Definite {
	d, _ := s.(Definite)
	return d
}

// Reconfirmer is a Source that can be told of a record that didn't work, as
// mdns.Engine.Reconfirm is.
type Reconfirmer interface {
	Source
	Reconfirm(mdns.Zone, dnswire.RR)
}

// Requerier is a Source that can be told to ask a question again now that
// somebody asks, though its answer still holds or it waits after a failure.
type Requerier interface {
	Source
	Requery(mdns.Question)
}

// definiteMax bounds the wait for a source that says when it is done.
const definiteMax = 30 * time.Second

// Multicast returns the source that asks an engine's links.
func Multicast(e *mdns.Engine) Source { return multicast{e} }

type multicast struct{ engine *mdns.Engine }

func (multicast) Via() string { return "mdns" }

func (m multicast) Feed(refreshes bool) Feed {
	return m.engine.Subscribe(mdns.SubscribeOptions{Refreshes: refreshes})
}

func (m multicast) Reconfirm(z mdns.Zone, rr dnswire.RR) { m.engine.Reconfirm(z, rr) }
