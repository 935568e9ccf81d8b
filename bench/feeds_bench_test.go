package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/internal/uplink"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// taped keeps what an uplink sends, and takes all of it.
type taped struct {
	mu      sync.Mutex
	batches [][]byte
	epoch   string
	next    uint64
}

func (r *taped) Feed(_ context.Context, _ reverse.Type, m reverse.Meta, data []byte) (*lanfolkpb.ProgressReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, data)
	r.epoch, r.next = m.ID, m.Seq+1
	return nil, nil
}

func (r *taped) Progress(_ context.Context, _ reverse.Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch != r.epoch {
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_SNAPSHOT}, nil
	}
	return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_OPEN, NextSeq: r.next}, nil
}

// cut returns what was sent since the last cut.
func (r *taped) cut() (batches [][]byte, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batches, r.batches = r.batches, nil
	for _, b := range batches {
		bytes += len(b)
	}
	return batches, bytes
}

// feedHost is what a gateway hears of one host: its MAC, its name, and two services.
func feedHost(n int, now time.Time) []lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: "arp", Link: "eth0", Source: "x"}
	mac, ip := lanfolk.MAC{0, 0, 0x5e, 0, byte(n >> 8), byte(n)}, netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	ids := []lanfolk.Identifier{lanfolk.MACIdentifier(mac, o), lanfolk.IPIdentifier(ip, o)}
	host := fmt.Sprintf("host-%d.local", n)
	all := []lanfolk.Sighting{{
		Origin: o, Key: mac.String(), Kind: lanfolk.KindDevice, Identifiers: ids, Addresses: []netip.Addr{ip},
		What: "answer " + ip.String() + " is at " + mac.String(), State: lanfolk.Reachable, Time: now, Lifetime: 4 * time.Hour,
	}}
	o.Protocol = "mdns"
	for _, kind := range []string{"_http._tcp", "_ssh._tcp"} {
		all = append(all, lanfolk.Sighting{
			Origin: o, Key: host + kind, Kind: lanfolk.KindService, Name: fmt.Sprintf("Host %d", n), Type: kind, Host: host, Port: 80,
			Identifiers: append(ids[:2:2], lanfolk.HostIdentifier(host, o)), Addresses: []netip.Addr{ip},
			Attributes: map[string]string{"path": "/", "version": "1.2.3"}, What: "PTR " + kind + " Host", State: lanfolk.Reachable, Time: now, Lifetime: 75 * time.Minute,
		})
	}
	return all
}

// BenchmarkFeeds has 1,000 gateways tell a hub of 100 devices each, of two services a
// device and all the evidence, and then of a change of one device; the database is SQLite
// with synchronous=FULL.
func BenchmarkFeeds(b *testing.B) {
	const gateways, devices = 1000, 100
	ctx := context.Background()
	snapshot, change, report := tape(b, devices)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		path := filepath.Join(dir, "lanfolk.db")
		db, err := store.Open(ctx, path, store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		f, err := fleet.Open(ctx, db, fleet.Options{})
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		hub, err := inventory.Open(ctx, inventory.Options{Feed: f.Feed, Words: db})
		if err != nil {
			b.Fatal(err)
		}
		for n := range gateways {
			hub.Gateway(fleet.Standing{Gateway: fleet.Gateway{ID: fmt.Sprintf("g%016d", n), Name: fmt.Sprint("gateway ", n)}, Online: true})
		}
		b.StartTimer()
		begin := time.Now()
		tellAll(b, hub, gateways, 0, snapshot)
		b.ReportMetric(time.Since(begin).Seconds(), "s/snapshots")
		begin = time.Now()
		tellAll(b, hub, gateways, uint64(len(snapshot)), change)
		b.ReportMetric(time.Since(begin).Seconds(), "s/changes")
		b.StopTimer()
		report()
		b.ReportMetric((heap()-before)/gateways/devices, "B/device")
		begin = time.Now()
		if n := len(hub.Devices(lanfolk.Filter{})); n != gateways*devices {
			b.Fatalf("%d devices", n)
		}
		b.ReportMetric(time.Since(begin).Seconds()*1000, "ms/list")
		b.ReportMetric((heap()-before)/gateways/devices, "B/device-shown")
		if info, err := os.Stat(path); err == nil {
			b.ReportMetric(float64(info.Size())/gateways/devices, "B/device-disk")
		}
		begin = time.Now()
		if _, err := inventory.Open(ctx, inventory.Options{Feed: f.Feed, Words: db}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/restart")
		runtime.KeepAlive(hub)
		f.Close()
		db.Close()
		b.StartTimer()
	}
}

// tellAll has all gateways tell the same, some at once.
func tellAll(b *testing.B, hub *inventory.Inventory, gateways int, seq uint64, batches [][]byte) {
	b.Helper()
	var all sync.WaitGroup
	places := make(chan struct{}, 128)
	for n := range gateways {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			p := reverse.Peer{Gateway: fmt.Sprintf("g%016d", n), Native: true}
			for k, data := range batches {
				if err := hub.Take(context.Background(), p, reverse.TypeInventory, reverse.Meta{ID: "E", Seq: seq + uint64(k)}, data); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// tape has one gateway's uplink say what the others say, too, and measures what a break and
// return costs it.
func tape(b *testing.B, devices int) (snapshot, change [][]byte, report func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{})
	go r.Run(ctx) // nil always
	for n := range devices {
		r.Observe(feedHost(n, time.Now())...)
	}
	for len(r.Services(lanfolk.Filter{})) < 2*devices {
		time.Sleep(10 * time.Millisecond)
	}
	dir, hub := b.TempDir(), &taped{}
	run := func(until func(s uplink.InventoryStatus) bool, meanwhile func()) {
		u, err := uplink.Open(uplink.Options{Folder: dir, Registry: r})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			u.Run(ctx, hub) // nil always
		}()
		meanwhile()
		for !until(u.Status().Inventory) {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
		if err := u.Close(); err != nil {
			b.Fatal(err)
		}
	}
	synced := func(s uplink.InventoryStatus) bool { return !s.Synced.IsZero() }
	run(synced, func() {})
	snapshot, whole := hub.cut()
	// One device changes while the gateway is down.
	s := feedHost(7, time.Now())[:1]
	s[0].Name, s[0].What = "a name", "answer with a name"
	r.Observe(s...)
	time.Sleep(100 * time.Millisecond)
	run(synced, func() {})
	change, rest := hub.cut()
	return snapshot, change, func() {
		b.ReportMetric(float64(whole), "B/snapshot")
		b.ReportMetric(float64(rest), "B/return")
	}
}
