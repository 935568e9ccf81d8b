package deliver_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// rights is what a dispatcher asks before it sends.
type rights struct {
	mu    sync.Mutex
	why   map[string]string // by verb
	err   error
	asked []string // verbs
}

func (r *rights) objection(_ context.Context, verb string, _ fleet.Command) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, verb)
	return r.why[verb], r.err
}

// set changes what is answered, and returns which verbs were asked for since.
func (r *rights) set(why map[string]string, err error) (asked []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, r.asked, r.why, r.err = r.asked, nil, why, err
	return asked
}

func TestARightThatWentMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := &rights{}
		w.change = func(d *deliver.Dispatcher) { d.Objection = r.objection }
		w.start()
		queue := func(id, line string) string {
			t.Helper()
			all, err := w.submit(fleet.Request{Line: line, Queue: true, Timeout: time.Hour}, id)
			noErr(t, err)
			return all[0].ID
		}
		g := w.gateway("g1")
		gone, stays := queue(g.id, "exec backup"), queue(g.id, "status")
		time.Sleep(time.Minute)
		r.set(map[string]string{"exec": "ann has no account any more"}, nil)
		g.connect()
		w.wants(gone, time.Second, fleet.Denied, "not sent: ann has no account any more")
		w.wants(stays, time.Second, fleet.OK, "")
		if g.wasSent()[gone] > 0 || g.hasRun()[gone] > 0 {
			t.Errorf("it was sent %d times and ran %d times", g.wasSent()[gone], g.hasRun()[gone])
		}
		// What was asked for right now was looked at right now.
		if asked := r.set(map[string]string{"exec": "no"}, nil); !slices.Equal(asked, []string{"exec", "status"}) {
			t.Errorf("asked for %q", asked)
		}
		w.wants(w.one(g.id, "exec now").ID, time.Second, fleet.OK, "")
		if asked := r.set(nil, nil); len(asked) > 0 {
			t.Errorf("asked for %q", asked)
		}

		// One that a stream lost is sent again, and so looked at again.
		g.loses = true
		lost := w.one(g.id, "exec lost")
		synctest.Wait()
		g.loses = false
		g.vanish()
		time.Sleep(time.Minute / 2)
		r.set(map[string]string{"exec": "no grant"}, nil)
		g.connect()
		w.wants(lost.ID, time.Second, fleet.Denied, "not sent again: no grant")

		// One that outlived a hub, too; and one without a journal.
		old := w.gateway("insecure/g2")
		old.native = false
		g.vanish()
		first, second := queue(g.id, "exec a"), queue(old.id, "exec b")
		w.kill()
		w.start()
		g.connect()
		old.connect()
		w.wants(first, time.Second, fleet.Denied, "not sent: no grant")
		w.wants(second, time.Second, fleet.Denied, "not sent: no grant")
		if g.hasRun()[first] > 0 || old.hasRun()[second] > 0 {
			t.Error("what was denied was done")
		}
		third := w.one(old.id, "status") // nothing is in its way
		w.wants(third.ID, time.Second, fleet.OK, "")
	})
}

// While nobody can say who may do what, nothing that waited is sent.
func TestRightsThatCannotBeLookedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := &rights{}
		w.change = func(d *deliver.Dispatcher) { d.Objection = r.objection }
		w.start()
		g := w.gateway("g1")
		var ids []string
		for _, timeout := range []time.Duration{time.Minute, time.Hour, 2 * time.Hour} {
			all, err := w.submit(fleet.Request{Queue: true, Timeout: timeout}, g.id)
			noErr(t, err)
			ids = append(ids, all[0].ID)
		}
		time.Sleep(10 * time.Second)
		r.set(nil, errors.New("the database is away"))
		g.connect()
		w.wants(ids[0], time.Minute, fleet.Error, "not sent: whether it may be run still can't be looked up: the database is away")
		c, err := w.hub().Cancel(t.Context(), "bob", ids[1])
		if err != nil || c.State != fleet.Cancelled {
			t.Errorf("called off meanwhile: %+v, %v", c, err)
		}
		time.Sleep(10 * time.Minute)
		if c := w.now(ids[2]); c.State != fleet.Queued || len(g.wasSent()) > 0 {
			t.Errorf("meanwhile: %+v, sent %v", c, g.wasSent())
		}
		if asked := r.set(nil, nil); len(asked) < 10 || len(asked) > 40 {
			t.Errorf("looked up %d times in ten minutes", len(asked))
		}
		w.wants(ids[2], 31*time.Second, fleet.OK, "")
		if len(g.hasRun()) != 1 {
			t.Errorf("ran %v", g.hasRun())
		}
		// A hub ends although it waits.
		r.set(nil, errors.New("away"))
		g.vanish()
		_, err = w.submit(fleet.Request{Queue: true}, g.id)
		noErr(t, err)
		time.Sleep(time.Minute)
		g.connect()
		synctest.Wait()
		began := time.Now()
		w.kill()
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v to end", took)
		}
	})
}
