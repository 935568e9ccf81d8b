package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/store"
)

// saved makes a database with one device in it.
func saved(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	db, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	record := lanfolk.DeviceRecord{ID: "d1", FirstSeen: time.Unix(1, 0), LastSeen: time.Unix(2, 0), Said: lanfolk.Said{Names: []string{"nas"}}}
	if err := db.Commit(t.Context(), []lanfolk.DeviceRecord{record}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDatabaseThatCantBeWrittenIsReadAndTriedAgain(t *testing.T) {
	path := saved(t)
	log := slog.New(slog.DiscardHandler)
	at, err := database.New(config.Store{Path: path}, "", "", log)
	if err != nil {
		t.Fatal(err)
	}
	d := &inventoryDB{Database: at, log: log}

	if err := d.Commit(t.Context(), nil); !errors.Is(err, database.ErrNotOpen) {
		t.Errorf("Commit: error %v; want the reason why the database isn't open", err)
	}
	snapshot, err := d.Snapshot(t.Context())
	if err != nil || len(snapshot.Devices) != 1 || snapshot.Devices[0].ID != "d1" {
		t.Errorf("Snapshot: %+v, error %v; want device d1", snapshot.Devices, err)
	}
	if err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Commit(t.Context(), []lanfolk.DeviceRecord{{ID: "d2"}}); err != nil {
		t.Errorf("Commit after the database was opened: %v", err)
	}
}

func TestDamagedDatabaseKeepsTheNodeFromStarting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	if err := os.WriteFile(path, []byte("this was a database once, and is none any more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDatabase(t.Context(), config.Store{Path: path}, "", t.TempDir(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a damaged database was accepted")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "this was a database once, and is none any more" {
		t.Errorf("the damaged file was changed: %q, %v", b, err)
	}
}

func TestDatabaseIsOneNodes(t *testing.T) {
	path := saved(t)
	log := slog.New(slog.DiscardHandler)
	first, err := openDatabase(t.Context(), config.Store{Path: path}, "", t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := openDatabase(t.Context(), config.Store{Path: path}, "", t.TempDir(), log); !errors.Is(err, daemon.ErrTaken) {
		t.Errorf("a second node with another state folder: %v; want %v", err, daemon.ErrTaken)
	}
	if err := first.Commit(t.Context(), []lanfolk.DeviceRecord{{ID: "d2"}}); err != nil {
		t.Errorf("the first node can't write any more: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := openDatabase(t.Context(), config.Store{Path: path}, "", t.TempDir(), log)
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	second.Close()
}
