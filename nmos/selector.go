package nmos

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

const (
	// patience is how long a domain that says nothing is waited for when another
	// has answered.
	patience = 2 * time.Second
	// maxDoubts bounds the instances that are doubted at a time.
	maxDoubts = 64
	// rankGap is the least time between two rankings, and rankEach what each
	// instance adds to it: so that many who come and go keep no processor busy.
	rankGap  = 10 * time.Millisecond
	rankEach = 50 * time.Microsecond
	// gatherTime is how long a list that was empty isn't chosen from yet, and
	// gatherChance what chance adds to it at the most. The APIs of a studio that
	// comes back, after a power cut say, don't come all at once: without that its
	// clients would all choose the first that speaks, whatever its priority, and
	// all at the same moment.
	gatherTime   = time.Second
	gatherChance = 3 * time.Second
)

// selector is the client's procedure: what to look for, what to choose, when to
// choose again and when to ask again. It is told the time and what happened, and
// leaves what is to be done in orders.
type selector struct {
	needs           Needs
	kinds           []Kind
	mode            Mode
	merge, fallBack bool
	back            bool // move to a better one
	checks          bool // somebody finds out whether a selection works
	invalidFor      time.Duration
	rand            *rand.Rand
	looks           []*look    // unicast first, in order
	fixed           *Selection // the configured location

	ranked   Ranked
	rankedAt time.Time
	dirty    bool // what was found changed since
	complete bool
	fresh    bool      // it became so just now: what is in the list has gathered
	gathered time.Time // when a list that was empty may be chosen from

	selected *Selection
	since    time.Time // when it was selected, or nothing was left
	checked  time.Time // when it first was found to work since
	turn     int       // counts selections
	cause    string    // why it is selected, or why nothing is
	none     string    // why there is nothing to select, "" if something is
	trial    *Selection
	proved   bool // the trial works

	marks   marks
	retryAt time.Time // when to ask again, while nothing is left
	round   int       // how often that was done in a row

	orders  []order
	changed bool
}

// order is something to do for who runs the selector.
type order struct {
	what orderKind
	look *look
	name string     // of the instance to reconfirm
	sel  *Selection // to try
}

type orderKind int

const (
	beginLook orderKind = iota // browse
	askAgain                   // ask for the instances again, now
	reconfirm                  // an instance didn't work: is it still there? (RFC 6762 §10.4)
	try                        // a better one is there: does it work?
)

// hear takes in what a browser tells. After an error it has ended, and is begun
// again later.
func (s *selector) hear(now time.Time, l *look, ev dnssd.Event, err error) {
	if err != nil {
		l.forget()
		l.failure = err
		ev = dnssd.Event{Op: dnssd.Settled}
	}
	l.hear(now, ev)
	s.dirty = true
}

// looked takes in how it ended when a source was asked.
func (s *selector) looked(l *look, x dnssd.Look) {
	answered := x.Err == nil
	s.dirty = s.dirty || answered != l.answered
	l.answered, l.failure = answered, x.Err
}

// failed marks what a selection uses as invalid for a while.
func (s *selector) failed(now time.Time, sel Selection, why error) {
	if sel.Advert == nil {
		return
	}
	if why == nil {
		why = errors.New("it didn't work")
	}
	s.marks.put(now, sel.place(), why, s.invalidFor)
	s.changed = true
	if sel.Via == viaMulticast {
		s.doubt(&sel.Found)
	}
}

// worked takes in that a selection was found to work.
func (s *selector) worked(now time.Time, sel Selection) {
	if sel.Advert == nil {
		return
	}
	if s.marks[sel.place()] != nil {
		delete(s.marks, sel.place())
		s.changed = true
	}
	s.proved = s.proved || s.trial != nil && s.trial.is(&sel)
	if s.selected != nil && s.selected.is(&sel) {
		s.round = 0
		if s.checked.IsZero() {
			s.checked, s.changed = now, true
		}
	}
}

// halt forgets what was found, for nobody keeps it up to date any longer.
// Marks stay.
func (s *selector) halt(now time.Time) {
	for _, l := range s.looks {
		*l = look{via: l.via, domain: l.domain, service: l.service}
	}
	s.selected, s.trial, s.ranked, s.rankedAt, s.complete, s.dirty = nil, nil, Ranked{}, time.Time{}, false, true
	s.retryAt, s.gathered, s.round, s.orders, s.checked = time.Time{}, time.Time{}, 0, nil, time.Time{}
	s.none, s.cause, s.since = "", "not looking", now
}

// advance does what is due and returns when there will be more to do, the zero
// time for never.
func (s *selector) advance(now time.Time) (wake time.Time) {
	wake = earliest(s.begin(now), s.marks.expire(now))
	if s.dirty && (s.complete || s.selected != nil) {
		at := s.rankedAt.Add(rankGap + time.Duration(s.found())*rankEach)
		if s.rankedAt.IsZero() || !at.After(now) {
			s.rank(now)
			wake = earliest(wake, s.begin(now)) // perhaps nothing of unicast DNS fits
		} else {
			wake = earliest(wake, at)
		}
	}
	if !s.complete && s.selected == nil {
		s.retryAt = time.Time{}
		s.nothing(now, "", "looking")
		return wake
	}
	if s.selected == nil && s.gathered.After(now) {
		s.nothing(now, "", "waiting for what else comes")
		return earliest(wake, s.gathered)
	}
	s.choose(now)
	s.fresh = s.fresh && s.dirty
	if s.selected != nil || !s.complete {
		s.retryAt = time.Time{}
		return wake
	}
	return earliest(wake, s.retry(now))
}

// found returns how many instances there are.
func (s *selector) found() int {
	n := 0
	for _, l := range s.looks {
		n += len(l.services)
	}
	return n
}

// begin begins the looks whose turn it is (APIs: Discovery, steps 1 to 3), and
// says whether the first look is complete. A domain that says nothing isn't waited for
// long once another one has answered: the end of that time comes back.
func (s *selector) begin(now time.Time) (wake time.Time) {
	s.start(viaUnicast)
	if s.wantsMulticast() {
		s.start(viaMulticast)
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
	end := first.Add(patience)
	complete := all || !first.IsZero() && !end.After(now)
	if complete != s.complete {
		s.complete, s.fresh, s.changed, s.dirty = complete, complete, true, true
	}
	if !complete && !first.IsZero() {
		return end
	}
	return time.Time{}
}

// wantsMulticast says whether to look by mDNS: if no unicast response came. What was
// begun goes on.
func (s *selector) wantsMulticast() bool {
	settled, answered := true, false
	for _, l := range s.looks {
		if l.via == viaUnicast {
			settled = settled && l.settled
			answered = answered || l.responds()
		}
	}
	switch {
	case s.merge:
		return true
	case !settled:
		return false
	case !answered:
		return true
	}
	return s.fallBack && !s.rankedAt.IsZero() && !s.dirty && len(s.ranked.Groups) == 0
}

func (s *selector) start(via string) {
	for _, l := range s.looks {
		if l.via == via && !l.begun {
			l.begun = true
			s.orders = append(s.orders, order{what: beginLook, look: l})
			s.changed = true
		}
	}
}

// rank puts what was found in order: one list of all the looks.
func (s *selector) rank(now time.Time) {
	before := len(s.ranked.Groups)
	s.dirty, s.changed, s.rankedAt = false, true, now
	if s.fixed != nil {
		s.ranked = Ranked{Groups: [][]*Advert{{s.fixed.Advert}}}
		return
	}
	var found []Found
	for _, l := range s.looks {
		if l.settled || s.complete { // else what comes first would be the best
			found = append(found, l.found()...)
		}
	}
	s.ranked = s.needs.Rank(s.kinds, found)
	if !s.fresh && before == 0 && s.selected == nil && len(s.ranked.Groups) > 0 {
		s.gathered = now.Add(gatherTime + time.Duration(s.draw(int(gatherChance))))
	}
}

// choose keeps the selection if it is still good, and else chooses the next.
func (s *selector) choose(now time.Time) {
	old := s.selected
	leaving := ""
	if old != nil {
		if leaving = s.leave(now); leaving == "" {
			s.better(now)
			return
		}
		if now.Sub(s.since) >= s.invalidFor {
			s.round = 0
		}
	}
	switch next, cause := s.next(now, old); {
	case next == nil && !s.complete:
		s.nothing(now, leaving, "looking")
	case next == nil:
		s.nothing(now, leaving, cause)
	case leaving != "":
		s.use(now, next, leaving+"; "+cause)
	default:
		s.use(now, next, cause)
	}
}

// use selects.
func (s *selector) use(now time.Time, sel *Selection, cause string) {
	s.selected, s.cause, s.since, s.checked, s.changed = sel, cause, now, time.Time{}, true
	s.trial, s.proved, s.none = nil, false, ""
	s.turn++
}

// nothing notes that nothing is selected, why, and why what was selected before
// was left.
func (s *selector) nothing(now time.Time, leaving, why string) {
	if s.selected == nil && s.none == why {
		return
	}
	if s.none == "" {
		s.since = now
	}
	s.none, s.cause = why, why
	if leaving != "" {
		s.cause = leaving + "; " + why
	}
	s.selected, s.trial, s.checked, s.changed = nil, nil, time.Time{}, true
}

// leave says why the selection can't stay: it is marked, or no longer in the
// list at its place. "": it stays, and is brought up to date.
func (s *selector) leave(now time.Time) string {
	old := s.selected
	if m := s.marks.on(now, old.place()); m != nil {
		return fmt.Sprintf("%s failed: %v", old.title(), m.why)
	}
	a := s.listed(old)
	if a == nil {
		for _, d := range s.ranked.Discarded {
			if d.same(&old.Found) {
				return fmt.Sprintf("%s doesn't fit any more: %v", old.title(), d.Reason)
			}
		}
		return old.title() + " is no longer there"
	}
	t, ok := a.has(old.place())
	if !ok {
		return fmt.Sprintf("%s is no longer at %s", old.title(), old.place())
	}
	s.selected = s.selection(a, t)
	return ""
}

// listed returns the advertisement in the list that a selection is of: the
// same instance, or another one at the same place, which is the same API.
func (s *selector) listed(sel *Selection) *Advert {
	var instance, there *Advert
	at := sel.place()
	for a := range s.all() {
		_, here := a.has(at)
		switch mine := a.same(&sel.Found); {
		case mine && here:
			return a
		case mine:
			instance = a
		case here && there == nil:
			there = a
		}
	}
	if there != nil {
		return there
	}
	return instance
}

// better moves to an advert that comes before the selection and isn't marked, if
// the client wants that. Where somebody can find out whether it works, that is
// done first: what works isn't left for what doesn't.
func (s *selector) better(now time.Time) {
	if !s.back || s.fixed != nil {
		return
	}
	for _, g := range s.ranked.Groups {
		if slices.ContainsFunc(g, func(a *Advert) bool { return a.same(&s.selected.Found) }) {
			break
		}
		if s.trial != nil && slices.ContainsFunc(g, func(a *Advert) bool { return a.same(&s.trial.Found) }) && s.marks.on(now, s.trial.place()) == nil {
			if s.proved {
				s.use(now, s.trial, s.better1(s.trial))
			}
			return
		}
		usable := s.usable(now, g)
		if len(usable) == 0 {
			continue
		}
		a := usable[s.draw(len(usable))]
		sel := s.selection(a, s.first(s.open(now, a)))
		if !s.checks {
			s.use(now, sel, s.better1(sel))
			return
		}
		s.trial, s.proved = sel, false
		s.orders = append(s.orders, order{what: try, sel: sel})
		return
	}
	s.trial, s.proved = nil, false
}

// open returns the targets of an advert that aren't marked.
func (s *selector) open(now time.Time, a *Advert) []Target {
	return slices.DeleteFunc(slices.Clone(a.Targets), func(t Target) bool { return s.marks.on(now, placeOf(a.Proto, t)) != nil })
}

// usable returns the adverts that have a target which isn't marked.
func (s *selector) usable(now time.Time, group []*Advert) []*Advert {
	return slices.DeleteFunc(slices.Clone(group), func(a *Advert) bool {
		return !slices.ContainsFunc(a.Targets, func(t Target) bool { return s.marks.on(now, placeOf(a.Proto, t)) == nil })
	})
}

// next chooses (APIs: Discovery, steps 5 and 6): another target of the same
// instance (RFC 6763 §5), else at random among the first equals that have one.
func (s *selector) next(now time.Time, old *Selection) (*Selection, string) {
	for a := range s.all() {
		if old == nil || !a.same(&old.Found) {
			continue
		}
		if t := s.open(now, a); len(t) > 0 {
			sel := s.selection(a, s.first(t))
			return sel, fmt.Sprintf("%s is at %s, too", sel.title(), sel.place())
		}
	}
	before := 0
	for _, g := range s.ranked.Groups {
		usable := s.usable(now, g)
		if len(usable) == 0 {
			before += len(g)
			continue
		}
		a := usable[s.draw(len(usable))]
		sel := s.selection(a, s.first(s.open(now, a)))
		return sel, s.chosen(sel, len(usable), before)
	}
	return nil, s.exhausted(before)
}

// all yields the adverts of the list, in order.
func (s *selector) all() iter.Seq[*Advert] {
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

// retry asks again when it is time, and returns when it is next.
func (s *selector) retry(now time.Time) time.Time {
	if s.retryAt.IsZero() {
		s.retryAt = now.Add(pause(s.rand, s.round))
		s.changed = true
	}
	if s.retryAt.After(now) {
		return s.retryAt
	}
	s.askAgain(now)
	s.round++
	s.retryAt = now.Add(pause(s.rand, s.round))
	s.marks.lapse()
	s.changed = true
	return now // a mark may have ended by that
}

// askAgain has the sources in use asked again for instances. That is little to
// ask of a DNS server; the rest is asked less and less often: multicast DNS, where newcomers
// announce themselves (RFC 6762 §5.2), and what is known of those that failed.
func (s *selector) askAgain(now time.Time) {
	rarely := s.round&(s.round-1) == 0
	for _, l := range s.looks {
		if l.begun && (rarely || l.via != viaMulticast) {
			s.orders = append(s.orders, order{what: askAgain, look: l})
		}
	}
	doubts := 0
	for a := range s.all() {
		if rarely && doubts < maxDoubts && a.Via == viaUnicast && len(s.open(now, a)) == 0 {
			doubts++
			s.doubt(&a.Found)
		}
	}
}

// doubt has what is known of an instance asked for again.
func (s *selector) doubt(f *Found) {
	for _, l := range s.looks {
		if l.begun && l.via == f.Via && fold(l.service) == fold(f.Service) && fold(l.domain) == fold(f.Domain) {
			s.orders = append(s.orders, order{what: reconfirm, look: l, name: f.Name})
		}
	}
}
