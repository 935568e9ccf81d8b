package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
)

// teller tells a hub batches as a gateway would.
type teller struct {
	t       *testing.T
	hub     *inventory.Inventory
	gateway string
	epoch   string
	seq     uint64
}

func (g *teller) peer() reverse.Peer { return reverse.Peer{Gateway: g.gateway, Native: true} }

// take sends data as it is.
func (g *teller) take(data []byte) error {
	return g.hub.Take(g.t.Context(), g.peer(), reverse.TypeInventory, reverse.Meta{ID: g.epoch, Seq: g.seq}, data)
}

// tell sends a batch, which must be taken.
func (g *teller) tell(complete bool, items ...feed.Item) {
	g.t.Helper()
	b := feed.Batch{Snapshot: g.seq == 0, Complete: complete, Items: items}
	if err := g.take(b.Append(nil)); err != nil {
		g.t.Fatal(err)
	}
	g.seq++
}

func device(id, name string, last byte) feed.Item {
	return feed.Item{Key: "d/" + id, Doc: feed.DeviceDoc(&lanfolk.Device{
		Names: []string{name}, MACs: []lanfolk.MAC{{2, 0, 0, 0, 0, last}}, State: lanfolk.Reachable, Protocols: []string{"arp"},
		FirstSeen: time.Unix(1763776800, 0), LastSeen: time.Unix(1763776860, 0),
	}, true)}
}

func service(id, device, name string) feed.Item {
	return feed.Item{Key: "s/" + id, Doc: feed.ServiceDoc(&lanfolk.Service{
		Name: name, Type: "_http._tcp", Protocol: "mdns", Port: 80, State: lanfolk.Reachable, Device: device, Interface: "eth0",
	}, true)}
}

func gone(key string) feed.Item { return feed.Item{Key: key} }

// list is what a hub shows, in short.
func list(i *inventory.Inventory, f lanfolk.Filter) []string {
	out := []string{}
	for _, d := range i.Devices(f) {
		line := fmt.Sprint(d.ID, " ", d.Gateway, " ", d.Names, " ", d.State)
		for _, s := range d.Services {
			line += fmt.Sprint(" ", s.ID, "=", s.Name, " ", s.State)
		}
		out = append(out, line)
	}
	return out
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func newHub(t *testing.T, db *database, limits inventory.Limits, gateways ...string) *inventory.Inventory {
	t.Helper()
	i, err := inventory.Open(t.Context(), inventory.Options{Feed: db, Words: db, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		i.Gateway(standing(g, "name-"+g, true))
	}
	return i
}

func TestGatewaysStayApart(t *testing.T) {
	db := newDatabase()
	hub := newHub(t, db, inventory.Limits{}, "g1", "g2")
	one, two := teller{t, hub, "g1", "E", 0}, teller{t, hub, "g2", "E", 0}
	// The state of g2 was copied from g1: the same ids, the same MAC.
	one.tell(true, device("d1", "nas", 1), service("s1", "d1", "web"))
	two.tell(true, service("s1", "d1", "web"), device("d1", "nas", 1), device("d2", "printer", 2))
	same(t, list(hub, lanfolk.Filter{}), []string{
		"g1.d1 name-g1 [nas] reachable g1.s1=web reachable", "g2.d1 name-g2 [nas] reachable g2.s1=web reachable", "g2.d2 name-g2 [printer] reachable",
	})
	for _, ref := range []string{"g2", "name-g2"} {
		same(t, len(hub.Devices(lanfolk.Filter{Gateway: ref})), 2)
		same(t, len(hub.Services(lanfolk.Filter{Gateway: ref})), 1)
	}
	same(t, hub.Services(lanfolk.Filter{Gateway: "g2"})[0].Device, "g2.d1")
	same(t, len(hub.Devices(lanfolk.Filter{Gateway: "g"})), 0)
	same(t, hub.Counts().Devices("g2"), 2)
	same(t, hub.Counts().Devices("g3"), 0)
	for ref, want := range map[string]string{
		"g1.d1": "g1.d1", "printer": "g2.d2", "PRINTER.": "g2.d2", "d2": "g2.d2", "02:00:00:00:00:02": "g2.d2",
		"nas": "ambiguous: it may be any of g1.d1 (name-g1), g2.d1 (name-g2)", "02:00:00:00:00:01": "ambiguous", "d1": "ambiguous",
		"g1.d2": "not found", "scanner": "not found", "10.0.0.1": "not found", "": "not found", ".": "not found",
	} {
		d, err := hub.Device(ref)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && d.ID != want {
			t.Errorf("%q is %v, %v; want %s", ref, d, err, want)
		}
	}

	// Offline its state isn't known, and of two that are meant the other one is.
	hub.Gateway(standing("g1", "name-g1", false))
	same(t, list(hub, lanfolk.Filter{Gateway: "g1"}), []string{"g1.d1 name-g1 [nas] unknown g1.s1=web unknown"})
	if d, err := hub.Device("nas"); err != nil || d.ID != "g2.d1" {
		t.Error(d, err)
	}
	hub.Gateway(standing("g1", "attic", true))
	same(t, list(hub, lanfolk.Filter{Gateway: "attic"}), []string{"g1.d1 attic [nas] reachable g1.s1=web reachable"})
	revoked := standing("g1", "attic", true)
	revoked.Revoked = time.Now()
	hub.Gateway(revoked)
	same(t, list(hub, lanfolk.Filter{Gateway: "attic"}), []string{})
	same(t, hub.Counts().Devices("g1"), 0)
	if _, err := hub.Device("g1.d1"); !errors.Is(err, lanfolk.ErrNotFound) {
		t.Error(err)
	}
	if err := hub.Forget(t.Context(), "g2"); err != nil {
		t.Fatal(err)
	}
	same(t, list(hub, lanfolk.Filter{}), []string{})
	same(t, list(newHub(t, db, inventory.Limits{}), lanfolk.Filter{}), []string{"g1.d1 g1 [nas] unknown g1.s1=web unknown"})
}

func TestASnapshotReplacesWhatWasThere(t *testing.T) {
	db := newDatabase()
	for _, restarts := range []bool{false, true} {
		hub := newHub(t, db, inventory.Limits{}, "g1")
		g := teller{t, hub, "g1", fmt.Sprint("E", restarts), 0}
		g.tell(false, device("d1", "one", 1), service("s1", "d1", "web"), gone("d/d7"))
		g.tell(true, device("d2", "two", 2), feed.Item{Key: "e/d2", Doc: []byte(`{"evidence":[{"what":"x"}]}`)})
		g.epoch, g.seq = fmt.Sprint("F", restarts), 0
		g.tell(false, device("d1", "one again", 1))
		if restarts { // in the middle of the snapshot
			hub = newHub(t, db, inventory.Limits{}, "g1")
			g.hub = hub
		}
		same(t, list(hub, lanfolk.Filter{}), []string{"g1.d1 name-g1 [one again] reachable g1.s1=web reachable", "g1.d2 name-g1 [two] reachable"})
		g.tell(true, device("d3", "three", 3))
		want := []string{"g1.d1 name-g1 [one again] reachable", "g1.d3 name-g1 [three] reachable"}
		same(t, list(hub, lanfolk.Filter{}), want)
		same(t, hub.Stats().Items, 2)
		same(t, list(newHub(t, db, inventory.Limits{}, "g1"), lanfolk.Filter{}), want)
	}
}

func TestEvidenceIsShown(t *testing.T) {
	hub := newHub(t, newDatabase(), inventory.Limits{}, "g1")
	g := teller{t, hub, "g1", "E", 0}
	g.tell(true, device("d1", "nas", 1),
		feed.Item{Key: "e/d1", Doc: []byte(`{"parts":2,"evidence":[{"time":1763776800000,"protocol":"arp","what":"one","identifiers":[{"kind":"ip","value":"10.0.0.1","gateway":"invented","interface":"eth0"}]}],"reasons":[{"answer":"os","value":"O","confidence":0.5,"rule":"r","verdict":"agrees"}]}`)},
		feed.Item{Key: "e/d1/1", Doc: []byte(`{"evidence":[{"what":"two"}]}`)})
	_, evidence, err := hub.Explain("nas")
	if err != nil || len(evidence) != 2 || evidence[1].What != "two" || evidence[0].Identifiers[0].Gateway != "name-g1" {
		t.Errorf("%+v, %v", evidence, err)
	}
	if _, err := hub.SetTags(t.Context(), "nas", "os=Mine"); err != nil {
		t.Fatal(err)
	}
	reasons, err := hub.Reasons("nas")
	if err != nil || len(reasons) != 2 || reasons[0].Value != "Mine" || reasons[1].Verdict != "overruled" {
		t.Errorf("%+v, %v", reasons, err)
	}
	g.tell(false, device("d2", "new", 2))
	if _, evidence, err := hub.Explain("new"); err != nil || len(evidence) != 0 {
		t.Errorf("%v, %v", evidence, err)
	}
}

func TestTimesAreNoNews(t *testing.T) {
	db := newDatabase()
	hub := newHub(t, db, inventory.Limits{}, "g1")
	g := teller{t, hub, "g1", "E", 0}
	g.tell(true, device("d1", "nas", 1), service("s1", "d1", "web"))
	later := time.Unix(1763777000, 0).UTC()
	g.tell(false, feed.Item{Key: "t/1/0", Doc: feed.TimesDoc([]feed.Heard{
		{Kind: feed.Device, ID: "d1", Last: later}, {Kind: feed.Service, ID: "s1", Last: later, Expires: later.Add(time.Hour)}, {Kind: feed.Device, ID: "other", Last: later},
	})})
	for _, hub := range []*inventory.Inventory{hub, newHub(t, db, inventory.Limits{}, "g1")} {
		d := hub.Devices(lanfolk.Filter{})[0]
		same(t, []time.Time{d.LastSeen, d.Services[0].LastSeen, d.Services[0].Expires}, []time.Time{later, later, later.Add(time.Hour)})
	}
}

func TestWhatAHubRefuses(t *testing.T) {
	db := newDatabase()
	hub := newHub(t, db, inventory.Limits{Items: 4, Bytes: 8 << 10}, "g1")
	g := teller{t, hub, "g1", "E", 0}
	g.tell(true, device("d1", "one", 1))
	before := list(hub, lanfolk.Filter{})
	batch := func(items ...feed.Item) []byte { return (&feed.Batch{Items: items}).Append(nil) }
	long := `{"state":"unknown","names":["` + strings.Repeat("x", 4000) + `"]}`
	for name, c := range map[string]struct {
		data  []byte
		want  string
		state lanfolkpb.ProgressReply_State
	}{
		"junk":            {[]byte("junk"), "can't be read: feed: line 1: byte 1: invalid character", lanfolkpb.ProgressReply_REFUSED},
		"bad second item": {batch(device("d2", "two", 2), feed.Item{Key: "d/d3", Doc: []byte(`{"state":"up"}`)}), `can't be read: line 3: d/d3: state: "up" is none`, lanfolkpb.ProgressReply_REFUSED},
		"bad evidence":    {batch(feed.Item{Key: "e/d3", Doc: []byte(`{"evidence":7}`)}), "can't be read: line 2: e/d3: byte 13", lanfolkpb.ProgressReply_REFUSED},
		"a key of a path": {[]byte(`{"feed":"inventory","version":1}` + "\n" + `{"key":"d/../../x","doc":{}}`), "no key", lanfolkpb.ProgressReply_REFUSED},
		"late snapshot":   {(&feed.Batch{Snapshot: true}).Append(nil), "snapshot: true in batch 1", lanfolkpb.ProgressReply_REFUSED},
		"rows":            {feed.RowsHeader(), `want "inventory"`, lanfolkpb.ProgressReply_REFUSED},
		"too many":        {batch(device("d2", "", 2), device("d3", "", 2), device("d4", "", 2), device("d5", "", 2)), "too much: 5 items of one gateway, at most 4", lanfolkpb.ProgressReply_REFUSED},
		"too much":        {batch(feed.Item{Key: "d/d2", Doc: []byte(long)}, feed.Item{Key: "d/d3", Doc: []byte(long)}, feed.Item{Key: "d/d4", Doc: []byte(long)}), "bytes of one gateway, at most 8192", lanfolkpb.ProgressReply_REFUSED},
	} {
		err := g.take(c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
			continue
		}
		reply, err := hub.Progress(t.Context(), g.peer(), reverse.TypeInventory, "E")
		if err != nil || reply.GetState() != c.state || !strings.Contains(reply.GetReason(), c.want) {
			t.Errorf("%s: %v, %v", name, reply, err)
		}
		if reply, err = hub.Progress(t.Context(), g.peer(), reverse.TypeInventory, "E"); err != nil || reply.GetState() != lanfolkpb.ProgressReply_OPEN || reply.GetNextSeq() != 1 {
			t.Errorf("%s: asked again: %v, %v", name, reply, err)
		}
	}
	same(t, list(hub, lanfolk.Filter{}), before)
	same(t, hub.Stats().Invalid, uint64(6))
	same(t, hub.Stats().Quota, uint64(2))

	// Four are not too many.
	g.tell(false, device("d2", "", 2), device("d3", "", 2), device("d4", "", 2))
	g.tell(false, gone("d/d4"), device("d5", "", 2))

	for name, c := range map[string]struct {
		meta  reverse.Meta
		data  []byte
		state lanfolkpb.ProgressReply_State
		next  uint64
	}{
		"the last one again":        {reverse.Meta{ID: "E", Seq: 2}, batch(gone("d/d4"), device("d5", "", 2)), lanfolkpb.ProgressReply_OPEN, 3},
		"another one of its number": {reverse.Meta{ID: "E", Seq: 2}, batch(gone("d/d5")), lanfolkpb.ProgressReply_SNAPSHOT, 3},
		"a gap":                     {reverse.Meta{ID: "E", Seq: 9}, batch(), lanfolkpb.ProgressReply_OPEN, 3},
	} {
		err := hub.Take(t.Context(), g.peer(), reverse.TypeInventory, c.meta, c.data)
		reply, _ := hub.Progress(t.Context(), g.peer(), reverse.TypeInventory, c.meta.ID)
		if (err == nil) != (name == "the last one again") || reply.GetState() != c.state || reply.GetNextSeq() != c.next {
			t.Errorf("%s: %v, %v", name, err, reply)
		}
	}
	if reply, _ := hub.Progress(t.Context(), g.peer(), reverse.TypeInventory, "other"); reply.GetState() != lanfolkpb.ProgressReply_SNAPSHOT {
		t.Errorf("an unknown epoch: %v", reply)
	}
	db.broken = errors.New("away")
	if err := g.take(batch()); err == nil {
		t.Error("a broken database takes a batch")
	}
	if reply, _ := hub.Progress(t.Context(), g.peer(), reverse.TypeInventory, "E"); reply.GetState() != lanfolkpb.ProgressReply_RETRY {
		t.Errorf("a broken database: %v", reply)
	}
	db.broken = nil
	same(t, hub.Stats().Store, uint64(1))
	insecure := reverse.Peer{Gateway: "insecure/x", Insecure: true, Native: true}
	if err := hub.Take(t.Context(), insecure, reverse.TypeInventory, reverse.Meta{ID: "E"}, (&feed.Batch{Snapshot: true}).Append(nil)); err == nil {
		t.Error("somebody without a certificate feeds")
	}
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := hub.Take(dead, g.peer(), reverse.TypeInventory, reverse.Meta{ID: "E", Seq: 3}, batch()); !errors.Is(err, context.Canceled) {
			t.Errorf("a batch of a connection that is gone: %v", err)
		}
	}
}

func TestRowsAreTheGateways(t *testing.T) {
	db := newDatabase()
	hub := newHub(t, db, inventory.Limits{}, "g1", "g2")
	far := time.Now().Add(1000 * time.Hour)
	o := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Gateway: "invented", Protocol: "dns", Query: "a"}, First: far, Last: far, Count: 2}
	data := feed.AppendRow(feed.RowsHeader(), &o)
	for range 2 {
		if err := hub.Take(t.Context(), reverse.Peer{Gateway: "g1"}, reverse.TypeFingerprints, reverse.Meta{ID: "E"}, data); err != nil {
			t.Fatal(err)
		}
	}
	if len(db.rows) != 1 {
		t.Fatal(db.rows)
	}
	for k, o := range db.rows {
		if k.Gateway != "g1" || o.Count != 2 || o.Last.After(time.Now()) || o.First.After(o.Last) {
			t.Errorf("%+v", o)
		}
	}
	same(t, hub.Stats().Again, uint64(1))
	rows := inventory.Fingerprints{Known: hub, DB: rowsOf{db}}
	for ref, want := range map[string]int{"": 1, "g1": 1, "name-g1": 1, "name-g2": 0, "nobody": 0} {
		got, _, err := rows.ObservationPage(t.Context(), store.ObservationFilter{Gateway: ref})
		if err != nil || len(got) != want || want > 0 && got[0].Gateway != "name-g1" {
			t.Errorf("%q: %v, %v", ref, got, err)
		}
		if o, ok, err := rows.Latest(t.Context(), store.ObservationFilter{Gateway: ref}); err != nil || ok != (want > 0) || ok && o.Gateway != "name-g1" {
			t.Errorf("%q: %v, %v", ref, o, err)
		}
	}
	hub.Gateway(standing("g2", "name-g1", true))
	if _, _, err := rows.ObservationPage(t.Context(), store.ObservationFilter{Gateway: "name-g1"}); !errors.Is(err, lanfolk.ErrAmbiguous) {
		t.Error(err)
	}
}

// rowsOf reads a database's rows by gateway.
type rowsOf struct{ db *database }

func (r rowsOf) ObservationPage(_ context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	var rows []lanfolk.Observation
	for _, o := range r.db.rows {
		if f.Gateway == "" || o.Gateway == f.Gateway {
			rows = append(rows, *o)
		}
	}
	return rows, store.Cursor{}, nil
}

func (r rowsOf) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	rows, _, err := r.ObservationPage(ctx, f)
	if len(rows) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return rows[0], true, err
}

func TestWhatPeopleSayAtTheHub(t *testing.T) {
	db := newDatabase()
	hub := newHub(t, db, inventory.Limits{}, "g1")
	g := teller{t, hub, "g1", "E", 0}
	g.tell(true, device("d1", "nas", 1), device("d2", "nas2", 2))
	d, err := hub.SetNames(t.Context(), "nas", "Ada's", "NAS")
	if err != nil || !slices.Equal(d.Names, []string{"Ada's", "NAS"}) {
		t.Fatal(d, err)
	}
	if d, err = hub.SetTags(t.Context(), "Ada's", "class=server", "loud"); err != nil || d.Class != "server" || d.ClassConfidence != 1 || !slices.Equal(d.Tags, []string{"class=server", "loud"}) {
		t.Fatal(d, err)
	}
	hub = newHub(t, db, inventory.Limits{}, "g1")
	if d, err = hub.Device("ada's"); err != nil || d.ID != "g1.d1" || d.Class != "server" {
		t.Fatal(d, err)
	}
	// It turns out to be another one.
	merged := lanfolk.Device{Aliases: []string{"d1"}, Names: []string{"nas2"}, State: lanfolk.Reachable}
	g.hub = hub
	g.tell(false, gone("d/d1"), feed.Item{Key: "d/d2", Doc: feed.DeviceDoc(&merged, true)})
	if d, err = hub.Device("d1"); err != nil || d.ID != "g1.d2" || d.Names[0] != "Ada's" {
		t.Fatal(d, err)
	}
	if d, err = hub.SetNames(t.Context(), "d1"); err != nil || !slices.Equal(d.Names, []string{"nas2"}) || d.Class != "server" {
		t.Fatal(d, err)
	}
	for _, bad := range []string{"", "  ", "a\nb", "\xff", strings.Repeat("x", 300)} {
		if _, err := hub.SetNames(t.Context(), "d1", bad); !errors.Is(err, lanfolk.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := hub.Separate(t.Context(), "d1", lanfolk.Identifier{}); !errors.Is(err, lanfolk.ErrInvalid) || !strings.Contains(err.Error(), "on the gateway name-g1, where the device is d2") {
		t.Error(err)
	}
	db.broken = errors.New("away")
	if _, err := hub.SetTags(t.Context(), "d1", "quiet"); err == nil {
		t.Error("a word is acknowledged that isn't kept")
	}
	db.broken = nil
	if d, err := hub.Device("d1"); err != nil || slices.Contains(d.Tags, "quiet") {
		t.Error(d, err)
	}
	if err := hub.Forget(t.Context(), "g1"); err != nil || len(db.words) > 1 {
		t.Error(err, db.words)
	}
}

// TestAWatcherSeesWhatIsShown follows a watcher through all that may happen: its picture
// is the one that a reader has, even if it reads slowly.
func TestAWatcherSeesWhatIsShown(t *testing.T) {
	for name, filter := range map[string]lanfolk.Filter{"all": {}, "devices": {Kind: lanfolk.KindDevice}, "one gateway's": {Gateway: "name-g1"}, "reachable": {State: lanfolk.Reachable}} {
		for _, slow := range []bool{false, true} {
			if slow && name != "all" {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				db := newDatabase()
				hub := newHub(t, db, inventory.Limits{}, "g1", "g2")
				g, other := teller{t, hub, "g1", "E", 0}, teller{t, hub, "g2", "E", 0}
				g.tell(true, device("d1", "one", 1), service("s1", "d1", "web"))
				other.tell(true, device("d1", "other", 1))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				devices, services := make(map[string]*lanfolk.Device), make(map[string]*lanfolk.Service)
				synced, events := 0, 0
				stream := hub.Watch(ctx, filter)
				drain := func() {
					for {
						synctest.Wait()
						select {
						case e := <-stream:
							events++
							switch {
							case e.Op == lanfolk.OpSynced:
								synced++
							case e.Device != nil && (devices[e.Device.ID] == nil) != (e.Op == lanfolk.OpAdd):
								t.Fatalf("%s of %s", e.Op, e.Device.ID)
							case e.Device != nil && e.Op == lanfolk.OpRemove:
								delete(devices, e.Device.ID)
							case e.Device != nil:
								devices[e.Device.ID] = e.Device
							case e.Op == lanfolk.OpRemove:
								delete(services, e.Service.ID)
							default:
								services[e.Service.ID] = e.Service
							}
						default:
							return
						}
					}
				}
				check := func(what string) {
					t.Helper()
					if slow && what != "the end" {
						return
					}
					drain()
					f := filter
					f.Kind = ""
					var want, got []string
					for _, d := range hub.Devices(f) {
						want = append(want, fmt.Sprint(d.ID, d.Gateway, d.Names, d.State, len(d.Services)))
					}
					for _, d := range devices {
						got = append(got, fmt.Sprint(d.ID, d.Gateway, d.Names, d.State, len(d.Services)))
					}
					if filter.Kind == "" {
						for _, s := range hub.Services(f) {
							want = append(want, fmt.Sprint(s.ID, s.Gateway, s.Name, s.State, s.Device))
						}
						for _, s := range services {
							got = append(got, fmt.Sprint(s.ID, s.Gateway, s.Name, s.State, s.Device))
						}
					}
					slices.Sort(want)
					slices.Sort(got)
					if !slices.Equal(want, got) {
						t.Errorf("%s, %s: a watcher has\n%q\na reader\n%q", name, what, got, want)
					}
				}
				check("the beginning")
				g.tell(false, device("d2", "two", 2), service("s2", "d3", "early"))
				check("a service before its device")
				g.tell(false, device("d3", "three", 3), service("s1", "d2", "moved"))
				check("a service moves")
				n := events
				g.tell(false, feed.Item{Key: "t/1/0", Doc: feed.TimesDoc([]feed.Heard{{Kind: feed.Device, ID: "d1", Last: time.Now()}})}, device("d3", "three", 3))
				check("times")
				if events != n {
					t.Errorf("%d events about times", events-n)
				}
				g.tell(false, gone("d/d2"))
				check("a device goes, its service stays")
				hub.Gateway(standing("g1", "name-g1", false))
				check("a gateway is offline")
				hub.Gateway(standing("g2", "name-g1", true))
				check("a gateway is renamed")
				hub.Gateway(standing("g1", "name-g1", true))
				check("it is back")
				if _, err := hub.SetNames(ctx, "g1.d3", "said"); err != nil {
					t.Fatal(err)
				}
				check("a name")
				if slow { // more than may wait
					var items []feed.Item
					for n := range 50 {
						items = append(items, device(fmt.Sprint("x", n), "x", 9))
					}
					g.tell(false, items...)
					for n := range 200 {
						hub.Gateway(standing("g1", "name-g1", n%2 > 0))
					}
				}
				g.epoch, g.seq = "F", 0
				g.tell(true, device("d4", "four", 4))
				check("a snapshot")
				if err := hub.Forget(ctx, "g2"); err != nil {
					t.Fatal(err)
				}
				check("the end")
				if want := map[bool]int{false: 1, true: 2}[slow]; synced != want {
					t.Errorf("synced %d times, want %d", synced, want)
				}
				cancel()
				synctest.Wait()
				if _, open := <-stream; open {
					t.Error("the stream goes on")
				}
			})
		}
	}
}

func TestTheDatabaseIsTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase()
		hub := newHub(t, db, inventory.Limits{}, "g1")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go hub.Run(ctx)
		g := teller{t, hub, "g1", "E", 0}
		g.tell(true, device("d1", "one", 1), device("d2", "two", 2))
		g.tell(false, gone("d/d1"))
		time.Sleep(7 * time.Hour)
		db.mu.Lock()
		defer db.mu.Unlock()
		same(t, slices.Collect(maps.Keys(db.items)), [][2]string{{"g1", "d/d2"}})
	})
}
