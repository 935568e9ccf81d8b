package database

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/store"
)

func TestDatabaseWhoseFileVanishesTakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	d, err := New(config.Store{Path: path}, "", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	hurried := 0
	d.Back = func() { hurried++ }
	rows := []lanfolk.Observation{{ObservationKey: lanfolk.ObservationKey{Protocol: "mdns", Query: "nas.local"}, Count: 1}}
	save := func() error { return d.Opened().SaveObservations(t.Context(), rows) }

	d.look()
	if err := save(); err != nil || d.Health() != nil {
		t.Fatalf("all is well, but: %v, %v", err, d.Health())
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	d.look()
	if err := save(); !errors.Is(err, ErrVanished) || !errors.Is(d.Health(), ErrVanished) {
		t.Errorf("moved away: %v, health %v; want %v", err, d.Health(), ErrVanished)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.look()
	if err := save(); !errors.Is(err, ErrVanished) || !errors.Is(err, store.ErrSuspended) {
		t.Errorf("replaced: %v; want %v", err, ErrVanished)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	d.look()
	if err := save(); err != nil || d.Health() != nil || hurried != 1 {
		t.Errorf("put back: %v, health %v, %d times told", err, d.Health(), hurried)
	}
}
