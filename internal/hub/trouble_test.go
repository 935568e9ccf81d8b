package hub_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// until waits for what takes the hub some seconds to see.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A database whose file is gone shows, nothing is promised meanwhile, and all is well
// when it is back.
func TestDatabaseIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), loopback)
	c := client.Unix(config.HubSocketPath(r.state))
	defer c.Close()
	path := filepath.Join(r.state, "hub.db")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	until(t, "the status shows that the database is gone", func() bool {
		s := r.status()
		return !s.Healthy && strings.Contains(s.Store.Error, "deleted, moved or replaced")
	})
	if code, _ := r.get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("healthz answers %d; want 503", code)
	}
	if _, err := c.CreateJoinToken(t.Context(), client.JoinTokenRequest{Name: "barn"}); err == nil || !strings.Contains(err.Error(), "nothing is written at present") {
		t.Errorf("a token is made all the same: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("%+v", r.status())
		}
	}()
	until(t, "all is well again", func() bool { return r.status().Healthy })
	if _, err := c.CreateJoinToken(t.Context(), client.JoinTokenRequest{Name: "barn"}); err != nil {
		t.Error(err)
	}
}

// The audit's export may be on another machine's disk, which may be away.
func TestSealsThatCantBeWrittenShow(t *testing.T) {
	t.Parallel()
	share := filepath.Join(t.TempDir(), "share")
	r := start(t, t.TempDir(), loopback+"\n[hub.seals]\npath = \""+filepath.Join(share, "seals.jsonl")+"\"\ninterval = \"1s\"\n")
	c := client.Unix(config.HubSocketPath(r.state))
	defer c.Close()
	if _, err := c.CreateJoinToken(t.Context(), client.JoinTokenRequest{Name: "barn"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the status shows that the seal isn't written", func() bool { return r.status().Audit.Error != "" })
	if code, _ := r.get("/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("healthz answers %d; want 503", code)
	}
	if err := os.Mkdir(share, 0o700); err != nil {
		t.Fatal(err)
	}
	until(t, "the seal is written", func() bool { s := r.status(); return s.Healthy && s.Audit.Sealed == s.Audit.Entries })
}

// Two hubs of one name would take each other's gateways away again and again.
func TestHubEndsWhenAnotherRunsAsIt(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	h := newHub(t, state, loopback)
	ready := make(chan string, 1)
	h.Ready = func(page string) { ready <- page }
	ended := make(chan error, 1)
	go func() { ended <- h.Run(t.Context()) }()
	<-ready
	db, err := store.Open(t.Context(), filepath.Join(state, "hub.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := fleet.Open(t.Context(), db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// Again and again: the hub may be ready a little before it has the lease.
	for late := time.After(2 * time.Minute); ; {
		now := time.Now()
		if _, err := other.Sessions.Attend(t.Context(), "hub", now, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, fleet.ErrFenced) || !strings.Contains(err.Error(), `another hub named "hub" runs on this database`) {
				t.Errorf("it ends with %v", err)
			}
			return
		case <-time.After(time.Second):
		case <-late:
			t.Fatal("it goes on")
		}
	}
}
