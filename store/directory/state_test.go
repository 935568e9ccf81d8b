package directory_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

// rig is a State as a server uses it.
type rig struct {
	*directory.State
	mu         sync.Mutex
	log, whole *syncthing.Tail
	said       bytes.Buffer
}

func open(dir string) (*rig, error) {
	r := &rig{}
	s, err := directory.Open(dir, directory.Options{Log: slog.New(slog.NewTextHandler(&r.said, nil))})
	if err != nil {
		return nil, err
	}
	r.State = s
	s.Directory.Unlimited = true
	r.log, r.whole = s.Directory.Tails(&r.mu)
	return r, nil
}

// put announces devices from the n-th on.
func (r *rig) put(n, count int) {
	for n := n; count > 0; n, count = n+1, count-1 {
		r.Directory.Put(time.Now(), &syncthing.Device{ID: numbered(1, n), Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22000")}}, netip.MustParseAddr("192.0.2.1"))
	}
}

func (r *rig) save() error { return r.Save(time.Now(), r.log, r.whole) }

// What was saved is there when the folder is opened again, and nobody else uses it meanwhile.
func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	r, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.put(0, 1)
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir); !errors.Is(err, directory.ErrLocked) || err.Error() != "directory: "+dir+": another process keeps its state there; stop it, or name another folder" {
		t.Errorf("opened twice: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = open(dir); err != nil {
		t.Fatal(err)
	}
	if got := r.Directory.Get(time.Now(), numbered(1, 0), nil); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
