package inventory

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Words keep what people say at the hub of gateways' devices: a store.DB.
type Words interface {
	Snapshot(ctx context.Context) (lanfolk.Snapshot, error)
	Commit(ctx context.Context, records []lanfolk.DeviceRecord) error
	Save(ctx context.Context, b lanfolk.Batch) error
}

// Options say what an Inventory works with. Feed and Words are needed.
type Options struct {
	Feed   fleet.Feed
	Words  Words
	Limits Limits
	Log    *slog.Logger // nil is silent
}

// Limits bound what is kept. Of each, 0 is the default.
type Limits struct {
	Items int   // of one gateway; 250,000. A device is two, a service one.
	Bytes int64 // of one gateway's items; 256 MiB
	All   int   // items of all gateways; 10,000,000
}

// Inventory is what all gateways know: reverse.Feeds and api.Inventory. All of its methods
// may be called at once.
type Inventory struct {
	o     Options
	log   *slog.Logger
	count counters
	texts texts

	mu       sync.Mutex
	gateways map[string]*gateway
	order    []*gateway // as they are shown; nil: to be sorted
	words    map[string]lanfolk.Said
	items    int
	gone     int // items that went since the database was tidied
	watchers []*watcher

	saying chan struct{} // held while what a person says is kept
}

// counters count what came and what was refused, by why.
type counters struct {
	Batches, Again, Bytes, Rows              atomic.Uint64
	Invalid, Quota, Epoch, Gap, Store, Other atomic.Uint64
}

// Stats are an Inventory's counters since it was made, and its sizes now.
type Stats struct {
	Gateways int `json:"gateways"` // that told something
	Devices  int `json:"devices"`
	Services int `json:"services"`
	Items    int `json:"items"`

	Batches uint64 `json:"batches"` // that were kept
	Again   uint64 `json:"again"`   // that had come before
	Bytes   uint64 `json:"bytes"`   // in those that were kept
	Rows    uint64 `json:"rows"`    // of passive monitoring

	// Batches that were refused, by why.
	Invalid uint64 `json:"invalid"` // can't be read
	Quota   uint64 `json:"quota"`   // too much of one gateway, or of all
	Epoch   uint64 `json:"epoch"`   // the gateway began anew
	Gap     uint64 `json:"gap"`     // others were missing
	Store   uint64 `json:"store"`   // the database failed
}

// Stats returns the counters.
func (i *Inventory) Stats() Stats {
	c := &i.count
	s := Stats{
		Batches: c.Batches.Load(), Again: c.Again.Load(), Bytes: c.Bytes.Load(), Rows: c.Rows.Load(),
		Invalid: c.Invalid.Load(), Quota: c.Quota.Load(), Epoch: c.Epoch.Load(), Gap: c.Gap.Load(), Store: c.Store.Load(),
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s.Items = i.items
	for _, g := range i.gateways {
		if g.items > 0 {
			s.Gateways++
		}
		s.Devices += len(g.devices)
		s.Services += len(g.services)
	}
	return s
}

const (
	defaultItems = 250_000
	defaultBytes = 256 << 20
	defaultAll   = 10_000_000
	loadPage     = 2000
	tidyEvery    = 6 * time.Hour
)

// Open takes up what the gateways told before.
func Open(ctx context.Context, o Options) (*Inventory, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &o.Limits
	l.Items, l.Bytes, l.All = cmp.Or(l.Items, defaultItems), cmp.Or(l.Bytes, defaultBytes), cmp.Or(l.All, defaultAll)
	i := &Inventory{
		o: o, log: o.Log, gateways: make(map[string]*gateway), words: make(map[string]lanfolk.Said), saying: make(chan struct{}, 1),
	}
	said, err := o.Words.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("inventory: what people said: %w", err)
	}
	for _, r := range said.Devices {
		if strings.Contains(r.ID, separator) && !r.Said.Empty() {
			i.words[r.ID] = r.Said
		}
	}
	if err := i.load(ctx); err != nil {
		return nil, fmt.Errorf("inventory: what gateways told: %w", err)
	}
	return i, nil
}

func (i *Inventory) load(ctx context.Context) error {
	bad := 0
	for at := uint64(0); ; {
		page, err := i.o.Feed.Changes(ctx, at, loadPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, item := range page {
			at = item.Position
			if item.Doc == nil {
				i.gone++
				continue
			}
			p, err := i.texts.parse(feed.Item{Key: item.Key, Doc: item.Doc}, false)
			if err != nil { // what Take checked, an older hub
				bad++
				continue
			}
			g := i.gateway(item.Gateway)
			i.edit(g, item.Epoch).put(p)
		}
	}
	if bad > 0 {
		i.log.Warn("some of what gateways told can't be read", "n", bad)
	}
	i.tidy(ctx)
	return nil
}

// Run keeps house until ctx ends, and returns nil then.
func (i *Inventory) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			i.tidy(ctx)
		}
	}
}

// tidy has the database drop what went: nobody reads changes from anywhere but the
// beginning.
func (i *Inventory) tidy(ctx context.Context) {
	i.mu.Lock()
	n := i.gone
	i.gone = 0
	i.mu.Unlock()
	if n == 0 {
		return
	}
	if err := i.o.Feed.Compact(ctx, math.MaxInt64); err != nil && ctx.Err() == nil {
		i.log.Warn("what went from gateways' inventories stays in the database for now", "err", err)
		i.mu.Lock()
		i.gone += n
		i.mu.Unlock()
	}
}

// Gateway says how a gateway stands: its name, whether it is online, and whether it is
// revoked, which hides its devices. It is called at the start for each, and when one
// changes.
func (i *Inventory) Gateway(s fleet.Standing) {
	i.mu.Lock()
	defer i.mu.Unlock()
	g := i.gateway(s.ID)
	online, hidden := s.Online, !s.Revoked.IsZero()
	if g.name == s.Name && g.online == online && g.hidden == hidden {
		return
	}
	e := i.edit(g, "")
	e.all()
	g.name, g.online, g.hidden = s.Name, online, hidden
	i.order = nil
	i.tell(e.events())
}

// Forget drops all that a gateway told, for good.
func (i *Inventory) Forget(ctx context.Context, gateway string) error {
	i.mu.Lock()
	g := i.gateways[gateway]
	i.mu.Unlock()
	if g != nil {
		if err := g.begin(ctx); err != nil {
			return fmt.Errorf("inventory: forget %s: %w", gateway, err)
		}
		defer g.end()
	}
	if err := i.o.Feed.Forget(ctx, gateway); err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	if err := i.unsay(ctx, gateway); err != nil {
		return err
	}
	if g == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.edit(g, "")
	e.all()
	e.dropOthers("")
	i.tell(e.events())
	delete(i.gateways, gateway)
	i.order = nil
	return nil
}
