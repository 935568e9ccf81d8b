package inventory_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// database is a fleet.Feed and the words of people, in memory. It outlives hubs.
type database struct {
	mu       sync.Mutex
	marks    map[string]fleet.Mark
	items    map[[2]string]fleet.Item
	position uint64
	rows     map[lanfolk.ObservationKey]*lanfolk.Observation
	words    map[string]lanfolk.DeviceRecord
	broken   error // what every call answers
}

func newDatabase() *database {
	return &database{
		marks: make(map[string]fleet.Mark), items: make(map[[2]string]fleet.Item),
		rows: make(map[lanfolk.ObservationKey]*lanfolk.Observation), words: make(map[string]lanfolk.DeviceRecord),
	}
}

func (d *database) Mark(_ context.Context, gateway string, kind fleet.Kind) (fleet.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marks[gateway+string(kind)], d.broken
}

func (d *database) Take(_ context.Context, b fleet.Batch) (fleet.Mark, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.marks[b.Gateway+string(b.Kind)]
	switch {
	case d.broken != nil:
		return m, false, d.broken
	case b.Epoch == m.Epoch && b.Seq < m.Next:
		return m, false, nil
	case b.Epoch == m.Epoch && b.Seq > m.Next:
		return m, false, fleet.ErrGap
	case b.Epoch != m.Epoch && (b.Seq != 0 || b.Kind == fleet.Inventory && !b.Snapshot):
		return m, false, fleet.ErrEpoch
	}
	for _, i := range b.Items {
		d.put(fleet.Item{Gateway: b.Gateway, Key: i.Key, Doc: bytes.Clone(i.Doc), Epoch: b.Epoch})
	}
	if b.Complete {
		for _, i := range d.items {
			if i.Gateway == b.Gateway && i.Epoch != b.Epoch && i.Doc != nil {
				d.put(fleet.Item{Gateway: i.Gateway, Key: i.Key, Epoch: i.Epoch})
			}
		}
	}
	for _, o := range b.Observations {
		o.Gateway = b.Gateway
		if have := d.rows[o.ObservationKey]; have != nil {
			have.Merge(o)
		} else {
			d.rows[o.ObservationKey] = &o
		}
	}
	m = fleet.Mark{Epoch: b.Epoch, Next: b.Seq + 1}
	d.marks[b.Gateway+string(b.Kind)] = m
	return m, true, nil
}

func (d *database) put(i fleet.Item) {
	d.position++
	i.Position = d.position
	d.items[[2]string{i.Gateway, i.Key}] = i
}

func (d *database) Changes(_ context.Context, after uint64, limit int) ([]fleet.Item, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.SortedFunc(maps.Values(d.items), func(a, b fleet.Item) int { return cmp.Compare(a.Position, b.Position) })
	all = slices.DeleteFunc(all, func(i fleet.Item) bool { return i.Position <= after })
	return all[:min(len(all), limit)], d.broken
}

func (d *database) Item(_ context.Context, gateway, key string) (fleet.Item, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.items[[2]string{gateway, key}]
	if !ok || i.Doc == nil {
		return i, fleet.ErrUnknown
	}
	return i, d.broken
}

func (d *database) Forget(_ context.Context, gateway string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.items {
		if i.Gateway == gateway {
			d.put(fleet.Item{Gateway: i.Gateway, Key: i.Key})
		}
	}
	delete(d.marks, gateway+string(fleet.Inventory))
	delete(d.marks, gateway+string(fleet.Fingerprints))
	return d.broken
}

func (d *database) Compact(_ context.Context, position uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.items, func(_ [2]string, i fleet.Item) bool { return i.Doc == nil && i.Position <= position })
	return d.broken
}

func (d *database) Snapshot(context.Context) (lanfolk.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return lanfolk.Snapshot{Devices: slices.Collect(maps.Values(d.words))}, d.broken
}

func (d *database) Commit(_ context.Context, records []lanfolk.DeviceRecord) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		d.words[r.ID] = r
	}
	return d.broken
}

func (d *database) Save(_ context.Context, b lanfolk.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range b.Forgotten {
		delete(d.words, id)
	}
	return d.broken
}

// open opens a hub's inventory over a database.
func open(t interface {
	Helper()
	Fatal(...any)
}, d *database) *inventory.Inventory {
	t.Helper()
	i, err := inventory.Open(context.Background(), inventory.Options{Feed: d, Words: d})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// errBroken is what a gateway sees of a link that broke.
var errBroken = errors.New("the link broke")

// link is the connection of a gateway to its hub, as reverse has it. What happens is
// chosen by fault: for each call one of the faults.
type link struct {
	gateway string
	fault   func() fault

	mu    sync.Mutex
	hub   *inventory.Inventory
	bytes int
	calls int
}

type fault int

const (
	fine       fault = iota
	lost             // it doesn't get to the hub
	unanswered       // it does, and the answer is lost
	twice            // the network brings it again
)

func (l *link) inventory() *inventory.Inventory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hub
}

func (l *link) turn(hub *inventory.Inventory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hub = hub
}

// next is what happens to a call.
func (l *link) next() fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault == nil {
		return fine
	}
	return l.fault()
}

func (l *link) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

func (l *link) Feed(ctx context.Context, t reverse.Type, m reverse.Meta, data []byte) (*lanfolkpb.ProgressReply, error) {
	time.Sleep(20 * time.Millisecond)
	f := l.next()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	l.bytes += len(data)
	l.calls++
	l.mu.Unlock()
	if f == lost {
		return nil, errBroken
	}
	p := reverse.Peer{Gateway: l.gateway, Native: true}
	hub := l.inventory()
	err := hub.Take(ctx, p, t, m, data)
	if f == twice {
		err = hub.Take(ctx, p, t, m, data)
	}
	switch {
	case f == unanswered:
		return nil, errBroken
	case err == nil:
		return nil, nil
	}
	return l.inventory().Progress(ctx, p, t, m.ID)
}

func (l *link) Progress(ctx context.Context, t reverse.Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	time.Sleep(20 * time.Millisecond)
	if l.next() == lost {
		return nil, errBroken
	}
	return l.inventory().Progress(ctx, reverse.Peer{Gateway: l.gateway, Native: true}, t, epoch)
}

// sighting is one fact about host n.
func sighting(n int, name string, now time.Time) lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: "arp", Link: "eth0", Source: "x"}
	mac := lanfolk.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}
	return lanfolk.Sighting{
		Origin: o, Key: mac.String(), Kind: lanfolk.KindDevice, Name: name,
		Identifiers: []lanfolk.Identifier{lanfolk.MACIdentifier(mac, o)},
		Addresses:   []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})},
		What:        "answer from " + mac.String(), State: lanfolk.Reachable, Time: now, Lifetime: time.Hour,
	}
}

// offer is one service of host n.
func offer(n int, service string, port uint16, now time.Time) lanfolk.Sighting {
	s := sighting(n, service, now)
	s.Origin.Protocol, s.Kind, s.Type, s.Port = "mdns", lanfolk.KindService, "_http._tcp", port
	s.Key = fmt.Sprint(service, ".", n)
	s.Attributes = map[string]string{"path": "/" + service}
	return s
}

// differs says what the hub shows other than the gateway knows, times aside.
func differs(hub *inventory.Inventory, gateway string, r *lanfolk.Registry) string {
	strip := func(devices []*lanfolk.Device, services []*lanfolk.Service, prefix string) (lines []string) {
		cut := func(id string) string { return string(bytes.TrimPrefix([]byte(id), []byte(prefix))) }
		for _, d := range devices {
			line := fmt.Sprint(cut(d.ID), d.Aliases, d.Names, d.MACs, d.Addresses, d.State, d.Protocols, d.Tags, len(d.Separated), d.FirstSeen.UnixMilli())
			for _, s := range d.Services {
				line += " " + cut(s.ID)
			}
			lines = append(lines, line)
		}
		for _, s := range services {
			lines = append(lines, fmt.Sprint(cut(s.ID), s.Name, s.Type, s.Port, s.Attributes, s.State, cut(s.Device), s.Interface, s.FirstSeen.UnixMilli()))
		}
		slices.Sort(lines)
		return lines
	}
	f := lanfolk.Filter{Gateway: gateway}
	want := strip(r.Devices(lanfolk.Filter{}), r.Services(lanfolk.Filter{}), "")
	got := strip(hub.Devices(f), hub.Services(f), gateway+".")
	if !slices.Equal(got, want) {
		return fmt.Sprintf("the hub has\n%q\nthe gateway has\n%q", got, want)
	}
	for _, d := range r.Devices(lanfolk.Filter{}) {
		_, want, err := r.Explain(d.ID)
		if err != nil {
			return err.Error()
		}
		_, got, err := hub.Explain(gateway + "." + d.ID)
		if err != nil {
			return err.Error()
		}
		text := func(all []lanfolk.Evidence) (lines []string) {
			for _, e := range all {
				lines = append(lines, fmt.Sprint(e.Protocol, e.Interface, e.What, len(e.Identifiers), e.WhyJoined))
			}
			return lines
		}
		if !slices.Equal(text(got), text(want)) {
			return fmt.Sprintf("%s: the hub has the evidence\n%q\nthe gateway\n%q", d.ID, text(got), text(want))
		}
	}
	return ""
}

var _ fleet.Feed = (*database)(nil)

func standing(id, name string, online bool) fleet.Standing {
	return fleet.Standing{Gateway: fleet.Gateway{ID: id, Name: name}, Online: online}
}
