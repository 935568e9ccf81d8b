package uplink

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func mustLedger(t *testing.T, path string) *ledger {
	t.Helper()
	l, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestALedgerNeverSaysTooMuch cuts a ledger at each of its bytes: what is left of it is
// what it was at some moment, so that the hub's word fits it, or doesn't.
func TestALedgerNeverSaysTooMuch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger")
	l := mustLedger(t, path)
	if err := l.begin("E1"); err != nil {
		t.Fatal(err)
	}
	type moment struct {
		next    uint64
		pending bool
		has     map[string]uint64
	}
	moments := []moment{{0, false, map[string]uint64{}}}
	for n, p := range []*parcel{
		{Put: map[string]uint64{"d/a": 1, "d/b": 2}}, {Put: map[string]uint64{"d/a": 3}, Gone: []string{"d/b"}, Complete: true}, {Put: map[string]uint64{"s/c": 4}},
	} {
		p.Seq = uint64(n)
		moments = append(moments, moment{uint64(n), true, maps.Clone(l.has)})
		if err := l.offer(p); err != nil {
			t.Fatal(err)
		}
		l.taken()
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]bool)
	for n := range len(whole) + 1 {
		cut := filepath.Join(dir, "cut")
		if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got := mustLedger(t, cut)
		if got.epoch == "" {
			if len(got.has) > 0 || got.pending != nil {
				t.Fatalf("cut at %d: no epoch, and %v", n, got.has)
			}
			continue
		}
		found := false
		for _, m := range moments {
			found = found || m.next == got.next && m.pending == (got.pending != nil) && maps.Equal(m.has, got.has)
		}
		if !found {
			t.Fatalf("cut at %d: next %d, pending %v, has %v", n, got.next, got.pending, got.has)
		}
		seen[got.next] = true
	}
	if len(seen) != 3 {
		t.Errorf("only the states %v came up", seen)
	}
}

func TestALedgerIsRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := mustLedger(t, path)
	if err := l.begin("E1"); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(20_000) {
		if err := l.offer(&parcel{Seq: n, Complete: n == 3, Put: map[string]uint64{keyOf('d', string('a'+rune(n%26))): n}}); err != nil {
			t.Fatal(err)
		}
		if n != 19_999 {
			l.taken()
		}
	}
	if l.size > 4*rewriteAbove {
		t.Errorf("%d bytes for 26 items", l.size)
	}
	again := mustLedger(t, path)
	if again.next != 19_999 || again.pending == nil || !again.complete || !maps.Equal(again.has, l.has) || len(l.has) != 26 {
		t.Errorf("next %d, pending %v, complete %t, has %v; want %v", again.next, again.pending, again.complete, again.has, l.has)
	}
}

// TestABatchThatNeverCameIsReplaced has the last batch before a restart dropped, since the
// hub hasn't it: the one of its number that follows counts alone.
func TestABatchThatNeverCameIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := mustLedger(t, path)
	if err := l.begin("E1"); err != nil {
		t.Fatal(err)
	}
	if err := l.offer(&parcel{Put: map[string]uint64{"d/a": 1}}); err != nil {
		t.Fatal(err)
	}
	l = mustLedger(t, path)
	l.drop()
	if err := l.offer(&parcel{Put: map[string]uint64{"d/b": 2}}); err != nil {
		t.Fatal(err)
	}
	l = mustLedger(t, path)
	if l.next != 0 || l.pending == nil || l.pending.Put["d/b"] != 2 || len(l.has) > 0 {
		t.Fatalf("next %d, pending %v, has %v", l.next, l.pending, l.has)
	}
}

func TestALedgerOfWhichAnItemIsDamagedIsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := mustLedger(t, path)
	l.has = map[string]uint64{"d/a": 1}
	l.epoch, l.next = "E1", 7
	if err := l.rewrite(); err != nil {
		t.Fatal(err)
	}
	if again := mustLedger(t, path); again.epoch != "E1" || len(again.has) != 1 {
		t.Fatal(again)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := mustLedger(t, path); again.epoch != "" {
		t.Errorf("epoch %q with %v", again.epoch, again.has)
	}
}

// FuzzLedger reads ledgers. What is read is written and read the same again.
func FuzzLedger(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed")
	l, err := openLedger(path)
	if err != nil {
		f.Fatal(err)
	}
	l.has = map[string]uint64{"d/a": 1, "t/1/0": 2}
	l.epoch, l.next = "E1", 7
	if err := l.rewrite(); err != nil {
		f.Fatal(err)
	}
	for n := range uint64(2) {
		if err := l.offer(&parcel{Seq: 7 + n, Put: map[string]uint64{"s/b": n}, Gone: []string{"d/a"}}); err != nil {
			f.Fatal(err)
		}
		l.taken()
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := mustLedger(t, path)
		if l.epoch == "" {
			return
		}
		if err := l.rewrite(); err != nil {
			t.Fatal(err)
		}
		if again := mustLedger(t, path); again.next != l.next || !maps.Equal(again.has, l.has) {
			t.Fatalf("%v became %v", l.has, again.has)
		}
	})
}
