package deliver_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// A world is a hub's storage, its dispatcher, which may die and start again, and
// gateways, which are the wire.
type world struct {
	t  testing.TB
	db *store.DB
	*fleet.Fleet

	mu         sync.Mutex
	dispatcher *deliver.Dispatcher // nil while the hub is down
	alive      context.Context     // of calls to it: done when it dies
	stop       func()
	change     func(*deliver.Dispatcher) // before it runs
	fault      *fault
	gateways   map[string]*gateway
	epoch      uint64
}

// inWorld runs a test in a bubble with a hub that runs.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, newWorld(t, fleet.Options{}))
	})
}

func newWorld(t testing.TB, o fleet.Options) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "hub.db"), store.Options{})
	noErr(t, err)
	o.BlobFolder = filepath.Join(dir, "results")
	f, err := fleet.Open(t.Context(), db, o)
	noErr(t, err)
	w := &world{t: t, db: db, Fleet: f, gateways: map[string]*gateway{}}
	t.Cleanup(func() {
		w.kill()
		for _, g := range w.gateways {
			g.die()
		}
		noErr(t, f.Close())
		noErr(t, db.Close())
	})
	return w
}

// start starts the hub.
func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	alive, die := context.WithCancel(ctx)
	if w.fault != nil {
		go func() {
			select {
			case <-w.fault.died:
				die()
			case <-alive.Done():
			}
		}()
	}
	d := &deliver.Dispatcher{
		Log: faultyLog{w, w.Commands}, Blobs: faultyBlobs{w, w.Blobs}, Audit: faultyAudit{w, w.Audit}, Wire: w,
	}
	if w.change != nil {
		w.change(d)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := d.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dispatcher, w.alive = d, alive
	w.stop = func() { die(); cancel(); <-ended }
}

// kill ends the hub: the gateways lose their connections.
func (w *world) kill() {
	w.mu.Lock()
	stop := w.stop
	w.dispatcher, w.stop = nil, nil
	w.mu.Unlock()
	if stop == nil {
		return
	}
	for _, g := range w.gateways {
		g.vanish()
	}
	stop()
}

func (w *world) hub() *deliver.Dispatcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dispatcher
}

// Send implements deliver.Wire.
func (w *world) Send(ctx context.Context, id string, cmd reverse.Command) error {
	w.mu.Lock()
	g, d, fault := w.gateways[id], w.dispatcher, w.fault
	w.mu.Unlock()
	if g == nil || d == nil {
		return reverse.ErrOffline
	}
	do, failed := fault.step("send")
	if failed != nil {
		if !fault.isDead() {
			// What makes a stream fail is that it broke.
			g.mu.Lock()
			session := g.session
			g.session = reverse.Session{}
			g.mu.Unlock()
			defer time.AfterFunc(time.Second, func() { g.cut(); d.Left(session); g.connect() })
		}
		failed = fmt.Errorf("%w: %w", reverse.ErrOffline, failed)
	}
	if !do {
		return failed
	}
	// What the audit and the log must say by then.
	if said, err := w.Fleet.Audit.Entries(ctx, fleet.AuditFilter{Ref: cmd.ID}); err == nil && len(said) == 0 {
		w.t.Errorf("%s was sent before it was on record", cmd.ID)
	}
	if _, err := w.Commands.Command(ctx, cmd.ID); errors.Is(err, fleet.ErrUnknown) {
		w.t.Errorf("%s was sent before it was kept", cmd.ID)
	}
	if err := g.take(ctx, cmd); err != nil {
		return err
	}
	if g.leaves {
		g.vanish()
	}
	return failed
}

// Abandon implements deliver.Wire.
func (w *world) Abandon(id, command string) {
	w.mu.Lock()
	g := w.gateways[id]
	w.mu.Unlock()
	g.abandon(command)
}

// Session implements deliver.Wire.
func (w *world) Session(id string) (reverse.Session, bool) {
	w.mu.Lock()
	g := w.gateways[id]
	w.mu.Unlock()
	if g == nil {
		return reverse.Session{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.session, g.session.Epoch != 0
}

// A gateway keeps its promises: it runs no command twice, and sends results until
// they are taken. One that isn't native keeps no journal.
type gateway struct {
	w       *world
	id      string
	native  bool
	deaf    bool                                                            // it doesn't read its stream
	leaves  bool                                                            // it goes as soon as it has a command
	loses   bool                                                            // what is sent doesn't arrive
	answers func(ctx context.Context, line string) ([]byte, reverse.Status) // nil is "ok"
	text    []byte                                                          // what answers says, if nil
	chunk   int                                                             // bytes; 0 is 4

	mu        sync.Mutex
	session   reverse.Session
	link      context.Context
	cut       context.CancelFunc
	to        *deliver.Dispatcher // whom the link leads to
	life      context.Context     // of the gateway's process
	kill      context.CancelFunc
	journal   map[string]*job
	ran       map[string]int
	sent      map[string]int
	abandoned []string
	closing   bool // its connection is being closed
	tasks     sync.WaitGroup
}

type job struct {
	line   string
	done   bool // there is a result
	acked  bool
	text   []byte
	status reverse.Status
}

func (w *world) gateway(id string) *gateway {
	g := &gateway{w: w, id: id, native: true, text: []byte("ok"), journal: map[string]*job{}, ran: map[string]int{}, sent: map[string]int{}}
	g.life, g.kill = context.WithCancel(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gateways[id] = g
	return g
}

func (g *gateway) peer() reverse.Peer {
	return reverse.Peer{Gateway: g.id, Native: g.native, Insecure: !g.native}
}

// connect makes a session, as a gateway that runs all the time does.
func (g *gateway) connect() *gateway {
	d, alive := g.w.hub(), g.w.alive
	if g.native {
		hello := &lanfolkpb.HelloRequest{Version: "test"}
		g.mu.Lock()
		for _, id := range slices.Sorted(maps.Keys(g.journal)) {
			j, state := g.journal[id], lanfolkpb.JournalEntry_STARTED
			switch {
			case j.acked:
				continue
			case j.status == reverse.StatusInterrupted:
				state = lanfolkpb.JournalEntry_INTERRUPTED
			case j.done:
				state = lanfolkpb.JournalEntry_DONE
			}
			hello.Journal = append(hello.Journal, &lanfolkpb.JournalEntry{CommandId: id, State: state})
		}
		g.mu.Unlock()
		for {
			welcome, err := d.Hello(alive, g.peer(), hello)
			if alive.Err() != nil {
				return g
			}
			if err != nil {
				time.Sleep(time.Second)
				continue
			}
			for _, id := range welcome.GetForget() {
				g.acknowledge(id)
			}
			break
		}
	}
	g.w.mu.Lock()
	g.w.epoch++
	epoch := g.w.epoch
	g.w.mu.Unlock()
	g.mu.Lock()
	g.link, g.cut = context.WithCancel(alive)
	g.session = reverse.Session{Peer: g.peer(), Epoch: epoch, Since: time.Now()}
	session, life := g.session, g.life
	g.closing = false
	g.to = d
	for id, j := range g.journal {
		if j.status == reverse.StatusInterrupted && !j.acked {
			g.tasks.Go(func() { g.deliver(life, id) })
		}
	}
	g.mu.Unlock()
	d.Arrived(session)
	return g
}

// vanish ends the session; what runs goes on.
func (g *gateway) vanish() {
	g.mu.Lock()
	session, cut := g.session, g.cut
	g.session = reverse.Session{}
	g.mu.Unlock()
	if cut != nil {
		cut()
	}
	if d := g.w.hub(); d != nil && session.Epoch != 0 {
		d.Left(session)
	}
}

// die is vanish of a gateway that is killed: what runs is interrupted.
func (g *gateway) die() {
	g.vanish()
	g.mu.Lock()
	kill := g.kill
	g.mu.Unlock()
	kill()
	g.tasks.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.life, g.kill = context.WithCancel(context.Background())
	for _, j := range g.journal {
		if !j.done {
			j.done, j.status, j.text = true, reverse.StatusInterrupted, nil
		}
	}
}

// up returns the link when there is one; nil if the gateway's life is over.
func (g *gateway) up(life context.Context) (context.Context, *deliver.Dispatcher) {
	for life.Err() == nil {
		g.mu.Lock()
		now, to := g.link, g.to
		g.mu.Unlock()
		if now != nil && now.Err() == nil {
			return now, to
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-life.Done():
		}
	}
	return nil, nil
}

func (g *gateway) acknowledge(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j := g.journal[id]; j != nil {
		j.acked = true
	}
}

// take takes a command off the wire.
func (g *gateway) take(ctx context.Context, cmd reverse.Command) error {
	if g.deaf {
		<-ctx.Done()
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.link == nil || g.link.Err() != nil || g.closing {
		return fmt.Errorf("%w: %w", reverse.ErrUnsent, reverse.ErrOffline)
	}
	g.sent[cmd.ID]++
	if g.loses {
		return nil
	}
	if g.native && g.journal[cmd.ID] != nil {
		return nil
	}
	g.journal[cmd.ID] = &job{line: cmd.Line}
	life := g.life
	g.tasks.Go(func() { g.run(life, cmd) })
	return nil
}

func (g *gateway) abandon(command string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.abandoned = append(g.abandoned, command)
	g.closing = true
}

// run runs a command and sends its result.
func (g *gateway) run(life context.Context, cmd reverse.Command) {
	ctx, cancel := context.WithCancel(life)
	defer cancel()
	if g.native {
		first := make(chan bool, 1)
		following := make(chan struct{})
		defer func() { cancel(); <-following }()
		go func() { defer close(following); g.follow(ctx, cancel, cmd.ID, first) }()
		if wanted := <-first; !wanted {
			if life.Err() != nil {
				g.forget(cmd.ID) // it had not begun
			} else {
				g.acknowledge(cmd.ID)
			}
			return
		}
	}
	g.mu.Lock()
	g.ran[cmd.ID]++
	g.mu.Unlock()
	text, status := g.text, reverse.StatusOK
	if g.answers != nil {
		text, status = g.answers(ctx, cmd.Line)
	}
	if life.Err() != nil {
		return
	}
	if ctx.Err() != nil {
		status = reverse.StatusCancelled
	}
	g.mu.Lock()
	j := g.journal[cmd.ID]
	j.done, j.text, j.status = true, text, status
	g.mu.Unlock()
	g.deliver(life, cmd.ID)
}

// follow follows a command's terms over as many links as it takes.
func (g *gateway) follow(ctx context.Context, cancel func(), id string, first chan<- bool) {
	told := false
	for ctx.Err() == nil {
		link, d := g.up(ctx)
		if link == nil {
			break
		}
		both, done := context.WithCancel(ctx)
		stop := context.AfterFunc(link, done)
		err := d.Follow(both, g.peer(), id, func(t *lanfolkpb.Terms) error {
			if !told {
				told = true
				first <- true
			}
			if t.GetCancelled() {
				cancel()
			}
			return nil
		})
		stop()
		done()
		if ctx.Err() == nil && link.Err() == nil && (err == nil || errors.Is(err, reverse.ErrUnknown)) {
			break // it is wanted no more
		}
		if ctx.Err() == nil && link.Err() == nil {
			time.Sleep(time.Second)
		}
	}
	if !told {
		first <- false
	}
	cancel()
}

// forget is for a command that had not begun when the connection broke.
func (g *gateway) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.journal, id)
}

// deliver brings a result to the hub.
func (g *gateway) deliver(life context.Context, id string) {
	for {
		link, d := g.up(life)
		if link == nil {
			return
		}
		err := g.send(link, d, id)
		switch {
		case err == nil, errors.Is(err, reverse.ErrComplete), errors.Is(err, reverse.ErrUnknown), errors.Is(err, reverse.ErrTooLarge):
			g.acknowledge(id)
			return
		case !g.native && link.Err() != nil:
			return
		}
		select {
		case <-time.After(time.Second):
		case <-life.Done():
		}
	}
}

// send sends a result once, as reverse.Server does.
func (g *gateway) send(ctx context.Context, d *deliver.Dispatcher, id string) error {
	g.mu.Lock()
	j := *g.journal[id]
	size := g.chunk
	g.mu.Unlock()
	if size == 0 {
		size = 4
	}
	r, err := d.Open(ctx, g.peer(), id)
	if err != nil {
		return err
	}
	defer r.Close()
	seq, held, err := r.Held()
	if err != nil {
		return err
	}
	at := 0
	if held != nil {
		b, err := io.ReadAll(held)
		noErr(g.w.t, err)
		noErr(g.w.t, held.Close())
		if string(b) != string(j.text[:len(b)]) {
			g.w.t.Errorf("%s: the hub holds %q of %q", id, b, j.text)
		}
		at = len(b)
	}
	for ; len(j.text)-at > size; seq++ {
		if err := r.Write(ctx, reverse.Meta{ID: id, Seq: seq}, j.text[at:at+size]); err != nil {
			return g.final(r, err)
		}
		at += size
	}
	sum := sha256.Sum256(j.text)
	last := reverse.Meta{ID: id, Seq: seq, Last: true, Status: j.status, SHA256: hex.EncodeToString(sum[:]), Total: uint64(len(j.text))}
	if err := r.Write(ctx, last, j.text[at:]); err != nil {
		return g.final(r, err)
	}
	if err := r.Finish(ctx, reverse.TypeResult, last); err != nil {
		return g.final(r, err)
	}
	return nil
}

func (g *gateway) final(r reverse.Result, err error) error {
	if errors.Is(err, reverse.ErrTooLarge) || errors.Is(err, reverse.ErrUnknown) {
		r.Abort(err)
	}
	return err
}

// wasSent and hasRun return how often commands were sent to it, and run.
func (g *gateway) wasSent() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.sent)
}

func (g *gateway) hasRun() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.ran)
}

// wasAbandoned returns which commands it was cut off from.
func (g *gateway) wasAbandoned() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.abandoned)
}

// wasTold says whether it knows that nobody wants a command's result any more.
func (g *gateway) wasTold(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.journal[id].acked
}

// submit submits a line to gateways.
func (w *world) submit(r fleet.Request, gateways ...string) ([]fleet.Command, error) {
	r.By = "ann"
	if r.Line == "" {
		r.Line = "status"
	}
	for _, id := range gateways {
		r.Gateways = append(r.Gateways, fleet.Gateway{ID: id})
	}
	return w.hub().Submit(w.alive, r)
}

// one submits a line to one gateway, which must be taken.
func (w *world) one(gateway, line string) fleet.Command {
	w.t.Helper()
	all, err := w.submit(fleet.Request{Line: line}, gateway)
	noErr(w.t, err)
	return all[0]
}

// now returns a command as the log has it.
func (w *world) now(id string) fleet.Command {
	w.t.Helper()
	c, err := w.Commands.Command(w.t.Context(), id)
	noErr(w.t, err)
	return c
}

// ended returns a command when it has ended, which must be within a time.
func (w *world) ended(id string, within time.Duration) fleet.Command {
	w.t.Helper()
	for until := time.Now().Add(within); ; {
		synctest.Wait()
		if c := w.now(id); c.State.Ended() {
			return c
		}
		if !time.Now().Before(until) {
			w.t.Fatalf("%s hasn't ended after %v: %+v", id, within, w.now(id))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// said returns what the audit says of a command, oldest first: what, and how it
// ended.
func (w *world) said(id string) []string {
	w.t.Helper()
	entries, err := w.Fleet.Audit.Entries(w.t.Context(), fleet.AuditFilter{Ref: id})
	noErr(w.t, err)
	var all []string
	for _, e := range slices.Backward(entries) {
		all = append(all, e.Who+" "+e.What+" "+e.Outcome)
	}
	return all
}

// output returns a command's result.
func (w *world) output(id string) string {
	w.t.Helper()
	r, err := w.hub().Output(w.t.Context(), id, 0, false)
	noErr(w.t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	noErr(w.t, err)
	return string(b)
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
