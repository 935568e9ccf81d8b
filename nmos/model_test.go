package nmos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/dnssd"
)

// model drives a selector with whatever can happen, and holds it to what must
// always be so.
type model struct {
	*rapid.T
	s    *selector
	now  time.Time
	last Selection // what was selected before
	turn int
	// asked is when the sources were asked again last.
	asked time.Time
}

func newModel(t *rapid.T) *model {
	k, _ := KindOf("netctrl")
	s := &selector{
		needs: Needs{Versions: []Version{{1, 0}, {1, 1}}}, kinds: []Kind{k}, invalidFor: DefaultInvalidFor, marks: marks{}, dirty: true,
		merge: rapid.IntRange(0, 4).Draw(t, "merge") == 0, fallBack: rapid.Bool().Draw(t, "fallBack"), back: rapid.Bool().Draw(t, "back"),
		checks: rapid.Bool().Draw(t, "checks"), rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
		looks: []*look{{via: viaUnicast, domain: "a.example", service: k.Service}, {via: viaUnicast, domain: "b.example", service: k.Service},
			{via: viaMulticast, domain: "local", service: k.Service}},
	}
	return &model{T: t, s: s, now: time.Unix(1e9, 0)}
}

func (m *model) service(l *look) dnssd.Service {
	name := rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(m.T, "name")
	s := dnssd.Service{Instance: dnssd.Instance{Name: name, Service: l.service, Domain: l.domain}, Via: l.via}
	s.Host, s.Port = rapid.SampledFrom([]string{name, "x"}).Draw(m.T, "host")+"."+l.domain, uint16(rapid.IntRange(80, 82).Draw(m.T, "port"))
	if rapid.IntRange(0, 9).Draw(m.T, "resolved") > 0 {
		s.Resolved, s.Addresses = true, []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}
	}
	if rapid.IntRange(0, 3).Draw(m.T, "targets") == 0 {
		s.Targets = []dnssd.Target{{Host: s.Host, Port: s.Port, Addresses: s.Addresses}, {Host: s.Host, Port: 90, Priority: 1, Addresses: s.Addresses}}
	}
	if l.via == viaMulticast {
		s.Link = rapid.IntRange(1, 2).Draw(m.T, "link")
	}
	s.TXT = dnssd.TXT{"api_proto=http", "api_auth=false", "api_ver=" + rapid.SampledFrom([]string{"v1.0", "v1.0,v1.1", "v9.0"}).Draw(m.T, "ver"),
		"pri=" + rapid.SampledFrom([]string{"0", "10", "20", "100", "abc"}).Draw(m.T, "pri")}
	return s
}

// settle runs the selector until it has nothing to do now, and checks.
func (m *model) settle() {
	var wake time.Time
	for i := 0; ; i++ {
		if wake = m.s.advance(m.now); wake.IsZero() || wake.After(m.now) {
			break
		}
		if i > 10 {
			m.Fatalf("it turns round and round: wants to be woken at %v, now is %v", wake, m.now)
		}
	}
	m.orders()
	m.check(wake)
}

func (m *model) orders() {
	for _, o := range m.s.orders {
		switch o.what {
		case beginLook:
			// A browser begins; it doesn't settle at once.
			if o.look.via == viaMulticast && !m.s.merge && !m.s.fallBack {
				silent := m.s.round > 0 && m.s.looks[0].unanswered() && m.s.looks[1].unanswered()
				for _, l := range m.s.looks[:2] {
					if !l.settled || l.responds() && !silent {
						m.Fatalf("mDNS is asked though unicast DNS in %s has settled (%v) and responds (%v)", l.domain, l.settled, l.responds())
					}
				}
			}
		case askAgain:
			if gap := m.now.Sub(m.asked); gap != 0 && gap < leastPause {
				m.Fatalf("asked again %v after the last time", gap)
			}
			m.asked = m.now
		case try:
			if !m.s.back || !m.s.checks {
				m.Fatal("a better one is tried that nobody wants")
			}
		}
	}
	m.s.orders = nil
}

// check holds the selector to what must always be so.
func (m *model) check(wake time.Time) {
	s, sel := m.s, m.s.selected
	defer func() {
		m.turn = s.turn
		if sel != nil {
			m.last = *sel
		}
	}()
	if len(s.marks) > maxMarks || len(s.ranked.Groups) > 3*4*2 {
		m.Fatalf("%d marks, %d groups", len(s.marks), len(s.ranked.Groups))
	}
	st := s.state(m.now)
	for a := range s.all() {
		if st.Why(a) == "" {
			m.Fatalf("nothing is said about %s", a.Name)
		}
	}
	if s.cause == "" || len(st.Steps) < 2 {
		m.Fatalf("no reason (%q), or no steps: %q", s.cause, st.Steps)
	}
	if sel == nil {
		if s.complete && wake.IsZero() {
			m.Fatal("nothing is selected, and it never wakes")
		}
		if s.complete && !s.dirty && !s.gathered.After(m.now) {
			for a := range s.all() {
				if len(s.open(m.now, a, s.marks.shut)) > 0 {
					m.Fatalf("%s is left, but nothing is selected: %s", a.Name, s.cause)
				}
			}
		}
		return
	}
	if s.marks.shut(m.now, sel.place()) != nil {
		m.Fatalf("%s is selected and marked", sel.Name)
	}
	if s.listed(sel) == nil {
		m.Fatalf("%s is selected and not in the list", sel.Name)
	}
	if _, err := Parse(sel.Kind, sel.Found); err != nil {
		m.Fatalf("%s is selected: %v", sel.Name, err)
	}
	if s.turn != m.turn {
		m.chosen(sel)
	}
}

// chosen checks a new selection: nothing before it can be used, but for another
// target of what was selected before.
func (m *model) chosen(sel *Selection) {
	if m.last.Advert != nil && sel.same(&m.last.Found) {
		return
	}
	// One that is marked is chosen only where all are.
	marked := m.s.marks.on
	if marked(m.now, sel.place()) != nil {
		for a := range m.s.all() {
			if len(m.s.open(m.now, a, marked)) > 0 {
				m.Fatalf("%s is marked and was selected, %s isn't", sel.Name, a.Name)
			}
		}
		marked = m.s.marks.shut
	}
	for _, g := range m.s.ranked.Groups {
		if slices.ContainsFunc(g, func(a *Advert) bool { return a.same(&sel.Found) }) {
			return
		}
		if better := m.s.usable(m.now, g, marked); len(better) > 0 {
			m.Fatalf("%s was selected, %s comes before it", sel.Name, better[0].Name)
		}
	}
}

func TestSelectorKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		anyLook := func(t *rapid.T) *look {
			l := rapid.SampledFrom(m.s.looks).Draw(t, "look")
			if !l.begun {
				t.Skip("not begun")
			}
			return l
		}
		m.settle()
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { m.settle() },
			"add": func(t *rapid.T) {
				l := anyLook(t)
				if l.via == viaUnicast {
					m.s.looked(l, dnssd.Look{})
				}
				m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Add, Service: m.service(l)}, nil)
			},
			"remove": func(t *rapid.T) {
				l := anyLook(t)
				for _, s := range l.services {
					if rapid.Bool().Draw(t, "gone") {
						m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Remove, Service: s}, nil)
					}
				}
			},
			"settle": func(t *rapid.T) { m.s.hear(m.now, anyLook(t), dnssd.Event{Op: dnssd.Settled}, nil) },
			"none": func(t *rapid.T) {
				l := anyLook(t)
				for _, s := range l.services {
					m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Remove, Service: s}, nil)
				}
				m.s.looked(l, dnssd.Look{Err: dnssd.ErrNoName})
			},
			"failure": func(t *rapid.T) { m.s.looked(anyLook(t), dnssd.Look{Err: dnssd.ErrTimeout}) },
			"broken":  func(t *rapid.T) { m.s.hear(m.now, anyLook(t), dnssd.Event{}, errors.New("closed")) },
			"failed": func(t *rapid.T) {
				if m.s.selected != nil {
					m.s.failed(m.now, *m.s.selected, errors.New("refused"))
				}
			},
			"late": func(t *rapid.T) { m.s.failed(m.now, m.last, nil) },
			"worked": func(t *rapid.T) {
				if m.s.selected != nil {
					m.s.worked(m.now, *m.s.selected)
				}
			},
			"tried": func(t *rapid.T) {
				if m.s.trial != nil && rapid.Bool().Draw(t, "works") {
					m.s.worked(m.now, *m.s.trial)
				} else if m.s.trial != nil {
					m.s.failed(m.now, *m.s.trial, errors.New("refused"))
				}
			},
			"time": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "time")))
			},
			"moment": func(t *rapid.T) { m.now = m.now.Add(20 * time.Millisecond) },
			"halt":   func(t *rapid.T) { m.s.halt(m.now) },
		})
	})
}

// Whatever a client is told, what works isn't left.
func TestSelectorStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.s.back = false
		m.settle()
		l := m.s.looks[0]
		for i := range rapid.IntRange(1, 6).Draw(t, "n") {
			s := m.service(l)
			s.Name, s.Host, s.Targets = fmt.Sprint(i), fmt.Sprintf("h%d.%s", i, l.domain), nil
			m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Add, Service: s}, nil)
		}
		for _, l := range m.s.looks[:2] {
			m.s.looked(l, dnssd.Look{})
			m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Settled}, nil)
		}
		m.settle()
		if m.s.selected == nil {
			return
		}
		first, turn := *m.s.selected, m.s.turn
		for range 50 {
			m.now = m.now.Add(time.Second)
			s := m.service(l)
			if s.Name, s.Host = fmt.Sprint(rapid.IntRange(10, 12).Draw(t, "other")), "other."+l.domain; rapid.Bool().Draw(t, "gone") {
				m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Remove, Service: s}, nil)
			} else {
				m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Add, Service: s}, nil)
			}
			m.settle()
			if m.s.turn != turn || !m.s.selected.is(&first) {
				t.Fatalf("%s was left: %s", first.Name, m.s.cause)
			}
		}
	})
}

// While everything fails at once an API is tried at most six times in any half a
// minute, the sources are asked within two seconds, and one that works again is
// used within 35 s.
func TestSelectorBacksOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.s.back = false
		m.settle()
		l := m.s.looks[0]
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			s := m.service(l)
			s.Name, s.Host, s.Port, s.Targets = fmt.Sprint(i), fmt.Sprintf("h%d.%s", i, l.domain), 80, nil
			s.Resolved, s.Addresses = true, []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}
			s.TXT = dnssd.TXT{"api_proto=http", "api_auth=false", "api_ver=v1.0", "pri=" + rapid.SampledFrom([]string{"0", "10"}).Draw(t, "pri")}
			m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Add, Service: s}, nil)
		}
		for _, l := range m.s.looks[:2] {
			m.s.looked(l, dnssd.Look{})
			m.s.hear(m.now, l, dnssd.Event{Op: dnssd.Settled}, nil)
		}
		tries := map[place][]time.Time{}
		begin := m.now
		end := begin.Add(time.Duration(rapid.IntRange(60, 3600).Draw(t, "outage")) * time.Second)
		var exhausted, asked time.Time
		rounds := 0
		works := "" // the one that recovers at the end
		for m.now.Before(end.Add(36 * time.Second)) {
			wake := m.s.advance(m.now)
			if slices.ContainsFunc(m.s.orders, func(o order) bool { return o.what == askAgain }) {
				rounds++
				if asked.IsZero() {
					asked = m.now
				}
			}
			m.s.orders = nil
			if sel := m.s.selected; sel != nil {
				if m.now.After(end) && works == "" {
					works = sel.Name
				}
				if sel.Name == works {
					break
				}
				at := sel.place()
				tries[at] = append(tries[at], m.now)
				if n := len(tries[at]); n > 6 && m.now.Sub(tries[at][n-7]) < 30*time.Second {
					t.Fatalf("%v was tried seven times in %v", at, m.now.Sub(tries[at][n-7]))
				}
				m.s.failed(m.now, *sel, errors.New("refused"))
				continue
			}
			if exhausted.IsZero() && m.s.complete {
				exhausted = m.now
			}
			if wake.IsZero() {
				t.Fatal("it never wakes")
			}
			m.now = wake
		}
		if m.s.selected == nil {
			t.Fatalf("nothing is used 35 s after the outage: %s", m.s.cause)
		}
		if asked.Sub(exhausted) > 2*time.Second {
			t.Errorf("asked again %v after nothing was left", asked.Sub(exhausted))
		}
		if life := end.Sub(begin); rounds > 12+int(life/(5*time.Second)) {
			t.Errorf("asked %d times in %v", rounds, life)
		}
	})
}

func TestMarksAreBounded(t *testing.T) {
	m := marks{}
	now := time.Unix(1e9, 0)
	for i := range 3 * maxMarks {
		m.put(now.Add(time.Duration(i)*time.Second), place{"http", fmt.Sprint(i), 80}, errors.New("refused"), time.Hour)
	}
	if len(m) != maxMarks || m[place{"http", fmt.Sprint(2*maxMarks - 1), 80}] != nil || m[place{"http", fmt.Sprint(2 * maxMarks), 80}] == nil {
		t.Errorf("%d marks are kept, and not the newest", len(m))
	}
}

func TestMarksGrowAndEnd(t *testing.T) {
	m := marks{}
	now := time.Unix(1e9, 0)
	at := place{"http", "a", 80}
	for i, want := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
		m.put(now, at, errors.New("refused"), 30*time.Second)
		if got := m[at].until.Sub(now); got != want*time.Second {
			t.Errorf("failure %d: invalid for %v, want %v", i+1, got, want*time.Second)
		}
		if next := m.expire(now); !next.Equal(m[at].until) {
			t.Errorf("wakes at %v, the mark ends at %v", next, m[at].until)
		}
		now = m[at].until
		if m.on(now, at) != nil {
			t.Error("a mark doesn't end")
		}
	}
	m.lapse()
	if m.expire(now.Add(forgetAfter)); len(m) != 0 {
		t.Error("it isn't forgotten")
	}
}

func TestPausesAreFullJitter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for round, most := range map[int]time.Duration{0: time.Second, 1: 1500 * time.Millisecond, 2: 2250 * time.Millisecond, 8: 25630 * time.Millisecond,
		9: 30 * time.Second, 1 << 30: 30 * time.Second} {
		var least, longest time.Duration = time.Hour, 0
		for range 2000 {
			d := pause(r, round)
			least, longest = min(least, d), max(longest, d)
		}
		if least < leastPause || least > leastPause+most/50 || longest > most || longest < most*9/10 {
			t.Errorf("round %d: pauses from %v to %v, want up to %v", round, least, longest, most)
		}
	}
}

// Many changes at a time are ranked together.
func TestManyChangesAreRankedTogether(t *testing.T) {
	k, _ := KindOf("netctrl")
	l := &look{via: viaUnicast, domain: "local", service: k.Service}
	s := &selector{kinds: []Kind{k}, invalidFor: DefaultInvalidFor, marks: marks{}, dirty: true, looks: []*look{l}}
	now := time.Unix(1e9, 0)
	s.advance(now)
	s.hear(now, l, dnssd.Event{Op: dnssd.Settled}, nil)
	ranked := map[time.Time]bool{}
	for i := range 1000 {
		now = now.Add(time.Millisecond)
		s.hear(now, l, dnssd.Event{Op: dnssd.Add, Service: service(fmt.Sprint(i%4), 1, "192.0.2.1")}, nil)
		s.advance(now)
		ranked[s.rankedAt] = true
	}
	if n := len(ranked); n > 101 || n < 50 {
		t.Errorf("1000 changes in a second were ranked %d times", n)
	}
}

// After something was in use for a while an outage begins anew.
func TestPausesBeginAnew(t *testing.T) {
	k, _ := KindOf("netctrl")
	fixed, err := ParseLocation(k, "http://192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	s := &selector{kinds: []Kind{k}, invalidFor: DefaultInvalidFor, marks: marks{}, dirty: true, fixed: &fixed, rand: rand.New(rand.NewPCG(1, 1))}
	now := time.Unix(1e9, 0)
	outage := func(life time.Duration) (longest time.Duration) {
		for end := now.Add(life); now.Before(end); {
			wake := s.advance(now)
			if s.selected != nil {
				s.failed(now, *s.selected, errors.New("refused"))
				continue
			}
			longest = max(longest, s.retryAt.Sub(now))
			now = wake
		}
		for s.selected == nil {
			now = s.advance(now)
		}
		return longest
	}
	if d := outage(10 * time.Minute); d < 20*time.Second {
		t.Errorf("after ten minutes the pauses are %v long", d)
	}
	s.failed(now.Add(DefaultInvalidFor), *s.selected, errors.New("refused"))
	now = now.Add(DefaultInvalidFor)
	s.advance(now)
	if d := s.retryAt.Sub(now); d > time.Second {
		t.Errorf("the first pause of a new outage is %v long", d)
	}
	// So it does when it was found to work.
	outage(10 * time.Minute)
	s.worked(now, *s.selected)
	s.failed(now, *s.selected, errors.New("refused"))
	s.advance(now)
	if d := s.retryAt.Sub(now); d > time.Second {
		t.Errorf("the first pause after it had worked is %v long", d)
	}
}

func TestWorkingForgetsFailures(t *testing.T) {
	k, _ := KindOf("netctrl")
	fixed, err := ParseLocation(k, "http://192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	s := &selector{kinds: []Kind{k}, invalidFor: DefaultInvalidFor, marks: marks{}, fixed: &fixed}
	now := time.Unix(1e9, 0)
	for range 3 {
		s.failed(now, fixed, errors.New("refused"))
	}
	s.worked(now, fixed)
	s.failed(now, fixed, nil)
	if m := s.marks[fixed.place()]; m.until.Sub(now) != DefaultInvalidFor || m.why == nil {
		t.Errorf("invalid for %v (%v) after it had worked", m.until.Sub(now), m.why)
	}
}
