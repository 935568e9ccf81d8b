package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
)

// When what goes up.
const (
	// settle is how long a change waits for others. What flaps goes up as it is then.
	settle = 2 * time.Second
	// sweepEvery is how often all of the registry is looked at: for when things were
	// heard last, and for evidence that changed no picture.
	sweepEvery = 5 * time.Minute
	// evidenceEvery is how often evidence goes up of which nothing but times changed.
	evidenceEvery = time.Hour
	// Of a sweep some devices are looked at at once, and then others get their turn.
	sweepStep  = 128
	sweepPause = 100 * time.Millisecond
)

// inventory brings the registry's changes to the hub.
type inventory struct {
	registry Registry
	most     int // items
	log      *slog.Logger

	// The sender's alone.
	ledger   *ledger
	tripped  bool // the ledger's trouble was logged
	retry    retry
	parcel   packer
	held     []change           // what the batch had no room for
	changed  []string           // keys of pictures that are still to be compared
	pictures map[string]picture // of changed
	slow     []string           // devices whose evidence is still to be looked at in a sweep
	proven   []string           // the same, sooner
	heard    times              // what a sweep found

	mu     sync.Mutex
	ready  bool               // the first picture is there
	dirty  map[string]picture // what may have changed, by key
	proofs map[string]bool    // devices whose evidence may have changed
	wake   chan struct{}
	stats  InventoryStatus
}

// picture is a device or service as it is now; without either it went.
type picture struct {
	device  *lanfolk.Device
	service *lanfolk.Service
}

func (p picture) gone() bool { return p.device == nil && p.service == nil }

func (p picture) doc(times bool) []byte {
	if p.device != nil {
		return feed.DeviceDoc(p.device, times)
	}
	return feed.ServiceDoc(p.service, times)
}

func keyOf(kind byte, id string) string { return string(kind) + "/" + id }

func openInventory(o Options, path string) (*inventory, error) {
	l, err := openLedger(path)
	if err != nil {
		return nil, fmt.Errorf("uplink: what the hub has: %w", err)
	}
	v := &inventory{registry: o.Registry, most: o.MaxItems, log: o.Log, ledger: l}
	v.stats = InventoryStatus{Enabled: true, Items: len(l.has)}
	return v, nil
}

// status returns how it is doing.
func (v *inventory) status() InventoryStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.stats
	s.Waiting += len(v.dirty)
	return s
}

// note puts an event among what is to be looked at. It never waits for long, and so never
// is the slow watcher of whom the registry gives up.
func (v *inventory) note(e lanfolk.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case e.Device != nil:
		p := picture{device: e.Device}
		if e.Op == lanfolk.OpRemove {
			p = picture{}
		}
		v.dirty[keyOf(feed.Device, e.Device.ID)] = p
		if v.ready { // before, a sweep follows
			v.proofs[e.Device.ID] = true
		}
	case e.Service != nil:
		p := picture{service: e.Service}
		if e.Op == lanfolk.OpRemove {
			p = picture{}
		}
		v.dirty[keyOf(feed.Service, e.Service.ID)] = p
	case !v.ready:
		v.ready = true
	default:
		return // what went before is all there is to know of a gap
	}
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run sends what changes until ctx ends.
func (v *inventory) run(ctx context.Context, hub Feeder) {
	v.begin()
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	following.Go(func() {
		for e := range v.registry.Watch(ctx, lanfolk.Filter{}) {
			v.note(e)
		}
	})
	for !v.isReady() {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		}
	}
	v.missed()
	if v.locate(ctx, hub) != nil {
		return
	}
	// After a restart the hub knows well enough when things were heard.
	v.sweep(!v.ledger.complete)
	for next := time.Now().Add(sweepEvery); ; {
		if !next.After(time.Now()) {
			v.sweep(true)
			next = time.Now().Add(sweepEvery)
		}
		if v.bring(ctx, hub) != nil {
			return
		}
		pause := time.Until(next)
		if len(v.slow) > 0 {
			pause = sweepPause
		}
		woken, err := v.wait(ctx, pause)
		if err != nil || woken && !sleep(ctx, settle) {
			return
		}
	}
}

// begin forgets what an earlier run was at.
func (v *inventory) begin() {
	v.retry, v.parcel, v.held = retry{}, packer{}, nil
	v.changed, v.slow, v.proven, v.heard = nil, nil, nil, times{}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ready, v.dirty, v.proofs, v.wake = false, make(map[string]picture), make(map[string]bool), make(chan struct{}, 1)
}

func (v *inventory) isReady() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ready
}

// wait returns when something changed or some time is over.
func (v *inventory) wait(ctx context.Context, d time.Duration) (woken bool, err error) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-v.wake:
		return true, nil
	case <-t.C:
		return false, nil
	}
}

// missed notes what the hub may have and the registry hasn't: it went while nobody looked.
func (v *inventory) missed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	miss := func(key string) {
		k, err := feed.ParseKey(key)
		if err != nil {
			return
		}
		switch k.Kind {
		case feed.Device, feed.Service:
			if _, there := v.dirty[key]; !there {
				v.dirty[key] = picture{}
			}
		case feed.Evidence:
			if p := v.dirty[keyOf(feed.Device, k.ID)]; p.gone() {
				v.proofs[k.ID] = true
			}
		}
	}
	for key := range v.ledger.has {
		miss(key)
	}
	if p := v.ledger.pending; p != nil {
		for key := range p.Put {
			miss(key)
		}
	}
}

// sweep looks at all of the registry, and if times is set at when things were heard, too.
func (v *inventory) sweep(times bool) {
	devices, services := v.registry.Devices(lanfolk.Filter{}), v.registry.Services(lanfolk.Filter{})
	v.slow = v.slow[:0]
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stats.LeftOut = 0
	again := func(key string, p picture) { // what is new here, or had no room before
		_, there := v.ledger.has[key]
		_, noted := v.dirty[key]
		if !there && !noted {
			v.dirty[key] = p
		}
	}
	for _, d := range devices {
		v.slow = append(v.slow, d.ID)
		again(keyOf(feed.Device, d.ID), picture{device: d})
	}
	for _, s := range services {
		again(keyOf(feed.Service, s.ID), picture{service: s})
	}
	if times {
		v.heard = timesOf(devices, services)
	}
}
