package nmos

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

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
