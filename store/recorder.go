package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Observations is what a Recorder writes to. A DB is one.
type Observations interface {
	// SaveObservations adds rows to those with the same key, all or none. It
	// must not keep the slice.
	SaveObservations(ctx context.Context, rows []lanfolk.Observation) error
	// ForgetObservations removes what keep leaves no room for at the time now.
	ForgetObservations(ctx context.Context, now time.Time, keep Retention) (removed int64, err error)
}

// RecorderOptions are what may be chosen for a Recorder. The zero value is good.
type RecorderOptions struct {
	// Every is how long rows gather before they are written. Default 1 s.
	Every time.Duration
	// MaxRows and MaxBytes bound what waits in memory. Defaults 65,536 rows
	// and 32 MiB.
	MaxRows  int
	MaxBytes int
	// Keep bounds what stays in the database. The zero Retention keeps all.
	Keep Retention
	// Log hears when the database can't be written any more, and when it can
	// again. Default: silent.
	Log *slog.Logger
}

// Recorder stands between discovery, which must never wait, and the database,
// which may be slow, locked or full. It merges observations in bounded memory
// and writes them once a second. While the database takes none it keeps what it
// has and tries again, ever less often; when there is no more room it lets go
// of what is worth least, and counts that.
type Recorder struct {
	store Observations
	opts  RecorderOptions
	early chan struct{} // asks Run to write before the second is over
	turn  chan struct{} // holds a token while nobody writes

	mu      sync.Mutex
	pending pending
	stats   RecorderStats
}

// RecorderStats are a Recorder's counters since it was made.
type RecorderStats struct {
	Pending   int    // rows that wait in memory
	Written   uint64 // rows written
	Dropped   uint64 // rows let go for want of room
	Forgotten uint64 // rows removed from the database because of Retention
	Failures  uint64 // times that the database took no rows
	// Err is why it takes none at present, and Since from when on; nil and the
	// zero time while all is well.
	Err   error
	Since time.Time
	// LastWrite is when all that waited was written, zero if never.
	LastWrite time.Time
}

const (
	defaultEvery    = time.Second
	defaultRows     = 1 << 16
	defaultBytes    = 32 << 20
	maxBackoff      = 30 * time.Second
	forgetEvery     = 10 * time.Minute
	forgetFirst     = time.Minute     // not at once: a start has better things to do
	lastWriteLimit  = 5 * time.Second // for what waits when Run ends
	rowsTransaction = 5000            // so that what a person says never waits for long
)

// NewRecorder returns a Recorder that writes to s once Run runs.
func NewRecorder(s Observations, o RecorderOptions) *Recorder {
	if o.Every <= 0 {
		o.Every = defaultEvery
	}
	if o.MaxRows <= 0 {
		o.MaxRows = defaultRows
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{
		store: s, opts: o,
		early:   make(chan struct{}, 1),
		turn:    make(chan struct{}, 1),
		pending: newPending(o.MaxRows, o.MaxBytes),
	}
	r.turn <- struct{}{}
	return r
}

// Record takes observations to be written. It never waits, and may be called
// from any goroutine, whether Run runs or not.
func (r *Recorder) Record(rows ...lanfolk.Observation) {
	r.mu.Lock()
	for i := range rows {
		r.stats.Dropped += r.pending.add(&rows[i])
	}
	early := r.pending.crowded() && r.stats.Err == nil
	r.mu.Unlock()
	if early {
		select {
		case r.early <- struct{}{}:
		default:
		}
	}
}

// Run writes what is recorded until ctx ends, then once more what is left, and
// returns nil. An error of the database ends nothing: see Health.
func (r *Recorder) Run(ctx context.Context) error {
	next := time.NewTimer(r.opts.Every)
	defer next.Stop()
	forget := time.NewTimer(forgetFirst)
	defer forget.Stop()
	pause := r.opts.Every
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWriteLimit)
			defer cancel()
			_ = r.Flush(last) // Health and the log tell
			return nil
		case <-next.C:
		case <-r.early:
		case <-forget.C:
			r.forget(ctx)
			forget.Reset(forgetEvery)
			continue
		}
		if err := r.Flush(ctx); err != nil {
			pause = min(2*pause, max(maxBackoff, r.opts.Every))
		} else {
			pause = r.opts.Every
		}
		next.Reset(pause)
	}
}

// Flush writes all that waits now. What could not be written waits on.
func (r *Recorder) Flush(ctx context.Context) error {
	select {
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	case <-ctx.Done():
		return fail("save observations", ctx.Err())
	}
	r.mu.Lock()
	rows := r.pending.take()
	r.mu.Unlock()
	var err error
	for len(rows) > 0 {
		step := rows[:min(len(rows), rowsTransaction)]
		if err = r.store.SaveObservations(ctx, step); err != nil {
			break
		}
		r.mu.Lock()
		r.pending.written(step)
		r.stats.Written += uint64(len(step))
		r.mu.Unlock()
		rows = rows[len(step):]
	}
	r.mu.Lock()
	r.stats.Dropped += r.pending.giveBack(rows)
	r.mu.Unlock()
	r.note(ctx, err)
	return err
}

// note keeps in mind how a write went, and tells the log of a change.
func (r *Recorder) note(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return // our own end, not the database's failure
	}
	now := time.Now()
	r.mu.Lock()
	before, since := r.stats.Err, r.stats.Since
	dropped := r.stats.Dropped
	if err == nil {
		r.stats.Err, r.stats.Since, r.stats.LastWrite = nil, time.Time{}, now
	} else {
		if before == nil {
			r.stats.Since = now
		}
		r.stats.Err = err
		r.stats.Failures++
	}
	r.mu.Unlock()
	switch {
	case err != nil && before == nil:
		r.opts.Log.Warn("the database takes no observations; they are kept in memory", "err", err)
	case err == nil && before != nil:
		r.opts.Log.Info("the database takes observations again", "dur", now.Sub(since), "dropped", dropped)
	}
}

// forget removes from the database what it need not keep.
func (r *Recorder) forget(ctx context.Context) {
	if r.opts.Keep == (Retention{}) {
		return
	}
	n, err := r.store.ForgetObservations(ctx, time.Now(), r.opts.Keep)
	r.mu.Lock()
	r.stats.Forgotten += uint64(n)
	r.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		// What makes this fail makes writing fail, which is where it is reported.
		r.opts.Log.Debug("old observations stay for now", "err", err)
	}
}

// Health returns nil while the database takes what is recorded, and otherwise
// an error that says why it does not, and since when.
func (r *Recorder) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Err == nil {
		return nil
	}
	return fmt.Errorf("store: nothing written since %s, %d rows wait in memory: %w",
		r.stats.Since.UTC().Format(time.RFC3339), r.pending.len(), r.stats.Err)
}

// Stats returns the counters.
func (r *Recorder) Stats() RecorderStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Pending = r.pending.len()
	return s
}
