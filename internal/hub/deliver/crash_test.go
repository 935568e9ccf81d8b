package deliver_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// A story is a life of a command, in which something goes wrong at each step in turn.
type story struct {
	name   string
	native bool
	answer []byte
	// tell has the command submitted.
	tell func(w *world, g *gateway) ([]fleet.Command, error)
	// ends are how it may end if something went wrong, besides in OK.
	ends []fleet.State
}

func stories() []story {
	long := bytes.Repeat([]byte("0123456789abcdef"), 2500)
	return []story{
		{"a short answer", true, []byte("ok"), func(w *world, g *gateway) ([]fleet.Command, error) {
			return w.submit(fleet.Request{}, g.connect().id)
		}, nil},
		{"a long answer", true, long, func(w *world, g *gateway) ([]fleet.Command, error) {
			g.chunk = 20_000
			return w.submit(fleet.Request{}, g.connect().id)
		}, nil},
		{"a gateway that comes later", true, []byte("ok"), func(w *world, g *gateway) ([]fleet.Command, error) {
			defer g.connect()
			return w.submit(fleet.Request{Queue: true}, g.id)
		}, nil},
		{"a gateway that isn't there", true, nil, func(w *world, g *gateway) ([]fleet.Command, error) {
			return w.submit(fleet.Request{}, g.id)
		}, []fleet.State{fleet.Offline, fleet.Timeout}},
		{"a gateway without a journal", false, []byte("ok"), func(w *world, g *gateway) ([]fleet.Command, error) {
			return w.submit(fleet.Request{}, g.connect().id)
		}, []fleet.State{fleet.Interrupted, fleet.Error, fleet.Timeout}},
	}
}

// However a hub fails or dies between two steps of a command's life, the command runs
// once or not at all, and what the log and the audit say of it is true.
func TestEachStepMayGoWrong(t *testing.T) {
	t.Parallel()
	for i, s := range stories() {
		inWorld(t, func(t *testing.T, w *world) {
			steps := s.run(w, 0, &fault{n: -1})
			if !s.has(steps) {
				t.Fatalf("%s has the steps %q", s.name, steps)
			}
			for n, step := range steps {
				// To die before a step is to have died after the one before.
				for m := failBefore; m <= crashAfter; m++ {
					if m != crashAfter && (n+i)%2 != int(m) && os.Getenv("LANFOLK_SOAK") == "" {
						continue // the stories have most steps in common
					}
					s.run(w, 3*n+int(m)+1, &fault{n: n, mode: m})
					if t.Failed() {
						t.Fatalf("%s: step %d, %q, %v", s.name, n, step, m)
					}
				}
			}
		})
	}
}

// has says whether the steps are those of a life from its beginning to its end.
func (s story) has(steps []string) bool {
	want := []string{"create", "end"}
	if s.answer != nil {
		want = []string{"create", "send", "finish the blob", "end"}
	}
	for _, step := range steps {
		if len(want) > 0 && step == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// run tells the story with a fault, and returns the steps.
func (s story) run(w *world, n int, f *fault) []string {
	f.died = make(chan struct{})
	id := fmt.Sprintf("g%d", n)
	if !s.native {
		id = fleet.InsecurePrefix + id
	}
	w.mu.Lock()
	w.fault = f
	w.mu.Unlock()
	w.start()
	g := w.gateway(id)
	g.native, g.text = s.native, s.answer
	made, err := s.tell(w, g)
	synctest.Wait()
	select {
	case <-f.died:
	case <-time.After(5 * time.Second):
	}
	crashed := f.isDead()
	if crashed {
		w.kill()
		synctest.Wait() // the dead one does nothing any more
		w.mu.Lock()
		w.fault = nil
		w.mu.Unlock()
		w.start()
		if s.answer != nil {
			g.connect()
		}
	}
	w.settled(2 * time.Minute)
	f.mu.Lock()
	steps := f.steps
	f.mu.Unlock()
	// The next start says what this one couldn't.
	w.kill()
	synctest.Wait()
	w.mu.Lock()
	w.fault = nil
	w.mu.Unlock()
	w.start()
	w.settled(time.Second)
	w.kill()
	s.check(w, g, made, err, f, crashed)
	g.die()
	delete(w.gateways, g.id)
	return steps
}

// settled waits until nothing is outstanding.
func (w *world) settled(within time.Duration) {
	w.t.Helper()
	for until := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		left, err := w.Commands.Outstanding(w.t.Context(), "")
		noErr(w.t, err)
		if len(left) == 0 {
			return
		}
		if time.Now().After(until) {
			w.t.Errorf("outstanding after %v: %+v", within, left)
			return
		}
	}
}

func (s story) check(w *world, g *gateway, made []fleet.Command, failed error, f *fault, crashed bool) {
	t := w.t
	entries, err := w.Fleet.Audit.Entries(t.Context(), fleet.AuditFilter{Gateway: g.id})
	noErr(t, err)
	intents, outcomes := map[string]bool{}, map[string][]string{}
	for _, e := range entries {
		switch e.What {
		case "run":
			intents[e.Ref] = true
		case "result":
			outcomes[e.Ref] = append(outcomes[e.Ref], e.Outcome)
		}
	}
	for id := range intents {
		if len(outcomes[id]) != 1 {
			t.Errorf("the audit has the outcomes %q", outcomes[id])
			continue
		}
		ran, outcome := g.hasRun()[id], fleet.State(outcomes[id][0])
		c, err := w.Commands.Command(t.Context(), id)
		noErr(t, err)
		if c.State != outcome || ran > 1 {
			t.Errorf("%s, audit %s, ran %d times", c.State, outcome, ran)
		}
		if failed != nil && !crashed {
			if c.State != fleet.Error || ran > 0 {
				t.Errorf("Submit: %v; %s, ran %d times", failed, c.State, ran)
			}
			continue
		}
		may := c.State == fleet.OK && s.answer != nil
		for _, end := range s.ends {
			may = may || c.State == end && (f.n >= 0 || s.answer == nil)
		}
		if !may {
			t.Errorf("it ended as %s: %s", c.State, c.Error)
		}
		if c.State == fleet.OK && (ran != 1 || c.Size != int64(len(s.answer))) {
			t.Errorf("ran %d times, result of %d bytes", ran, c.Size)
		}
		_, err = w.Blobs.Stat(t.Context(), id)
		if has := err == nil; has != (c.State == fleet.OK) {
			t.Errorf("%s, and its result: %v", c.State, err)
		}
	}
	if len(intents) == 0 && failed == nil {
		t.Error("a command was promised that isn't on record")
	}
	if f.n < 0 && (failed != nil || len(intents) != 1 || len(made) != 1) {
		t.Errorf("without a fault: %v, %v", intents, failed)
	}
	if usage, err := w.Blobs.Usage(t.Context()); err != nil || usage.Partial > 0 {
		t.Errorf("parts of results stay: %+v, %v", usage, err)
	}
	for id, ran := range g.hasRun() {
		if ran > 1 || !intents[id] {
			t.Errorf("%s ran %d times, on record: %v", id, ran, intents[id])
		}
	}
}
