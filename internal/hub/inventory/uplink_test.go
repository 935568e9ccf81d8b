package inventory_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/internal/uplink"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
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
		if more := l.sent() - before; more > snapshot/50 {
			t.Errorf("a restart took %d bytes, the snapshot %d", more, snapshot)
		}
		if n := u.Status().Inventory.Snapshots; n != 0 {
			t.Errorf("%d snapshots after a restart", n)
		}
	})
}

// TestASnapshotOfManyBatches breaks off in the middle of one, at the gateway: what went up
// before doesn't go up again, and what the hub had from before goes only at its end.
func TestASnapshotOfManyBatches(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, end := registry(t, 700)
		defer end()
		db := newDatabase()
		l := &link{gateway: "g1", hub: newHub(t, db, inventory.Limits{}, "g1")}
		old := teller{t, l.hub, "g1", "before", 0}
		old.tell(true, device("old", "old", 1))
		calls := 0
		l.fault = func() fault {
			if calls++; calls > 1 {
				return lost
			}
			return fine
		}
		_, stop := up(t, dir, r, l)
		time.Sleep(time.Minute)
		stop()
		devices := len(l.hub.Devices(lanfolk.Filter{}))
		if devices < 100 || devices >= 700 {
			t.Fatalf("%d devices in one batch", devices)
		}
		if _, err := l.hub.Device("g1.old"); err != nil {
			t.Errorf("what was there before went before the snapshot's end: %v", err)
		}
		l.fault = nil
		before := l.sent()
		u, stop := up(t, dir, r, l)
		defer stop()
		time.Sleep(time.Minute)
		if d := differs(l.hub, "g1", r); d != "" {
			t.Fatal(d[:200])
		}
		s := u.Status().Inventory
		if s.Snapshots != 0 || s.Batches < 2 {
			t.Errorf("%+v", s)
		}
		t.Logf("%d bytes before the break, %d after it", before, l.sent()-before)
	})
}

// registry returns one that knows n hosts, each with a service.
func registry(t *testing.T, n int) (r *lanfolk.Registry, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r = lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	go r.Run(ctx)
	for n := range n {
		r.Observe(sighting(n, "", time.Now()), offer(n, "web", 80, time.Now()))
	}
	time.Sleep(time.Second)
	return r, cancel
}

func TestWhatHasNoRoomIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, end := registry(t, 40)
		defer end()
		l := &link{gateway: "g1", hub: newHub(t, newDatabase(), inventory.Limits{}, "g1")}
		u, err := uplink.Open(uplink.Options{Folder: dir, Registry: r, MaxItems: 50})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = u.Run(ctx, l) // nil always
		}()
		time.Sleep(29 * time.Minute)
		s := u.Status().Inventory
		if n := l.hub.Stats().Items; n != 51 || s.Items != 51 || s.Waiting != 0 || s.LeftOut != 70 || s.Batches > 10 {
			t.Errorf("the hub has %d items; %+v", n, s)
		}
		cancel()
		<-done
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
}

// moody is a hub that doesn't do as it should.
type moody struct {
	reply *lanfolkpb.ProgressReply
	err   error
	calls atomic.Int64
}

func (m *moody) Feed(context.Context, reverse.Type, reverse.Meta, []byte) (*lanfolkpb.ProgressReply, error) {
	m.calls.Add(1)
	return m.reply, m.err
}

func (m *moody) Progress(context.Context, reverse.Type, string) (*lanfolkpb.ProgressReply, error) {
	m.calls.Add(1)
	return m.reply, m.err
}

// TestAMoodyHubIsLeftAlone has hubs that take nothing for a while: they aren't bothered
// much, and it is said why.
func TestAMoodyHubIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		hub  *moody
		most int64 // calls of both feeds in 20 minutes
		why  string
	}{
		"foreign":      {&moody{err: errors.ErrUnsupported}, 20, "unsupported"},
		"broken":       {&moody{err: errBroken}, 150, "the link broke"},
		"away":         {&moody{reply: &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_RETRY, Reason: "not now"}}, 150, "not now"},
		"unwilling":    {&moody{reply: &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_REFUSED, Reason: "no feeds"}}, 150, "no feeds"},
		"without mind": {&moody{reply: &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_SNAPSHOT}}, 250, "doesn't know the epoch"},
		"ahead":        {&moody{reply: &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_OPEN, NextSeq: 99}}, 250, "wants batch 99"},
		"speechless":   {&moody{reply: &lanfolkpb.ProgressReply{}}, 150, "says not why"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r, end := registry(t, 3)
				defer end()
				u, stop := up(t, dir, r, c.hub)
				o := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "dns"}, First: time.Now(), Last: time.Now(), Count: 1}
				if err := u.Tee(kept{}).SaveObservations(t.Context(), []lanfolk.Observation{o}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Minute)
				stop()
				s := u.Status()
				if !strings.Contains(s.Inventory.Error, c.why) || !strings.Contains(s.Fingerprints.Error, c.why) {
					t.Errorf("%+v, want %q", s, c.why)
				}
				if n := c.hub.calls.Load(); n > c.most {
					t.Errorf("%d calls in 20 minutes", n)
				}
			})
		})
	}
}

func TestOnlyWhatIsKeptGoesUp(t *testing.T) {
	u, err := uplink.Open(uplink.Options{Folder: t.TempDir(), SpoolBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	o := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "dns"}, First: time.Now(), Last: time.Now(), Count: 1}
	if err := u.Tee(refusing{}).SaveObservations(t.Context(), []lanfolk.Observation{o}); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if s := u.Status(); s.Fingerprints.Waiting != 0 || s.Inventory.Enabled {
		t.Errorf("%+v", s)
	}
	off, err := uplink.Open(uplink.Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer off.Close()
	if db := off.Tee(refusing{}); db != (refusing{}) {
		t.Error("a feed that is off stands before the database")
	}
}

// refusing is a database that takes nothing.
type refusing struct{ store.Observations }

func (refusing) SaveObservations(context.Context, []lanfolk.Observation) error { return errBroken }
