package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"pgregory.net/rapid"
)

// A point is where in a command's life the gateway dies.
type point int

const (
	never point = iota
	afterAccept
	tornAccept // a power cut left half of the line
	beforeEffect
	afterEffect
	afterRun
	afterArrival // the hub has the result, and the gateway doesn't know
	afterDelivered
	points
)

// A world is a hub that forgets nothing, a gateway that dies, and what its
// commands did.
type world struct {
	t     *rapid.T
	agent *Agent
	dir   string
	dies  point // of the command that runs
	next  string

	mu      sync.Mutex
	lines   map[string]string
	answers map[string]answer
	did     map[string]int
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, lines: make(map[string]string), answers: make(map[string]answer), did: make(map[string]int)}
	w.begin(w.folder())
	return w
}

func (w *world) folder() string {
	dir, err := folder()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// begin starts the gateway on what a folder holds.
func (w *world) begin(dir string) {
	a, err := Open(Config{Folder: dir}, Sources{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	always := func(*Agent) bool { return false }
	a.verbs = append(a.verbs,
		verb{name: "touch", min: 2, max: 2, lacks: always, kind: reverse.TypeResult, streams: true, effects: true, run: w.touch},
		verb{name: "read", min: 2, max: 2, lacks: always, kind: reverse.TypeResult, run: w.read})
	w.agent, w.dir = a, dir
}

func (w *world) touch(_ context.Context, _ *Agent, args []string, out io.Writer) (ending, error) {
	if w.dies == beforeEffect {
		w.snapshot()
		return ending{}, nil
	}
	w.mu.Lock()
	w.did[args[0]]++
	w.mu.Unlock()
	_, err := io.WriteString(out, args[1])
	if w.dies == afterEffect {
		w.snapshot()
	}
	return ending{}, err
}

func (w *world) read(_ context.Context, _ *Agent, args []string, out io.Writer) (ending, error) {
	if w.dies == beforeEffect {
		w.snapshot()
	}
	_, err := io.WriteString(out, args[1])
	if w.dies == afterEffect {
		w.snapshot()
	}
	return ending{}, err
}

// snapshot keeps what is on the disk at this moment; the next life begins with it.
func (w *world) snapshot() {
	w.next = w.folder()
	if err := os.RemoveAll(w.next); err != nil {
		w.t.Fatal(err)
	}
	if err := os.CopyFS(w.next, os.DirFS(w.dir)); err != nil {
		w.t.Fatal(err)
	}
}

// torn takes a part of the last line away.
func (w *world) torn() {
	path := filepath.Join(w.next, journalFile)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()-int64(rapid.IntRange(1, 60).Draw(w.t, "torn")))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// send has a command run, and lets the gateway die at a point of it. It returns
// whether it did.
func (w *world) send(id string, dies point) (died bool) {
	w.dies, w.next = dies, ""
	at := func(p point) bool {
		if dies == p {
			w.snapshot()
		}
		return w.next != ""
	}
	run, err := w.agent.Accept(id, w.lines[id])
	if err != nil {
		w.t.Fatal(err)
	}
	if !run {
		return false
	}
	if at(afterAccept) {
		return w.restart()
	}
	if at(tornAccept) {
		w.torn()
		return w.restart()
	}
	out := w.agent.Run(context.Background(), id, w.lines[id], reverse.Terms{})
	got := read(w.t, out)
	if at(afterRun) { // or in it
		return w.restart()
	}
	w.arrive(id, got)
	if at(afterArrival) {
		return w.restart()
	}
	w.agent.Delivered(id, nil)
	return at(afterDelivered) && w.restart()
}

// read reads a result.
func read(t *rapid.T, out *reverse.Outgoing) answer {
	var text strings.Builder
	if out.Content != nil {
		for b := make([]byte, 4096); ; {
			n, err := out.Content.ReadAt(b, int64(text.Len()))
			text.Write(b[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return answer{text: text.String(), end: out.End(), kind: out.Type}
}

// arrive is the hub's: the first whole result counts.
func (w *world) arrive(id string, got answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, there := w.answers[id]; !there {
		w.answers[id] = got
	}
}

// Deliver implements Deliverer.
func (w *world) Deliver(_ context.Context, id string, out *reverse.Outgoing) error {
	w.arrive(id, read(w.t, out))
	return nil
}

// restart goes on with what was on the disk when the gateway died.
func (w *world) restart() bool {
	if err := w.agent.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.begin(w.next)
	return true
}

// connect is what happens at each connection: the hub sends again what the
// gateway doesn't name.
func (w *world) connect(dies func() point) {
	for again := true; again; {
		again = false
		named := make(map[string]bool)
		for _, e := range w.agent.Hello().GetJournal() {
			named[e.GetCommandId()] = true
		}
		w.agent.Welcome(&lanfolkpb.Welcome{})
		w.agent.Resend(context.Background(), w)
		for _, id := range slices.Sorted(maps.Keys(w.lines)) {
			if _, there := w.answers[id]; there || named[id] {
				continue
			}
			if w.send(id, dies()) {
				again = true
				break
			}
		}
	}
}

// Each command has its effect once, or not at all and is reported as
// interrupted, whenever the gateway dies; none is lost.
func TestExactlyOnceInEffect(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer func() { _ = w.agent.Close() }()
		died := make(map[string]point) // the first time
		n := rapid.IntRange(1, 4).Draw(t, "commands")
		deaths := 6
		for _, id := range newIDs(n) {
			verb := rapid.SampledFrom([]string{"touch", "read"}).Draw(t, "verb")
			// In the journal, or in a file of its own.
			text := strings.Repeat("x", rapid.SampledFrom([]int{1, maxInline, maxInline + 1, 20_000}).Draw(t, "size"))
			w.lines[id] = fmt.Sprintf("%s %s %s", verb, id, text)
			p := point(rapid.IntRange(0, int(points)-1).Draw(t, "dies"))
			if w.send(id, p) {
				died[id] = p
			}
			if rapid.Bool().Draw(t, "again") {
				w.send(id, never)
			}
			if rapid.Bool().Draw(t, "connects") {
				w.connect(func() point {
					if deaths--; deaths < 0 {
						return never
					}
					return point(rapid.IntRange(0, int(tornAccept)).Draw(t, "dies"))
				})
			}
		}
		w.connect(func() point { return never })
		for id, line := range w.lines {
			got, there := w.answers[id]
			_, want, _ := strings.Cut(line, id+" ")
			reads := strings.HasPrefix(line, "read")
			switch p := died[id]; {
			case !there:
				t.Fatalf("%s, which died at %d, is lost", id, p)
			case reads && (got.text != want || got.end.Status != reverse.StatusOK):
				t.Fatalf("%s, which died at %d, only reads: %+v", id, p, got.end)
			case !reads && (p == beforeEffect || p == afterEffect):
				if got.end.Status != reverse.StatusInterrupted || w.did[id] != int(p-beforeEffect) {
					t.Fatalf("%s, which died at %d, did it %d times: %+v", id, p, w.did[id], got.end)
				}
			case !reads && (w.did[id] != 1 || got.end.Status != reverse.StatusOK || got.text != want):
				t.Fatalf("%s, which died at %d, did it %d times: %+v", id, p, w.did[id], got.end)
			}
		}
		if left, err := os.ReadDir(filepath.Join(w.dir, resultFolder)); err != nil || len(left) > 0 {
			t.Fatalf("results are left: %v, %v", left, err)
		}
	})
}

// A file that was on its way when the gateway died is read on, if it is the same.
func TestFileIsReadOnAfterRestart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   reverse.Status
	}{
		"the same":    {func(string) error { return nil }, reverse.StatusOK},
		"another one": {func(path string) error { return os.WriteFile(path, []byte("other"), 0o600) }, reverse.StatusInterrupted},
		"gone":        {os.Remove, reverse.StatusInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			files, dir, id := t.TempDir(), t.TempDir(), newIDs(1)[0]
			path, all := filepath.Join(files, "x"), strings.Repeat("0123456789", 10_000)
			if err := os.WriteFile(path, []byte(all), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := Open(Config{Folder: dir, Files: files}, Sources{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Accept(id, "get x"); err != nil {
				t.Fatal(err)
			}
			out := a.Run(t.Context(), id, "get x", reverse.Terms{})
			if n, err := out.Content.ReadAt(make([]byte, 50_000), 0); n != 50_000 || err != nil {
				t.Fatal(n, err)
			}
			if err := errors.Join(a.Close(), c.change(path)); err != nil {
				t.Fatal(err)
			}
			a = open(t, Config{Folder: dir, Files: files}, Sources{})
			if s := a.Hello().GetJournal(); len(s) != 1 || s[0].GetState() != lanfolkpb.JournalEntry_STARTED {
				t.Fatalf("it says %v", s)
			}
			a.Welcome(nil)
			a.Resend(t.Context(), deliver(func(got *reverse.Outgoing) error {
				rest := ""
				if got.Content != nil {
					b := make([]byte, 60_000)
					n, err := got.Content.ReadAt(b, 50_000)
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					rest = string(b[:n])
				}
				end := got.End()
				if end.Status != c.want || c.want == reverse.StatusOK && (rest != all[50_000:] || end.Total != 100_000) {
					t.Errorf("%d bytes, %+v", len(rest), end)
				}
				return nil
			}))
			if len(a.Hello().GetJournal()) > 0 {
				t.Error("it is still in the journal")
			}
		})
	}
}

type deliver func(out *reverse.Outgoing) error

func (d deliver) Deliver(_ context.Context, _ string, out *reverse.Outgoing) error { return d(out) }

// What the hub doesn't know any more is dropped.
func TestWelcomeForgets(t *testing.T) {
	dir, id := t.TempDir(), newIDs(1)[0]
	a, err := Open(Config{Folder: dir}, Sources{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Accept(id, "status"); err != nil {
		t.Fatal(err)
	}
	_ = a.Run(t.Context(), id, "status", reverse.Terms{})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, Config{Folder: dir}, Sources{})
	if s := a.Hello().GetJournal(); len(s) != 1 || s[0].GetState() != lanfolkpb.JournalEntry_DONE {
		t.Fatalf("it says %v", s)
	}
	a.Welcome(&lanfolkpb.Welcome{Forget: []string{id, "unknown"}})
	a.Resend(t.Context(), deliver(func(*reverse.Outgoing) error { t.Error("it is sent"); return nil }))
	if run, err := a.Accept(id, "status"); run || err != nil || len(a.Hello().GetJournal()) > 0 {
		t.Errorf("it may run again: %v, %v", run, err)
	}
}
