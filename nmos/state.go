package nmos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

// State is where a client's procedure stands. Its lists aren't changed once it
// is told.
type State struct {
	Time time.Time
	// Steps say what was done and why, one sentence a step.
	Steps []string
	// Complete says that the look is complete: what is there has most likely
	// been heard. Before that nothing is selected.
	Complete bool
	// Selected is what to use, nil if there is nothing.
	Selected *Selection
	// Reason says why it was selected, or why nothing is.
	Reason string
	Since  time.Time // when it was selected
	// Checked is when the selection was first found to work since then, zero where that
	// isn't known.
	Checked time.Time
	Ranked            // the list
	Invalid []Invalid // what didn't work and is left alone
	// Again is when the sources are asked again, zero while something is selected.
	Again time.Time
}

// Invalid is a place that didn't work: it is left alone until a time.
type Invalid struct {
	Place string // "http://ctl-1.example.com:8080"
	Until time.Time
	Why   error
}

// Why says in words why an advertisement of the list is selected, or isn't.
func (s *State) Why(a *Advert) string {
	sel := s.Selected
	if sel != nil && sel.id() == a.id() {
		return "selected: " + s.Reason
	}
	var invalid []string
	for _, t := range a.Targets {
		for _, m := range s.Invalid {
			if m.Place == place(a.Proto, t) {
				invalid = append(invalid, fmt.Sprintf("marked invalid for %v: %v", m.Until.Sub(s.Time).Round(time.Second), m.Why))
			}
		}
	}
	if len(invalid) > 0 && len(invalid) == len(a.Targets) {
		return strings.Join(invalid, "; ")
	}
	if sel == nil {
		return s.Reason
	}
	mine, theirs := s.group(a), s.group(sel.Advert)
	v, w := bestVersion(a), sel.Version
	switch {
	case theirs < 0 || sel.Location != "":
		return "not asked for: " + s.Reason
	case mine == theirs:
		return fmt.Sprintf("equal to %s, which chance chose", sel.Name)
	case mine < theirs:
		return fmt.Sprintf("better than %s, but what works is kept", sel.Name)
	case a.Priority != sel.Priority:
		return fmt.Sprintf("pri %d: after %d of %s", a.Priority, sel.Priority, sel.Name)
	default:
		return fmt.Sprintf("%s: after %s of %s", v, w, sel.Name)
	}
}

// group returns in which group of the list an advert is, -1 for none.
func (s *State) group(a *Advert) int {
	for i, g := range s.Groups {
		for _, b := range g {
			if a.id() == b.id() {
				return i
			}
		}
	}
	return -1
}

func bestVersion(a *Advert) Version {
	if len(a.Versions) == 0 {
		return Version{}
	}
	return a.Versions[len(a.Versions)-1]
}

// state returns where things stand.
func (s *selector) state(now time.Time) State {
	out := State{
		Time: now, Steps: s.steps(), Complete: s.complete, Selected: s.selected, Reason: s.cause, Since: s.since, Checked: s.checked,
		Ranked: s.ranked, Again: s.retryAt,
	}
	if s.selected != nil {
		out.Again = time.Time{}
	}
	for at, m := range s.marks {
		if m.until.After(now) {
			out.Invalid = append(out.Invalid, Invalid{at, m.until, m.why})
		}
	}
	return out
}

// steps says in words what was done so far.
func (s *selector) steps() []string {
	if s.fixed != nil {
		return []string{fmt.Sprintf("the location %s is configured: nothing is looked for", s.fixed.Location)}
	}
	var out []string
	for _, l := range s.looks {
		what := fmt.Sprintf("%s in %s", l.service, l.domain)
		switch {
		case !l.begun:
			out = append(out, fmt.Sprintf("%s: %s isn't asked for: %s", l.via, what, s.unneeded()))
		case len(l.services) > 0:
			out = append(out, fmt.Sprintf("%s: %s %s", l.via, count(len(l.services), "answer"), "for "+what))
		case !l.settled:
			out = append(out, fmt.Sprintf("%s: asking for %s", l.via, what))
		case l.failure != nil && !errors.Is(l.failure, dnssd.ErrNone):
			out = append(out, fmt.Sprintf("%s: no answer for %s: %v", l.via, what, l.failure))
		default:
			out = append(out, fmt.Sprintf("%s: there is no %s", l.via, what))
		}
	}
	return out
}

// unneeded says why mDNS isn't used.
func (s *selector) unneeded() string {
	if slices.ContainsFunc(s.of(viaUnicast), (*look).responds) {
		return "unicast DNS answered"
	}
	return "unicast DNS comes first"
}

// chosen says in words why a selection was made.
func (s *selector) chosen(sel *Selection, equals, before int) string {
	if s.fixed != nil {
		return "its location is configured"
	}
	var what []string
	if sel.Version != (Version{}) {
		what = append(what, sel.Version.String())
	}
	if sel.Kind.HasPriority {
		what = append(what, fmt.Sprintf("pri %d", sel.Priority))
	}
	text := strings.Join(what, ", ")
	switch {
	case equals > 1:
		return fmt.Sprintf("by chance among %d equals (%s)", equals, text)
	case before > 0:
		return fmt.Sprintf("the best that is left (%s)", text)
	default:
		return fmt.Sprintf("the best of the list (%s)", text)
	}
}

// title is what a selection is called in sentences.
func (s *Selection) title() string {
	if s.Location != "" {
		return s.Location
	}
	return s.Name
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func areAll(n int) string {
	if n == 1 {
		return "the only one is"
	}
	return fmt.Sprintf("all %d are", n)
}
