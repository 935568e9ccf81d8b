package nmos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What the procedure says in words. Names come from the network: what isn't
// printable in them is quoted.

// Why says in words why an advertisement of the list is selected, or isn't.
func (s *State) Why(a *Advert) string {
	sel := s.Selected
	if sel != nil && sel.same(&a.Found) {
		return "selected: " + s.Reason
	}
	if text, all := s.invalid(a); all {
		return text
	}
	if sel == nil {
		return "not selected yet: " + s.Reason
	}
	theirs := s.group(sel.Advert)
	switch mine := s.group(a); {
	case theirs < 0:
		return "not selected: " + s.Reason
	case mine == theirs:
		return fmt.Sprintf("equal to %s, which chance chose", sel.title())
	case mine < theirs:
		return fmt.Sprintf("better than %s, but what is selected stays while it works", sel.title())
	}
	if a.Priority != sel.Priority && slices.Contains(a.Versions, sel.Version) == slices.Contains(sel.Versions, sel.Version) {
		return fmt.Sprintf("pri %d: after %d of %s", a.Priority, sel.Priority, sel.title())
	}
	return fmt.Sprintf("api_ver %s: after %s of %s", FormatVersions(a.Versions), sel.Version, sel.title())
}

// invalid says of an advert's targets that they are marked, and whether all
// are.
func (s *State) invalid(a *Advert) (text string, all bool) {
	var marked []string
	for _, t := range a.Targets {
		i := slices.IndexFunc(s.Invalid, func(m Invalid) bool { return m.Place == placeOf(a.Proto, t).String() })
		if i < 0 {
			return "", false
		}
		m := s.Invalid[i]
		at := ""
		if len(a.Targets) > 1 {
			at = m.Place + " is "
		}
		marked = append(marked, fmt.Sprintf("%smarked invalid for %v: %v", at, max(0, m.Until.Sub(s.Time)).Round(time.Second), m.Why))
	}
	return strings.Join(marked, "; "), true
}

// steps says in words what was done so far.
func (s *selector) steps() []string {
	if s.fixed != nil {
		return []string{fmt.Sprintf("the location %s is configured: nothing is looked for", s.fixed.Location)}
	}
	var out []string
	for _, via := range [...]string{viaUnicast, viaMulticast} {
		any := false
		for _, l := range s.looks {
			if l.via == via {
				any = true
				out = append(out, fmt.Sprintf("%s: %s", via, s.step(l)))
			}
		}
		switch {
		case any:
		case via == viaUnicast && s.mode == MulticastOnly, via == viaMulticast && s.mode == UnicastOnly:
			out = append(out, via+": not asked: the mode leaves it out")
		case via == viaUnicast:
			out = append(out, via+": not asked: there is no DNS server or no domain to search")
		default:
			out = append(out, via+": not asked: there is none")
		}
	}
	return out
}

// step says what one look has led to.
func (s *selector) step(l *look) string {
	what := fmt.Sprintf("%s in %s", l.service, l.domain)
	switch n := len(l.services); {
	case !l.begun && slices.ContainsFunc(s.looks, func(l *look) bool { return l.via == viaUnicast && l.responds() }):
		return what + " isn't asked for: unicast DNS answered"
	case !l.begun:
		return what + " isn't asked for yet: unicast DNS comes first"
	case l.over > 0:
		return fmt.Sprintf("%d answers for %s, and more than fit", n, what)
	case n > 0 && l.unanswered():
		return fmt.Sprintf("%s for %s from before; now there is none: %v", count(n, "answer"), what, l.failure)
	case n > 0:
		return fmt.Sprintf("%s for %s", count(n, "answer"), what)
	case !l.settled:
		return "asking for " + what
	case l.unanswered():
		return fmt.Sprintf("no answer for %s: %v", what, l.failure)
	}
	return "there is no " + what
}

// chosen says why a selection was made: among how many equals, and behind how
// many that can't be used now.
func (s *selector) chosen(sel *Selection, equals, before int) string {
	if s.fixed != nil {
		return "its location is configured"
	}
	text := "the best of the list"
	switch {
	case equals > 1:
		text = fmt.Sprintf("by chance among %d equals", equals)
	case before > 0:
		text = "the best that is left"
	}
	if m := s.marks[sel.place()]; m != nil {
		text = fmt.Sprintf("tried again after %s: %s", count(m.failures, "failure"), text)
	}
	return text + sel.merits()
}

// improvement says why a client moves that has something that works.
func (s *selector) improvement(sel *Selection) string {
	text := fmt.Sprintf("better than %s%s", s.selected.title(), sel.merits())
	if s.checks {
		text += ", and it works"
	}
	return text
}

// exhausted says why there is nothing to select: n are marked.
func (s *selector) exhausted(n int) string {
	switch {
	case s.fixed != nil:
		return "nothing else is configured"
	case n == 1:
		return "nothing is left: the only one is invalid"
	case n > 1:
		return fmt.Sprintf("nothing is left: all %d are invalid", n)
	case len(s.ranked.Discarded) > 0:
		return fmt.Sprintf("nothing fits: %s discarded", count(len(s.ranked.Discarded), "advertisement"))
	}
	for _, l := range s.looks {
		if l.unanswered() {
			return fmt.Sprintf("nothing was found; %s: %s", l.via, s.step(l))
		}
	}
	return "nothing was found"
}

// merits are what a selection was ranked by: " (v1.3, pri 10)".
func (s *Selection) merits() string {
	var what []string
	if s.Version != (Version{}) {
		what = append(what, s.Version.String())
	}
	if s.Kind.HasPriority {
		what = append(what, fmt.Sprintf("pri %d", s.Priority))
	}
	if len(what) == 0 {
		return ""
	}
	return " (" + strings.Join(what, ", ") + ")"
}

// title is what a selection is called in sentences.
func (s *Selection) title() string {
	if s.Location != "" {
		return s.Location
	}
	return printable(s.Name)
}

// printable quotes a name that has anything in it that a terminal might obey.
func printable(name string) string {
	if utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return name
	}
	return strconv.Quote(name)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
