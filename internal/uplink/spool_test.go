package uplink

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
)

func mustSpool(t *testing.T, dir string, most int64) *spool {
	t.Helper()
	s, err := openSpool(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// heard is a row about name n.
func heard(n int, count uint64) lanfolk.Observation {
	now := time.Unix(1763776800, 0).UTC()
	return lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{Gateway: "me", Protocol: "dns", Query: fmt.Sprintf("name%d.example", n)}, First: now, Last: now, Count: count,
	}
}

func mustAdd(t *testing.T, s *spool, rows ...lanfolk.Observation) {
	t.Helper()
	if err := s.add(rows); err != nil {
		t.Fatal(err)
	}
}

// drained takes all that is in a spool as a hub does, and returns the packets of each name.
func drained(t *testing.T, s *spool) map[string]uint64 {
	t.Helper()
	got := make(map[string]uint64)
	for {
		data, seq, n, err := s.first(time.Now(), -time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if data == nil {
			return got
		}
		if len(data) > feed.MaxBatch {
			t.Errorf("a batch of %d bytes", len(data))
		}
		rows, err := feed.ParseRows(data)
		if err != nil || len(rows) != n {
			t.Fatalf("%d rows of %d: %v", len(rows), n, err)
		}
		for _, o := range rows {
			if o.Gateway != "" {
				t.Errorf("the row names a gateway: %q", o.Gateway)
			}
			got[o.Query] += o.Count
		}
		if ok, err := s.taken(seq + 1); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
}

func TestRowsOfOneKeyAreOne(t *testing.T) {
	s := mustSpool(t, t.TempDir(), 1<<20)
	defer s.close()
	for n := range 30_000 {
		mustAdd(t, s, heard(n%3, 1))
	}
	if st := s.status(); st.Waiting != 3 || st.Bytes > 2*rewriteWindow || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	if got := drained(t, s); len(got) != 3 || got["name1.example"] != 10_000 {
		t.Errorf("%v", got)
	}
}

func TestWhatDoesntFitIsCounted(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20)
	for n := range 20_000 {
		mustAdd(t, s, heard(n, 1))
	}
	st := s.status()
	if st.Dropped == 0 || st.Waiting+int(st.Dropped) != 20_000 || st.Bytes > 1<<20+rewriteWindow {
		t.Fatalf("%+v", st)
	}
	mustAdd(t, s, heard(0, 1)) // was sealed long ago
	if more := s.status(); more.Dropped != st.Dropped+1 {
		t.Errorf("%d dropped, %d before", more.Dropped, st.Dropped)
	}
	s.close()
	s = mustSpool(t, dir, 1<<20)
	defer s.close()
	if got := drained(t, s); len(got) != st.Waiting {
		t.Errorf("%d rows after a restart, %d before", len(got), st.Waiting)
	}
	mustAdd(t, s, heard(1, 1), heard(2, 0), lanfolk.Observation{})
	if now := s.status(); now.Waiting != 1 || now.Dropped != 2 {
		t.Errorf("%+v: rows that can't travel", now)
	}
}

// TestASpoolSurvives kills it between any two steps: each row is in what the next run
// finds, once.
func TestASpoolSurvives(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20)
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, heard(1, 5))
	mustAdd(t, s, heard(2, 7), heard(1, 1))
	copyTo := func(name string) string {
		to := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	before := copyTo("before")
	if err := s.sealWindow(); err != nil {
		t.Fatal(err)
	}
	after := copyTo("after")
	s.close()
	put := func(dir, name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	window, err := os.ReadFile(filepath.Join(before, "000000000.open"))
	if err != nil {
		t.Fatal(err)
	}
	next := put(copyFolder(t, before), "000000001.open", "")
	half := put(copyFolder(t, next), "000000000.batch.new", `{"feed":"fing`)
	both := put(copyFolder(t, after), "000000000.open", string(window))
	torn := put(copyFolder(t, before), "000000000.open", string(window)+"0000 {")
	for name, dir := range map[string]string{"in the window": before, "the next window made": next, "half a batch": half, "sealed": after, "the old window still there": both, "a torn line": torn} {
		s := mustSpool(t, dir, 1<<20)
		if s.epoch() == "" {
			t.Errorf("%s: the epoch is lost", name)
		}
		mustAdd(t, s, heard(1, 100))
		if got := drained(t, s); len(got) != 2 || got["name1.example"] != 106 || got["name2.example"] != 7 {
			t.Errorf("%s: %v", name, got)
		}
		s.close()
		s = mustSpool(t, dir, 1<<20)
		if ok, err := s.taken(s.window.n - s.state.Base); !ok || err != nil || len(drained(t, s)) > 0 {
			t.Errorf("%s: after all was taken: %t, %v", name, ok, err)
		}
		s.close()
	}
}

func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestANumberIsUsedOnce has files vanish that tell how far an epoch has come: then another
// one begins, for the hub may have what comes next.
func TestANumberIsUsedOnce(t *testing.T) {
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20)
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, heard(1, 1))
	drained(t, s)
	s.close()
	files, err := filepath.Glob(filepath.Join(dir, "*.open"))
	if err != nil || len(files) != 1 || !strings.Contains(files[0], "000000001") {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	s = mustSpool(t, dir, 1<<20)
	defer s.close()
	if s.epoch() != "" {
		t.Error("the epoch goes on, and its numbers begin anew")
	}
	for _, next := range []uint64{1, 2, 1 << 60, ^uint64(0)} {
		if ok, _ := s.taken(next); ok {
			t.Errorf("the hub wants %d, and that is taken for good", next)
		}
	}
}
