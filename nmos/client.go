package nmos

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Mode says by what means a client looks.
type Mode int

// The modes.
const (
	Both          Mode = iota // by unicast DNS, then by mDNS where that has no answer
	UnicastOnly               // by unicast DNS
	MulticastOnly             // by mDNS
)

const (
	viaUnicast   = "unicast"
	viaMulticast = "mdns"
	viaConfig    = "config"
	// DefaultCheckEvery is how often what is selected is checked.
	DefaultCheckEvery = 10 * time.Second
	// maxStates is how many selections wait for a slow reader of Changes. Then the
	// oldest are left out.
	maxStates = 64
)

// ErrNothing says that the look is complete and nothing fits.
var ErrNothing = errors.New("nmos: nothing fits")

// Client looks for one API as AMWA's "APIs: Discovery" says, chooses one, and
// chooses again when it is told that the choice doesn't work. Set the fields
// before the first call; the zero values of all but Kind and a source are useful. Its
// methods may be called from any goroutine.
type Client struct {
	Kind  Kind
	Needs Needs
	Mode  Mode
	// Location is the API's URL where it is configured. Then nothing is looked for.
	Location string
	// Unicast is asked in Domains first. nil, or no domains: it isn't.
	Unicast dnssd.Source
	Domains []string
	// Multicast is asked where unicast DNS has no answer.
	Multicast dnssd.Source
	// Merge has both sources asked from the start, for one list (IS-04 up to v1.2).
	Merge bool
	// FallBack has mDNS asked, too, where unicast DNS answered but nothing of it fits.
	FallBack bool
	// Return has the client move to a better API that appears while the one that it uses works.
	Return bool
	// InvalidFor is how long an API that failed is left alone while there are
	// others, 0 for DefaultInvalidFor. It doubles with each failure in a row.
	InvalidFor time.Duration
	// Rand makes the random choices, nil for the runtime's chance. Nobody else uses it.
	Rand *rand.Rand
	// Check says whether a selection works: at once, and then every CheckEvery
	// (0 for DefaultCheckEvery). An error is as good as a call of Failed. nil: only
	// Failed says so. See Probe.
	Check      func(context.Context, Selection) error
	CheckEvery time.Duration
	Log        *slog.Logger

	once sync.Once
	err  error
	wake chan struct{}

	mu       sync.Mutex
	selector selector
	last     State
	watchers map[*watcher]struct{}
	running  bool
}

// watcher is one reader of the states.
type watcher struct {
	queue []State
	ready chan struct{}
}

func (c *Client) init() {
	c.once.Do(func() {
		c.wake = make(chan struct{}, 1)
		c.watchers = map[*watcher]struct{}{}
		if c.Log == nil {
			c.Log = slog.New(slog.DiscardHandler)
		}
		c.err = c.plan()
		c.last = c.selector.state(time.Now())
	})
}

// plan fills in the selector from the fields.
func (c *Client) plan() error {
	s := &c.selector
	*s = selector{
		needs: c.Needs, kinds: c.Kind.family(), mode: c.Mode, merge: c.Merge, fallBack: c.FallBack,
		back: c.Return, checks: c.Check != nil,
		invalidFor: c.InvalidFor, rand: c.Rand, marks: marks{}, dirty: true, cause: "not looking",
	}
	if s.invalidFor <= 0 {
		s.invalidFor = DefaultInvalidFor
	}
	if c.Kind.Service == "" {
		return errors.New("nmos: Client without a Kind")
	}
	if c.Location != "" {
		fixed, err := ParseLocation(c.Kind, c.Location)
		if len(c.Needs.Versions) > 0 && c.Kind.HasVersion {
			fixed.Version = slices.MaxFunc(c.Needs.Versions, Version.Compare)
		}
		s.fixed = &fixed
		return err
	}
	if c.Mode != MulticastOnly && c.Unicast != nil {
		for _, d := range c.Domains {
			n, err := dnswire.ParseName(d)
			if err != nil {
				return fmt.Errorf("nmos: domain %q: %w", d, err)
			}
			if slices.ContainsFunc(s.looks, func(l *look) bool { return equalFold(l.domain, n.String()) }) {
				continue // named twice
			}
			for _, k := range s.kinds {
				s.looks = append(s.looks, &look{via: viaUnicast, domain: n.String(), service: k.Service})
			}
		}
	}
	if c.Mode != UnicastOnly && c.Multicast != nil {
		for _, k := range s.kinds {
			s.looks = append(s.looks, &look{via: viaMulticast, domain: dnssd.DefaultDomain, service: k.Service})
		}
	}
	if len(s.looks) == 0 {
		return errors.New("nmos: nothing to ask: there is no DNS server with a search domain, and no mDNS")
	}
	return nil
}

// family returns the kinds to look for together.
func (k Kind) family() []Kind {
	out := []Kind{k}
	if with, ok := KindOf(k.With); ok && k.With != "" {
		out = append(out, with)
	}
	return out
}

func (c *Client) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// advance brings the selector up to now and tells what changed. The caller
// holds the mutex.
func (c *Client) advance() time.Time {
	now := time.Now()
	wake := c.selector.advance(now)
	for !wake.IsZero() && !wake.After(now) {
		wake = c.selector.advance(now)
	}
	if c.selector.changed {
		c.selector.changed = false
		c.publish(now)
	}
	return wake
}

func (c *Client) publish(now time.Time) {
	before := c.last
	c.last = c.selector.state(now)
	switch sel := c.last.Selected; {
	case c.last.serial == before.serial:
	case sel != nil:
		c.Log.Info("NMOS API selected", "kind", c.Kind.Name, "url", sel.URL(), "why", c.last.Reason)
	case before.Selected != nil:
		c.Log.Warn("no NMOS API is left", "kind", c.Kind.Name, "why", c.last.Reason)
	}
	for w := range c.watchers {
		w.put(c.last)
	}
}

// State returns where things stand.
func (c *Client) State() State {
	c.init()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.selector.state(time.Now())
}

// Select returns what to use now. It waits until there is something; the error
// is ctx's, or one in the fields.
func (c *Client) Select(ctx context.Context) (Selection, error) {
	for st := range c.Changes(ctx) {
		if st.Selected != nil {
			return *st.Selected, nil
		}
	}
	if c.err != nil {
		return Selection{}, c.err
	}
	return Selection{}, fmt.Errorf("nmos: select: %w", context.Cause(ctx))
}

// Failed says that a selection didn't work: it timed out, refused, failed TLS
// or said that it can't serve. What it uses is left alone for a while, and the next is
// chosen before Failed returns.
func (c *Client) Failed(s Selection, why error) {
	c.verdict(func(now time.Time) { c.selector.failed(now, s, why) })
}

// Worked says that a selection worked: what failed before is forgotten.
func (c *Client) Worked(s Selection) {
	c.verdict(func(now time.Time) { c.selector.worked(now, s) })
}

func (c *Client) verdict(say func(time.Time)) {
	c.init()
	c.mu.Lock()
	say(time.Now())
	if c.running {
		c.advance()
	}
	c.mu.Unlock()
	c.nudge()
}

// Changes yields where things stand, and then every change from this call on,
// until ctx ends. Of a reader that is slow only changes of the list are left out,
// and if it is very slow selections. It is read once.
func (c *Client) Changes(ctx context.Context) iter.Seq[State] {
	c.init()
	if c.err != nil {
		return func(func(State) bool) {}
	}
	w := &watcher{ready: make(chan struct{}, 1)}
	c.mu.Lock()
	c.watchers[w] = struct{}{}
	w.put(c.last)
	c.mu.Unlock()
	unread := context.AfterFunc(ctx, func() { c.forget(w) })
	return func(yield func(State) bool) {
		defer c.forget(w)
		defer unread()
		for {
			c.mu.Lock()
			queue := w.queue
			w.queue = nil
			c.mu.Unlock()
			for _, st := range queue {
				if !yield(st) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-w.ready:
			}
		}
	}
}

func (c *Client) forget(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
}

func (w *watcher) put(st State) {
	// Of one selection the last state is enough for who is slow: lists are long.
	if n := len(w.queue); n > 0 && w.queue[n-1].serial == st.serial {
		w.queue = w.queue[:n-1]
	} else if n >= maxStates {
		w.queue = slices.Delete(w.queue, 0, 1)
	}
	w.queue = append(w.queue, st)
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Once runs the client until the first look is complete, and with Check until a
// selection was found to work. The error is ErrNothing where nothing is
// selected then.
func (c *Client) Once(ctx context.Context) (State, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		err := c.Run(ctx)
		stop()
		done <- err
	}()
	var last State
	for st := range c.Changes(ctx) {
		last = st
		if st.Complete && (st.Selected == nil || c.Check == nil || !st.Checked.IsZero()) {
			break
		}
	}
	ended := ctx.Err()
	stop()
	if err := <-done; err != nil {
		return last, err
	}
	switch {
	case !last.Complete && ended != nil:
		return last, fmt.Errorf("nmos: %w", ended)
	case last.Selected == nil:
		return last, fmt.Errorf("%w: %s", ErrNothing, strings.TrimSpace(last.Reason))
	}
	return last, nil
}
