package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Somebody put a head into the file that he signed himself.
func TestHeadsAreOfTheKeyThatIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heads")
	var text []byte
	var keys [2]sealKey
	for n := range keys {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(n)
		seal := fleet.Head{Seq: 7, Hash: [32]byte{byte(n)}, Time: time.Unix(1, 0)}.Sign(ed25519.NewKeyFromSeed(seed))
		if err := keys[n].Set(seal.Key); err != nil || keys[n].String() != seal.Key {
			t.Fatalf("the key %q reads as %q: %v", seal.Key, keys[n].String(), err)
		}
		line, err := json.Marshal(seal)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, line...), '\n')
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSeals(path, keys[0], io.Discard); (err == nil) != (n == 0) || n > 0 && !errors.Is(err, fleet.ErrTampered) {
			t.Errorf("heads of %d keys: %v", n+1, err)
		}
	}
	if all, err := readSeals(path, nil, io.Discard); err != nil || len(all) != 2 {
		t.Errorf("of any key: %d heads, %v", len(all), err)
	}
	for _, bad := range []string{"", "x", "c2hvcnQ="} {
		if err := keys[1].Set(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}
