//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/internal/hub/presence"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// BenchmarkDeliver is BenchmarkReverse with a hub that keeps everything: sessions,
// audit, commands and results in SQLite, as the hub of the program does.
func BenchmarkDeliver(b *testing.B) { benchmarkGateways(b, "keeping-hub") }

// BenchmarkDeliverLarge is BenchmarkReverseLarge with such a hub.
func BenchmarkDeliverLarge(b *testing.B) { benchmarkLarge(b, "keeping-hub") }

// A keepingHub is a hub without API.
type keepingHub struct {
	reverse.Server
	fleet    *fleet.Fleet
	dispatch *deliver.Dispatcher
	mu       sync.Mutex
	waiting  map[string]chan fleet.Command
	early    map[string]fleet.Command // that ended before somebody waited
}

// roleKeepingHub is a hub that obeys the lines on its standard input.
func roleKeepingHub([]string) error {
	dir, err := os.MkdirTemp("", "lanfolk-bench-hub-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	db, err := store.Open(ctx, filepath.Join(dir, "hub.db"), store.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	f, err := fleet.Open(ctx, db, fleet.Options{BlobFolder: filepath.Join(dir, "results")})
	if err != nil {
		return err
	}
	h := &keepingHub{fleet: f, waiting: map[string]chan fleet.Command{}, early: map[string]fleet.Command{}}
	roll := &presence.Roll{Sessions: f.Sessions, Hub: "bench"}
	h.dispatch = &deliver.Dispatcher{Log: f.Commands, Blobs: f.Blobs, Audit: f.Audit, Wire: &h.Server, Greet: roll.Greet}
	roll.Left = h.dispatch.Left
	h.Sessions, h.Control, h.Results, h.Listening = roll, h.dispatch, h.dispatch, h.dispatch.Arrived
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { _ = roll.Run(ctx) })
	tasks.Go(func() { _ = h.dispatch.Run(ctx) })
	changes := h.dispatch.Watch(ctx)
	tasks.Go(func() { h.follow(changes) })
	return serveBench(&h.Server, h)
}

// follow tells those who wait that a command has ended.
func (h *keepingHub) follow(changes <-chan fleet.Command) {
	for c := range changes {
		if !c.State.Ended() {
			continue
		}
		h.mu.Lock()
		if w := h.waiting[c.ID]; w != nil {
			w <- c
			delete(h.waiting, c.ID)
		} else {
			h.early[c.ID] = c
		}
		h.mu.Unlock()
	}
}

// wait returns a channel that gets a command when it has ended.
func (h *keepingHub) wait(id string) <-chan fleet.Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := make(chan fleet.Command, 1)
	if c, ok := h.early[id]; ok {
		delete(h.early, id)
		w <- c
	} else {
		h.waiting[id] = w
	}
	return w
}

func (h *keepingHub) enrol(n int) error {
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range n {
		all.Go(func() {
			if _, err := h.fleet.Sessions.Enrol(context.Background(), fleet.Gateway{ID: fmt.Sprintf("g%05d", i), Enrolled: time.Now()}); err != nil {
				failed.Store(&err)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (h *keepingHub) run(gateway string) (bytes uint64, took time.Duration, err error) {
	began := time.Now()
	made, err := h.dispatch.Submit(context.Background(), fleet.Request{By: "bench", Line: "status", Gateways: []fleet.Gateway{{ID: gateway}}})
	if err != nil {
		return 0, 0, err
	}
	c := <-h.wait(made[0].ID)
	if c.State != fleet.OK {
		return 0, 0, errors.New(c.Error)
	}
	return uint64(c.Size), time.Since(began), nil
}

func (h *keepingHub) all() (r reverseReport) {
	var gateways []fleet.Gateway
	for _, s := range h.Online() {
		gateways = append(gateways, fleet.Gateway{ID: s.Gateway})
	}
	began := time.Now()
	made, err := h.dispatch.Submit(context.Background(), fleet.Request{By: "bench", Line: "status", Gateways: gateways})
	if err != nil {
		r.Failures = len(gateways)
		return r
	}
	fmt.Fprintf(os.Stderr, "submitted to %d in %v\n", len(made), time.Since(began))
	for _, c := range made {
		if c := <-h.wait(c.ID); c.State != fleet.OK {
			r.Failures++
		}
	}
	r.Took = milliseconds(time.Since(began))
	return r
}
