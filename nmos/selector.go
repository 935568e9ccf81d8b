package nmos

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
)

const (
	// patience is how long a domain that says nothing is waited for when another
	// has answered.
	patience = 2 * time.Second
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
	serial   int       // and ends of them, too
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
	s.changed = s.changed || !answered && (l.failure == nil || l.failure.Error() != x.Err.Error())
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
	s.serial++
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

// wantsMulticast says whether to look by mDNS: if no unicast response came. One
// that came before servers fell silent counts while something of it is used, or left to
// try, and until they were asked again. What was begun goes on.
func (s *selector) wantsMulticast() bool {
	settled, answered, silent := true, false, true
	for _, l := range s.looks {
		if l.via == viaUnicast {
			settled = settled && l.settled
			answered = answered || l.responds()
			silent = silent && l.unanswered()
		}
	}
	switch {
	case s.merge:
		return true
	case !settled:
		return false
	case !answered, silent && s.selected == nil && s.round > 0:
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
		s.gathered = now.Add(gatherTime + time.Duration(s.draw(int(gatherChance/time.Millisecond)))*time.Millisecond)
	}
}
