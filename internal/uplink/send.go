package uplink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// How long to wait before a hub is bothered again.
const (
	minPause = time.Second
	maxPause = time.Minute
	// foreignPause is for a hub that takes no feeds, and refusedPause for one that said no
	// for good: it may be another one by then, or have another configuration.
	foreignPause = 5 * time.Minute
	refusedPause = 30 * time.Minute
)

// retry counts what failed in a row.
type retry struct{ n int }

// pause waits a random part of a time that doubles with each failure. False: ctx has
// ended.
func (r *retry) pause(ctx context.Context) bool {
	most := min(maxPause, minPause<<min(r.n, 6))
	r.n++
	return sleep(ctx, time.Duration(mathrand.Int64N(int64(most))))
}

// sleep returns false if ctx has ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// answer is what a hub said to a batch.
type answer int

const (
	taken   answer = iota
	again          // it hasn't it: the same once more
	unknown        // it hasn't the epoch, or is elsewhere in it
	never          // it doesn't want the feed
)

// read reads what a hub wants after batch seq was sent, or may have been.
func read(reply *lanfolkpb.ProgressReply, seq uint64) (answer, error) {
	reason := errors.New(reply.GetReason())
	if reply.GetReason() == "" {
		reason = errors.New("the hub says not why")
	}
	switch reply.GetState() {
	case lanfolkpb.ProgressReply_OPEN:
		switch reply.GetNextSeq() {
		case seq + 1:
			return taken, nil
		case seq:
			return again, reason
		}
		return unknown, fmt.Errorf("the hub wants batch %d after %d", reply.GetNextSeq(), seq)
	case lanfolkpb.ProgressReply_SNAPSHOT:
		return unknown, errors.New("the hub doesn't know the epoch")
	case lanfolkpb.ProgressReply_REFUSED:
		return never, reason
	}
	return again, reason
}

// away waits after an error of the link. It returns ctx's error if that has ended.
func (r *retry) away(ctx context.Context, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		sleep(ctx, foreignPause)
	} else {
		r.pause(ctx)
	}
	return ctx.Err()
}

// deliver sends one batch until it is known what became of it. The bytes stay the same:
// the hub may have taken them when the link broke. An error is ctx's.
func deliver(ctx context.Context, hub Feeder, t reverse.Type, m reverse.Meta, data []byte, r *retry, trouble func(error)) (answer, error) {
	for {
		reply, err := hub.Feed(ctx, t, m, data)
		switch {
		case ctx.Err() != nil:
			return again, ctx.Err()
		case err == nil && reply == nil:
			r.n = 0
			return taken, nil
		case err != nil:
			trouble(err)
			if err := r.away(ctx, err); err != nil {
				return again, err
			}
			continue
		}
		a, why := read(reply, m.Seq)
		if a != again {
			if a == taken {
				r.n = 0
			}
			if why != nil {
				trouble(why)
			}
			return a, nil
		}
		trouble(why)
		if !r.pause(ctx) {
			return again, ctx.Err()
		}
	}
}

// locate finds out where the hub is, at the start of a run. An error is ctx's.
func (v *inventory) locate(ctx context.Context, hub Feeder) error {
	if v.ledger.epoch == "" {
		v.restart()
		return nil
	}
	for {
		reply, err := hub.Progress(ctx, reverse.TypeInventory, v.ledger.epoch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.trouble(err)
			if err := v.retry.away(ctx, err); err != nil {
				return err
			}
			continue
		}
		a, why := read(reply, v.ledger.next)
		open := reply.GetState() == lanfolkpb.ProgressReply_OPEN
		switch {
		case a == taken && v.ledger.pending != nil:
			v.ledger.taken()
		case a == again && open && v.ledger.pending != nil:
			v.ledger.drop()
		case a == again && open: // as it should be
		case a == unknown || a == taken:
			v.restart()
		case a == never:
			return v.refused(ctx, why)
		default:
			v.trouble(why)
			if !v.retry.pause(ctx) {
				return ctx.Err()
			}
			continue
		}
		v.retry.n = 0
		return nil
	}
}

// bring sends what there is to send; what a sweep finds waits until that is through, or
// there is something else. An error is ctx's.
func (v *inventory) bring(ctx context.Context, hub Feeder) error {
	for {
		full := v.gather(!v.ledger.complete)
		rest := full || len(v.slow) > 0
		switch {
		case full, !v.ledger.complete, v.parcel.urgent, !rest && len(v.parcel.items) > 0:
		default:
			return nil
		}
		if err := v.send(ctx, hub, !rest); err != nil {
			return err
		}
	}
}

// send sends one batch; all says that nothing more waits.
func (v *inventory) send(ctx context.Context, hub Feeder, all bool) error {
	p := &parcel{Seq: v.ledger.next, Complete: all && !v.ledger.complete, Put: make(map[string]uint64, len(v.parcel.items))}
	b := feed.Batch{Snapshot: p.Seq == 0, Complete: p.Complete}
	for key, c := range v.parcel.items {
		b.Items = append(b.Items, c.Item)
		if c.Doc == nil {
			p.Gone = append(p.Gone, key)
		} else {
			p.Put[key] = c.sum
		}
	}
	v.parcel = packer{}
	data := b.Append(make([]byte, 0, feed.HeaderSize))
	if err := v.ledger.offer(p); err != nil {
		v.trip(err)
	}
	a, err := deliver(ctx, hub, reverse.TypeInventory, reverse.Meta{ID: v.ledger.epoch, Seq: p.Seq}, data, &v.retry, v.trouble)
	switch {
	case err != nil:
		return err
	case a == taken:
		v.ledger.taken()
		v.took(len(data))
	case a == never:
		return v.refused(ctx, nil)
	default:
		if p.Seq == 0 && !v.retry.pause(ctx) { // the hub doesn't know what it was told just now
			return ctx.Err()
		}
		v.restart()
	}
	return nil
}

// took counts a batch that the hub has.
func (v *inventory) took(bytes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.stats
	s.Batches++
	s.Bytes += uint64(bytes)
	s.Items, s.Error = len(v.ledger.has), ""
	if v.ledger.complete && s.Waiting == 0 && len(v.dirty) == 0 {
		s.Synced = time.Now().UTC()
	}
}

// trouble notes why the hub takes nothing at present.
func (v *inventory) trouble(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stats.Error == "" {
		v.log.Info("the hub takes nothing of the inventory at present", "err", err)
	}
	v.stats.Error = err.Error()
}

// refused waits, since the hub said no for good, and then begins anew.
func (v *inventory) refused(ctx context.Context, why error) error {
	if why != nil {
		v.trouble(why)
	}
	if !sleep(ctx, refusedPause) {
		return ctx.Err()
	}
	v.restart()
	return nil
}

// restart begins a new epoch: all goes up anew.
func (v *inventory) restart() {
	if err := v.ledger.begin(rand.Text()); err != nil {
		v.trip(err)
	}
	v.mu.Lock()
	v.stats.Snapshots++
	v.mu.Unlock()
	v.parcel, v.held = packer{}, nil
	v.sweep(true)
}

// trip tells once that the ledger can't be written: a restart will send all anew.
func (v *inventory) trip(err error) {
	if !v.tripped {
		v.log.Warn("what the hub has can't be noted; after a restart it is told all anew", "err", err)
	}
	v.tripped = true
}
