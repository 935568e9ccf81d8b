package nmos_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/nmos"
)

// steps are what happens in a case after the first selection.
type step struct {
	Fail, How, Recover string
	Wait               int `json:"wait_s"`
}

// stage plays a case: its advertisements in zones in memory, and APIs that
// work or don't.
type stage struct {
	*plant
	mu       sync.Mutex
	dead     map[string]string // by "A@host:port": how
	attempts []attempt
}

type attempt struct {
	at      time.Time
	name    string
	url     string
	worked  bool
	queries int // for instances, by then
}

func (s *stage) queries() int {
	s.unicast.mu.Lock()
	defer s.unicast.mu.Unlock()
	n := 0
	for k, c := range s.unicast.asked {
		if k.typ == dnswire.TypePTR {
			n += c
		}
	}
	return n
}

// api is what the cases call an API: "A@host:port".
func api(s nmos.Selection) string {
	return fmt.Sprintf("%s@%s:%d", s.Name, s.Target.Host, s.Target.Port)
}

// check is the client's Check.
func (s *stage) check(ctx context.Context, sel nmos.Selection) error {
	s.mu.Lock()
	how, dead := s.dead[api(sel)]
	s.attempts = append(s.attempts, attempt{time.Now(), sel.Name, api(sel), !dead, s.queries()})
	s.mu.Unlock()
	switch {
	case !dead:
		return nil
	case how == "timeout":
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
	}
	return errors.New(how)
}

// play begins a case.
func (c testCase) play(t *testing.T, seed uint64, f func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k, ok := nmos.KindOf(c.Type)
		if !ok {
			t.Fatal(c.Type)
		}
		s := &stage{plant: &plant{t: t, unicast: newZone("unicast"), mdns: newZone("mdns")}, dead: map[string]string{}}
		for _, a := range c.Advertisements {
			z := s.unicast
			if a.Via == "mdns" {
				z = s.mdns
			}
			ad := advert{name: a.Instance, service: a.Type, domain: a.Domain, host: strings.TrimSuffix(a.Host, "."), port: a.Port, prio: a.Priority}
			if a.Type == "" {
				ad.service = c.Type
			}
			for _, x := range a.ExtraSRV {
				ad.more = append(ad.more, dnssd.Target{Host: x.Host, Port: x.Port, Priority: x.Priority, Weight: x.Weight})
			}
			if a.Wire != "" {
				ad.wire = unhex(t, a.Wire)
			} else if a.TXT[0] == '[' {
				decode(t, a.TXT, &ad.txt)
			} else {
				var m map[string]string
				decode(t, a.TXT, &m)
				for k, v := range m {
					ad.txt = append(ad.txt, k+"="+v)
				}
			}
			ad.moreTXT = a.ExtraTXT
			if a.After > 0 {
				time.AfterFunc(time.Duration(a.After)*time.Second, func() { z.publish(ad) })
			} else {
				z.publish(ad)
			}
		}
		switch c.Client.DNS {
		case "servfail", "refused", "timeout":
			s.unicast.fails = errors.New(c.Client.DNS)
		}
		s.client = &nmos.Client{
			Kind: k, Needs: c.needs(t), Unicast: definite{s.unicast}, Domains: []string{"example.com"}, Multicast: s.mdns,
			Check: s.check, CheckEvery: time.Second, Rand: rand.New(rand.NewPCG(seed, 0)),
			Mode: map[string]nmos.Mode{"both": nmos.Both, "unicast": nmos.UnicastOnly, "mdns": nmos.MulticastOnly}[c.Client.Mode],
		}
		f(s)
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A client's whole procedure leads to what the cases expect.
func TestClientKeepsToTheCases(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			c.play(t, 1, func(s *stage) {
				s.run()
				time.Sleep(15 * time.Second)
				synctest.Wait()
				st := s.client.State()
				groups := [][]string{}
				for _, g := range st.Groups {
					var names []string
					for _, a := range g {
						names = append(names, a.Name)
					}
					groups = append(groups, names)
				}
				if !slices.EqualFunc(groups, c.Expect.Groups, slices.Equal) {
					s.t.Errorf("groups %q, want %q (%s)", groups, c.Expect.Groups, c.Why)
				}
				var discarded []string
				for _, d := range st.Discarded {
					discarded = append(discarded, d.Name)
				}
				if slices.Sort(discarded); !slices.Equal(discarded, c.Expect.Discarded) {
					s.t.Errorf("discarded %q, want %q (%s)", discarded, c.Expect.Discarded, c.Why)
				}
				for _, name := range c.Expect.NotAsked {
					s.mdns.mu.Lock()
					asked := len(s.mdns.asked)
					s.mdns.mu.Unlock()
					if asked > 0 {
						s.t.Errorf("%s isn't to be asked for by mDNS, but %d questions were put", name, asked)
					}
				}
				if (st.Selected == nil) != (len(groups) == 0) {
					s.t.Errorf("selected %v of %q: %s", st.Selected, groups, st.Reason)
				}
			})
		})
	}
}

// Failures lead from one attempt to the next as the cases say.
func TestClientKeepsToTheCasesSteps(t *testing.T) {
	played := 0
	for _, c := range cases(t) {
		if len(c.Steps) == 0 {
			continue
		}
		played++
		for seed := range uint64(20) {
			t.Run(fmt.Sprint(c.Name, seed), func(t *testing.T) {
				c.play(t, seed, func(s *stage) { s.steps(c) })
			})
		}
	}
	if played < 5 {
		t.Errorf("%d cases have steps, there should be more", played)
	}
}

// steps plays the steps of a case.
func (s *stage) steps(c testCase) {
	want := c.Expect.Attempts
	s.run()
	var before []string // that failed already
	next := func(failed string) {
		s.t.Helper()
		if len(want) == 0 {
			s.t.Fatal("more steps than attempts")
		}
		names := want[0]
		want = want[1:]
		if len(names) == 1 && strings.HasPrefix(names[0], "re-query") {
			// Nothing is left: within two seconds somebody asks again.
			s.mu.Lock()
			n := s.queries()
			s.mu.Unlock()
			for range 200 {
				time.Sleep(10 * time.Millisecond)
				if s.queries() > n {
					return
				}
			}
			s.t.Fatalf("no re-query within two seconds of %s", failed)
		}
		synctest.Wait()
		sel := s.client.State().Selected
		if sel == nil {
			s.t.Fatalf("nothing is selected, want one of %q", names)
		}
		if !slices.ContainsFunc(names, func(n string) bool { return n == sel.Name || n == api(*sel) }) || slices.Contains(before, api(*sel)) {
			s.t.Fatalf("selected %s, want one of %q, not of %q again", api(*sel), names, before)
		}
	}
	next("")
	for _, step := range c.Steps {
		time.Sleep(time.Duration(step.Wait) * time.Second)
		synctest.Wait()
		sel := s.client.State().Selected
		switch {
		case step.Fail != "":
			if sel == nil || step.Fail != "selected" && step.Fail != sel.Name && step.Fail != api(*sel) {
				s.t.Fatalf("selected %v, %s is to fail", sel, step.Fail)
			}
			s.mu.Lock()
			s.dead[api(*sel)] = step.How
			s.mu.Unlock()
			before = append(before, api(*sel))
			time.Sleep(7 * time.Second) // the next check and a time-out
			if len(want) > 0 && strings.HasPrefix(want[0][0], "re-query") {
				want = want[1:]
				s.requeried(before)
				continue
			}
			next(step.Fail)
		case step.Recover != "":
			began := time.Now()
			s.mu.Lock()
			for at := range s.dead {
				if strings.HasPrefix(at, step.Recover+"@") {
					delete(s.dead, at)
				}
			}
			before = nil
			s.mu.Unlock()
			for !s.uses(step.Recover) {
				if time.Sleep(100 * time.Millisecond); time.Since(began) > 35*time.Second {
					s.t.Fatalf("%s isn't used 35 s after it recovered", step.Recover)
				}
			}
			next("")
		}
	}
}

// uses says whether the API is selected and was found to work.
func (s *stage) uses(name string) bool {
	st := s.client.State()
	return st.Selected != nil && st.Selected.Name == name && !st.Checked.IsZero()
}

// requeried verifies the bounds of case all-failed-requery-with-backoff: all APIs
// are dead since a moment. Nothing is asked in a loop, nor too late.
func (s *stage) requeried(dead []string) {
	s.t.Helper()
	time.Sleep(60 * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := map[string][]attempt{}
	for _, a := range s.attempts {
		if !a.worked {
			failed[a.url] = append(failed[a.url], a)
		}
	}
	var all time.Time // when the last one had failed for the first time
	for _, at := range dead {
		if len(failed[at]) == 0 {
			s.t.Fatalf("%s never failed", at)
		}
		if first := failed[at][0].at; first.After(all) {
			all = first
		}
		n := 0
		for _, a := range failed[at] {
			if a.at.Sub(failed[at][0].at) < 30*time.Second {
				n++
			}
		}
		if n > 6 {
			s.t.Errorf("%d attempts at %s in 30 s, want at most 6", n, at)
		}
	}
	i := slices.IndexFunc(s.attempts, func(a attempt) bool { return a.at.After(all) })
	if i < 0 {
		s.t.Fatal("no attempt after everything had failed")
	}
	// The last one may take five seconds to fail; then two are left for the query.
	if again := s.attempts[i]; again.at.Sub(all) > 12*time.Second || again.queries <= s.attempts[i-1].queries {
		s.t.Errorf("attempt %v after the last failure began, %d queries, before that %d", again.at.Sub(all), again.queries, s.attempts[i-1].queries)
	}
}
