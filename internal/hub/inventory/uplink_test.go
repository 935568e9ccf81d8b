package inventory_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/uplink"
)

// up runs an uplink until stop is called, which waits for its end.
func up(t *testing.T, dir string, r uplink.Registry, l uplink.Feeder) (u *uplink.Uplink, stop func()) {
	t.Helper()
	u, err := uplink.Open(uplink.Options{Folder: dir, Registry: r, SpoolBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx, l) // nil always
	}()
	return u, func() {
		cancel()
		<-done
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheHubHasWhatTheGatewayHas(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
		go r.Run(ctx)
		for n := range 100 {
			r.Observe(sighting(n, "", time.Now()), offer(n, "web", 80, time.Now()))
		}
		time.Sleep(time.Second)
		db := newDatabase()
		l := &link{gateway: "g1", hub: open(t, db)}
		l.hub.Gateway(standing("g1", "attic", true))
		u, stop := up(t, dir, r, l)
		time.Sleep(time.Minute)
		if d := differs(l.hub, "g1", r); d != "" {
			t.Fatal(d)
		}
		snapshot := l.sent()
		r.Observe(sighting(7, "printer", time.Now()))
		time.Sleep(10 * time.Second)
		if d := differs(l.hub, "g1", r); d != "" {
			t.Fatal(d)
		}
		t.Logf("snapshot %d bytes, one change %d bytes; %+v", snapshot, l.sent()-snapshot, u.Status())
		if more := l.sent() - snapshot; more > snapshot/20 {
			t.Errorf("one change of 100 took %d bytes, the snapshot %d", more, snapshot)
		}
		stop()
		before := l.sent()
		r.Observe(sighting(8, "camera", time.Now()))
		time.Sleep(time.Second)
		l.turn(open(t, db)) // and the hub, too
		l.inventory().Gateway(standing("g1", "attic", true))
		u, stop = up(t, dir, r, l)
		defer stop()
		time.Sleep(time.Minute)
		if d := differs(l.inventory(), "g1", r); d != "" {
			t.Fatal(d)
		}
		t.Logf("after a restart %d bytes; %+v", l.sent()-before, u.Status())
		if more := l.sent() - before; more > snapshot/4 {
			t.Errorf("a restart took %d bytes, the snapshot %d", more, snapshot)
		}
		if n := u.Status().Inventory.Snapshots; n != 0 {
			t.Errorf("%d snapshots after a restart", n)
		}
	})
}
