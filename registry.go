package lanfolk

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// RegistryOptions say how a Registry works. The zero value works.
type RegistryOptions struct {
	// NewID makes the id of a new device; nil means random ids.
	NewID func() string
	// Vendor names the maker behind a MAC, "" if it isn't known. It is called
	// while the inventory waits, so it must not block. nil knows none.
	Vendor func(MAC) string
	// Classifier says what devices are; nil: only what a person said is shown.
	Classifier Classifier
	// Journal makes what a person says durable; nil: it lasts as long as the
	// registry.
	Journal Journal
	// Sink keeps the inventory; nil: nothing does.
	Sink Sink
	// Retention is how long a device that nobody named is remembered after it
	// was last heard. 0 means DefaultRetention.
	Retention time.Duration
	// ServiceRetention is how long a service that ran out is shown as
	// unreachable. 0 means DefaultServiceRetention, less than 0 not at all.
	ServiceRetention time.Duration
	// MaxSightings, MaxPerSource and MaxDevices bound the memory; 0 means
	// 4,000,000, 50,000 and 1,000,000. MaxPerSource holds for one speaker.
	MaxSightings, MaxPerSource, MaxDevices int
	// Queue is how many sightings may wait; 0 means 65,536.
	Queue int
	// WatchQueue is how many events may wait for one watcher before it is
	// resynchronised; 0 means 4,096.
	WatchQueue int
	Log        *slog.Logger // nil is silent
}

// Default times of RegistryOptions.
const (
	DefaultRetention        = 90 * 24 * time.Hour
	DefaultServiceRetention = 24 * time.Hour
)

// saveEvery is how long what was heard may wait to be saved.
const saveEvery = time.Second

// stepSize is how many sightings are taken in one step, between which readers
// get their turn.
const stepSize = 512

// Registry is the inventory: it joins sightings into devices, lets them run
// out, and tells who asks or watches. All methods may be called at any time
// from any goroutine; sightings are taken while Run runs.
type Registry struct {
	o     RegistryOptions
	queue queue

	// saving is held while a batch is saved or a person's word committed, and
	// taken before mu. It is a channel so that waiting for it can be given up.
	saving chan struct{}

	mu       sync.Mutex // guards what follows; Run holds it for a step at a time
	core     *core
	watchers []*watcher
	saved    struct {
		batches, errors, resyncs uint64
		err                      string
	}
}

// NewRegistry returns an empty registry.
func NewRegistry(o RegistryOptions) *Registry {
	if o.NewID == nil {
		o.NewID = func() string { return "d" + strings.ToLower(rand.Text()[:16]) }
	}
	o.Retention = cmp.Or(o.Retention, DefaultRetention)
	o.ServiceRetention = max(0, cmp.Or(o.ServiceRetention, DefaultServiceRetention))
	o.MaxSightings = cmp.Or(o.MaxSightings, 4_000_000)
	o.MaxPerSource = cmp.Or(o.MaxPerSource, 50_000)
	o.MaxDevices = cmp.Or(o.MaxDevices, 1_000_000)
	o.Queue = cmp.Or(o.Queue, 1<<16)
	o.WatchQueue = cmp.Or(o.WatchQueue, 1<<12)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{o: o, saving: make(chan struct{}, 1), queue: queue{max: o.Queue, ready: make(chan struct{}, 1)}}
	r.core = newCore(limits{
		answered4: maxAnswered4, answered6: maxAnswered6,
		sightings: o.MaxSightings, perSource: o.MaxPerSource, devices: o.MaxDevices,
		retention: o.Retention, serviceRetention: o.ServiceRetention,
	}, o.NewID, o.Vendor)
	r.core.saving = o.Sink != nil
	r.core.classifier = o.Classifier
	return r
}

// Restore takes over what an earlier registry saved. It comes before Run and
// before any sighting.
func (r *Registry) Restore(s Snapshot) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.restore(time.Now(), s)
}

// Observe hands sightings to the registry. It never waits: when the queue is
// full they are dropped and counted. The slices and maps in a sighting must
// not be changed afterwards.
func (r *Registry) Observe(s ...Sighting) { r.queue.put(s) }

// Run takes sightings, lets them run out and saves, until ctx is done; then it
// takes what is queued, saves once more, and returns nil.
func (r *Registry) Run(ctx context.Context) error {
	var saver sync.WaitGroup
	defer saver.Wait()
	if r.o.Sink != nil {
		saver.Go(func() { r.saveAll(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.takeQueued()
			if r.o.Sink != nil {
				saver.Wait()
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				defer cancel()
				for r.save(last) {
				}
			}
			return nil
		case <-r.queue.ready:
			r.takeQueued()
		case <-timer.C:
		}
		r.mu.Lock()
		r.tell(r.core.expire(time.Now()))
		next := r.core.next()
		r.mu.Unlock()
		timer.Stop()
		if !next.IsZero() {
			// Ends that lie close together are taken in one step.
			timer.Reset(max(time.Until(next), 20*time.Millisecond))
		}
	}
}

// takeQueued observes all that is queued.
func (r *Registry) takeQueued() {
	batch := r.queue.take()
	for len(batch) > 0 {
		n := min(stepSize, len(batch))
		r.mu.Lock()
		r.tell(r.core.observe(time.Now(), batch[:n]...))
		r.mu.Unlock()
		batch = batch[n:]
	}
}

// saveAll hands a batch to the sink every second. A sink that fails is asked
// again; the error is logged once, until it has worked again.
func (r *Registry) saveAll(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for ctx.Err() == nil && r.save(ctx) {
			}
		}
	}
}

// save hands one batch to the sink and says whether there is more.
func (r *Registry) save(ctx context.Context) bool {
	select {
	case r.saving <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-r.saving }()
	r.mu.Lock()
	o := r.core.unsaved()
	r.mu.Unlock()
	if o == nil {
		return false
	}
	err := r.o.Sink.Save(ctx, o.Batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.core.takeBack(o)
		r.saved.errors++
		if r.saved.err == "" && ctx.Err() == nil {
			r.o.Log.Error("inventory not saved", "err", err)
		}
		r.saved.err = err.Error()
		return false
	}
	if r.saved.err != "" {
		r.o.Log.Info("inventory saved again")
	}
	r.saved.batches++
	r.saved.err = ""
	return len(r.core.unsavedFacts) > 0
}

// Devices returns the devices that the filter chooses, the oldest first. The
// list is never nil.
func (r *Registry) Devices(f Filter) []*Device {
	all, _ := r.pictures()
	if f == (Filter{}) {
		return all
	}
	return slices.DeleteFunc(all, func(d *Device) bool { return !f.MatchDevice(d) })
}

// Services returns the services that the filter chooses, in the order of
// their devices. The list is never nil.
func (r *Registry) Services(f Filter) []*Service {
	devices, orphans := r.pictures()
	out := []*Service{}
	add := func(all []*Service) {
		for _, s := range all {
			if f.MatchService(s) {
				out = append(out, s)
			}
		}
	}
	for _, d := range devices {
		add(d.Services)
	}
	add(orphans)
	return out
}

// pictures returns the pictures of one moment. Those that nobody made yet are
// made before it, some at a time, so that sightings and other readers wait for
// none but the few that changed meanwhile.
func (r *Registry) pictures() (devices []*Device, orphans []*Service) {
	r.paint()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.pictures()
}

func (r *Registry) paint() {
	for at, more := 0, true; more; {
		r.mu.Lock()
		at, more = r.core.paintFrom(at)
		r.mu.Unlock()
	}
}

// Device returns the device that ref means: an id, an alias, a MAC, an IP
// address, a protocol's own id ("syncthing:P56IOI7-…") or a name. The error is ErrNotFound or ErrAmbiguous.
func (r *Registry) Device(ref string) (*Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.core.resolve(ref)
	if err != nil {
		return nil, err
	}
	return r.core.picture(d), nil
}

// Explain returns a device as Device does, and each piece of evidence for it
// with the reason why it was joined.
func (r *Registry) Explain(ref string) (*Device, []Evidence, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.core.resolve(ref)
	if err != nil {
		return nil, nil, err
	}
	return r.core.picture(d), r.core.explain(d), nil
}

// Snapshot returns all that the registry remembers, as Restore takes it.
func (r *Registry) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.snapshot()
}

// Stats returns the counters.
func (r *Registry) Stats() Stats {
	queued, dropped := r.queue.stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.core.stats
	s.Devices, s.Sightings = len(r.core.order)-r.core.holes, r.core.facts.used
	s.Queued, s.DroppedQueue, s.Watchers = queued, dropped, len(r.watchers)
	s.Saved, s.SaveErrors, s.SaveError, s.Resyncs = r.saved.batches, r.saved.errors, r.saved.err, r.saved.resyncs
	return s
}

// queue holds the sightings that wait.
type queue struct {
	max   int
	ready chan struct{} // holds a token when there may be something to take

	mu      sync.Mutex
	waiting []Sighting
	spare   []Sighting
	dropped uint64
}

func (q *queue) put(s []Sighting) {
	if len(s) == 0 {
		return
	}
	q.mu.Lock()
	n := min(len(s), q.max-len(q.waiting))
	q.waiting = append(q.waiting, s[:n]...)
	q.dropped += uint64(len(s) - n)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns what waits; it is valid until the next take.
func (q *queue) take() []Sighting {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.waiting
	clear(q.spare)
	q.waiting, q.spare = q.spare[:0], s
	return s
}

func (q *queue) stats() (waiting int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.dropped
}
