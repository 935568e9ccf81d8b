package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

// Status returns how the node is.
func (n *Node) Status() Status {
	s := Status{
		Name: n.Config.Name, Version: n.Version, PID: os.Getpid(), State: n.State,
		Config: n.ConfigPath, Page: n.page, Network: daemon.Network(), Started: n.started.UTC(),
		Links: n.links.status(), Parts: n.tasks.Parts(), Store: n.storeStatus(), NMOS: n.kept(), Advertised: n.advertised(), MQTT: n.mqttStatus(),
		Leases: n.leaseStatus(), AccessPoints: n.accessPoints(), Hub: n.hubLink(),
	}
	counts := n.registry.Stats()
	s.Inventory = Inventory{
		Devices: counts.Devices, Sightings: counts.Sightings,
		Services: len(n.registry.Services(lanfolk.Filter{})), Stats: counts,
	}
	s.Healthy = s.Store.Healthy
	for _, p := range s.Parts {
		s.Healthy = s.Healthy && p.State != daemon.Failed
	}
	return s
}

func (n *Node) storeStatus() Store {
	rows := n.recorder.Stats()
	s := Store{
		Path: n.db.Name(), Healthy: true, Pending: uint64(rows.Pending), Written: rows.Written, Dropped: rows.Dropped,
		DroppedShare: rows.DroppedShare, Failures: rows.Failures, Forgotten: rows.Forgotten,
	}
	switch {
	case rows.Err != nil:
		since := rows.Since.UTC()
		s.Healthy, s.Error, s.Since = false, rows.Err.Error(), &since
	case n.registry.Stats().SaveError != "":
		s.Healthy, s.Error = false, n.registry.Stats().SaveError
	default:
		if err := n.db.Health(); err != nil {
			s.Healthy, s.Error = false, err.Error()
		}
	}
	return s
}

// unhealthy returns what is wrong, nil if nothing is: for /healthz.
func (n *Node) unhealthy() error {
	s := n.Status()
	if s.Healthy {
		return nil
	}
	var wrong []string
	if !s.Store.Healthy {
		wrong = append(wrong, "store: "+s.Store.Error)
	}
	for _, p := range s.Parts {
		if p.State == daemon.Failed {
			wrong = append(wrong, p.Name+": "+p.Error)
		}
	}
	return errors.New(strings.Join(wrong, "; "))
}

// knownWait is how long a search waits for the inventory to take an answer in.
const knownWait = 250 * time.Millisecond

// known puts an answer into the inventory and returns the inventory's picture
// of it.
func (n *Node) known(ctx context.Context, s lanfolk.Sighting) (find.Answer, bool) {
	if s.Origin.Self { // the node's own, which it has told of itself; see tellAnnounced
		s.Origin.Protocol = source.ProtocolSelf
		return n.lookUp(s)
	}
	n.registry.Observe(s)
	wait, cancel := context.WithTimeout(ctx, knownWait)
	defer cancel()
	for {
		if a, ok := n.lookUp(s); ok {
			return a, true
		}
		select {
		case <-wait.Done():
			return find.Answer{}, false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (n *Node) lookUp(s lanfolk.Sighting) (find.Answer, bool) {
	service, device := n.registry.Find(s.ID())
	switch {
	case service != nil:
		return find.Answer{Service: service}, true
	case device != nil:
		return find.Answer{Device: device}, true
	}
	return find.Answer{}, false
}
