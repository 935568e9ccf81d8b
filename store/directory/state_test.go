package directory_test

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

// What was saved is there when the folder is opened again, and nobody else uses it meanwhile.
func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	s, err := directory.Open(dir, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	here := netip.MustParseAddrPort("192.0.2.1:22000")
	var mu sync.Mutex
	log, whole := s.Directory.Tails(&mu)
	s.Directory.Put(time.Now(), &syncthing.Device{ID: syncthing.DeviceID{1}, Addresses: []netip.AddrPort{here}}, here.Addr())
	if err := s.Save(time.Now(), log, whole); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.Open(dir, directory.Options{}); !errors.Is(err, directory.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = directory.Open(dir, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := s.Directory.Get(time.Now(), syncthing.DeviceID{1}, nil); !slices.Equal(got, []netip.AddrPort{here}) {
		t.Errorf("%v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
