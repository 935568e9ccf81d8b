package node

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/uplink"
	"github.com/lanfolk/lanfolk/store"
)

// switchedRows is the database for the recorder, and for the hub, too, while there is
// one.
type switchedRows struct {
	store.Observations

	mu  sync.RWMutex
	tee store.Observations // nil while there is no hub
}

// use begins to write to what an Uplink's Tee returned, or ends that.
func (s *switchedRows) use(tee store.Observations) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tee = tee
}

// SaveObservations implements store.Observations.
func (s *switchedRows) SaveObservations(ctx context.Context, rows []lanfolk.Observation) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.tee != nil {
		return s.tee.SaveObservations(ctx, rows)
	}
	return s.Observations.SaveObservations(ctx, rows)
}

// openUplink returns what brings the inventory and the fingerprints to the hub, nil
// if the config wants neither. It stays open until the node has ended: what the
// recorder writes last goes into it, too.
func (n *Node) openUplink() (*uplink.Uplink, error) {
	c := n.Config.Gateway
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.uplink != nil || !c.Inventory && !c.Fingerprints {
		return n.hub.uplink, nil
	}
	o := uplink.Options{Folder: filepath.Join(n.State, gatewayFolder, feedsFolder), Log: n.Log}
	if c.Inventory {
		o.Registry = n.registry
	}
	if c.Fingerprints {
		o.SpoolBytes = int64(c.MaxFeeds) << 20
	}
	u, err := uplink.Open(o)
	if err != nil {
		return nil, err
	}
	n.hub.uplink = u
	return u, nil
}

// closeUplink is for the node's end.
func (n *Node) closeUplink() {
	n.hub.tee.use(nil)
	if u := n.hub.uplink; u != nil {
		if err := u.Close(); err != nil {
			n.Log.Warn("what waits for the hub isn't all on the disk", "err", err)
		}
	}
}

// uplinkPause is how long to wait after the uplink failed.
const uplinkPause = 10 * time.Second

// runUplink runs it until ctx is done, and again after a failure.
func (n *Node) runUplink(ctx context.Context, u *uplink.Uplink, hub uplink.Feeder) {
	for {
		err := u.Run(ctx, hub)
		if ctx.Err() != nil {
			return
		}
		n.Log.Warn("nothing goes up to the hub by itself for a while", "err", err, "dur", uplinkPause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(uplinkPause):
		}
	}
}
