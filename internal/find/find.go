// Package find asks every protocol at once what is out there now. Each protocol
// is an Asker; the answers are sightings, so that what a question brings up
// enters the inventory the same way as what is heard unasked.
package find

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Asker asks by one protocol.
type Asker interface {
	// Protocol is the name that Request.Via selects it by.
	Protocol() string
	// Ask calls emit with each sighting that answers q, from one goroutine at
	// a time, until ctx ends or the protocol knows that it has heard all.
	// A query that the protocol has no question for is answered by a nil
	// error at once. ErrNone says that somebody who must know said that there
	// is none.
	Ask(ctx context.Context, q Query, emit func(lanfolk.Sighting)) error
}

// Outcomes of a search that found nothing.
var (
	ErrNone     = errors.New("find: there is none")
	ErrNoAnswer = errors.New("find: nobody answered")
	ErrProtocol = errors.New("find: no such protocol")
)

// ErrOff says that a protocol can't be asked, for it isn't running.
var ErrOff = errors.New("isn't running here")

// Answer is one thing that was found: a service or a device.
type Answer struct {
	Service *lanfolk.Service
	Device  *lanfolk.Device
	// Heard is the newest announcement of its host's name by mDNS that passive
	// monitoring heard: from which MAC to which MAC, on which link. nil if there
	// is none, or if nothing is kept here.
	Heard *lanfolk.Observation
}

// Request says how to search.
type Request struct {
	Query   Query
	Via     []string      // protocols to ask, all if empty
	Timeout time.Duration // how long to wait for answers; DefaultTimeout if 0
	First   bool          // stop at the first answer
}

// DefaultTimeout is how long a search waits for answers.
const DefaultTimeout = 3 * time.Second

// Finder asks a list of protocols.
type Finder struct {
	Askers []Asker
	// Known turns a sighting into the inventory's picture of it, with its
	// ids. Without an inventory it is nil, and ids stay empty.
	Known func(context.Context, lanfolk.Sighting) (Answer, bool)
	// Heard returns the newest announcement of a host's name, and whether one is
	// kept. nil if nothing is.
	Heard func(ctx context.Context, host string) (lanfolk.Observation, bool)
}

// Find asks and calls emit for each answer as it comes, never from two
// goroutines at once; an answer that says nothing new is left out. It returns
// nil if there was an answer, else ErrNone or ErrNoAnswer, or what kept every
// protocol from asking.
func (f Finder) Find(ctx context.Context, r Request, emit func(Answer)) error {
	askers, err := f.selected(r.Via)
	if err != nil {
		return err
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	answers := collector{seen: make(map[string]bool)}
	errs := make([]error, len(askers))
	var wg sync.WaitGroup
	for i, a := range askers {
		wg.Go(func() {
			errs[i] = a.Ask(asking, r.Query, func(s lanfolk.Sighting) {
				answer, ok := Answer{}, false
				if f.Known != nil {
					answer, ok = f.Known(asking, s)
				}
				if !ok {
					answer = alone(s)
				}
				f.addHeard(asking, r.Query, s, &answer)
				if answers.add(asking, answer, emit) && r.First {
					cancel()
				}
			})
		})
	}
	wg.Wait()
	if answers.count > 0 {
		return ctx.Err()
	}
	return f.nothing(ctx, askers, errs)
}

// addHeard adds to an answer what was heard of its host, and to a device that has no
// MAC the one that announced its address. Another MAC is one that speaks for it: a
// reflector's.
func (f Finder) addHeard(ctx context.Context, q Query, s lanfolk.Sighting, a *Answer) {
	host := s.Host
	if host == "" {
		host = q.LocalHost()
	}
	if f.Heard == nil || host == "" {
		return
	}
	row, ok := f.Heard(ctx, host)
	if !ok {
		return
	}
	a.Heard = &row
	if d := a.Device; d != nil && d.ID == "" && len(d.MACs) == 0 && row.SrcIP.IsValid() && slices.Contains(d.Addresses, row.SrcIP) {
		d.MACs = []lanfolk.MAC{row.SrcMAC}
		d.RandomMAC = randomMAC(d.MACs)
	}
}

// nothing says why there was no answer: the caller's own end first, then a
// word that there is none, then a failure if no protocol could ask.
func (f Finder) nothing(ctx context.Context, askers []Asker, errs []error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var failed []error
	for i, err := range errs {
		switch {
		case err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		case errors.Is(err, ErrNone):
			return ErrNone
		default:
			failed = append(failed, fmt.Errorf("find: %s: %w", askers[i].Protocol(), err))
		}
	}
	if len(failed) == len(askers) {
		return errors.Join(failed...)
	}
	return errors.Join(append([]error{ErrNoAnswer}, failed...)...)
}

func (f Finder) selected(via []string) ([]Asker, error) {
	if len(via) == 0 {
		return f.Askers, nil
	}
	var askers []Asker
	for _, name := range via {
		i := slices.IndexFunc(f.Askers, func(a Asker) bool { return a.Protocol() == name })
		if i < 0 {
			var names []string
			for _, a := range f.Askers {
				names = append(names, a.Protocol())
			}
			return nil, fmt.Errorf("%w: %q; one of %s", ErrProtocol, name, strings.Join(names, ", "))
		}
		askers = append(askers, f.Askers[i])
	}
	return askers, nil
}

// collector passes each answer on once.
type collector struct {
	mu    sync.Mutex
	seen  map[string]bool
	count int
}

func (c *collector) add(ctx context.Context, a Answer, emit func(Answer)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := a.key()
	if ctx.Err() != nil || c.seen[key] {
		return false
	}
	c.seen[key] = true
	c.count++
	emit(a)
	return true
}

// key is the same for two answers that tell the same.
func (a Answer) key() string {
	if s := a.Service; s != nil {
		return fmt.Sprint("service ", s.Protocol, s.Interface, s.Type, s.Name, s.Host, s.Port, s.Addresses, s.Attributes)
	}
	d := a.Device
	return fmt.Sprint("device ", d.Names, d.MACs, d.Addresses, d.Protocols)
}
