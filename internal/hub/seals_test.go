package hub

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// aHead is an audit that has an end and nothing else.
type aHead struct {
	fleet.Audit
	head fleet.Head
	err  error
}

func (a *aHead) Head(context.Context) (fleet.Head, error) { return a.head, a.err }

func TestSeals(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(t.TempDir(), "seals.jsonl")
	audit := &aHead{err: errors.New("away")}
	s := &seals{audit: audit, key: key, places: []string{place}, log: slog.New(slog.DiscardHandler)}
	try := func(want string) {
		t.Helper()
		err := s.write(t.Context())
		if _, _, state := s.state(); (err == nil) != (want == "") || !errors.Is(state, err) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, the status %v; want %q", err, state, want)
		}
	}
	lines := func() []string {
		t.Helper()
		text, err := os.ReadFile(place)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
	try("away")
	audit.err = nil
	try("") // an audit with nothing in it is no failure, and nothing to seal
	if got := lines(); len(got) != 1 || got[0] != "" {
		t.Errorf("of an empty audit there is %q", got)
	}
	audit.head = fleet.Head{Seq: 3, Hash: [32]byte{3}}
	try("")
	try("") // the same is sealed once
	// The power went while a line was written.
	f, err := os.OpenFile(place, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"seq":4,"ha`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	audit.head = fleet.Head{Seq: 5, Hash: [32]byte{5}}
	try("")
	got := lines()
	if len(got) != 3 {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i, seq := range map[int]uint64{0: 3, 2: 5} {
		if seal, err := fleet.ParseSeal([]byte(got[i]), key.Public().(ed25519.PublicKey)); err != nil || seal.Seq != seq {
			t.Errorf("line %d is %+v, %v; want entry %d", i, seal, err, seq)
		}
	}
}

// A place that can't be written to costs the others nothing: they get each seal once.
func TestSealsWhereOnePlaceIsAway(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	here, away := filepath.Join(dir, "seals.jsonl"), filepath.Join(dir, "away", "seals.jsonl")
	s := &seals{
		audit: &aHead{head: fleet.Head{Seq: 3, Hash: [32]byte{3}}}, key: key, places: []string{here, away}, log: slog.New(slog.DiscardHandler),
	}
	lines := func(place string) int {
		t.Helper()
		text, err := os.ReadFile(place)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	for range 3 {
		if err := s.write(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it says %v", err)
		}
	}
	if n := lines(here); n != 1 {
		t.Errorf("%d lines of one seal", n)
	}
	if err := os.Mkdir(filepath.Dir(away), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context()); err != nil {
		t.Error(err)
	}
	if n, m := lines(here), lines(away); n != 1 || m != 1 {
		t.Errorf("%d and %d lines; want one each", n, m)
	}
}
