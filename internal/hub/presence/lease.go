package presence

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Run keeps the hub's lease until ctx is done, and then gives it up and returns nil.
// It returns an error that is fleet.ErrFenced if another process runs as this hub.
// Gateways are told to come again until it has the lease. It is called once.
func (r *Roll) Run(ctx context.Context) error {
	r.begin()
	run, ok := r.attend(ctx)
	if !ok {
		return nil
	}
	r.set(run)
	defer r.set(0)
	var both errgroup.Group
	recording, stop := context.WithCancel(ctx)
	both.Go(func() error { r.recordEnds(recording); return nil })
	both.Go(func() error { defer stop(); return r.keepLease(ctx, run) })
	if err := both.Wait(); err != nil {
		return err
	}
	r.set(0) // nobody comes any more
	r.leave(context.WithoutCancel(ctx), run)
	return nil
}

func (r *Roll) set(run uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
}

// attend gets the lease; false if ctx ended first.
func (r *Roll) attend(ctx context.Context) (run uint64, ok bool) {
	for n := 0; ; n++ {
		now := time.Now()
		run, err := r.Sessions.Attend(ctx, r.Hub, now, now.Add(r.Lease))
		if err == nil {
			return run, true
		}
		if ctx.Err() == nil {
			r.Logger.Error("no lease for this hub yet", "err", err, "dur", retryAfter(n))
		}
		if !pause(ctx, retryAfter(n)) {
			return 0, false
		}
	}
}

// retryAfter returns how long to wait after so many failures before.
func retryAfter(n int) time.Duration { return min(time.Second<<min(n, 10), maxRetry) }

// keepLease extends the lease until ctx is done, and says who is still there.
func (r *Roll) keepLease(ctx context.Context, run uint64) error {
	beat := time.NewTicker(r.Lease / 3)
	defer beat.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		now := time.Now()
		err := r.Sessions.Extend(ctx, r.Hub, run, now.Add(r.Lease))
		if err == nil {
			err = r.see(ctx, now)
		} else if errors.Is(err, fleet.ErrFenced) {
			return r.fenced(err)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			r.Logger.Error("the hub's lease can't be extended: its gateways may show as offline", "err", err)
		case err == nil && failing:
			r.Logger.Info("the hub's lease is extended again")
		}
		failing = err != nil
	}
}

// see puts it on record that gateways are there, for those of which that was last
// said a while ago; not for all at once.
func (r *Roll) see(ctx context.Context, now time.Time) error {
	due := map[string]*session{}
	r.mu.Lock()
	most := max(len(r.here)/3, atOnce)
	for gateway, s := range r.here {
		if len(due) < most && now.Sub(s.seen) >= seenEvery {
			due[gateway] = s
		}
	}
	r.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(atOnce)
	for gateway, s := range due {
		all.Go(func() error {
			err := r.Sessions.Seen(ctx, gateway, s.epoch, now)
			if err != nil && !errors.Is(err, fleet.ErrFenced) {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			s.seen = now
			return nil
		})
	}
	return all.Wait()
}

// recordEnds puts ends of sessions on record as they come.
func (r *Roll) recordEnds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.woken:
		}
		for n := 0; ; n++ {
			err := r.record(ctx)
			if err == nil {
				break
			}
			if n == 0 && ctx.Err() == nil {
				r.Logger.Error("ends of sessions can't be put on record", "err", err)
			}
			if !pause(ctx, retryAfter(n)) {
				return
			}
		}
	}
}

// record puts the ends of sessions on record that aren't.
func (r *Roll) record(ctx context.Context) error {
	r.mu.Lock()
	ended := r.ended
	r.ended = make(map[string]farewell)
	r.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(atOnce)
	for gateway, end := range ended {
		all.Go(func() error {
			is, err := r.Sessions.End(ctx, gateway, end.epoch, end.when, end.why)
			if err != nil {
				r.keep(gateway, end)
				return err
			}
			if is {
				r.board.Post(gateway, struct{}{})
			}
			return nil
		})
	}
	return all.Wait()
}

// keep keeps an end for the next try, unless there is a later one.
func (r *Roll) keep(gateway string, end farewell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended[gateway].epoch < end.epoch {
		r.ended[gateway] = end
	}
}

// leave gives the lease up, and with it what sessions are left.
func (r *Roll) leave(ctx context.Context, run uint64) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	if err := errors.Join(r.record(ctx), r.Sessions.Leave(ctx, r.Hub, run, time.Now())); err != nil {
		r.Logger.Warn("the hub's lease is not given up: its gateways show as offline when it ends", "err", err)
	}
}
