package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/internal/uplink"
	"github.com/lanfolk/lanfolk/store"
)

// step is one thing that happens.
type step struct {
	what string
	n, k int
}

// world is a gateway and its hub, and what happens between them.
type world struct {
	t        *testing.T
	dir      string
	db       *database
	link     *link
	registry *lanfolk.Registry
	stop     func() // of the registry
	uplink   *uplink.Uplink
	rows     store.Observations
	kill     context.CancelFunc // of the uplink
	dead     chan struct{}
	heard    map[string]uint64 // packets, by query
	dropped  uint64
	faults   []int
	at       int
}

// kept takes all rows.
type kept struct{ store.Observations }

func (kept) SaveObservations(context.Context, []lanfolk.Observation) error { return nil }

func (w *world) boot(s lanfolk.Snapshot) {
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{Retention: 30 * time.Minute, ServiceRetention: -1})
	if err := r.Restore(s); err != nil {
		w.t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // nil always
	}()
	w.registry, w.stop = r, func() { cancel(); <-done }
}

func (w *world) start() {
	u, err := uplink.Open(uplink.Options{Folder: w.dir, Registry: w.registry, SpoolBytes: 1 << 20})
	if err != nil {
		w.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.uplink, w.rows, w.kill, w.dead = u, u.Tee(kept{}), cancel, make(chan struct{})
	go func(dead chan struct{}) {
		defer close(dead)
		_ = u.Run(ctx, w.link) // nil always
	}(w.dead)
}

// die ends the uplink where it is. Nothing of what it is at gets to the disk any more.
func (w *world) die() {
	w.kill()
	<-w.dead
	w.dropped += w.uplink.Status().Fingerprints.Dropped
	if err := w.uplink.Close(); err != nil {
		w.t.Error(err)
	}
}

// fault is what happens to the next call.
func (w *world) fault() fault {
	if len(w.faults) == 0 {
		return fine
	}
	w.at++
	f := w.faults[w.at%len(w.faults)]
	if f >= 10 { // and the gateway dies of it
		w.kill()
		f -= 10
	}
	return fault(f)
}

func (w *world) step(s step) {
	now := time.Now()
	switch s.what {
	case "hear":
		w.registry.Observe(sighting(s.n, fmt.Sprint("name", s.k), now))
	case "offer":
		w.registry.Observe(offer(s.n, fmt.Sprint("web", s.k%3), uint16(80+s.k), now))
	case "goodbye":
		gone := sighting(s.n, "", now)
		gone.Gone = true
		w.registry.Observe(gone)
	case "stop offering":
		gone := offer(s.n, fmt.Sprint("web", s.k%3), 80, now)
		gone.Gone = true
		w.registry.Observe(gone)
	case "say":
		for i, d := range w.registry.Devices(lanfolk.Filter{}) {
			if i == s.n {
				if _, err := w.registry.SetNames(context.Background(), d.ID, fmt.Sprint("said", s.k)); err != nil {
					w.t.Error(err)
				}
			}
		}
	case "traffic":
		o := lanfolk.Observation{
			ObservationKey: lanfolk.ObservationKey{Protocol: "dns", Query: fmt.Sprint("q", s.n), SrcMAC: lanfolk.MAC{2, 0, 0, 0, 0, byte(s.n)}},
			First:          now, Last: now, Count: uint64(s.k + 1),
		}
		w.heard[o.Query] += o.Count
		if err := w.rows.SaveObservations(context.Background(), []lanfolk.Observation{o}); err != nil {
			w.t.Error(err)
		}
	case "wait":
		time.Sleep(time.Duration(s.k*s.k+1) * time.Second)
	case "wait long":
		time.Sleep(time.Duration(s.k+1) * 7 * time.Minute)
	case "kill the gateway":
		w.die()
		snapshot := w.registry.Snapshot()
		w.stop()
		w.boot(snapshot)
		w.start()
	case "kill the uplink":
		w.die()
		w.miss(s)
		w.start()
	case "restart the hub":
		w.hub()
	case "break the database":
		w.db.mu.Lock()
		w.db.broken = errors.New("away")
		w.db.mu.Unlock()
		time.Sleep(time.Duration(s.k+1) * 10 * time.Second)
		w.mend()
	case "lose the ledger":
		w.die()
		if err := os.Remove(filepath.Join(w.dir, "inventory")); err != nil {
			w.t.Error(err)
		}
		w.miss(s)
		w.start()
	}
	time.Sleep(time.Duration(s.n*s.k) * 2 * time.Second)
	synctest.Wait()
	select {
	case <-w.dead:
		w.die()
		w.start()
	default:
	}
}

// miss has things happen while no uplink runs.
func (w *world) miss(s step) {
	for k := range 3 {
		gone := offer(s.n, fmt.Sprint("web", k), 80, time.Now())
		gone.Gone = true
		w.registry.Observe(gone)
	}
	w.registry.Observe(sighting(s.k, fmt.Sprint("missed", s.n), time.Now()))
	time.Sleep(time.Duration(s.k*s.n) * time.Minute)
}

func (w *world) mend() {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	w.db.broken = nil
}

func (w *world) hub() {
	i, err := inventory.Open(context.Background(), inventory.Options{Feed: w.db, Words: w.db})
	if err != nil {
		w.t.Error(err)
		return
	}
	i.Gateway(standing("g1", "attic", true))
	w.link.turn(i)
}

// TestNothingIsLostAndNothingCountsTwice has things happen at a gateway while links break,
// answers get lost, and gateway and hub die between any two steps. In the end the hub has
// what the gateway has, and each packet once.
func TestNothingIsLostAndNothingCountsTwice(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				rapid.SampledFrom([]string{
					"hear", "hear", "hear", "offer", "offer", "goodbye", "stop offering", "say", "traffic", "traffic", "wait", "wait", "wait long",
					"kill the gateway", "kill the uplink", "restart the hub", "break the database", "lose the ledger",
				}).Draw(t, "what"),
				rapid.IntRange(0, 5).Draw(t, "n"), rapid.IntRange(0, 5).Draw(t, "k"),
			}
		}), 1, 40).Draw(rt, "steps")
		faults := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, int(lost), int(unanswered), int(twice), 10, 10 + int(lost), 10 + int(unanswered)}), 0, 12).Draw(rt, "faults")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, dir: filepath.Join(dir, fmt.Sprint(n)), db: newDatabase(), heard: make(map[string]uint64), faults: faults}
			w.link = &link{gateway: "g1", fault: w.fault}
			w.hub()
			w.boot(lanfolk.Snapshot{})
			w.start()
			for _, s := range steps {
				w.step(s)
			}
			w.link.mu.Lock()
			w.link.fault = nil
			w.link.mu.Unlock()
			select {
			case <-w.dead:
				w.die()
				w.start()
			default:
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			wrong = differs(w.link.inventory(), "g1", w.registry)
			if again := open(t, w.db); wrong == "" {
				again.Gateway(standing("g1", "attic", true))
				if wrong = differs(again, "g1", w.registry); wrong != "" {
					wrong = "after a restart of the hub: " + wrong
				}
			}
			w.die()
			w.stop()
			if w.dropped > 0 {
				wrong = fmt.Sprint(w.dropped, " rows had no room")
			}
			got := make(map[string]uint64)
			for _, o := range w.db.rows {
				got[o.Query] += o.Count
			}
			if fmt.Sprint(got) != fmt.Sprint(w.heard) {
				wrong += fmt.Sprintf("\nthe hub counted %v, the gateway %v", got, w.heard)
			}
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}
