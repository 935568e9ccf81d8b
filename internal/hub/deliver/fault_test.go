package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// A mode is what goes wrong at a step.
type mode int

const (
	failBefore mode = iota // the step is not done, and says so
	failAfter              // the step is done, and says that it isn't
	crashAfter             // the hub dies and the step is done
)

func (m mode) String() string {
	return [...]string{"fails before", "fails after", "dies after"}[m]
}

// A fault goes wrong at the n-th step that a hub takes; nil never does.
type fault struct {
	n    int // from 0
	mode mode

	mu    sync.Mutex
	steps []string
	fails string // each step of that name
	dead  bool
	died  chan struct{} // closed then
}

var errFault = errors.New("a fault")

// step is called before a step, and returns whether it is done, and an error to be
// returned instead of its own.
func (f *fault) step(name string) (do bool, err error) {
	if f == nil {
		return true, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return false, fmt.Errorf("%s: %w", name, errFault)
	}
	if f.fails == name {
		return false, fmt.Errorf("%s: %w", name, errFault)
	}
	n := len(f.steps)
	f.steps = append(f.steps, name)
	if n != f.n {
		return true, nil
	}
	if f.mode == crashAfter {
		f.dead = true
		close(f.died)
	}
	return f.mode != failBefore, fmt.Errorf("%s: %w", name, errFault)
}

// allFail makes each step of a name fail from now on.
func (f *fault) allFail(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = name
}

func (f *fault) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// faulty does a step.
func faulty[T any](w *world, name string, do func() (T, error)) (T, error) {
	var none T
	w.mu.Lock()
	f := w.fault
	w.mu.Unlock()
	doIt, fault := f.step(name)
	if !doIt {
		return none, fault
	}
	x, err := do()
	if fault != nil {
		return none, fault
	}
	return x, err
}

func faulty0(w *world, name string, do func() error) error {
	_, err := faulty(w, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

type faultyLog struct {
	w *world
	fleet.CommandLog
}

func (l faultyLog) Create(ctx context.Context, entries []fleet.Entry, all ...fleet.Command) error {
	return faulty0(l.w, "create", func() error { return l.CommandLog.Create(ctx, entries, all...) })
}

func (l faultyLog) Command(ctx context.Context, id string) (fleet.Command, error) {
	return faulty(l.w, "read", func() (fleet.Command, error) { return l.CommandLog.Command(ctx, id) })
}

func (l faultyLog) Update(ctx context.Context, c fleet.Command, entries ...fleet.Entry) (fleet.Command, error) {
	name := "update"
	if c.State.Ended() {
		name = "end"
	}
	return faulty(l.w, name, func() (fleet.Command, error) { return l.CommandLog.Update(ctx, c, entries...) })
}

func (l faultyLog) Outstanding(ctx context.Context, g string) ([]fleet.Command, error) {
	return faulty(l.w, "outstanding", func() ([]fleet.Command, error) { return l.CommandLog.Outstanding(ctx, g) })
}

type faultyAudit struct {
	w *world
	fleet.Audit
}

func (a faultyAudit) Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	return faulty(a.w, "audit "+entries[0].What, func() (fleet.Head, error) { return a.Audit.Append(ctx, entries...) })
}

func (a faultyAudit) Entries(ctx context.Context, f fleet.AuditFilter) ([]fleet.Entry, error) {
	return faulty(a.w, "read the audit", func() ([]fleet.Entry, error) { return a.Audit.Entries(ctx, f) })
}

type faultyBlobs struct {
	w *world
	fleet.Blobs
}

func (b faultyBlobs) Write(ctx context.Context, id, gateway string) (fleet.BlobWriter, error) {
	var w fleet.BlobWriter
	_, err := faulty(b.w, "open the blob", func() (_ struct{}, err error) {
		w, err = b.Blobs.Write(ctx, id, gateway)
		return struct{}{}, err
	})
	if err != nil {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
		return nil, err
	}
	return faultyWriter{b.w, w}, nil
}

func (b faultyBlobs) Open(ctx context.Context, id string) (i fleet.BlobInfo, r io.ReadSeekCloser, err error) {
	return i, r, faulty0(b.w, "read a blob", func() error {
		i, r, err = b.Blobs.Open(ctx, id)
		return err
	})
}

func (b faultyBlobs) Stat(ctx context.Context, id string) (fleet.BlobInfo, error) {
	return faulty(b.w, "look at the blob", func() (fleet.BlobInfo, error) { return b.Blobs.Stat(ctx, id) })
}

type faultyWriter struct {
	w *world
	fleet.BlobWriter
}

func (b faultyWriter) Append(ctx context.Context, offset int64, chunk []byte) error {
	return faulty0(b.w, "append to the blob", func() error { return b.BlobWriter.Append(ctx, offset, chunk) })
}

func (b faultyWriter) Finish(ctx context.Context, last []byte, i fleet.BlobInfo) (fleet.BlobInfo, error) {
	return faulty(b.w, "finish the blob", func() (fleet.BlobInfo, error) { return b.BlobWriter.Finish(ctx, last, i) })
}
