package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Observations is what a Recorder writes to and reads from. A DB is one.
type Observations interface {
	// SaveObservations adds rows to those with the same key, all or none. It
	// must not keep the slice.
	SaveObservations(ctx context.Context, rows []lanfolk.Observation) error
	// ForgetObservations removes what keep leaves no room for at the time now.
	ForgetObservations(ctx context.Context, now time.Time, keep Retention) (Forgotten, error)
	// Observation returns the row with a key, and whether there is one.
	Observation(ctx context.Context, key lanfolk.ObservationKey) (lanfolk.Observation, bool, error)
	// Latest returns the row heard last of those that f asks for, and whether
	// there is one.
	Latest(ctx context.Context, f ObservationFilter) (lanfolk.Observation, bool, error)
	// ObservationPage returns rows, the one heard last first, and where they end.
	ObservationPage(ctx context.Context, f ObservationFilter) ([]lanfolk.Observation, Cursor, error)
}

// RecorderOptions are what may be chosen for a Recorder. The zero value is good.
type RecorderOptions struct {
	// Every is how long rows gather before they are written. Default 1 s.
	Every time.Duration
	// MaxRows and MaxBytes bound what waits in memory. Defaults 131,072 rows
	// and 96 MiB: 50,000 rows that are being written and that come again meanwhile.
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
	fresh   int // rows written since the database was last tidied
}

// RecorderStats are a Recorder's counters since it was made.
type RecorderStats struct {
	Pending int    // rows that wait in memory
	Written uint64 // rows written
	Dropped uint64 // rows let go for want of room
	// DroppedShare counts rows let go because their MAC had taken its share of the
	// room already: a flood.
	DroppedShare uint64
	// Forgotten counts rows removed from the database because of Retention.
	Forgotten Forgotten
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
	defaultRows     = 1 << 17
	defaultBytes    = 96 << 20
	maxBackoff      = 30 * time.Second
	forgetEvery     = 10 * time.Minute
	forgetFirst     = time.Minute      // not at once: a start has better things to do
	forgetSoonest   = 10 * time.Second // between two times in a flood
	forgetAfter     = 50_000           // rows written: as many may be too many
	lastWriteLimit  = 5 * time.Second  // for what waits when Run ends
	rowsTransaction = 5000             // so that what a person says never waits for long
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
	first := r.stats.Dropped+r.stats.DroppedShare == 0
	for i := range rows {
		gone := r.pending.add(&rows[i])
		r.stats.Dropped += gone.room
		r.stats.DroppedShare += gone.share
	}
	first = first && r.stats.Dropped+r.stats.DroppedShare > 0
	early := r.pending.crowded() && r.stats.Err == nil
	r.mu.Unlock()
	if first {
		r.opts.Log.Warn("more is heard than there is room for; what is worth least goes, and is counted")
	}
	if early {
		r.Hurry()
	}
}

// Hurry has Run write at once: for who knows that the database is back, while Run
// would try again only later. It never waits.
func (r *Recorder) Hurry() {
	select {
	case r.early <- struct{}{}:
	default: // it will already
	}
}

// Run writes what is recorded until ctx ends, then once more what is left, and
// returns nil. An error of the database ends nothing: see Health.
func (r *Recorder) Run(ctx context.Context) error {
	var tidying sync.WaitGroup
	tidying.Go(func() { r.runForget(ctx) })
	defer tidying.Wait()
	next := time.NewTimer(r.opts.Every)
	defer next.Stop()
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
	var copies []lanfolk.Observation
	for len(rows) > 0 {
		step := rows[:min(len(rows), rowsTransaction)]
		copies = copies[:0]
		for _, w := range step { // nobody changes them meanwhile
			copies = append(copies, w.Observation)
		}
		if err = r.store.SaveObservations(ctx, copies); err != nil {
			break
		}
		r.mu.Lock()
		r.pending.written(step)
		r.stats.Written += uint64(len(step))
		r.fresh += len(step)
		r.mu.Unlock()
		rows = rows[len(step):]
	}
	r.mu.Lock()
	r.pending.giveBack(rows)
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

// runForget removes from the database what it need not keep, until ctx ends: now
// and then, and sooner where so much was written that a flood may be on.
func (r *Recorder) runForget(ctx context.Context) {
	if r.opts.Keep == (Retention{}) {
		return
	}
	tick := time.NewTicker(forgetSoonest)
	defer tick.Stop()
	next := time.Now().Add(forgetFirst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		due := r.fresh >= forgetAfter || !time.Now().Before(next)
		if due {
			r.fresh = 0
		}
		r.mu.Unlock()
		if due {
			r.forget(ctx)
			next = time.Now().Add(forgetEvery)
		}
	}
}

func (r *Recorder) forget(ctx context.Context) {
	gone, err := r.store.ForgetObservations(ctx, time.Now(), r.opts.Keep)
	r.mu.Lock()
	before := r.stats.Forgotten
	r.stats.Forgotten.add(gone)
	r.mu.Unlock()
	if gone.Share > 0 && before.Share == 0 {
		r.opts.Log.Warn("a MAC has more rows than it may; those worth least go, and are counted", "n", gone.Share)
	}
	if gone.Room > 0 && before.Room == 0 {
		r.opts.Log.Info("the fingerprint database is full; from now on the oldest rows go", "n", gone.Room)
	}
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
