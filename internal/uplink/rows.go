package uplink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
)

// gatherFor is how long rows gather before they go up.
const gatherFor = time.Minute

// rows brings what passive monitoring heard to the hub.
type rows struct {
	spool *spool
	log   *slog.Logger
	retry retry

	mu    sync.Mutex
	stats FingerprintsStatus // Sent, Batches and Error alone
	quiet bool               // the spool's trouble was logged
}

// save takes rows that the gateway keeps now.
func (r *rows) save(all []lanfolk.Observation) {
	err := r.spool.add(all)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && !r.quiet {
		r.log.Warn("what is heard can't be kept for the hub", "err", err)
	}
	r.quiet = err != nil
}

func (r *rows) status() FingerprintsStatus {
	s := r.spool.status()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Sent, s.Batches, s.Error = r.stats.Sent, r.stats.Batches, r.stats.Error
	return s
}

// run sends until ctx ends.
func (r *rows) run(ctx context.Context, hub Feeder) {
	if r.locate(ctx, hub) != nil {
		return
	}
	for {
		data, seq, n, err := r.spool.first(time.Now(), gatherFor)
		switch {
		case err != nil:
			r.trouble(err)
			if !r.retry.pause(ctx) {
				return
			}
			continue
		case data == nil:
			if !sleep(ctx, gatherFor/6) {
				return
			}
			continue
		}
		a, err := deliver(ctx, hub, reverse.TypeFingerprints, reverse.Meta{ID: r.spool.epoch(), Seq: seq}, data, &r.retry, r.trouble)
		switch {
		case err != nil:
			return
		case a == taken:
			if _, err := r.spool.taken(seq + 1); err != nil {
				// It goes up again until its file is away: not as fast as it can.
				r.trouble(err)
				if !sleep(ctx, maxPause) {
					return
				}
				continue
			}
			r.took(n)
			continue
		case a == never:
			if !sleep(ctx, refusedPause) {
				return
			}
		case !r.retry.pause(ctx):
			return
		}
		if r.locate(ctx, hub) != nil {
			return
		}
	}
}

// locate finds out where the hub is, and begins an epoch if it is nowhere that the spool
// could go on from. An error is ctx's.
func (r *rows) locate(ctx context.Context, hub Feeder) error {
	for {
		epoch := r.spool.epoch()
		if epoch == "" {
			return r.begin(ctx)
		}
		reply, err := hub.Progress(ctx, reverse.TypeFingerprints, epoch)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.trouble(err)
			if err := r.retry.away(ctx, err); err != nil {
				return err
			}
			continue
		}
		switch reply.GetState() {
		case lanfolkpb.ProgressReply_OPEN:
			ok, err := r.spool.taken(reply.GetNextSeq())
			if err != nil {
				r.trouble(err)
			}
			if ok {
				return nil
			}
			return r.begin(ctx)
		case lanfolkpb.ProgressReply_SNAPSHOT:
			return r.begin(ctx)
		default:
			_, why := read(reply, 0)
			r.trouble(why)
			if !r.retry.pause(ctx) {
				return ctx.Err()
			}
		}
	}
}

// begin begins an epoch. It must be on the disk before anything is sent in it: else a
// batch could be sent in two of them.
func (r *rows) begin(ctx context.Context) error {
	for {
		err := r.spool.begin()
		if err == nil {
			return nil
		}
		r.trouble(err)
		if !r.retry.pause(ctx) {
			return ctx.Err()
		}
	}
}

func (r *rows) took(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Batches++
	r.stats.Sent += uint64(n)
	r.stats.Error = ""
}

// trouble notes why the hub takes nothing at present.
func (r *rows) trouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Error == "" {
		r.log.Info("the hub takes nothing of what is heard at present", "err", err)
	}
	r.stats.Error = err.Error()
}

// tee is a database from which a copy of what it has taken goes up.
type tee struct {
	store.Observations
	rows *rows
}

// SaveObservations implements store.Observations.
func (t tee) SaveObservations(ctx context.Context, all []lanfolk.Observation) error {
	if err := t.Observations.SaveObservations(ctx, all); err != nil {
		return err // it will come again
	}
	t.rows.save(all)
	return nil
}
