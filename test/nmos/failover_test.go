package nmos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/test/lab"
)

// Everything fails: how often is it tried, and when is asked again?
func TestAllFailed(t *testing.T) {
	t.Parallel()
	eachWay(t, "all-failed-requery-with-backoff", func(t *testing.T, s *site, c testCase, args []string) {
		var lag lab.Meter
		go lag.Run(t.Context())
		apis := s.apis(c)
		for _, step := range c.Steps {
			if step.Fail != "" {
				apis[step.Fail].set(step.How)
			}
		}
		w := s.watch(apis, args...)
		w.selects(15*time.Second, "A")
		w.selects(5*time.Second, "B")
		none := w.next(20 * time.Second)
		if none.Selected != nil {
			t.Fatalf("selected %+v", none.Selected)
		}
		lab.Eventually(t, 10*time.Second, "query", func() error {
			for _, at := range s.questions(c.Type+"."+c.Advertisements[0].Domain+".", dns.TypePTR) {
				if at.After(none.Time) {
					return nil
				}
			}
			return fmt.Errorf("not asked again")
		})
		end := s.attempts(apis)[0].at.Add(30 * time.Second)
		time.Sleep(time.Until(end))
		s.flush()
		for label := range apis {
			n := 0
			for _, a := range s.attempts(apis) {
				if a.label == label && a.at.Before(end) {
					n++
				}
			}
			if n < 2 || n > 6 {
				t.Errorf("%s was tried %d times in 30 s", label, n)
			}
		}
		if c.Advertisements[0].Via == "mdns" {
			s.verdict(&lag)
		}
	})
}

// The DNS server dies. What it said is used for longer than its TTL, since nobody
// says otherwise: what works stays in use, and there is still something to choose
// from.
func TestDNSServerDies(t *testing.T) {
	t.Parallel()
	c := pair(t, "http")
	s := newSite(t)
	bind := s.bindWithUpdates(c, 1)
	apis := s.apis(c)
	w := s.watch(apis, c.unicastArgs()...)
	w.selects(15*time.Second, "A")
	bind.Kill()
	time.Sleep(15 * time.Second) // an answer holds for 10 s at least
	if all := w.changes(); len(all) != 1 {
		t.Fatalf("A works, and yet: %s", w.Stdout())
	}
	apis["A"].set(refuses)
	w.selects(10*time.Second, "B")
	if n, _ := s.asked(); len(n) > 0 {
		t.Errorf("%d queries by mDNS", len(n))
	}
}

// A better one appears: it is the first of the list at once, but the client
// stays with what works until that fails.
func TestBetterOneAppears(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "better-advert-appears-later")
	for _, x := range []struct {
		name  string
		mdns  bool
		moves bool
	}{{"unicast", false, false}, {"mdns", true, false}, {"mdns with return", true, true}} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c, args := c, c.unicastArgs()
			if x.mdns {
				c, args = c.inLocal(), append(c.needs(), "--mode", "mdns")
			}
			if x.moves {
				args = append(args, "--return")
			}
			first, later := c, c
			first.Advertisements, later.Advertisements = c.Advertisements[:1], c.Advertisements[1:]
			apis := s.apis(c)
			if x.mdns {
				s.responder(first)
			} else {
				s.bindWithUpdates(first, 1)
			}
			start := time.Now()
			w := s.watch(apis, args...)
			w.selects(15*time.Second, c.Expect.Attempts[0]...)
			switch {
			case x.moves:
				s.responder(later)
				w.selects(10*time.Second, "B")
				return
			case x.mdns: // known at once
				s.responder(later)
				time.Sleep(3 * time.Second)
			default: // known when the answer's TTL has passed, as the case says when
				after := time.Duration(later.Advertisements[0].After * float64(time.Second))
				time.Sleep(time.Until(start.Add(after)))
				s.update(later, 1)
				s.learns(later)
				time.Sleep(time.Until(start.Add(time.Duration(c.Steps[0].Wait * float64(time.Second)))))
			}
			if all := w.changes(); len(all) != 1 {
				t.Fatalf("moved: %s", w.Stdout())
			}
			fail := c.Steps[1]
			apis[fail.Fail].set(fail.How)
			ch := w.next(10 * time.Second)
			if got := ch.label(apis); got != c.Expect.Attempts[1][0] || len(ch.Groups) != 2 || ch.Groups[0][0].Instance != "B" {
				t.Errorf("after the failure: %+v", ch)
			}
		})
	}
}

// The selected API fails, in one way after another: the rest of its equals
// comes first, then the next group, and none that failed is tried again while
// others are left.
func TestFailOverOrder(t *testing.T) {
	t.Parallel()
	eachWay(t, "failover-order", func(t *testing.T, s *site, c testCase, args []string) {
		apis := s.apis(c)
		w := s.watch(apis, args...)
		if len(c.Steps)+1 != len(c.Expect.Attempts) {
			t.Fatalf("%d steps and %d attempts", len(c.Steps), len(c.Expect.Attempts))
		}
		at := w.selects(15*time.Second, c.Expect.Attempts[0]...)
		used := []string{at}
		for i, step := range c.Steps {
			if step.Fail != "selected" {
				t.Fatalf("step %+v", step)
			}
			lab.Eventually(t, 10*time.Second, "a try of "+at, func() error {
				if got := s.tried(apis); len(got) != len(used) {
					return fmt.Errorf("tried %q", got)
				}
				return nil
			})
			apis[at].set(step.How)
			failed, left := time.Now(), at
			at = w.selects(20*time.Second, c.Expect.Attempts[i+1]...)
			used = append(used, at)
			// One try tells that it failed; another may have begun before, and HTTP tries a
			// connection that was cut once more.
			n := 0
			for _, a := range s.attempts(apis) {
				if a.label == left && a.at.After(failed) {
					n++
				}
			}
			if n > 3 {
				t.Errorf("%s: %s was tried %d times more", step.How, left, n)
			}
		}
		lab.Eventually(t, 10*time.Second, "tries in order", func() error {
			if got := s.tried(apis); strings.Join(got, " ") != strings.Join(used, " ") {
				return fmt.Errorf("tried %q, selected %q", got, used)
			}
			return nil
		})
		if mdns, unicast := s.asked(); len(mdns) > 0 && len(unicast) > 0 {
			t.Errorf("%d queries by mDNS and %d by unicast DNS", len(mdns), len(unicast))
		}
	})
}

// One instance with two SRV records: its targets by SRV priority, then the next
// advertisement.
func TestTargetsOfOneInstance(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "one-instance-two-srv")
	s := newSite(t)
	s.bind(c)
	apis := s.apis(c)
	for _, step := range c.Steps {
		apis[step.Fail].set(step.How)
	}
	w := s.watch(apis, c.unicastArgs()...)
	for _, want := range c.Expect.Attempts {
		w.selects(15*time.Second, want...)
	}
	lab.Eventually(t, 10*time.Second, "tries in order", func() error {
		var want []string
		for _, a := range c.Expect.Attempts {
			want = append(want, a...)
		}
		if got := s.tried(apis); strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Errorf("tried %q, want %q", got, want)
		}
		return nil
	})
}

// What is found by unicast DNS doesn't work, and still nobody is asked by mDNS,
// but the DNS server is asked again.
func TestUnresponsiveUnicastStaysUnicast(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "unicast-unresponsive-still-no-mdns")
	s := newSite(t)
	s.bind(c.via("unicast"))
	s.publishLocal(c.via("mdns"))
	apis := s.apis(c)
	apis[c.Steps[0].Fail].set(c.Steps[0].How)
	w := s.watch(apis, c.unicastArgs()...)
	w.selects(15*time.Second, "U")
	none := w.next(20 * time.Second)
	if none.Selected != nil {
		t.Fatalf("selected %+v", none.Selected)
	}
	lab.Eventually(t, 10*time.Second, "query of the DNS server again", func() error {
		for _, at := range s.questions(c.Type+".example.com.", dns.TypePTR) {
			if at.After(none.Time) {
				return nil
			}
		}
		return fmt.Errorf("none since %v", none.Time)
	})
	for _, a := range s.attempts(apis) {
		if a.label == "M" {
			t.Errorf("M was tried")
		}
	}
	if n, _ := s.asked(); len(n) > 0 {
		t.Errorf("%d queries by mDNS: %s", len(n), c.Why)
	}
}

// One of those that failed works again, and is used again long before its TTL
// has passed.
func TestRecovered(t *testing.T) {
	t.Parallel()
	eachWay(t, "all-failed-requery-with-backoff", func(t *testing.T, s *site, c testCase, args []string) {
		apis := s.apis(c)
		recovered := ""
		for _, step := range c.Steps {
			if step.Fail != "" {
				apis[step.Fail].set(step.How)
			} else {
				recovered = step.Recover
			}
		}
		w := s.watch(apis, args...)
		for w.next(20*time.Second).Selected != nil {
		}
		apis[recovered].set(works)
		from := time.Now()
		var last change
		lab.Eventually(t, 60*time.Second, recovered+" in use", func() error {
			all := w.changes()
			last = all[len(all)-1]
			if last.label(apis) != recovered || time.Since(last.Time) < tryEvery+tryTimeout+200*time.Millisecond {
				return fmt.Errorf("selected %q", last.label(apis))
			}
			return nil
		})
		t.Logf("in use %v after it works again", last.Time.Sub(from))
	})
}

// RFC 6762 §10.4: what was found by mDNS doesn't work. Its SRV record is asked for
// two times or more; where nobody answers within ten seconds the cache drops it.
// Where somebody does it stays.
func TestFailureFlushesMulticastData(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"gone": true, "still there": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := loadCase(t, "all-failed-requery-with-backoff").inLocal()
			s := newSite(t)
			var lag lab.Meter
			go lag.Run(t.Context())
			apis := s.apis(c)
			a, b := c, c
			a.Advertisements, b.Advertisements = c.Advertisements[:1], c.Advertisements[1:]
			peer := s.responder(a)
			s.responder(b)
			w := s.watch(apis, append(c.needs(), "--mode", "mdns", "--check-every", "100ms", "--timeout", "10s")...)
			w.selects(15*time.Second, "A")
			if silent {
				peer.Silence()
			}
			apis["A"].set(refuses)
			w.selects(20*time.Second, "B")
			failed := w.changes()[1].Time
			srv := a.Advertisements[0].name()
			asked := func() (n int) {
				for _, at := range s.questions(srv, dns.TypeSRV, dns.TypeANY) {
					if at.After(failed.Add(-200 * time.Millisecond)) {
						n++
					}
				}
				return n
			}
			least := 1
			if silent {
				least = 2
			}
			lab.Eventually(t, 10*time.Second, "queries for the SRV record", func() error {
				if n := asked(); n < least {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			// Ten seconds after the failure it is gone: the next change shows the list.
			time.Sleep(time.Until(failed.Add(12 * time.Second)))
			apis["B"].set(refuses)
			ch := w.next(10 * time.Second)
			has := false
			for _, g := range ch.Groups {
				for _, x := range g {
					has = has || x.Instance == "A"
				}
			}
			if has == silent {
				t.Errorf("10 s after the failure A is in the list: %v; SRV was asked for %d times; %+v", has, asked(), ch)
			}
			s.verdict(&lag)
		})
	}
}
