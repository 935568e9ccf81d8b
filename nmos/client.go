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
	"github.com/lanfolk/lanfolk/mdns"
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
	// maxStates is how many states wait for a slow reader of Changes. Then the
	// oldest are left out.
	maxStates = 256
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
	// Rand makes the random choices, nil for the runtime's chance.
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

// Run looks and keeps the list until ctx ends. It may run once at a time. An
// error is one in the fields.
func (c *Client) Run(ctx context.Context) error {
	c.init()
	if c.err != nil {
		return c.err
	}
	c.mu.Lock()
	again := c.running
	c.running = true
	c.mu.Unlock()
	if again {
		return errors.New("nmos: the client runs already")
	}
	r := &running{Client: c}
	defer r.wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		c.mu.Lock()
		wake := c.advance()
		orders := c.selector.orders
		c.selector.orders = nil
		sel, turn := c.selector.selected, c.selector.turn
		c.mu.Unlock()
		for _, o := range orders {
			r.do(ctx, o)
		}
		r.check(ctx, sel, turn)
		var at <-chan time.Time
		if !wake.IsZero() {
			at = time.After(time.Until(wake))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-at:
		case <-c.wake:
		}
	}
}

// running is what one Run has under way.
type running struct {
	*Client
	group    sync.WaitGroup
	checking int // the turn of the selection that is checked
	stop     context.CancelFunc
}

func (r *running) wait() {
	if r.stop != nil {
		r.stop()
	}
	r.group.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.selector.halt(now)
	r.publish(now)
	r.Client.running = false
}

func (c *Client) source(l *look) dnssd.Source {
	if l.via == viaUnicast {
		return c.Unicast
	}
	return c.Multicast
}

// do carries out an order.
func (r *running) do(ctx context.Context, o order) {
	var src dnssd.Source
	if o.look != nil {
		src = r.source(o.look)
	}
	switch o.what {
	case beginLook:
		r.group.Go(func() { r.browse(ctx, o.look) })
	case askAgain:
		requery(src, o.look)
	case reconfirm:
		_ = dnssd.Reconfirm(src, dnssd.Service{Instance: dnssd.Instance{Name: o.name, Service: o.look.service, Domain: o.look.domain}})
	case try:
		r.group.Go(func() { r.judge(ctx, *o.sel) })
	}
}

// requery has a source ask for the instances of a look again, now.
func requery(src dnssd.Source, l *look) {
	if !errors.Is(dnssd.Requery(src, l.service, "", l.domain), dnssd.ErrNoRequery) {
		return
	}
	// Multicast DNS asks at once for a newcomer, and goes on as before.
	if n, err := (dnssd.Instance{Service: l.service, Domain: l.domain}).FullName(); err == nil {
		f := src.Feed(false)
		f.Ask(mdns.Question{Name: n, Type: dnswire.TypePTR})
		f.Close()
	}
}

// browse runs one look until ctx ends.
func (r *running) browse(ctx context.Context, l *look) {
	b := dnssd.Browser{Source: r.source(l), Type: l.service, Domain: l.domain, Resolve: true}
	b.Overflow = func() { r.tell(func() { l.over++ }) }
	b.Looked = func(x dnssd.Look) { r.tell(func() { r.selector.looked(l, x) }) }
	for round := 0; ctx.Err() == nil; round++ {
		for ev, err := range b.Events(ctx) {
			r.tell(func() { r.selector.hear(time.Now(), l, ev, err) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause(nil, round)):
		}
	}
}

// tell tells the selector something, and has it look at what that means.
func (r *running) tell(say func()) {
	r.mu.Lock()
	say()
	r.mu.Unlock()
	r.nudge()
}

// check has the selection checked that is at its turn, and the one before no
// longer.
func (r *running) check(ctx context.Context, sel *Selection, turn int) {
	if sel == nil {
		turn = 0
	}
	if r.Check == nil || turn == r.checking {
		return
	}
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
	r.checking = turn
	if sel == nil {
		return
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.group.Go(func() { r.checks(ctx, turn) })
}

// checks checks the selection that is at its turn until it fails or ctx ends.
func (r *running) checks(ctx context.Context, turn int) {
	every := r.CheckEvery
	if every <= 0 {
		every = DefaultCheckEvery
	}
	for {
		r.mu.Lock()
		sel := r.selector.selected // its host may have moved
		mine := r.selector.turn == turn
		r.mu.Unlock()
		if sel == nil || !mine || !r.judge(ctx, *sel) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// judge checks a selection and says how it went.
func (r *running) judge(ctx context.Context, sel Selection) bool {
	err := r.Check(ctx, sel)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		r.Failed(sel, err)
		return false
	}
	r.Worked(sel)
	return true
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
	case c.last.Since.Equal(before.Since):
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

// Changes yields where things stand, and then every change, until ctx ends. A
// reader that is very slow misses the oldest.
func (c *Client) Changes(ctx context.Context) iter.Seq[State] {
	return func(yield func(State) bool) {
		c.init()
		if c.err != nil {
			return
		}
		w := &watcher{ready: make(chan struct{}, 1)}
		c.mu.Lock()
		c.watchers[w] = struct{}{}
		w.put(c.last)
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.watchers, w)
			c.mu.Unlock()
		}()
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

func (w *watcher) put(st State) {
	if len(w.queue) >= maxStates {
		w.queue = slices.Delete(w.queue, 0, maxStates/2)
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
