package agent

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// newIDs returns n ids that rise.
func newIDs(n int) []string {
	ids := reverse.IDs{Random: zeros{}} // which have no end
	all := make([]string, n)
	for i := range all {
		all[i], _ = ids.Next(start)
	}
	return all
}

func reopen(t testing.TB, dir string) (*journal, found) {
	t.Helper()
	j, f, err := openJournal(dir, start)
	if err != nil {
		t.Fatal(err)
	}
	return j, f
}

func okResult(text string) *result {
	sum := sha256.Sum256([]byte(text))
	return &result{Type: reverse.TypeResult, Status: reverse.StatusOK, SHA256: sum[:], Total: int64(len(text)), Text: []byte(text)}
}

// A mark is how long the file was when a step was done.
type mark struct {
	at    int64
	id    string
	state state
}

// session writes what three commands did, each one further than the one before,
// and returns the file.
func session(t testing.TB) (ids []string, marks []mark, file []byte) {
	t.Helper()
	dir := t.TempDir()
	j, _ := reopen(t, dir)
	ids = newIDs(4)
	step := func(id string, s state, err error) {
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, mark{j.size, id, s})
	}
	for i, id := range ids {
		fresh, err := j.accept(id, start)
		if !fresh {
			t.Fatal("not fresh")
		}
		step(id, accepted, err)
		if i > 0 {
			step(id, started, j.add(record{ID: id, State: started}, true))
		}
		if i > 1 {
			step(id, done, j.add(record{ID: id, State: done, Result: okResult("it says " + id)}, true))
		}
		if i > 2 {
			step(id, acknowledged, j.add(record{ID: id, State: acknowledged}, false))
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	return ids, marks, file
}

// folder makes a folder in memory, where there is such a thing: a sync costs nothing
// there.
func folder() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "lanfolk-agent-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "lanfolk-agent-")
}

// refill makes a folder hold this journal and nothing else.
func refill(t testing.TB, dir string, file []byte) string {
	t.Helper()
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, resultFolder)), os.WriteFile(filepath.Join(dir, journalFile), file, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// put makes a folder with a journal.
func put(t testing.TB, file []byte) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return refill(t, dir, file)
}

// Wherever the file was cut, a command that was started doesn't run again, and
// one that wasn't does.
func TestJournalCutAtEveryByte(t *testing.T) {
	t.Parallel()
	ids, marks, file := session(t)
	dir := put(t, nil)
	for cut := range len(file) + 1 {
		reached := make(map[string]state)
		for _, m := range marks {
			if m.at <= int64(cut) {
				reached[m.id] = m.state
			}
		}
		j, f := reopen(t, refill(t, dir, file[:cut]))
		if f.damage > 0 {
			t.Fatalf("cut at %d: a torn end counts as damage", cut)
		}
		for _, id := range ids {
			e, known := j.entry(id)
			fresh, err := j.accept(id, start)
			if err != nil {
				t.Fatal(err)
			}
			switch s := reached[id]; {
			case (s == "" || s == accepted) != fresh:
				t.Fatalf("cut at %d: %s was %q and may run: %v", cut, id, s, fresh)
			case s == started && (!known || e.state != done || e.result.Status != reverse.StatusInterrupted):
				t.Fatalf("cut at %d: %s was running and is %+v", cut, id, e)
			case s == done && string(e.result.Text) != "it says "+id:
				t.Fatalf("cut at %d: the result of %s is %+v", cut, id, e.result)
			case s == acknowledged && e.state != acknowledged:
				t.Fatalf("cut at %d: %s is %+v", cut, id, e)
			}
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whichever bit is wrong, no command that was started runs again.
func TestJournalDamagedAtEveryByte(t *testing.T) {
	t.Parallel()
	ids, _, file := session(t)
	dir := put(t, nil)
	for at := range file {
		bad := bytes.Clone(file)
		bad[at] ^= 1 << (at % 8)
		j, f := reopen(t, refill(t, dir, bad))
		if f.damage == 0 && at < len(file)-1 {
			t.Fatalf("a wrong bit in byte %d isn't seen", at)
		}
		for _, id := range ids[1:] {
			fresh, err := j.accept(id, start)
			if err != nil {
				t.Fatal(err)
			}
			// The last line may have lost its end: then it is acknowledged again.
			if e, _ := j.entry(id); fresh && e.state != done {
				t.Fatalf("a wrong bit in byte %d: %s may run again: %+v", at, id, e)
			}
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is known survives being written anew, time and again.
func TestJournalIsWrittenAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := reopen(t, dir)
	ids := newIDs(5000)
	for i, id := range ids {
		if _, err := j.accept(id, start.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := j.add(record{ID: id, State: done, Result: okResult(strings.Repeat("x", 600))}, false); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := j.add(record{ID: id, State: acknowledged}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if j.size > 3<<20 {
		t.Errorf("the file has %d bytes", j.size)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j, f := reopen(t, dir)
	defer j.close()
	if len(f.open) != 1 || f.open[0] != ids[0] || f.damage > 0 {
		t.Errorf("%+v", f)
	}
	for _, id := range ids {
		if fresh, err := j.accept(id, start); fresh || err != nil {
			t.Fatalf("%s may run again (%v)", id, err)
		}
	}
}

// Ids are forgotten when they are acknowledged and past their time, no sooner.
func TestJournalForgets(t *testing.T) {
	dir := t.TempDir()
	j, _ := reopen(t, dir)
	ids := newIDs(2)
	for i, id := range ids {
		if _, err := j.accept(id, start); err != nil {
			t.Fatal(err)
		}
		if err := j.add(record{ID: id, State: done, Keep: 7200, Result: okResult("")}, i == 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(j.add(record{ID: ids[0], State: acknowledged}, true), j.close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  []bool
	}{{-time.Hour, []bool{true, true}}, {2 * time.Hour, []bool{true, true}}, {2*time.Hour + time.Second, []bool{false, true}}, {90 * 24 * time.Hour, []bool{false, true}}} {
		j, _, err := openJournal(dir, start.Add(c.after))
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if _, known := j.entry(id); known != c.want[i] {
				t.Errorf("after %v command %d is known: %v", c.after, i, known)
			}
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A hub that takes no results can't fill the memory, and one that takes them all
// neither.
func TestTableIsBounded(t *testing.T) {
	tab := newTable()
	ids := newIDs(maxEntries + 10)
	n := 0
	for ; n < len(ids) && tab.prune(start); n++ {
		tab.apply(record{ID: ids[n], State: accepted, Accepted: start.Unix(), Keep: keepFor})
	}
	if n != maxOpen {
		t.Errorf("%d commands are open", n)
	}
	tab = newTable()
	for _, id := range ids {
		if !tab.prune(start) {
			t.Fatal("no room")
		}
		tab.apply(record{ID: id, State: accepted, Accepted: start.Unix(), Keep: keepFor})
		tab.apply(record{ID: id, State: acknowledged})
	}
	if len(tab.entries) > maxEntries || tab.open != 0 || tab.floor < ids[maxEntries/8] {
		t.Errorf("%d entries, %d of them open, nothing runs up to %s", len(tab.entries), tab.open, tab.floor)
	}
}

// Many that sync at once share what the disk does.
func TestJournalSyncsTogether(t *testing.T) {
	j, _ := reopen(t, t.TempDir())
	defer j.close()
	var all sync.WaitGroup
	for _, id := range newIDs(100) {
		all.Go(func() {
			if _, err := j.accept(id, start); err != nil {
				t.Error(err)
			}
			if err := j.add(record{ID: id, State: started}, true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if j.synced != j.written || j.written != 200 {
		t.Errorf("%d of %d lines are on the disk", j.synced, j.written)
	}
}

func TestJournalThatIsNotOurs(t *testing.T) {
	line := func(r record) []byte {
		b, err := appendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"newer", line(record{Lanfolk: journalName, Version: 2}), ErrNewer},
		{"another one", line(record{Lanfolk: "mqtt journal", Version: 1}), ErrForeign},
	} {
		dir := put(t, c.file)
		if _, _, err := openJournal(dir, start); !errors.Is(err, c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	dir := t.TempDir()
	j, _ := reopen(t, dir)
	defer j.close()
	if _, _, err := openJournal(dir, start); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// A journal of damage alone runs nothing that may have been in it.
func TestJournalOfDamageAlone(t *testing.T) {
	j, f := reopen(t, put(t, bytes.Repeat([]byte("\x00\x00\n"), 100)))
	defer j.close()
	ids := reverse.IDs{Random: zeros{}}
	old, _ := ids.Next(start.Add(-time.Hour))
	fresh, _ := ids.Next(start.Add(time.Hour))
	for _, c := range []struct {
		id   string
		want state
	}{{old, done}, {fresh, accepted}} {
		if _, err := j.accept(c.id, start); err != nil {
			t.Fatal(err)
		}
		if e, _ := j.entry(c.id); e.state != c.want {
			t.Errorf("%s is %s", c.id, e.state)
		}
	}
	if f.damage != 100 {
		t.Errorf("%d lines were damaged", f.damage)
	}
}

func FuzzReadRecords(f *testing.F) {
	_, _, file := session(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(bytes.Replace(file, []byte("started"), []byte("stopped"), 1))
	f.Add([]byte("00000000 {}\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, _, err := readRecords(bytes.NewReader(b))
		if err != nil {
			return
		}
		open := 0
		for id, e := range tab.entries {
			if err := reverse.CheckID(id); err != nil || e.id != id || e.state.rank() == 0 || id > tab.newest {
				t.Fatalf("entry %q: %+v", id, e)
			}
			if e.state != acknowledged {
				open++
			}
		}
		if open != tab.open {
			t.Fatalf("%d entries are open, it counts %d", open, tab.open)
		}
	})
}

// What a line says that came late, or twice, takes nothing back.
func TestCommandNeverGoesBack(t *testing.T) {
	id, tab := newIDs(1)[0], newTable()
	for _, s := range []state{accepted, started, accepted, done, started, done, acknowledged, done, accepted} {
		before := tab.entries[id]
		was := state("")
		if before != nil {
			was = before.state
		}
		tab.apply(record{ID: id, State: s, Result: okResult("x")})
		if e := tab.entries[id]; e.state.rank() < was.rank() || e.state == acknowledged && (e.result != nil || tab.open != 0) {
			t.Errorf("%s after %s: %+v, %d are open", s, was, e, tab.open)
		}
	}
}
