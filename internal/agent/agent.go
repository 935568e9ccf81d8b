package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// Config says what a gateway does for its hub.
type Config struct {
	Folder   string             // of the journal and the results; one process uses it at a time
	Version  string             // of the program, for the hub
	Files    string             // the folder that get fetches from; "" is none
	Programs map[string]Program // that exec runs, by name
	Capture  CaptureLimits
	// MaxOutput bounds one result that isn't a file of get; 0 is 64 MiB. The hub
	// may want less.
	MaxOutput int64
	// MaxSpool bounds the results that wait on the disk; 0 is 1 GiB.
	MaxSpool int64
}

// CaptureLimits bounds what the hub may capture. The zero value allows nothing.
type CaptureLimits struct {
	Allowed  bool
	MaxTime  time.Duration // 0 is one minute
	MaxBytes int64         // 0 is 16 MiB
}

const (
	defaultOutput  = 64 << 20
	defaultSpool   = 1 << 30
	defaultCapture = 16 << 20
)

// An Agent is a reverse.Handler that runs the verbs. Its methods may be called at
// once.
type Agent struct {
	config  Config
	sources Sources
	verbs   []verb
	log     *slog.Logger
	journal *journal
	room    room
	began   time.Time
	found   []string // commands of an earlier life with a result to be sent

	welcome  sync.Once
	welcomed chan struct{} // closed by the first Welcome
	tasks    sync.WaitGroup
	commands atomic.Uint64 // accepted
	refused  atomic.Uint64

	mu   sync.Mutex
	held map[string]io.Closer // results on their way
}

var _ reverse.Handler = (*Agent)(nil)

// A Deliverer brings results to the hub: a reverse.Client.
type Deliverer interface {
	Deliver(ctx context.Context, id string, out *reverse.Outgoing) error
}

// Open makes an agent. It locks the folder of the config, makes it if need be,
// and reads the journal there. A nil log is silent.
func Open(c Config, s Sources, log *slog.Logger) (*Agent, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for name, p := range c.Programs {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("agent: program %q: %w", name, err)
		}
	}
	c.MaxOutput = orElse(c.MaxOutput, defaultOutput)
	c.MaxSpool = orElse(c.MaxSpool, defaultSpool)
	c.Capture.MaxBytes = orElse(c.Capture.MaxBytes, defaultCapture)
	c.Capture.MaxTime = orElse(c.Capture.MaxTime, time.Minute)
	j, found, err := openJournal(c.Folder, time.Now())
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if found.damage > 0 {
		log.Error("the journal of commands was damaged; what may have run is not run again", "file", cmp.Or(found.aside, j.path()), "n", found.damage)
	}
	if found.unwritten != nil {
		log.Error("the journal of commands can't be written; no command is run until it can", "file", j.path(), "err", found.unwritten)
	}
	if len(c.Programs) > 0 || found.died > 0 {
		if n := killLeftovers(c.Folder); n > 0 {
			log.Warn("what programs had begun was left by an earlier gateway, and is killed now", "n", n)
		}
	}
	a := &Agent{
		config: c, sources: s, verbs: verbs(), log: log, journal: j, began: time.Now(), found: found.open,
		welcomed: make(chan struct{}), held: make(map[string]io.Closer),
	}
	a.room.most = c.MaxSpool
	a.room.used.Store(found.bytes)
	return a, nil
}

func orElse[T ~int64](v, other T) T {
	if v > 0 {
		return v
	}
	return other
}

// Close waits for what runs, whose contexts must be done, and closes the journal.
// The Client and Resend must have ended.
func (a *Agent) Close() error {
	a.tasks.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.held {
		c.Close()
	}
	clear(a.held)
	if err := a.journal.close(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

// Hello implements reverse.Handler.
func (a *Agent) Hello() *lanfolkpb.HelloRequest {
	h := &lanfolkpb.HelloRequest{Version: a.config.Version, Up: uint64(time.Since(a.began) / time.Second)}
	for _, e := range a.journal.open() {
		s := lanfolkpb.JournalEntry_ACCEPTED
		switch {
		case e.state == started:
			s = lanfolkpb.JournalEntry_STARTED
		case e.state == done && e.result.Status == reverse.StatusInterrupted:
			s = lanfolkpb.JournalEntry_INTERRUPTED
		case e.state == done:
			s = lanfolkpb.JournalEntry_DONE
		}
		h.Journal = append(h.Journal, &lanfolkpb.JournalEntry{CommandId: e.id, State: s})
	}
	return h
}

// Welcome implements reverse.Handler.
func (a *Agent) Welcome(w *lanfolkpb.Welcome) {
	for _, id := range w.GetForget() {
		a.mu.Lock()
		_, held := a.held[id]
		a.mu.Unlock()
		// What is on its way learns it from the hub itself.
		if e, ok := a.journal.entry(id); ok && e.state == done && !held {
			a.acknowledge(id)
		}
	}
	a.welcome.Do(func() { close(a.welcomed) })
}

// Accept implements reverse.Handler.
func (a *Agent) Accept(id, _ string) (run bool, err error) {
	if run, err = a.journal.accept(id, time.Now()); err != nil {
		return false, fmt.Errorf("agent: it is not run: %w", err)
	}
	if run {
		a.commands.Add(1)
	}
	return run, nil
}

// Run implements reverse.Handler.
func (a *Agent) Run(ctx context.Context, id, line string, terms reverse.Terms) *reverse.Outgoing {
	if e, ok := a.journal.entry(id); ok && e.state == done {
		return a.again(ctx, e) // it may have run before
	}
	words, err := reverse.Split(line)
	if err != nil {
		return a.refuse(ctx, id, err)
	}
	v, err := a.verb(words)
	if err != nil {
		return a.refuse(ctx, id, err)
	}
	if v.fetches {
		return a.fetch(ctx, id, words[1], terms)
	}
	return a.do(ctx, id, v, words[1:], terms)
}

// refuse ends a command that has not begun.
func (a *Agent) refuse(ctx context.Context, id string, err error) *reverse.Outgoing {
	a.refused.Add(1)
	status, text := outcome(ctx, err)
	out := reverse.Failure(status, text)
	end := out.End()
	r := &result{Type: out.Type, Status: end.Status, Error: clip(end.Error), SHA256: end.SHA256[:]}
	if err := a.journal.add(record{ID: id, State: done, Result: r}, false); err != nil {
		a.log.Error("the journal of commands can't be written", "command", id, "err", err)
	}
	return out
}

// do runs a verb that writes.
func (a *Agent) do(ctx context.Context, id string, v verb, args []string, terms reverse.Terms) *reverse.Outgoing {
	limit := a.config.MaxOutput
	if v.limit != nil {
		limit = min(limit, v.limit(a))
	}
	if terms.MaxBytes > 0 {
		limit = int64(min(uint64(limit), terms.MaxBytes))
	}
	if v.streams { // on the disk first: run again it would say something else than the hub has
		if err := a.journal.add(record{ID: id, State: started}, true); err != nil {
			return a.refuse(ctx, id, fmt.Errorf("the journal can't be written, so it is not run: %w", err))
		}
	}
	sp := newSpool(a.journal.resultPath(id), limit, &a.room, v.cuts)
	a.hold(id, sp)
	work := func() {
		e, err := v.run(ctx, a, args, sp)
		if err == nil && ctx.Err() != nil && !v.effects {
			err = context.Cause(ctx) // there would have been more
		}
		a.finish(ctx, id, v, sp, e, err, terms)
	}
	if v.streams {
		a.tasks.Go(work)
	} else {
		work()
	}
	return &reverse.Outgoing{Type: v.kind, Content: sp, End: sp.how, Fresh: true}
}

// finish puts a result into the journal, and lets the hub come to its end.
func (a *Agent) finish(ctx context.Context, id string, v verb, sp *spool, e ending, failed error, terms reverse.Terms) {
	status, text := outcome(ctx, failed)
	if failed == nil && e.exit != 0 {
		status = reverse.StatusError
	}
	if e.note != "" {
		text = join(text, e.note)
	}
	if total, cut := sp.wasCut(); cut {
		text = join(text, fmt.Sprintf("the output was cut after %d bytes", total))
	}
	text = clip(text)
	sum, total, small := sp.state()
	r := record{ID: id, State: done, Keep: keep(terms), Result: &result{
		Type: v.kind, Status: status, Exit: e.exit, Error: text, SHA256: sum[:], Total: total, Text: small,
	}}
	// A small result of a verb that reads goes to the hub in one piece, or, after
	// a power cut, another one does. Others must be told on where they broke off.
	large := total > int64(len(small))
	var err error
	if large {
		err = sp.sync(filepath.Join(a.config.Folder, resultFolder))
	}
	if err = errors.Join(err, a.journal.add(r, large || v.effects)); err != nil {
		a.log.Error("a result is not on the disk", "command", id, "err", err)
	}
	sp.finish(reverse.End{Status: status, Exit: e.exit, Error: text, SHA256: sum, Total: uint64(total)})
}

// keep returns for how many seconds an id is remembered; 0 leaves it as it is.
func keep(terms reverse.Terms) int64 {
	if terms.Timeout <= 0 {
		return 0
	}
	return min(int64(terms.Timeout/time.Second)+keepBeyond, maxKeep)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// clip bounds the text of an error.
func clip(s string) string {
	if len(s) > reverse.MaxError {
		s = s[:reverse.MaxError]
	}
	return string(bytes.ToValidUTF8([]byte(s), []byte("?")))
}

// again returns a result of an earlier life.
func (a *Agent) again(ctx context.Context, e entry) *reverse.Outgoing {
	if e.result == nil {
		return a.readOn(ctx, e)
	}
	r := e.result
	out := &reverse.Outgoing{Type: r.Type, Content: bytes.NewReader(r.Text)}
	end := reverse.End{Status: r.Status, Exit: r.Exit, Error: r.Error, SHA256: [32]byte(r.SHA256), Total: uint64(r.Total)}
	out.End = func() reverse.End { return end }
	if r.Total == int64(len(r.Text)) {
		return out
	}
	f, err := os.Open(a.journal.resultPath(e.id))
	if err != nil {
		a.log.Error("a result is lost", "command", e.id, "err", err)
		return reverse.Failure(reverse.StatusError, "the result was lost on the gateway")
	}
	c := newContent(ctx, f, f, r.Total)
	a.hold(e.id, c)
	out.Content = c
	out.End = func() reverse.End {
		if broken := c.end(); broken.Status != reverse.StatusOK {
			return broken
		}
		return end
	}
	return out
}

// hold keeps what is to be closed when the result is at the hub.
func (a *Agent) hold(id string, c io.Closer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[id] = c
}

// Delivered implements reverse.Handler.
func (a *Agent) Delivered(id string, err error) {
	if err != nil {
		a.log.Warn("the hub doesn't have a result", "command", id, "err", err)
	}
	a.mu.Lock()
	c := a.held[id]
	delete(a.held, id)
	a.mu.Unlock()
	if c != nil {
		c.Close()
	}
	if err == nil || errors.Is(err, reverse.ErrRefused) {
		a.acknowledge(id)
	}
}

// acknowledge drops a result. The id stays, so that the command isn't run again.
func (a *Agent) acknowledge(id string) {
	if err := a.journal.add(record{ID: id, State: acknowledged}, false); err != nil {
		a.log.Error("the journal of commands can't be written", "command", id, "err", err)
		return
	}
	path := a.journal.resultPath(id)
	info, err := os.Stat(path)
	if err == nil {
		if err = os.Remove(path); err == nil {
			a.room.used.Add(-info.Size())
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.log.Error("a result can't be removed", "command", id, "err", err)
	}
}

// Resend brings the results of earlier lives to the hub, once it has said
// Welcome; until then they may be another hub's. It returns when that is done, or
// ctx is.
func (a *Agent) Resend(ctx context.Context, d Deliverer) {
	select {
	case <-a.welcomed:
	case <-ctx.Done():
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	free := make(chan struct{}, resendAtOnce)
	for _, id := range a.found {
		e, ok := a.journal.entry(id)
		if !ok || e.state == acknowledged {
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		all.Go(func() {
			defer func() { <-free }()
			err := d.Deliver(ctx, id, a.again(ctx, e))
			if ctx.Err() == nil {
				a.Delivered(id, err)
			}
		})
	}
}

const resendAtOnce = 4
