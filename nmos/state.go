package nmos

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

// State is where a client's procedure stands. Its lists aren't changed once it
// is told.
type State struct {
	Time time.Time
	// Steps say what was looked for and why, a sentence each.
	Steps []string
	// Complete says that the look is complete: what is there has most likely
	// been heard.
	Complete bool
	// Selected is what to use, nil if there is nothing.
	Selected *Selection
	// Reason says why it was selected, or why nothing is.
	Reason string
	Since  time.Time // when it was selected, or nothing was left
	// Checked is when the selection was first found to work since then, zero where
	// that isn't known.
	Checked time.Time
	Ranked            // the list
	Invalid []Invalid // what didn't work and is left alone, by place
	// Again is when the sources are asked again, zero while something is selected.
	Again time.Time

	serial int // counts selections, and ends of them
}

// Invalid is a place that didn't work: it is left alone until a time.
type Invalid struct {
	Place string // "http://ctl-1.example.com:8080"
	Until time.Time
	Why   error
}

// state returns where things stand.
func (s *selector) state(now time.Time) State {
	out := State{
		Time: now, Steps: s.steps(), Complete: s.complete, Selected: s.selected, Reason: s.cause, Since: s.since, Checked: s.checked,
		Ranked: s.ranked, serial: s.serial,
	}
	if s.selected == nil {
		out.Again = s.retryAt
	}
	for at, m := range s.marks {
		if s.marks.shut(now, at) != nil {
			out.Invalid = append(out.Invalid, Invalid{at.String(), m.end(), m.why})
		}
	}
	slices.SortFunc(out.Invalid, func(a, b Invalid) int { return strings.Compare(a.Place, b.Place) })
	return out
}

// group returns in which group of the list an advert is, -1 for none. One of the
// list itself, of which there may be thousands, is found without comparing names.
func (s *State) group(a *Advert) int {
	if i := slices.IndexFunc(s.Groups, func(g []*Advert) bool { return slices.Contains(g, a) }); i >= 0 {
		return i
	}
	return slices.IndexFunc(s.Groups, func(g []*Advert) bool {
		return slices.ContainsFunc(g, func(b *Advert) bool { return a.same(&b.Found) })
	})
}

// unanswered says whether a look ended without anybody's answer.
func (l *look) unanswered() bool { return l.failure != nil && !errors.Is(l.failure, dnssd.ErrNone) }
