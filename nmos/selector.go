package nmos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

// selector is the client's procedure: what to look for, what to choose, when to
// choose again and when to ask again. It is told the time and what happened; it
// leaves what is to be done in orders.
type selector struct {
	needs                   Needs
	kinds                   []Kind
	mode                    Mode
	merge, fallBack, giveUp bool // giveUp: a better one that appears is used
	invalidFor              time.Duration
	rand                    *rand.Rand
	looks                   []*look // unicast first, in order
	fixed                   *Selection

	ranked   Ranked
	complete bool
	dirty    bool // what was found changed

	selected *Selection
	checked  time.Time // when it last was found to work
	since    time.Time // when it was selected
	turn     int       // counts selections
	cause    string    // why it is selected, or why nothing is
	leaving  string    // why the last one is selected no longer
	marks    marks
	retryAt  time.Time // when to ask again, while nothing is left
	round    int       // how often that was done

	orders  []order
	changed bool
}

const (
	// patience is how long a domain that says nothing is waited for when another
	// has answered.
	patience = 2 * time.Second
	// maxDoubts bounds the instances that are doubted at a time.
	maxDoubts = 64
)

// order is something to do for who runs the selector.
type order struct {
	what orderKind
	look *look
	name string // of the instance to reconfirm
}

type orderKind int

const (
	beginLook orderKind = iota // browse
	askAgain                   // ask for the instances again, now
	reconfirm                  // an instance didn't work: is it still there? (RFC 6762 §10.4)
)

// hear takes in what a browser tells. After an error it has ended, and is begun
// again later.
func (s *selector) hear(now time.Time, l *look, ev dnssd.Event, err error) {
	if err != nil {
		l.services, l.answered, l.failure = nil, false, err
		ev = dnssd.Event{Op: dnssd.Settled}
	}
	l.hear(now, ev)
	s.dirty = true
}

// looked takes in how it ended when a source was asked.
func (s *selector) looked(l *look, x dnssd.Look) {
	l.answered, l.failure = x.Err == nil, x.Err
	s.dirty = true
}

// failed marks what a selection uses as invalid for a while.
func (s *selector) failed(now time.Time, sel Selection, why error) {
	if sel.Advert == nil {
		return
	}
	if why == nil {
		why = errors.New("it didn't work")
	}
	s.marks.put(now, place(sel.Proto, sel.Target), why, s.invalidFor)
	s.changed = true
	if sel.Via == viaMulticast {
		s.doubt(&sel.Found)
	}
}

// worked takes in that a selection was found to work.
func (s *selector) worked(now time.Time, sel Selection) {
	delete(s.marks, place(sel.Proto, sel.Target))
	if s.selected.is(&sel) {
		s.changed = s.changed || s.checked.IsZero()
		s.checked, s.round = now, 0
	}
}

// advance does what is due and returns when there will be more to do, the zero
// time for never.
func (s *selector) advance(now time.Time) (wake time.Time) {
	wake = s.begin(now)
	if s.dirty {
		s.rank()
	}
	wake = earliest(wake, s.marks.expire(now))
	if !s.complete {
		s.cause = "looking"
		return wake
	}
	s.choose(now)
	if s.selected == nil {
		return earliest(wake, s.retry(now))
	}
	s.retryAt = time.Time{}
	return wake
}

// halt forgets what was found, for nobody keeps it up to date any longer.
// Marks stay.
func (s *selector) halt() {
	for _, l := range s.looks {
		*l = look{via: l.via, domain: l.domain, service: l.service}
	}
	s.selected, s.ranked, s.complete, s.dirty = nil, Ranked{}, false, true
	s.retryAt, s.round, s.orders, s.cause = time.Time{}, 0, nil, "not looking"
}

// begin begins the looks whose turn it is (APIs: Discovery, steps 1 to 3).
func (s *selector) begin(now time.Time) (wake time.Time) {
	unicast, multicast := s.of(viaUnicast), s.of(viaMulticast)
	s.start(unicast)
	if len(multicast) > 0 && !multicast[0].begun && s.wantsMulticast() {
		s.start(multicast)
	}
	s.complete, wake = s.done(now)
	return wake
}

// done says whether the first look is complete. A source that says nothing
// isn't waited for long once another one has answered: the time then comes back.
func (s *selector) done(now time.Time) (bool, time.Time) {
	if s.fixed != nil {
		return true, time.Time{}
	}
	all, first := true, time.Time{}
	for _, l := range s.looks {
		switch {
		case l.settled && l.responds():
			first = earliest(first, l.at)
		case l.begun && !l.settled:
			all = false
		}
	}
	switch end := first.Add(patience); {
	case all || !first.IsZero() && !end.After(now):
		return true, time.Time{}
	case !first.IsZero():
		return false, end
	}
	return false, time.Time{}
}

// wantsMulticast says whether to look by mDNS: if no unicast response came.
func (s *selector) wantsMulticast() bool {
	settled, answered := true, false
	for _, l := range s.of(viaUnicast) {
		settled = settled && l.settled
		answered = answered || l.responds()
	}
	switch {
	case s.merge:
		return true
	case !settled:
		return false
	case !answered:
		return true
	}
	if s.dirty {
		s.rank()
	}
	return s.fallBack && len(s.ranked.Groups) == 0
}

func (s *selector) start(looks []*look) {
	for _, l := range looks {
		if !l.begun {
			l.begun = true
			s.orders = append(s.orders, order{what: beginLook, look: l})
			s.changed = true
		}
	}
}

// of returns the looks by one source.
func (s *selector) of(via string) []*look {
	var out []*look
	for _, l := range s.looks {
		if l.via == via {
			out = append(out, l)
		}
	}
	return out
}

// rank puts what was found in order: one list of all the looks.
func (s *selector) rank() {
	s.dirty, s.changed = false, true
	if s.fixed != nil {
		s.ranked = Ranked{Groups: [][]*Advert{{s.fixed.Advert}}}
		return
	}
	var found []Found
	for _, l := range s.looks {
		found = append(found, l.found()...)
	}
	s.ranked = s.needs.Rank(s.kinds, found)
}

// choose keeps the selection if it is still good, and else chooses the next.
func (s *selector) choose(now time.Time) {
	old := s.selected
	s.leaving = ""
	if old != nil && s.stays(now) {
		return
	}
	next, cause := s.next(now, old)
	if next == nil && old == nil && cause == s.cause {
		return
	}
	s.selected, s.cause, s.changed = next, cause, true
	s.since, s.checked = now, time.Time{}
	if s.leaving != "" {
		s.cause = s.leaving + "; " + cause
	}
	if next != nil {
		s.turn++
	}
}

// stays says whether the selection is still in the list and isn't marked. It
// brings it up to date, or notes why it doesn't stay.
func (s *selector) stays(now time.Time) bool {
	old := s.selected
	if m := s.marks.on(now, place(old.Proto, old.Target)); m != nil {
		s.leaving = fmt.Sprintf("%s failed: %v", old.title(), m.why)
		return false
	}
	a := s.listed(old)
	if a == nil {
		s.leaving = old.title() + " is no longer there"
		for _, d := range s.ranked.Discarded {
			if d.id() == old.id() {
				s.leaving = fmt.Sprintf("%s doesn't fit any more: %v", old.title(), d.Reason)
			}
		}
		return false
	}
	i := slices.IndexFunc(a.Targets, func(t Target) bool { return place(a.Proto, t) == place(old.Proto, old.Target) })
	if i < 0 {
		s.leaving = fmt.Sprintf("%s is no longer at %s", old.title(), place(old.Proto, old.Target))
		return false
	}
	if better := s.better(now, a); better != nil {
		s.leaving = fmt.Sprintf("%s is better than %s", better.Name, old.title())
		return false
	}
	fresh := s.selection(a, a.Targets[i])
	if fresh.Version != old.Version {
		s.turn++ // the same API, spoken in another version: look at it anew
		s.changed = true
	}
	s.selected = fresh
	return true
}

// listed returns the advertisement in the list that a selection is of: the
// same instance, or another one's of the same place.
func (s *selector) listed(sel *Selection) *Advert {
	var same, place1 *Advert
	for a := range s.all() {
		here := slices.ContainsFunc(a.Targets, func(t Target) bool { return place(a.Proto, t) == place(sel.Proto, sel.Target) })
		switch mine := a.id() == sel.id(); {
		case mine && here:
			return a
		case mine:
			same = a
		case here:
			place1 = a
		}
	}
	if place1 != nil {
		return place1
	}
	return same
}

// all yields the adverts of the list, in order.
func (s *selector) all() func(yield func(*Advert) bool) {
	return func(yield func(*Advert) bool) {
		for _, g := range s.ranked.Groups {
			for _, a := range g {
				if !yield(a) {
					return
				}
			}
		}
	}
}

// better returns an advert that comes before a and isn't marked, if the client
// wants to move to such.
func (s *selector) better(now time.Time, a *Advert) *Advert {
	if !s.giveUp {
		return nil
	}
	for _, g := range s.ranked.Groups {
		if slices.Contains(g, a) {
			return nil
		}
		for _, b := range g {
			if len(s.open(now, b)) > 0 {
				return b
			}
		}
	}
	return nil
}

// open returns the targets of an advert that aren't marked.
func (s *selector) open(now time.Time, a *Advert) []Target {
	return slices.DeleteFunc(slices.Clone(a.Targets), func(t Target) bool { return s.marks.on(now, place(a.Proto, t)) != nil })
}

// next chooses (APIs: Discovery, steps 5 and 6): another target of the same
// instance (RFC 6763 §5), else at random among the first equals that have one.
func (s *selector) next(now time.Time, old *Selection) (*Selection, string) {
	if old != nil && !s.giveUp {
		for a := range s.all() {
			if a.id() != old.id() {
				continue
			}
			if t := s.open(now, a); len(t) > 0 {
				return s.selection(a, s.first(t)), fmt.Sprintf("%s, too, is %s", place(a.Proto, s.first(t)), a.Name)
			}
		}
	}
	left := 0
	for _, g := range s.ranked.Groups {
		var usable []*Advert
		for _, a := range g {
			if len(s.open(now, a)) > 0 {
				usable = append(usable, a)
			}
		}
		left += len(g)
		if len(usable) == 0 {
			continue
		}
		a := usable[s.draw(len(usable))]
		sel := s.selection(a, s.first(s.open(now, a)))
		return sel, s.chosen(sel, len(usable), left-len(g))
	}
	if s.fixed != nil {
		return nil, "the configured location doesn't work"
	}
	switch n := len(s.ranked.Discarded); {
	case left > 0:
		return nil, fmt.Sprintf("nothing is left: %s invalid", areAll(left))
	case n > 0:
		return nil, fmt.Sprintf("nothing fits: %d discarded", n)
	}
	return nil, "nothing was found"
}

// first returns the target to try first.
func (s *selector) first(targets []Target) Target {
	list := make([]dnssd.Target, len(targets))
	for i, t := range targets {
		list[i] = dnssd.Target(t)
	}
	dnssd.OrderTargets(list, s.rand)
	return Target(list[0])
}

func (s *selector) draw(n int) int {
	if s.rand != nil {
		return s.rand.IntN(n)
	}
	return rand.IntN(n)
}

func (s *selector) selection(a *Advert, t Target) *Selection {
	if s.fixed != nil {
		return s.fixed
	}
	v, _ := s.needs.version(a)
	return &Selection{Advert: a, Target: t, Version: v}
}

// askAgain has all the sources in use asked again: for instances, and for what is
// known of those that failed. Multicast DNS, where newcomers announce
// themselves, is asked less and less often (RFC 6762 §5.2).
func (s *selector) askAgain(now time.Time) {
	for _, l := range s.looks {
		if !l.begun || l.via == viaMulticast && s.round&(s.round-1) != 0 {
			continue
		}
		s.orders = append(s.orders, order{what: askAgain, look: l})
	}
	asked := 0
	for a := range s.all() {
		if a.Via == viaUnicast && asked < maxDoubts && len(s.open(now, a)) == 0 {
			asked++
			s.doubt(&a.Found)
		}
	}
}

// doubt has what is known of an instance asked for again.
func (s *selector) doubt(f *Found) {
	for _, l := range s.looks {
		if l.begun && l.via == f.Via && fold(l.service) == fold(f.Service) && fold(l.domain) == fold(f.Domain) {
			s.orders = append(s.orders, order{reconfirm, l, f.Name})
		}
	}
}

// retry asks again when it is time, and returns when it is next.
func (s *selector) retry(now time.Time) time.Time {
	if s.retryAt.IsZero() {
		if now.Sub(s.since) > s.invalidFor {
			s.round = 0
		}
		s.retryAt = now.Add(pause(s.rand, s.round))
		s.changed = true
	}
	if s.retryAt.After(now) {
		return s.retryAt
	}
	s.round++
	s.retryAt = now.Add(pause(s.rand, s.round))
	s.marks.lapse()
	s.changed = true
	s.askAgain(now)
	return now // a mark may have lapsed
}
