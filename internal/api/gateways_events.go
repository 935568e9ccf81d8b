package api

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// gatewayPoll is how often a watcher looks at the whole list: at names, labels and
// numbers of devices, and at what another hub did.
const gatewayPoll = 10 * time.Second

// gatewayWatch is somebody who watches the gateways. It keeps little of each, since there
// may be many watchers of many.
type gatewayWatch struct {
	s     *Server
	out   *eventWriter
	match func(Gateway) bool
	seed  maphash.Seed
	sent  map[string]sentGateway
	n     int // events since the last deadline
}

type sentGateway struct {
	name string
	hash uint64 // of all but when it was there last
}

// watchGateways writes events until ctx ends or the client is gone or too slow.
func (s *Server) watchGateways(ctx context.Context, out *eventWriter, match func(Gateway) bool) error {
	if err := out.comment("lanfolk"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var arrivals <-chan fleet.Standing
	if s.o.Fleet.Presence != nil {
		arrivals = s.o.Fleet.Presence.Watch(ctx)
	}
	w := &gatewayWatch{s: s, out: out, match: match, seed: maphash.MakeSeed(), sent: make(map[string]sentGateway)}
	change := s.roster.change()
	var last time.Time // when somebody came or went
	if err := w.all(ctx, rosterAge); err != nil {
		return err
	}
	if err := out.message(wire.Synced, SyncedEvent{Event: wire.Synced}); err != nil {
		return err
	}
	quiet, poll := time.NewTicker(heartbeat), time.NewTicker(gatewayPoll)
	defer quiet.Stop()
	defer poll.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			err = out.comment("alive")
		case <-change:
			change = s.roster.change()
			err = w.all(ctx, 0)
		case <-poll.C:
			// A list that is older than the last arrival would take it back.
			err = w.all(ctx, min(rosterAge, time.Since(last)))
		case g, ok := <-arrivals:
			if !ok {
				return nil // ctx has ended
			}
			last = time.Now()
			err = w.some(g, arrivals)
		}
		if err != nil {
			return err
		}
	}
}

// some writes a gateway, and those that wait behind it.
func (w *gatewayWatch) some(g fleet.Standing, more <-chan fleet.Standing) error {
	for range maxBatch {
		if err := w.one(g); err != nil {
			return err
		}
		var ok bool
		select {
		case g, ok = <-more:
		default:
		}
		if !ok {
			break
		}
	}
	return w.flush()
}

// all writes what is different from what was sent.
func (w *gatewayWatch) all(ctx context.Context, age time.Duration) error {
	p, err := w.s.roster.get(ctx, age)
	if err != nil {
		return err
	}
	for i := range p.list {
		if err := w.one(p.list[i]); err != nil {
			return err
		}
	}
	for id, was := range w.sent {
		if _, ok := p.byID[id]; !ok {
			delete(w.sent, id)
			if err := w.event(wire.Remove, Gateway{ID: id, Name: was.name, State: "offline", Labels: map[string]string{}}); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// one writes a gateway if it is another than the one that was sent.
func (w *gatewayWatch) one(standing fleet.Standing) error {
	g := w.s.wireGateway(standing)
	was, sent := w.sent[g.ID]
	if !w.match(g) {
		if !sent {
			return nil
		}
		delete(w.sent, g.ID)
		return w.event(wire.Remove, g)
	}
	same := g
	same.LastSeen = nil
	b, err := json.Marshal(same)
	if err != nil {
		return err
	}
	hash := maphash.Bytes(w.seed, b)
	if sent && was.hash == hash {
		return nil
	}
	w.sent[g.ID] = sentGateway{name: g.Name, hash: hash}
	if sent {
		return w.event(wire.Update, g)
	}
	return w.event(wire.Add, g)
}

// event adds one to what flush will have written.
func (w *gatewayWatch) event(op string, g Gateway) error {
	if w.n%maxBatch == 0 {
		if err := w.out.deadline(); err != nil {
			return err
		}
	}
	w.n++
	return w.out.data(op, wire.GatewayEvent{Event: op, Gateway: g})
}

func (w *gatewayWatch) flush() error {
	if w.n == 0 {
		return nil
	}
	w.n = 0
	if err := w.out.deadline(); err != nil {
		return err
	}
	return w.out.flush()
}
