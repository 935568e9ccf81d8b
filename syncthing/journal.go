package syncthing

import (
	"context"
	"time"
)

// Journal keeps what a [Server] knows, so that it is there after a restart.
//
// Save is called twice a second, and a last time when no packet is read any more,
// always from one goroutine at a time, for which nobody waits. log hands out what
// was announced since the call before, or since Run was called; whole does so, too, until it is
// rewound, and hands out all that there is then. What Save doesn't fetch is there at the next call.
//
// An error is for people: the server says once that nothing is kept and once
// when it is again, counts, and goes on.
type Journal interface {
	Save(now time.Time, log, whole *Tail) error
}

// saveEvery is half of what may be lost: what was stored is with the Journal a second later,
// even if Save takes as long.
const saveEvery = 500 * time.Millisecond

// save calls the Journal until ctx is done.
func (r *serving) save(ctx context.Context, log, whole *Tail) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.saveOnce(log, whole)
	}
}

func (r *serving) saveOnce(log, whole *Tail) {
	err := r.server.Journal.Save(time.Now(), log, whole)
	switch {
	case err != nil:
		if r.stats.unsaved.Add(1); !r.failing {
			r.log.Error("Syncthing state not saved; it is kept in memory", "err", err)
		}
	case r.failing:
		r.log.Info("Syncthing state saved again")
	}
	r.failing = err != nil
}
