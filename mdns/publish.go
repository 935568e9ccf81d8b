package mdns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns/internal/respond"
	"github.com/lanfolk/lanfolk/packet"
)

// A host should not change its records more than ten times a minute (RFC 6762
// §8.4).
const (
	updateMany   = 10
	updateWindow = time.Minute
)

// ErrWithdrawn is returned to who waits for a publication that was taken back.
var ErrWithdrawn = errors.New("mdns: publication withdrawn")

// ErrConflict is returned to who waits for a publication that lost its label
// and got no other.
var ErrConflict = errors.New("mdns: another host has the name")

// Record is one record of a Publication.
type Record struct {
	// RR is the record. Its class is always IN and its Flush is ignored: Unique
	// says it. A TTL of 0 stands for the default of RFC 6762 §10: 120 s for A,
	// AAAA, SRV, HINFO and reverse PTR records, 4500 s for others.
	RR dnswire.RR
	// Unique says that nobody else may have records of this name, type and
	// class: they are sent with the cache-flush bit, and others' are conflicts.
	Unique bool
	// NoProbe is for unique records that are claimed without probing: reverse
	// PTR records and names that another host is proxied for (RFC 6762 §8.1).
	NoProbe bool
}

// Publication is a set of records that are probed, announced, renamed and taken
// back together. It must not be changed once it was given to Publish.
type Publication struct {
	// Label is what a conflict changes: "nas", "Web".
	Label string
	// Records returns the records that the publication has in a zone under a
	// label; nil if it has none there. It is called on the goroutine that owns the
	// engine's state, when the zone comes up, when its link changes, when the
	// label changes, and after Update: it must return soon and not call the engine.
	Records func(z Zone, l packet.Link, label string) []Record
	// Rename returns the label to try after a conflict with this one, "" for
	// none. nil means RenameService.
	Rename func(label string) string
	// Changed is told of every change of state; nil if nobody cares. It is
	// called as Records is.
	Changed func(PublicationEvent)
}

// PublicationState is how far a publication is in one zone.
type PublicationState uint8

// The states of a Publication in a zone.
const (
	PublicationProbing    PublicationState = iota + 1 // asking whether its names are free (RFC 6762 §8.1)
	PublicationAnnounced                              // its names are its own
	PublicationConflicted                             // another host has the label; a new one follows unless there is none
	PublicationWithdrawn                              // nothing is there any more: taken back with goodbyes, or the zone has no socket
)

// String returns the state in a word.
func (s PublicationState) String() string {
	switch s {
	case PublicationProbing:
		return "probing"
	case PublicationAnnounced:
		return "announced"
	case PublicationConflicted:
		return "conflicted"
	case PublicationWithdrawn:
		return "withdrawn"
	}
	return "unknown"
}

// PublicationEvent is a change of a publication's state in one zone.
type PublicationEvent struct {
	State PublicationState
	Zone  Zone
	Label string // the label in question
	// Rival is who has the label of a conflict. The zero address means another
	// publication of this engine.
	Rival netip.Addr
	Time  time.Time
}

// Published is a Publication that an engine takes care of. Its methods may be
// called at any time, from any goroutine.
type Published struct {
	engine *Engine
	pub    Publication
	done   chan struct{} // closed when it was withdrawn
	over   chan struct{} // closed then, and when the engine has ended
	watch  sync.Once

	// Of the goroutine that owns the engine's state.
	claims  []placed
	updates []time.Time // when the last ones were, at most updateMany
	later   time.Time   // when an update that was put off is due
	gone    bool

	mu      sync.Mutex
	label   string
	state   publishedState
	changed chan struct{} // closed at the next change of label or state; nil while nobody waits
}

// placed is a publication's claim in one place.
type placed struct {
	place *place
	claim *respond.Claim
}

// in returns the publication's claim in a place, nil if it has none.
func (p *Published) in(at *place) *respond.Claim {
	for _, c := range p.claims {
		if c.place == at {
			return c.claim
		}
	}
	return nil
}

// forget lets go of the publication's claim in a place.
func (p *Published) forget(at *place) {
	p.claims = slices.DeleteFunc(p.claims, func(c placed) bool { return c.place == at })
}

type publishedState uint8

const (
	pending publishedState = iota
	established
	conflicted
	withdrawn
)

// Publish probes for the publication's names in every zone, announces its
// records and answers for them, until they are withdrawn or the engine ends
// (RFC 6762 §8). After a conflict all zones take the next label together.
func (e *Engine) Publish(p Publication) *Published {
	if p.Rename == nil {
		p.Rename = RenameService
	}
	x := &Published{engine: e, pub: p, label: p.Label, done: make(chan struct{})}
	e.post(func(c *core) {
		now := time.Now()
		c.pubs = append(c.pubs, x)
		for _, k := range sortedPlaces(c.places) {
			c.publishOne(now, c.places[k], x)
			c.settle(now, c.places[k])
		}
		c.reckonOne(x)
	})
	return x
}

// Update has Records asked again. Changed data of claimed names is announced
// without probing (RFC 6762 §8.4), new unique names are probed, what is gone is
// taken back. More than ten updates in a minute are put off and become one.
func (p *Published) Update() {
	p.engine.post(func(c *core) {
		if now := time.Now(); !p.gone && p.later.IsZero() {
			if len(p.updates) == updateMany {
				if first := p.updates[0].Add(updateWindow); first.After(now) {
					p.later = first
					c.late = append(c.late, p)
					return
				}
			}
			c.updateNow(now, p)
		}
	})
}

// Label returns the present label.
func (p *Published) Label() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.label
}

// Withdraw takes the records back with goodbyes (RFC 6762 §10.1). It doesn't
// wait for them: see Done.
func (p *Published) Withdraw() {
	p.engine.post(func(c *core) { c.withdraw(time.Now(), p) })
}

// Done returns a channel that is closed when the publication was withdrawn, its
// goodbyes sent, or the engine has ended.
func (p *Published) Done() <-chan struct{} {
	p.watch.Do(func() {
		p.engine.init()
		p.over = make(chan struct{})
		go func() {
			defer close(p.over)
			select {
			case <-p.done:
			case <-p.engine.ended:
			}
		}()
	})
	return p.over
}

// Established waits until the names are claimed in every open zone, and there is
// one, and returns the label under which they are. The error is ctx's,
// ErrConflict, ErrWithdrawn, or ErrStopped when the engine ended.
func (p *Published) Established(ctx context.Context) (label string, err error) {
	p.engine.init()
	for {
		p.mu.Lock()
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		label, state, changed := p.label, p.state, p.changed
		p.mu.Unlock()
		switch state {
		case established:
			return label, nil
		case conflicted:
			return label, ErrConflict
		case withdrawn:
			return label, ErrWithdrawn
		}
		select {
		case <-ctx.Done():
			return label, ctx.Err()
		case <-p.engine.ended:
			return label, ErrStopped
		case <-changed:
		}
	}
}

// set changes what Label and Established see.
func (p *Published) set(label string, s publishedState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.label == label && p.state == s {
		return
	}
	p.label, p.state = label, s
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *Published) tell(e PublicationEvent) {
	if p.pub.Changed != nil {
		p.pub.Changed(e)
	}
}

// publish has all publications' records in the place be what they should be.
func (c *core) publish(now time.Time, p *place) {
	for _, x := range c.pubs {
		c.publishOne(now, p, x)
	}
	c.settle(now, p)
}

func (c *core) publishOne(now time.Time, p *place, x *Published) {
	c.setRecords(now, p, x, false)
}

// setRecords asks a publication for its records in the place. renamed says that
// it lost those that it had.
func (c *core) setRecords(now time.Time, p *place, x *Published, renamed bool) {
	claim := x.in(p)
	if claim == nil {
		claim = p.answers.NewClaim(x)
		x.claims = append(x.claims, placed{p, claim})
	}
	var records []respond.Record
	if x.pub.Records != nil && x.state != conflicted && !c.engine.Silent {
		for _, r := range x.pub.Records(p.zone.id, p.zone.link, x.label) {
			records = append(records, respond.Record(r))
		}
	}
	was := claim.State()
	p.answers.MTU, p.answers.Headers = p.zone.link.MTU, p.zone.id.Family.headers()
	if bad := p.answers.Set(now, claim, records, renamed); bad > 0 {
		c.log.Warn("records that can't be published", "label", x.label, "if", p.zone.id.Interface, "n", bad)
	}
	x.lost(now, p, was, claim.State())
}

// lost tells that nothing of the publication is left in a place.
func (x *Published) lost(now time.Time, p *place, was, is respond.State) {
	if was != respond.Idle && is == respond.Idle {
		x.tell(PublicationEvent{State: PublicationWithdrawn, Zone: p.zone.id, Label: x.label, Time: now})
	}
}

// closePlace is called when the place has no socket any more.
func (c *core) closePlace(now time.Time, p *place) {
	was := map[*Published]respond.State{}
	for _, x := range c.pubs {
		if claim := x.in(p); claim != nil {
			was[x] = claim.State()
		}
	}
	p.answers.Close()
	for _, x := range c.pubs {
		x.lost(now, p, was[x], respond.Idle)
	}
}

// unpublish forgets the place's claims.
func (c *core) unpublish(now time.Time, p *place) {
	for _, x := range c.pubs {
		if claim := x.in(p); claim != nil {
			p.answers.Remove(now, claim)
			x.forget(p)
		}
	}
}

func (c *core) updateNow(now time.Time, x *Published) {
	x.later = time.Time{}
	if len(x.updates) == updateMany {
		x.updates = slices.Delete(x.updates, 0, 1)
	}
	x.updates = append(x.updates, now)
	for _, k := range sortedPlaces(c.places) {
		c.publishOne(now, c.places[k], x)
		c.settle(now, c.places[k])
	}
	c.reckonOne(x)
}

// updateLate makes the updates that were put off and are due, and returns when
// the next is.
func (c *core) updateLate(now time.Time) (next time.Time) {
	c.late = slices.DeleteFunc(c.late, func(x *Published) bool {
		switch {
		case x.gone:
			return true
		case !x.later.After(now):
			c.updateNow(now, x)
			return true
		case next.IsZero() || x.later.Before(next):
			next = x.later
		}
		return false
	})
	return next
}

func (c *core) withdraw(now time.Time, x *Published) {
	if x.gone {
		return
	}
	x.gone = true
	for _, k := range sortedPlaces(c.places) {
		p := c.places[k]
		if claim := x.in(p); claim != nil {
			p.answers.Remove(now, claim)
			x.forget(p)
			c.settle(now, p)
			x.tell(PublicationEvent{State: PublicationWithdrawn, Zone: p.zone.id, Label: x.label, Time: now})
		}
	}
	c.pubs = slices.DeleteFunc(c.pubs, func(o *Published) bool { return o == x })
	x.set(x.label, withdrawn)
	c.leave = append(c.leave, x)
}

// departed tells the publications whose goodbyes were sent.
func (c *core) departed() {
	if len(c.leave) == 0 {
		return
	}
	for _, p := range c.places {
		if p.port != nil && p.answers.Waiting() {
			return
		}
	}
	for _, x := range c.leave {
		close(x.done)
	}
	c.leave = nil
}

// rename gives the publication its next label, in all zones.
func (c *core) rename(now time.Time, x *Published) {
	label := x.pub.Rename(x.label)
	if label == "" || label == x.label {
		c.log.Warn("another host has the name", "label", x.label)
		x.set(x.label, conflicted)
	} else {
		c.log.Info("another host has the name, taking another", "label", x.label, "new", label)
		c.engine.stats.renamed.Add(1)
		x.set(label, pending)
	}
	for _, k := range sortedPlaces(c.places) {
		c.setRecords(now, c.places[k], x, true)
	}
}

// reckon works out which publications are established.
func (c *core) reckon() {
	for _, x := range c.pubs {
		c.reckonOne(x)
	}
}

func (c *core) reckonOne(x *Published) {
	if x.state == conflicted || x.state == withdrawn {
		return
	}
	open, all := false, true
	for _, c := range x.claims {
		if c.place.port == nil {
			continue
		}
		open = true
		all = all && (c.claim.State() == respond.Announced || c.claim.Empty())
	}
	if open && all {
		x.set(x.label, established)
	} else {
		x.set(x.label, pending)
	}
}
