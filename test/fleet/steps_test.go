package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A command with an effect is killed between any two steps of its life, at either
// end. Steps are seen from outside: what passes on the wire, a record of TLS each; what
// the gateway writes to its journal and the hub to its database; and where the program
// is that the command runs. A row of gateways lives the same life at the same time,
// each caught at another step, so that one kill tries them all.

// A row is gateways that all do the same, and their hub.
type row struct {
	*site
	host  *lab.Host
	gates []*runner
	round int
	// anyTime says that a gateway may be gone before a command is even made: it was killed,
	// or its hub was, and it isn't back yet.
	anyTime bool
}

// A runner is a gateway that may run one program, which writes a line for each run.
type runner struct {
	*gate
	tap *tap
	dir string // of the program: what it did, and where it waits
}

// life waits where it is told to, and appends its argument to a file: its effect.
const life = `cd %s
stop() { if [ -e wait-$1 ]; then : > at-$1; while [ -e wait-$1 ]; do sleep 0.01; done; fi; }
echo "begun $1"
sleep 0.05
echo "goes on"
stop before
echo "$1" >> did
stop after
echo "said $1"
`

func newRow(t *testing.T, n int) *row {
	s := bareSite(t)
	s.address = "127.0.0.1:" + grpcPort
	s.startHub("")
	r := &row{site: s, host: s.Host("gates")}
	for i := range n {
		w := &runner{dir: s.folder("program")}
		if err := os.Chmod(w.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		path := writeScript(t, w.dir, "append.sh", fmt.Sprintf(life, w.dir))
		w.tap = newTap(t, r.host, s.at, s.address)
		w.gate = s.join(r.host, fmt.Sprintf("g%02d", i), program("append", path, "[a-z0-9-]+"), w.tap.address)
		w.start()
		r.gates = append(r.gates, w)
	}
	r.allOnline()
	return r
}

func (r *row) allOnline() { r.onlineSince(time.Time{}) }

// onlineSince waits until all gateways have connected after a moment.
func (r *row) onlineSince(moment time.Time) {
	r.t.Helper()
	lab.Eventually(r.t, patience, "all gateways online", func() error {
		n := 0
		for _, g := range r.gateways() {
			if g.State == "online" && g.ConnectedAt.After(moment) {
				n++
			}
		}
		if n < len(r.gates) {
			return fmt.Errorf("%d of %d", n, len(r.gates))
		}
		return nil
	})
}

// submit has all gateways run the program, and doesn't wait. It returns by what the
// command is known, and the one that waits.
func (r *row) submit() (word string, waits *lab.Process) {
	r.t.Helper()
	r.round++
	word = fmt.Sprintf("word-%d", r.round)
	return word, r.at.Lanfolk("run", "--all", "--timeout", "10m", "-o", "jsonl", "--state", r.hub.State, "--", "exec", "append", word).Start()
}

// of returns the commands of a word, by the gateway's name.
func (r *row) of(word string) map[string]outcome {
	r.t.Helper()
	names := make(map[string]string)
	for _, g := range r.gateways() {
		names[g.ID] = g.Name
	}
	found := make(map[string]outcome)
	for _, o := range r.commands() {
		if !strings.HasSuffix(o.Command, " "+word) {
			continue
		}
		name := o.Gateway
		if n, ok := names[name]; ok {
			name = n
		}
		found[name] = o
	}
	return found
}

// did returns how often a gateway's program had its effect for a word.
func (w *runner) did(t *testing.T, word string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "did"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if line == word+"\n" {
			n++
		}
	}
	return n
}

// step does one part of a test, and says how long it took.
func (r *row) step(name string, do func()) {
	r.t.Helper()
	began := time.Now()
	do()
	r.t.Logf("%s: %v", name, time.Since(began).Round(time.Millisecond))
}

// judge waits until all commands of a word have ended, and holds against each other
// what the hub says and what was done. Died says whose gateways were killed.
func (r *row) judge(word, step string, died func(i int) bool) {
	r.t.Helper()
	var all map[string]outcome
	lab.Eventually(r.t, patience, step+": the commands' ends", func() error {
		all = r.of(word)
		for _, w := range r.gates {
			if o, ok := all[w.name]; !ok || !o.ended() {
				return fmt.Errorf("%s: %+v, %v", w.name, o, ok)
			}
		}
		return nil
	})
	ends := make(map[string]int)
	for i, w := range r.gates {
		o, n := all[w.name], w.did(r.t, word)
		ends[fmt.Sprintf("%s ×%d", o.Status, n)]++
		switch {
		case o.Status == "ok" && n == 1 && o.Exit == 0:
			if out := r.ok("commands", "output", o.CommandID); out != "begun "+word+"\ngoes on\nsaid "+word+"\n" {
				r.t.Errorf("%s: %s: its output is %q", step, w.name, out)
			}
		case o.Status == "interrupted" && n <= 1 && died(i):
			// What it said before is there, as much as the gateway had heard.
			if out := r.ok("commands", "output", o.CommandID); !strings.HasPrefix("begun "+word+"\ngoes on\nsaid "+word+"\n", out) {
				r.t.Errorf("%s: %s: its output is %q", step, w.name, out)
			}
		case o.Status == "offline" && n == 0 && r.anyTime: // gone before it was asked
		default:
			r.t.Errorf("%s: %s: it is reported as %s %q, exit %d, and was done %d times", step, w.name, o.Status, o.Error, o.Exit, n)
		}
	}
	r.t.Logf("%s: %v", step, ends)
}

func nobody(int) bool   { return false }
func everyone(int) bool { return true }

// killHub kills the hub and starts it again.
func (r *row) killHub() {
	r.t.Helper()
	r.hub.Kill()
	r.restartHub()
}

// killGates kills all gateways and starts them again.
func (r *row) killGates() {
	r.t.Helper()
	for _, w := range r.gates {
		_ = syscall.Kill(w.Pid(), syscall.SIGKILL)
	}
	for _, w := range r.gates {
		w.Kill()
	}
	for _, w := range r.gates {
		w.start()
	}
}

// refresh starts all gateways again in order: who lost the hub often waits ever longer.
func (r *row) refresh() {
	r.t.Helper()
	began := time.Now()
	for _, w := range r.gates {
		w.Signal(syscall.SIGTERM)
	}
	for _, w := range r.gates {
		w.Wait(patience)
		w.start()
	}
	r.onlineSince(began) // not in a session that a hub's death left in its list
}

// A point is before which record a gateway is stopped.
type point struct {
	dir direction
	n   int
}

// stops has each gateway of the row stopped before another record.
func (r *row) stops() []point {
	points := make([]point, len(r.gates))
	for i := range points {
		points[i] = point{direction(i % 2), i / 2}
	}
	return points
}

// stopOnTheWire submits a command, has each gateway stopped before another record, and
// returns when all are, or have got past all of theirs. It says how many were stopped
// before the command's end.
func (r *row) stopOnTheWire() (word string, stopped int) {
	r.t.Helper()
	var held []<-chan struct{}
	for i, p := range r.stops() {
		held = append(held, r.gates[i].tap.stopBefore(p.dir, p.n))
	}
	word, _ = r.submit()
	lab.Eventually(r.t, patience, "each gateway stopped, or done", func() error {
		stopped = 0
		all := r.of(word)
		for i, w := range r.gates {
			if all[w.name].ended() {
				continue // a ping may be what it was stopped before
			}
			select {
			case <-held[i]:
				stopped++
			default:
				return fmt.Errorf("%s, %v: %+v", w.name, r.stops()[i], all[w.name])
			}
		}
		return nil
	})
	return word, stopped
}

func (r *row) cutAll() {
	for _, w := range r.gates {
		w.tap.cut()
	}
}

// TestKilledBetweenAnyTwoSteps steps through the points of a command's life.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	t.Parallel()
	const gates = 14
	r := newRow(t, gates)
	// A command that nobody disturbs, and with it how many steps there are.
	word, _ := r.submit()
	r.judge(word, "undisturbed", nobody)

	r.step("hub, on the wire", func() {
		word, stopped := r.stopOnTheWire()
		t.Logf("%d of %d gateways were stopped", stopped, gates)
		// At the least the command, its terms, that the gateway asks for them, and the
		// result; what the program says may go with that.
		if stopped < 4 || stopped > gates-2 {
			t.Errorf("%d of %d gateways were stopped: want all steps, and one more each way than there are", stopped, gates)
		}
		r.hub.Kill()
		r.cutAll()
		r.restartHub()
		r.judge(word, "hub killed", nobody)
	})
	r.step("gateway, on the wire", func() {
		r.allOnline()
		word, _ := r.stopOnTheWire()
		for _, w := range r.gates {
			_ = syscall.Kill(w.Pid(), syscall.SIGKILL)
		}
		r.cutAll()
		r.killGates()
		r.judge(word, "gateway killed", everyone)
	})
	for _, where := range []string{"before", "after"} {
		r.step("gateway, "+where+" the effect", func() {
			r.allOnline()
			r.stopPrograms(where)
			word, _ := r.submit()
			r.waitPrograms(where)
			r.killGates()
			r.resumePrograms(where)
			r.judge(word, "killed "+where+" the effect", everyone)
			want := map[string]int{"before": 0, "after": 1}[where]
			for _, w := range r.gates {
				if n := w.did(t, word); n != want {
					t.Errorf("%s: %d effects, want %d: did the program outlive its gateway?", w.name, n, want)
				}
			}
		})
		r.step("hub, "+where+" the effect", func() {
			r.allOnline()
			r.stopPrograms(where)
			word, _ := r.submit()
			r.waitPrograms(where)
			r.killHub()
			r.resumePrograms(where)
			r.judge(word, "hub killed "+where+" the effect", nobody)
		})
	}
	r.step("gateway, at its journal", func() {
		r.allOnline()
		// Each dies at another write, those past the last one not at all.
		var all sync.WaitGroup
		done := make(chan struct{})
		killed := make([]bool, gates)
		for i, w := range r.gates {
			journal := w.find(t, "commands.journal")
			written := writes(t, journal, done)
			all.Go(func() {
				for range i + 1 {
					if _, ok := <-written; !ok {
						return
					}
				}
				killed[i] = syscall.Kill(w.Pid(), syscall.SIGKILL) == nil
			})
		}
		word, _ := r.submit()
		lab.Eventually(t, patience, "each gateway dead, or done", func() error {
			for _, w := range r.gates {
				if w.Running() && !r.of(word)[w.name].ended() {
					return errors.New(w.name)
				}
			}
			return nil
		})
		close(done)
		all.Wait()
		if !killed[0] || killed[gates-1] {
			t.Errorf("killed were %v: want all steps, and one more than there are", killed)
		}
		for _, w := range r.gates {
			w.Kill()
			w.start()
		}
		r.judge(word, "killed at a write", func(i int) bool { return killed[i] })
	})
	r.step("hub, at its database", func() {
		all := r.countWrites()
		points := []int{all / 4, all / 2}
		if soaking() {
			points = nil
			for i := range 60 {
				points = append(points, 1+i*all/60)
			}
		}
		for _, n := range points {
			r.refresh()
			r.hubDiesAtWrite(n)
		}
	})
}

// countWrites returns how often the hub writes to its database for a command of the row.
// How many commits that are depends on who comes at the same time.
func (r *row) countWrites() (n int) {
	r.t.Helper()
	done, counted := make(chan struct{}), make(chan struct{})
	written := writes(r.t, filepath.Join(r.hub.State, "hub.db-wal"), done)
	go func() {
		defer close(counted)
		for range written {
			n++
		}
	}()
	word, _ := r.submit()
	r.judge(word, "counted", nobody)
	close(done)
	<-counted
	r.t.Logf("%d writes", n)
	return n
}

// hubDiesAtWrite kills the hub at the nth write to its database after a command was
// asked for.
func (r *row) hubDiesAtWrite(n int) {
	r.t.Helper()
	done, dead := make(chan struct{}), make(chan struct{})
	written := writes(r.t, filepath.Join(r.hub.State, "hub.db-wal"), done)
	pid, killed := r.hub.Pid(), false
	go func() {
		defer close(dead)
		for range n {
			if _, ok := <-written; !ok {
				return
			}
		}
		killed = syscall.Kill(pid, syscall.SIGKILL) == nil
	}()
	word, waits := r.submit()
	select {
	case <-dead:
	case <-waits.Done(): // it writes less than that
	}
	close(done)
	<-dead
	r.killHub()
	exit := waits.Wait(patience)
	r.t.Logf("write %d: killed: %v, exit of who asked: %d", n, killed, exit)
	if len(r.of(word)) == 0 && exit > 0 {
		// Who asked was told that it failed, and so nothing may be done.
		r.t.Logf("write %d: not taken, exit %d", n, exit)
		for _, w := range r.gates {
			if d := w.did(r.t, word); d > 0 {
				r.t.Errorf("write %d: %s: a command that isn't known was done %d times", n, w.name, d)
			}
		}
		return
	}
	r.judge(word, fmt.Sprintf("hub killed at write %d", n), nobody)
}

// find returns a file of the gateway's state, wherever it lies there.
func (g *gate) find(t *testing.T, name string) string {
	t.Helper()
	var found string
	_ = filepath.WalkDir(g.node.State, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			found = path
		}
		return nil
	})
	if found == "" {
		t.Fatalf("no %s in %s", name, g.node.State)
	}
	return found
}

// stopPrograms has the programs wait at a place, waitPrograms waits until they do,
// resumePrograms lets them go on.
func (r *row) stopPrograms(where string) {
	r.t.Helper()
	for _, w := range r.gates {
		if err := os.WriteFile(filepath.Join(w.dir, "wait-"+where), nil, 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *row) waitPrograms(where string) {
	r.t.Helper()
	for _, w := range r.gates {
		lab.Eventually(r.t, patience, "the program of "+w.name, func() error {
			_, err := os.Stat(filepath.Join(w.dir, "at-"+where))
			return err
		})
	}
}

func (r *row) resumePrograms(where string) {
	r.t.Helper()
	for _, w := range r.gates {
		if err := errors.Join(os.Remove(filepath.Join(w.dir, "wait-"+where)), os.Remove(filepath.Join(w.dir, "at-"+where))); err != nil {
			r.t.Fatal(err)
		}
	}
}

// writes sends a word for each time that a file is written to, until done is closed.
// Then the channel is closed.
func writes(t *testing.T, path string, done <-chan struct{}) <-chan struct{} {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	go func() { <-done; f.Close() }()
	written := make(chan struct{})
	go func() {
		defer close(written)
		// One event at a time: those that are alike are not kept apart.
		for b := make([]byte, unix.SizeofInotifyEvent); ; {
			if _, err := f.Read(b); err != nil {
				return
			}
			select {
			case written <- struct{}{}:
			case <-done:
				return
			}
		}
	}()
	return written
}

// TestKilledAtAnyTime kills hub and gateways at times that chance decides, while
// commands run, and looks at the end at what became of each. LANFOLK_SOAK does it more
// often, beside TestKilledBetweenAnyTwoSteps, which goes through the steps.
func TestKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	rounds := 1
	if soaking() {
		rounds = 200
	}
	const seed = 8
	chance := rand.New(rand.NewPCG(seed, seed))
	r := newRow(t, 4)
	r.anyTime = true
	for round := range rounds {
		word, waits := r.submit()
		if rounds == 1 { // it is worth something only if there is a command
			lab.Eventually(t, patience, "a command", func() error {
				if len(r.of(word)) == 0 {
					return errors.New("none yet")
				}
				return nil
			})
		}
		time.Sleep(time.Duration(chance.IntN(60)) * time.Millisecond)
		victims := chance.IntN(3) // hub, gateways, both
		if victims != 1 {
			r.hub.Kill()
		}
		if victims != 0 {
			time.Sleep(time.Duration(chance.IntN(20)) * time.Millisecond)
			r.killGates()
		}
		if victims != 1 {
			time.Sleep(time.Duration(chance.IntN(300)) * time.Millisecond)
			r.restartHub()
		}
		// Who asks may have been slow, and reach the hub only now.
		lab.Eventually(t, patience, "a command, or that there is none", func() error {
			if waits.Running() && len(r.of(word)) == 0 {
				return errors.New("neither")
			}
			return nil
		})
		if len(r.of(word)) == 0 {
			for _, w := range r.gates {
				if n := w.did(t, word); n > 0 {
					t.Errorf("round %d: %s: a command that isn't known was done %d times", round, w.name, n)
				}
			}
			r.refresh()
			continue
		}
		r.judge(word, fmt.Sprintf("round %d", round), func(int) bool { return victims != 0 })
		if round+1 < rounds {
			r.refresh()
		}
	}
	if i := slices.IndexFunc(r.commands(), func(o outcome) bool { return !o.ended() }); i >= 0 {
		t.Errorf("a command never ended: %+v", r.commands()[i])
	}
}
