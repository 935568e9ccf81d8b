package nmos

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

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
	s.serial++
}

// nothing notes that nothing is selected, why, and why what was selected before
// was left.
func (s *selector) nothing(now time.Time, leaving, why string) {
	if s.selected == nil && s.none == why {
		return
	}
	if s.none == "" {
		s.since = now
		s.serial++
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
	if m := s.marks.shut(now, old.place()); m != nil {
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
				s.use(now, s.trial, s.improvement(s.trial))
			}
			return
		}
		usable := s.usable(now, g, s.marks.on)
		if len(usable) == 0 {
			continue
		}
		a := usable[s.draw(len(usable))]
		sel := s.selection(a, s.first(s.open(now, a, s.marks.on)))
		if !s.checks {
			s.use(now, sel, s.improvement(sel))
			return
		}
		s.trial, s.proved = sel, false
		s.orders = append(s.orders, order{what: try, sel: sel})
		return
	}
	s.trial, s.proved = nil, false
}

// open returns the targets of an advert that aren't marked.
func (s *selector) open(now time.Time, a *Advert, marked func(time.Time, place) *mark) []Target {
	return slices.DeleteFunc(slices.Clone(a.Targets), func(t Target) bool { return marked(now, placeOf(a.Proto, t)) != nil })
}

// usable returns the adverts that have a target which isn't marked.
func (s *selector) usable(now time.Time, group []*Advert, marked func(time.Time, place) *mark) []*Advert {
	return slices.DeleteFunc(slices.Clone(group), func(a *Advert) bool {
		return !slices.ContainsFunc(a.Targets, func(t Target) bool { return marked(now, placeOf(a.Proto, t)) == nil })
	})
}

// next chooses (APIs: Discovery, steps 5 and 6): another target of the same
// instance (RFC 6763 §5), else at random among the first equals that have one,
// and where all are marked, among those that may be tried again.
func (s *selector) next(now time.Time, old *Selection) (*Selection, string) {
	for a := range s.all() {
		if old == nil || !a.same(&old.Found) {
			continue
		}
		if t := s.open(now, a, s.marks.on); len(t) > 0 {
			sel := s.selection(a, s.first(t))
			return sel, fmt.Sprintf("%s is at %s, too", sel.title(), sel.place())
		}
	}
	before := 0
	for _, marked := range [...]func(time.Time, place) *mark{s.marks.on, s.marks.shut} {
		before = 0
		for _, g := range s.ranked.Groups {
			usable := s.usable(now, g, marked)
			if len(usable) == 0 {
				before += len(g)
				continue
			}
			a := usable[s.draw(len(usable))]
			sel := s.selection(a, s.first(s.open(now, a, marked)))
			return sel, s.chosen(sel, len(usable), before)
		}
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
