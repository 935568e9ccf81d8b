package dnssd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Times that decide when a first look is complete.
const (
	// answerTime is how long answers to a query may take: 120 ms for shared
	// records, up to half a second when a responder collects more of them
	// (RFC 6762 §6, §6.4).
	answerTime = 700 * time.Millisecond
	// quietTime is how long nothing new may come before a look is complete.
	quietTime = 500 * time.Millisecond
	// secondLook is how long to wait after the first query for the repetition
	// after a second and its answers. It is needed where nothing at all was
	// found, and where only multicast answers were asked for: a host that has
	// just answered somebody else keeps silent for a second (RFC 6762 §6).
	secondLook = 1500 * time.Millisecond
	// resolveTime is how long a service may take to resolve. Then it is told as
	// far as it is known.
	resolveTime = 2 * time.Second
	// settleMax bounds the first look.
	settleMax = 4 * time.Second
)

// Browser looks for services. The zero values of all fields but Source are
// useful; they aren't changed while Events runs.
type Browser struct {
	Source Source
	// Type is what to look for, "_http._tcp". If it is empty, types are looked
	// for, and with All the services of every type, too.
	Type string
	All  bool
	// Subtype narrows the search to a subtype of Type: one label of any bytes.
	Subtype string
	// Also are other types of the same function as Type, each less preferred than
	// the one before. A service that has the same name in several of them is told
	// once, by the type that is preferred; if that changes an Update tells (RFC 6763 §8).
	Also   []string
	Domain string // "" is "local"
	// Resolve asks for host, port, addresses and TXT, too. A service is told when
	// it is resolved, or after two seconds as far as it is known.
	Resolve bool
	// Once ends the search after the Settled event.
	Once bool
	// Refreshes asks for an Update, too, when nothing changed but Expires.
	Refreshes bool
	// Link narrows the search to the link with that index.
	Link int
	// Overflow, if not nil, is called for each service and type that isn't
	// followed because its link has MaxServices or MaxTypes already.
	Overflow func()
	// Looked, if not nil, is called each time that a Definite source has dealt
	// with a question for instances or types: at first, when it asks again because
	// an answer runs out, and when it tries again after a failure. It runs on the
	// goroutine of Events, before the events that the look gives rise to.
	Looked func(Look)
}

// Look is how it ended when a Definite source was asked for instances.
type Look struct {
	Type    string // "" for types
	Subtype string
	Domain  string
	// Found is how many instances or types the answer has.
	Found int
	// Err says why there are none: ErrNoName, ErrNoData, or why nobody answered:
	// ErrTimeout inside, or a *unicast.RcodeError. After a failure what was found
	// before stays, for as long as the source keeps it. It is nil if there are some.
	Err    error
	Source netip.Addr // the server that answered
	Time   time.Time
}

// Events looks for services until ctx ends or, with Once, all are found, and
// yields what changes. Everything runs on the caller's goroutine; one that is
// slow misses nothing. An error is yielded once, at the end: not for ctx's end.
func (b *Browser) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := b.run(ctx, func(ev Event) bool { return yield(ev, nil) }); err != nil {
			yield(Event{}, err)
		}
	}
}

func (b *Browser) run(ctx context.Context, yield func(Event) bool) error {
	if b.Source == nil {
		return errors.New("dnssd: Browser without Source")
	}
	domain := cmp.Or(b.Domain, DefaultDomain)
	if n, err := dnswire.ParseName(domain); err == nil {
		domain = n.String() // without a dot at its end
	}
	c := newCatalog(b.Source.Via(), domain)
	c.resolve, c.refreshes, c.follow, c.scope.Link = b.Resolve, b.Refreshes, b.All, b.Link
	if b.Overflow != nil {
		c.overflow = b.Overflow
	}
	var err error
	if b.Type == "" {
		err = c.addMeta()
	} else {
		err = c.addBrowse(b.Type, b.Subtype)
		for _, t := range b.Also {
			err = cmp.Or(err, c.addBrowse(t, ""))
		}
	}
	if err != nil {
		return err
	}
	if b.Type != "" && len(b.Also) > 0 {
		yield = merge(append([]string{b.Type}, b.Also...), yield)
	}
	d := definite(b.Source)
	c.definite = d != nil
	feed := b.Source.Feed(b.Refreshes)
	defer feed.Close()
	return (&search{catalog: c, feed: feed, definite: d, yield: yield, looked: b.Looked, once: b.Once, start: time.Now()}).run(ctx)
}

// search runs a catalog on a feed.
type search struct {
	*catalog
	feed     Feed
	definite Definite // nil where nobody says that an answer is whole
	yield    func(Event) bool
	looked   func(Look)
	once     bool

	start  time.Time
	asked  time.Time // when a question for instances first went out in a zone, the last such time
	first  time.Time // the first such time
	shared bool      // in some zone only multicast answers were asked for
	// What a definite source has said: the questions for instances that it has
	// answered, folded, true, or failed to, false.
	answered map[dnswire.Name]bool
	zones    map[zoneQuestion]struct{}
	settled  bool
	sweepAt  time.Time // after a reset
}

type zoneQuestion struct {
	zone mdns.Zone
	q    mdns.Question
}

func (s *search) run(ctx context.Context) error {
	s.zones = map[zoneQuestion]struct{}{}
	s.answered = map[dnswire.Name]bool{}
	for {
		s.exchange()
		now := time.Now()
		wake := s.advance(now)
		if !s.emit() {
			return nil
		}
		if s.settled && s.once {
			return s.failure()
		}
		s.exchange()
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !wake.IsZero() {
			wait, cancel = context.WithDeadline(ctx, wake)
		}
		events, err := s.feed.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		for i := range events {
			s.hear(&events[i])
		}
		if s.sweepAt.IsZero() {
			s.settleDirty(time.Now())
		}
		if !s.emit() {
			return nil
		}
	}
}

// hear takes in one event of the feed.
func (s *search) hear(ev *mdns.Event) {
	switch ev.Op {
	case mdns.OpAsked:
		k := zoneQuestion{ev.Zone, ev.Question}
		if _, again := s.zones[k]; !again && !s.settled && s.browsing(ev.Question) {
			s.zones[k] = struct{}{}
			if s.first.IsZero() {
				s.first = ev.Time
			}
			s.shared = s.shared || !ev.Unicast
			if ev.Time.After(s.asked) {
				s.asked = ev.Time
			}
		}
	case mdns.OpReset:
		s.reset()
		s.sweepAt = ev.Time.Add(quietTime)
	case mdns.OpFailed:
		s.note(ev.Question.Name, ev.Question.Type, false)
		s.tellLook(ev)
		s.apply(ev)
	case mdns.OpAnswered:
		s.tellLook(ev)
	case mdns.OpNone:
		s.note(ev.Question.Name, ev.Question.Type, true)
		s.apply(ev)
	default:
		s.note(ev.RR.Name, ev.RR.Type, true)
		s.apply(ev)
	}
}

// tellLook tells how a look for instances ended.
func (s *search) tellLook(ev *mdns.Event) {
	if s.looked == nil || !s.browsing(ev.Question) {
		return
	}
	owner := ev.Question.Name.Fold()
	b := s.browse[owner]
	l := Look{Type: b.service, Subtype: b.subtype, Domain: s.domain, Err: ev.Err, Source: ev.Source, Time: ev.Time}
	if ev.Op == mdns.OpAnswered {
		for _, x := range s.services {
			if slices.ContainsFunc(x.pointers, func(p *pointer) bool { return p.owner == owner && p.live() }) {
				l.Found++
			}
		}
	}
	s.looked(l)
}

// note remembers which questions for instances a definite source has dealt with.
func (s *search) note(n dnswire.Name, t dnswire.Type, answered bool) {
	if s.definite != nil && !s.settled && s.browsing(mdns.Question{Name: n, Type: t}) {
		s.answered[n.Fold()] = answered || s.answered[n.Fold()]
	}
}

// failure returns why nothing was answered, nil if something was.
func (s *search) failure() error {
	if s.definite == nil {
		return nil
	}
	for _, ok := range s.answered {
		if ok {
			return nil
		}
	}
	if err := s.definite.Failure(); err != nil {
		return fmt.Errorf("dnssd: browse: %w", err)
	}
	return fmt.Errorf("dnssd: browse: %w", ErrTimeout)
}

// open counts the questions for instances that a definite source has yet to
// deal with.
func (s *search) open() int {
	n := len(s.browse) - len(s.answered)
	if s.meta != "" {
		n++
	}
	return n
}

// exchange hands the catalog's questions to the feed.
func (s *search) exchange() {
	if len(s.forget) > 0 {
		s.feed.Forget(s.forget...)
		s.forget = nil
	}
	if len(s.ask) > 0 {
		s.feed.Ask(s.ask...)
		s.ask = nil
	}
}

// emit yields the catalog's events; false if the caller wants no more.
func (s *search) emit() bool {
	for i := range s.out {
		if !s.yield(s.out[i]) {
			return false
		}
	}
	clear(s.out)
	s.out = s.out[:0]
	return true
}

// advance does what is due and returns when more will be, the zero time for never.
func (s *search) advance(now time.Time) time.Time {
	var wake time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	if s.sweepAt.After(now) {
		return s.sweepAt // the picture is incomplete until then
	}
	if !s.sweepAt.IsZero() {
		s.sweepAt = time.Time{}
		s.sweep(now)
	}
	earlier(s.waited(now))
	partial := s.tellPartial(now, resolveTime)
	earlier(partial)
	if !s.settled {
		at := s.settleAt(partial)
		if !at.After(now) {
			s.settled = true
			s.zones = nil
			s.tellPartial(now, 0)
			s.out = append(s.out, Event{Op: Settled})
		} else {
			earlier(at)
		}
	}
	return wake
}

// settleAt returns when the first look is complete, as things stand: answers to
// the first queries have had their time, nothing new has come for a while, and
// nothing waits to be resolved.
func (s *search) settleAt(partial time.Time) time.Time {
	if s.definite != nil {
		switch {
		case s.open() > 0:
			return s.start.Add(definiteMax)
		case !partial.IsZero():
			return partial
		}
		return s.start
	}
	if s.first.IsZero() {
		return s.start.Add(settleMax)
	}
	at := s.asked.Add(answerTime)
	if len(s.services) == 0 || s.shared {
		at = s.asked.Add(secondLook)
	}
	if t := s.news.Add(quietTime); t.After(at) {
		at = t
	}
	if partial.After(at) {
		at = partial
	}
	if end := s.first.Add(settleMax); end.Before(at) {
		at = end
	}
	return at
}

// waited brings the services up to date that have waited long enough for a TXT
// record, for more addresses or for those of a new host, and returns when the
// next will have.
func (s *search) waited(now time.Time) time.Time {
	var next time.Time
	waits := [...]time.Duration{addressWait, textWait}
	pending := s.pending
	if s.catalog.definite {
		pending = nil // it isn't a matter of time there
	}
	for x := range pending {
		for x.checked < len(waits) {
			at := x.found.Add(waits[x.checked])
			if at.After(now) {
				if next.IsZero() || at.Before(next) {
					next = at
				}
				break
			}
			x.checked++
			s.mark(x)
		}
	}
	for x := range s.moving {
		if at := x.moved.Add(textWait); !at.After(now) {
			s.mark(x)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for x, at := range s.replacing {
		if !at.After(now) {
			s.mark(x)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	s.settleDirty(now)
	return next
}
