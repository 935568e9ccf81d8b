package node

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk"
)

func device(id string) lanfolk.DeviceRecord {
	return lanfolk.DeviceRecord{ID: id, Said: lanfolk.Said{Names: []string{"named " + id}}}
}

func ids(s lanfolk.Snapshot) string {
	var all []string
	for _, d := range s.Devices {
		all = append(all, d.ID)
	}
	return strings.Join(all, " ")
}

func TestInventoryCopy(t *testing.T) {
	ctx, dir, log := t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil))
	away := errors.New("away")
	c := openCopy(ctx, dir, log)
	c.save(ctx, lanfolk.Batch{Devices: []lanfolk.DeviceRecord{device("old")}})
	c.renew(ctx, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{device("d1"), device("d2")}})
	c.save(ctx, lanfolk.Batch{Devices: []lanfolk.DeviceRecord{device("d3")}, Forgotten: []string{"d2"}})
	c.put(ctx, "node", []byte("the server's"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}

	c = openCopy(ctx, dir, log)
	if got := ids(c.snapshot(ctx)); got != "d1 d3" {
		t.Errorf("the next run finds %q; want d1 d3", got)
	}
	if got, err := c.secret(ctx, "node", away); err != nil || string(got) != "the server's" {
		t.Errorf("secret %q, %v", got, err)
	}
	one, err := c.secret(ctx, "other", away)
	if again, err2 := c.secret(ctx, "other", away); err != nil || err2 != nil || !bytes.Equal(one, again) {
		t.Errorf("a secret that the server never gave is %x and then %x, %v, %v", one, again, err, err2)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}

	// A damaged copy is made anew: the server has the original.
	path := filepath.Join(dir, copyName)
	if err := os.WriteFile(path, []byte("no database at all, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = openCopy(ctx, dir, log)
	c.save(ctx, lanfolk.Batch{Devices: []lanfolk.DeviceRecord{device("d9")}})
	if got := ids(c.snapshot(ctx)); got != "d9" {
		t.Errorf("after damage: %q; want d9", got)
	}
	if c.db == nil {
		t.Fatal("there is no copy")
	}
	// One that can't be changed any more must not be taken for true later.
	if err := c.db.Close(); err != nil {
		t.Fatal(err)
	}
	c.save(ctx, lanfolk.Batch{Forgotten: []string{"d9"}})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that missed a change is still there: %v", err)
	}
	c.save(ctx, lanfolk.Batch{})
	if got := ids(c.snapshot(ctx)); got != "" {
		t.Errorf("without a copy there is %q", got)
	}
	if _, err := c.secret(ctx, "node", away); !errors.Is(err, away) {
		t.Errorf("a secret without a copy: %v", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
