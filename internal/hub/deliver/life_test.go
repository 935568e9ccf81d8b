package deliver_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestACommandRunsOnceAndItsResultIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		c := w.one("g1", "status")
		if c.State != fleet.Queued || c.By != "ann" || c.Line != "status" || c.Deadline.Sub(c.Created) != time.Minute {
			t.Errorf("submitted: %+v", c)
		}
		c = w.ended(c.ID, time.Second)
		if c.State != fleet.OK || c.Size != 2 || w.output(c.ID) != "ok" || g.hasRun()[c.ID] != 1 {
			t.Errorf("ended: %+v with %q, ran %d times", c, w.output(c.ID), g.hasRun()[c.ID])
		}
		if got := w.said(c.ID); !slices.Equal(got, []string{"ann run ", "hub result ok"}) {
			t.Errorf("the audit says %q", got)
		}
	})
}

// wants holds a command's end against what it should be.
func (w *world) wants(id string, within time.Duration, state fleet.State, text string) fleet.Command {
	w.t.Helper()
	c := w.ended(id, within)
	if c.State != state || !strings.Contains(c.Error, text) {
		w.t.Errorf("%s: ended as %s: %q, want %s: %q", c.Line, c.State, c.Error, state, text)
	}
	if said := w.said(id); len(said) < 2 || said[len(said)-1] != "hub result "+string(state) {
		w.t.Errorf("%s: the audit says %q", c.Line, said)
	}
	return c
}

// holds makes a gateway's commands run until their context is done, or release is
// called.
func (g *gateway) holds() (release func()) {
	free := make(chan struct{})
	g.answers = func(ctx context.Context, _ string) ([]byte, reverse.Status) {
		select {
		case <-ctx.Done():
		case <-free:
		}
		return []byte("held"), reverse.StatusOK
	}
	return sync.OnceFunc(func() { close(free) })
}

func TestABadRequestIsRefusedBeforeAnythingIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.change = func(d *deliver.Dispatcher) { d.MaxOutstanding = 5 }
		w.start()
		w.gateway("g1").connect()
		many := make([]string, 6)
		for i := range many {
			many[i] = fmt.Sprint("x", i)
		}
		for _, c := range []struct {
			r        fleet.Request
			gateways []string
			want     string
			is       error
		}{
			{fleet.Request{Line: `exec "a b`}, []string{"g1"}, `deliver: reverse: command, byte 6: " is not closed`, nil},
			{fleet.Request{Line: "  "}, []string{"g1"}, "deliver: reverse: command, byte 1: the line is empty", nil},
			{fleet.Request{Line: `"" x`}, []string{"g1"}, "deliver: reverse: command, byte 1: the verb is empty", nil},
			{fleet.Request{Line: "a\nb"}, []string{"g1"}, "deliver: reverse: command, byte 2: control character U+000A", nil},
			{fleet.Request{}, nil, "deliver: invalid: no gateway is named", fleet.ErrInvalid},
			{fleet.Request{}, []string{"g1", "g1"}, `deliver: invalid: gateway "g1" is named twice`, fleet.ErrInvalid},
			{fleet.Request{Timeout: 31 * 24 * time.Hour}, []string{"g1"}, "deliver: invalid: a timeout of 744h0m0s; at most 720h0m0s", fleet.ErrInvalid},
			{fleet.Request{Timeout: -1}, []string{"g1"}, "deliver: invalid: a timeout of -1ns; at most 720h0m0s", fleet.ErrInvalid},
			{fleet.Request{}, many, "deliver: too many commands are outstanding: 6 gateways, each with a line of 6 bytes", deliver.ErrBusy},
		} {
			_, err := w.submit(c.r, c.gateways...)
			if err == nil || err.Error() != c.want || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%q to %v: %v, want %s", c.r.Line, c.gateways, err, c.want)
			}
		}
		if head, err := w.Fleet.Audit.Head(t.Context()); err != nil || head.Seq != 0 {
			t.Errorf("the audit has %d entries, %v", head.Seq, err)
		}
	})
}

func TestAGatewayThatIsAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1")
		if c := w.one("g1", "status"); c.State != fleet.Offline {
			t.Errorf("at once: %+v", c)
		}
		kept, err := w.submit(fleet.Request{Queue: true, Timeout: time.Hour}, "g1")
		noErr(t, err)
		over, err := w.submit(fleet.Request{Queue: true, Timeout: time.Minute}, "g1")
		noErr(t, err)
		w.wants(over[0].ID, time.Minute, fleet.Offline, "did not come in time")
		time.Sleep(30 * time.Minute)
		if c := w.now(kept[0].ID); c.State != fleet.Queued {
			t.Errorf("in the queue: %+v", c)
		}
		g.connect()
		w.wants(kept[0].ID, time.Second, fleet.OK, "")
		if len(g.hasRun()) != 1 {
			t.Errorf("ran %v", g.hasRun())
		}
	})
}

func TestADeadline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		g.holds()
		silent, err := w.submit(fleet.Request{Timeout: time.Minute}, "g1")
		noErr(t, err)
		time.Sleep(time.Minute + 10*time.Second)
		synctest.Wait()
		if c := w.now(silent[0].ID); c.State != fleet.Running {
			t.Errorf("its answer may be on its way: %+v", c)
		}
		w.wants(silent[0].ID, 6*time.Second, fleet.Timeout, "no answer in 1m0s")
		synctest.Wait()
		if !g.wasTold(silent[0].ID) {
			t.Error("its gateway wasn't told that nobody wants the answer")
		}

		// One that goes away ends, too, and is told when it is back.
		gone, err := w.submit(fleet.Request{Timeout: time.Minute}, "g1")
		noErr(t, err)
		synctest.Wait()
		g.vanish()
		w.wants(gone[0].ID, 76*time.Second, fleet.Timeout, "no answer")
		g.connect()
		if !g.wasTold(gone[0].ID) || g.hasRun()[gone[0].ID] != 1 {
			t.Errorf("after its return: ran %v", g.hasRun())
		}
	})
}

func TestALateResultThatKeepsComingIsWaitedFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		release := g.holds()
		all, err := w.submit(fleet.Request{Timeout: time.Minute}, "g1")
		noErr(t, err)
		synctest.Wait()
		id, ctx := all[0].ID, t.Context()
		r, err := w.hub().Open(ctx, g.peer(), id)
		noErr(t, err)
		for n := range 20 {
			time.Sleep(10 * time.Second)
			noErr(t, r.Write(ctx, reverse.Meta{ID: id, Seq: uint64(n)}, []byte("chunk")))
		}
		if c := w.now(id); c.State != fleet.Running {
			t.Errorf("while chunks come: %+v", c)
		}
		w.wants(id, 16*time.Second, fleet.Timeout, "no answer")
		if err := r.Write(ctx, reverse.Meta{ID: id, Seq: 20}, nil); !errors.Is(err, reverse.ErrUnknown) {
			t.Errorf("a chunk after the end: %v", err)
		}
		noErr(t, r.Close())
		synctest.Wait()
		if u, err := w.Blobs.Usage(ctx); err != nil || u.Bytes > 0 || u.Partial > 0 {
			t.Errorf("it left %+v, %v", u, err)
		}
		release()
	})
}

func TestCallingACommandOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		ctx := t.Context()
		_, err := w.hub().Cancel(ctx, "bob", "01JN0000000000000000000000")
		if !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("an unknown one: %v", err)
		}
		g := w.gateway("g1")
		queued, err := w.submit(fleet.Request{Queue: true}, "g1")
		noErr(t, err)
		c, err := w.hub().Cancel(ctx, "bob", queued[0].ID)
		if err != nil || c.State != fleet.Cancelled || c.CancelledBy != "bob" {
			t.Errorf("in the queue: %+v, %v", c, err)
		}
		g.connect()
		g.holds()

		// It runs: its gateway says how it ended.
		running := w.one("g1", "status")
		synctest.Wait()
		if c, err = w.hub().Cancel(ctx, "bob", running.ID); err != nil || c.State.Ended() || w.now(running.ID).CancelledBy != "bob" {
			t.Errorf("running: %+v, %v", c, err)
		}
		c = w.wants(running.ID, time.Second, fleet.Cancelled, "")
		if w.output(c.ID) != "held" || !slices.Equal(w.said(c.ID), []string{"ann run ", "bob cancel ", "hub result cancelled"}) {
			t.Errorf("%q, audit %q", w.output(c.ID), w.said(c.ID))
		}
		if again, err := w.hub().Cancel(ctx, "eve", c.ID); err != nil || again.CancelledBy != "bob" {
			t.Errorf("again: %+v, %v", again, err)
		}

		// It runs at a gateway that is away.
		away := w.one("g1", "status")
		synctest.Wait()
		g.vanish()
		if c, err = w.hub().Cancel(ctx, "bob", away.ID); err != nil || c.State != fleet.Cancelled {
			t.Errorf("away: %+v, %v", c, err)
		}
		g.connect()
		synctest.Wait()
		if !g.wasTold(away.ID) {
			t.Error("its gateway wasn't told")
		}

		// Its gateway doesn't care.
		g.answers = func(ctx context.Context, _ string) ([]byte, reverse.Status) {
			time.Sleep(time.Hour)
			return nil, reverse.StatusOK
		}
		deaf := w.one("g1", "status")
		synctest.Wait()
		_, err = w.hub().Cancel(ctx, "bob", deaf.ID)
		noErr(t, err)
		w.wants(deaf.ID, 16*time.Second, fleet.Cancelled, "did not say how it ended")
	})
}

func TestAGatewayThatComesBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		release := g.holds()
		before := w.one("g1", "status")
		synctest.Wait()
		g.die()
		g.connect()
		w.wants(before.ID, time.Second, fleet.Interrupted, "")
		release()

		// It lost what it was sent.
		g.loses = true
		c := w.one("g1", "status")
		synctest.Wait()
		g.loses = false
		g.vanish()
		g.connect()
		w.wants(c.ID, time.Second, fleet.OK, "")
		if g.wasSent()[c.ID] != 2 {
			t.Errorf("sent %d times", g.wasSent()[c.ID])
		}
	})
}

func TestAnInterruptedCommandWhoseResultNeverComes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		g.holds()
		c := w.one("g1", "status")
		synctest.Wait()
		g.vanish()
		_, err := w.hub().Hello(t.Context(), g.peer(), &lanfolkpb.HelloRequest{Journal: []*lanfolkpb.JournalEntry{
			{CommandId: c.ID, State: lanfolkpb.JournalEntry_INTERRUPTED}, {CommandId: "junk"}, {CommandId: "01JN0000000000000000000000"},
		}})
		noErr(t, err)
		w.wants(c.ID, 76*time.Second, fleet.Interrupted, "the gateway died")
	})
}

func TestAJournalMayNameOnlyItsOwn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g, other := w.gateway("g1").connect(), w.gateway("g2").connect()
		g.holds()
		c := w.one("g1", "status")
		synctest.Wait()
		welcome, err := w.hub().Hello(t.Context(), other.peer(), &lanfolkpb.HelloRequest{Journal: []*lanfolkpb.JournalEntry{{CommandId: c.ID}}})
		noErr(t, err)
		if !slices.Equal(welcome.GetForget(), []string{c.ID}) {
			t.Errorf("forget %q", welcome.GetForget())
		}
		if _, err := w.hub().Open(t.Context(), other.peer(), c.ID); !errors.Is(err, reverse.ErrUnknown) {
			t.Errorf("another gateway's result: %v", err)
		}
		if err := w.hub().Follow(t.Context(), other.peer(), c.ID, nil); !errors.Is(err, reverse.ErrUnknown) {
			t.Errorf("another gateway's terms: %v", err)
		}
	})
}

func TestGatewaysWithoutAJournalHaveOneAtATime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("insecure/g1")
		g.native = false
		g.connect()
		release := g.holds()
		first, second, third := w.one(g.id, "a"), w.one(g.id, "b"), w.one(g.id, "c")
		synctest.Wait()
		if g.wasSent()[first.ID] != 1 || len(g.wasSent()) != 1 || w.now(first.ID).State != fleet.Sent || w.now(second.ID).State != fleet.Queued {
			t.Errorf("sent %v", g.wasSent())
		}
		if c, err := w.hub().Cancel(t.Context(), "bob", first.ID); err != nil || c.State != fleet.Cancelled {
			t.Errorf("cancelled: %+v, %v", c, err)
		}
		synctest.Wait()
		if g.wasSent()[second.ID] != 0 || w.now(second.ID).State.Ended() {
			t.Errorf("on a connection that is being closed: sent %v, %+v", g.wasSent(), w.now(second.ID))
		}
		g.vanish()
		g.connect()
		synctest.Wait()
		if !slices.Equal(g.wasAbandoned(), []string{first.ID}) || g.wasSent()[second.ID] != 1 {
			t.Errorf("abandoned %q, sent %v", g.wasAbandoned(), g.wasSent())
		}
		w.wants(second.ID, time.Minute, fleet.Timeout, "no answer")
		if !slices.Contains(g.wasAbandoned(), second.ID) {
			t.Errorf("abandoned %q", g.wasAbandoned())
		}
		w.wants(third.ID, time.Second, fleet.Offline, "did not come in time") // its time was over, too
		g.vanish()
		g.connect()
		fourth := w.one(g.id, "d")
		synctest.Wait()
		g.vanish()
		w.wants(fourth.ID, time.Second, fleet.Interrupted, "the connection broke")
		g.connect()
		synctest.Wait()
		if g.wasSent()[fourth.ID] != 1 {
			t.Errorf("sent %d times", g.wasSent()[fourth.ID])
		}
		g.leaves = true
		w.wants(w.one(g.id, "e").ID, time.Second, fleet.Interrupted, "the connection broke")
		release()
	})
}

func TestAResultThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fleet.Options{MaxBlobBytes: 20_000, MaxBytes: 30_000})
		w.start()
		g := w.gateway("g1").connect()
		g.text, g.chunk = make([]byte, 25_000), 10_000
		c := w.one("g1", "get a")
		w.wants(c.ID, time.Second, fleet.Error, "a result may have 20000 bytes")
		if u, err := w.Blobs.Usage(t.Context()); err != nil || u.Bytes > 0 || u.Partial > 0 {
			t.Errorf("it left %+v, %v", u, err)
		}
		// The oldest give way.
		g.text = make([]byte, 18_000)
		a := w.one("g1", "get b")
		w.wants(a.ID, time.Second, fleet.OK, "")
		b := w.one("g1", "get c")
		w.wants(b.ID, time.Second, fleet.OK, "")
		if _, err := w.hub().Output(t.Context(), a.ID, 0, false); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("the oldest one: %v", err)
		}
	})
}

// Who waits for a command is told of it and of a small result without the database.
func TestWhoFollowsNeedsNoDatabase(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.fault = &fault{n: -1, died: make(chan struct{})}
		w.start()
		g := w.gateway("g1").connect()
		release := g.holds()
		id := w.one("g1", "status").ID
		synctest.Wait()
		w.fault.allFail("read")
		if c, err := w.hub().Command(t.Context(), id); err != nil || c.State != fleet.Sent && c.State != fleet.Running {
			t.Errorf("while it runs: %+v, %v", c, err)
		}
		r, err := w.hub().Output(t.Context(), id, 1, true)
		noErr(t, err)
		defer r.Close()
		w.fault.allFail("read a blob")
		release()
		if b, err := io.ReadAll(r); err != nil || string(b) != "eld" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := w.hub().Output(t.Context(), id, 0, false); err == nil {
			t.Error("who comes later isn't told that the database is away")
		}
		w.fault.allFail("")
		if c, err := w.hub().Command(t.Context(), id); err != nil || c.State != fleet.OK {
			t.Errorf("when it has ended: %+v, %v", c, err)
		}
		if got := w.output(id); got != "held" {
			t.Errorf("later %q comes", got)
		}
		if _, err := w.hub().Command(t.Context(), "01JN0000000000000000000000"); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("of an unknown one: %v", err)
		}
	})
}

func TestAResultIsReadWhileItComes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		release := g.holds()
		c := w.one("g1", "status")
		synctest.Wait()
		r, err := w.hub().Output(t.Context(), c.ID, 2, true)
		noErr(t, err)
		defer r.Close()
		// One who reads nothing holds nobody up.
		slow, err := w.hub().Output(t.Context(), c.ID, 0, true)
		noErr(t, err)
		defer slow.Close()
		read := make(chan string)
		go func() {
			defer close(read)
			for {
				b := make([]byte, 100)
				n, err := r.Read(b)
				if n > 0 {
					read <- string(b[:n])
				}
				if err != nil {
					return
				}
			}
		}()
		ctx := t.Context()
		res, err := w.hub().Open(ctx, g.peer(), c.ID)
		noErr(t, err)
		noErr(t, res.Write(ctx, reverse.Meta{ID: c.ID}, []byte("first")))
		if got := <-read; got != "rst" {
			t.Errorf("%q came", got)
		}
		noErr(t, res.Write(ctx, reverse.Meta{ID: c.ID, Seq: 1}, []byte(" second")))
		if got := <-read; got != " second" {
			t.Errorf("%q came", got)
		}
		if got := w.output(c.ID); got != "first second" {
			t.Errorf("without waiting %q comes", got)
		}
		all := []byte("first second third")
		sum := sha256.Sum256(all)
		last := reverse.Meta{ID: c.ID, Seq: 2, Last: true, Status: reverse.StatusError, Exit: 3, Error: "so so", SHA256: hex.EncodeToString(sum[:]), Total: uint64(len(all))}
		noErr(t, res.Write(ctx, last, []byte(" third")))
		noErr(t, res.Finish(ctx, reverse.TypeResult, last))
		noErr(t, res.Close())
		if got := <-read; got != " third" {
			t.Errorf("%q came", got)
		}
		if got, more := <-read; more {
			t.Errorf("%q came after the end", got)
		}
		if c := w.wants(c.ID, 0, fleet.Error, "so so"); c.Exit != 3 || c.SHA256 != sum || c.Type != uint32(reverse.TypeResult) {
			t.Errorf("ended: %+v", c)
		}
		if b, err := io.ReadAll(slow); err != nil || string(b) != string(all) {
			t.Errorf("the slow reader read %q, %v", b, err)
		}
		release()
		if _, err := w.hub().Output(ctx, "01JN0000000000000000000000", 0, false); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("of an unknown one: %v", err)
		}
		if got := w.output(w.one("g9", "status").ID); got != "" {
			t.Errorf("of one that never ran: %q", got)
		}
	})
}

func TestChangesAreWatched(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		ctx, cancel := context.WithCancel(t.Context())
		all := w.hub().Watch(ctx)
		g := w.gateway("g1").connect()
		release := g.holds()
		c := w.one("g1", "status")
		var states []fleet.State
		for len(states) == 0 || states[len(states)-1] != fleet.Running {
			states = append(states, (<-all).State)
		}
		if len(states) > 3 {
			t.Errorf("states %q", states)
		}
		old := w.one("g9", "status")
		<-all
		some := w.hub().Watch(ctx, c.ID, old.ID)
		first := map[string]fleet.State{}
		for range 2 {
			c := <-some
			first[c.ID] = c.State
		}
		if first[c.ID] != fleet.Running || first[old.ID] != fleet.Offline {
			t.Errorf("first %v", first)
		}
		release()
		if got := <-some; got.State != fleet.OK || got.ID != c.ID {
			t.Errorf("then %+v", got)
		}
		cancel()
		for range all {
		}
		for range some {
		}
	})
}

func TestOldCommandsAreForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.change = func(d *deliver.Dispatcher) { d.Retention = 24 * time.Hour }
		w.start()
		w.gateway("g1").connect()
		c := w.one("g1", "status")
		w.ended(c.ID, time.Second)
		time.Sleep(23 * time.Hour)
		w.now(c.ID)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if _, err := w.Commands.Command(t.Context(), c.ID); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("after its time: %v", err)
		}
		if _, err := w.Blobs.Stat(t.Context(), c.ID); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("its result after its time: %v", err)
		}
	})
}

func TestManyGatewaysAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		const n = 200
		var ids []string
		for i := range n {
			ids = append(ids, w.gateway(fmt.Sprintf("g%04d", i)).connect().id)
		}
		made, err := w.submit(fleet.Request{}, ids...)
		noErr(t, err)
		if !slices.IsSortedFunc(made, func(a, b fleet.Command) int { return strings.Compare(a.ID, b.ID) }) || made[7].Gateway != "g0007" {
			t.Error("the ids aren't in the order of the gateways")
		}
		w.settled(time.Minute)
		for _, c := range made {
			if c := w.now(c.ID); c.State != fleet.OK {
				t.Fatalf("%+v", c)
			}
		}
	})
}

// A gateway that doesn't read its stream holds up nobody else.
func TestAStreamThatIsNotRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		var ids []string
		for i := range 200 {
			g := w.gateway(fmt.Sprintf("deaf%03d", i))
			g.deaf = true
			ids = append(ids, g.connect().id)
		}
		deaf, err := w.submit(fleet.Request{}, ids...)
		noErr(t, err)
		w.gateway("z").connect()
		c := w.one("z", "status")
		w.wants(c.ID, 5*time.Second, fleet.OK, "")
		w.wants(deaf[0].ID, 80*time.Second, fleet.Timeout, "no answer")
		w.settled(time.Second)
	})
}

func TestWhenTheAuditCannotBeWrittenNothingIsSent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.fault = &fault{n: -1, died: make(chan struct{})}
		w.start()
		g := w.gateway("g1").connect()
		w.fault.allFail("create")
		if _, err := w.submit(fleet.Request{}, "g1"); err == nil || !strings.Contains(err.Error(), "so nothing was sent") {
			t.Errorf("Submit: %v", err)
		}
		synctest.Wait()
		if len(g.wasSent()) > 0 {
			t.Errorf("sent %v", g.wasSent())
		}

		// An end waits until it can be put on record.
		w.fault.allFail("end")
		c := w.one("g1", "status")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if c := w.now(c.ID); c.State.Ended() {
			t.Errorf("it ended unrecorded: %+v", c)
		}
		w.fault.allFail("")
		w.wants(c.ID, 31*time.Second, fleet.OK, "")
		if got := w.said(c.ID); len(got) != 2 || g.hasRun()[c.ID] != 1 {
			t.Errorf("the audit says %q; ran %d times", got, g.hasRun()[c.ID])
		}
	})
}

// In a bubble time stands still while something is done; here it doesn't.
func TestInRealTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fleet.Options{MaxBlobBytes: 100})
	w.start()
	g := w.gateway("g1").connect()
	g.text = make([]byte, 200)
	refused := w.one("g1", "get a")
	for until := time.Now().Add(time.Minute); !w.now(refused.ID).State.Ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it hasn't ended: %+v", w.now(refused.ID))
		}
	}
}
