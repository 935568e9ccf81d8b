package conformance

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	"pgregory.net/rapid"
)

// fill sets every field of v, a pointer, to something that isn't zero, so that
// a field that somebody adds to the domain and forgets in a store is noticed.
func fill(t *testing.T, v any) {
	t.Helper()
	n := 0
	var set func(v reflect.Value)
	set = func(v reflect.Value) {
		n++
		switch x := v.Addr().Interface().(type) {
		case *time.Time:
			*x = start().Add(time.Duration(n) * time.Second)
			return
		case *netip.Addr:
			*x = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				set(v.Field(i))
			}
		case reflect.String:
			v.SetString(fmt.Sprintf("text %d", n))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(n))
		case reflect.Uint16:
			v.SetUint(uint64(n))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			set(v.Index(0))
			set(v.Index(1))
		case reflect.Map:
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			set(key)
			set(value)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(key, value)
		default:
			t.Fatalf("%v: say here how to fill it", v.Type())
		}
	}
	set(reflect.ValueOf(v).Elem())
}

// snapshot returns what s holds, in an order of its own.
func snapshot(t tb, s Store) lanfolk.Snapshot {
	t.Helper()
	got, err := s.Snapshot(context.Background())
	noErr(t, err)
	sortSnapshot(&got)
	return got
}

func sortSnapshot(s *lanfolk.Snapshot) {
	slices.SortFunc(s.Devices, func(a, b lanfolk.DeviceRecord) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Sightings, func(a, b lanfolk.StoredSighting) int {
		return strings.Compare(fmt.Sprintf("%q", a.Sighting.ID()), fmt.Sprintf("%q", b.Sighting.ID()))
	})
}

func wantSnapshot(t tb, s Store, want lanfolk.Snapshot) {
	t.Helper()
	sortSnapshot(&want)
	if diff := gocmp.Diff(want, snapshot(t, s), same(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
}

func inventoryRoundTrip(t *testing.T, open Opener) {
	s := opened(t, open)
	wantSnapshot(t, s, lanfolk.Snapshot{})
	var want lanfolk.Snapshot
	fill(t, &want)
	want.Devices = append(want.Devices, lanfolk.DeviceRecord{ID: "all else is empty"})
	want.Sightings = append(want.Sightings, lanfolk.StoredSighting{})
	noErr(t, s.Save(context.Background(), lanfolk.Batch{Devices: want.Devices, Sightings: want.Sightings}))
	wantSnapshot(t, s, want)
}

func inventoryModel(t *testing.T, open Opener) {
	s := opened(t, open)
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		devices, sightings := map[string]lanfolk.DeviceRecord{}, map[lanfolk.ID]lanfolk.StoredSighting{}
		var made lanfolk.Batch
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			var b lanfolk.Batch
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 4, rapid.ID).Draw(t, "devices") {
				id := fmt.Sprintf("%d-%d", run, n)
				if rapid.IntRange(0, 2).Draw(t, "forget") == 0 {
					b.Forgotten = append(b.Forgotten, id)
					delete(devices, id)
					continue
				}
				d := lanfolk.DeviceRecord{ID: id, Heard: []string{rapid.String().Draw(t, "name")}}
				b.Devices = append(b.Devices, d)
				devices[id] = d
			}
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 4, rapid.ID).Draw(t, "sightings") {
				x := lanfolk.StoredSighting{Sighting: lanfolk.Sighting{Key: fmt.Sprintf("%d-%d", run, n), Name: rapid.String().Draw(t, "name")}}
				id := x.Sighting.ID()
				if rapid.IntRange(0, 2).Draw(t, "end") == 0 {
					b.Ended = append(b.Ended, id)
					delete(sightings, id)
					continue
				}
				b.Sightings = append(b.Sightings, x)
				sightings[id] = x
			}
			if err := s.Save(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			made.Devices, made.Sightings = append(made.Devices, b.Devices...), append(made.Sightings, b.Sightings...)
		}
		var want lanfolk.Snapshot
		for _, d := range devices {
			want.Devices = append(want.Devices, d)
		}
		for _, x := range sightings {
			want.Sightings = append(want.Sightings, x)
		}
		wantSnapshot(t, s, want)
		// Leave it empty for the next run.
		var all lanfolk.Batch
		for _, d := range made.Devices {
			all.Forgotten = append(all.Forgotten, d.ID)
		}
		for _, x := range made.Sightings {
			all.Ended = append(all.Ended, x.Sighting.ID())
		}
		if err := s.Save(context.Background(), all); err != nil {
			t.Fatal(err)
		}
		wantSnapshot(t, s, lanfolk.Snapshot{})
	})
}

func inventoryCommit(t *testing.T, open Opener) {
	s := opened(t, open)
	said := lanfolk.DeviceRecord{ID: "d1", Said: lanfolk.Said{Names: []string{"Printer"}, Tags: []string{"office"}}}
	other := lanfolk.DeviceRecord{ID: "d2", MergedInto: "d1"}
	noErr(t, s.Commit(context.Background(), []lanfolk.DeviceRecord{said, other}))
	wantSnapshot(t, s, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{said, other}})
	said.Said.Names = []string{"Old printer"}
	noErr(t, s.Commit(context.Background(), []lanfolk.DeviceRecord{said}))
	noErr(t, s.Commit(context.Background(), nil))
	noErr(t, s.Save(context.Background(), lanfolk.Batch{Forgotten: []string{"d2", "never there"}, Ended: []lanfolk.ID{{Key: "never there"}}}))
	wantSnapshot(t, s, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{said}})
}

func inventoryOddities(t *testing.T, open Opener) {
	s := opened(t, open)
	odd := func(key string) lanfolk.StoredSighting {
		return lanfolk.StoredSighting{Sighting: lanfolk.Sighting{
			Key: key, Name: key, Type: key, Host: key, What: key,
			Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDHost, Value: key}},
			Attributes:  map[string]string{key: key, key + "=": "\x00\xff"},
		}}
	}
	a, b := odd("a\xffb"), odd("a\ufffdb")
	dev := lanfolk.DeviceRecord{ID: "d1", Heard: []string{"\x00\xfe"}, Said: lanfolk.Said{Names: []string{"\xff"}},
		Signals: []lanfolk.Signal{{Kind: "host.name", Value: "\xfd\x00"}, {Kind: "tcp.syn", Value: "tcp1:q"}}}
	noErr(t, s.Save(context.Background(), lanfolk.Batch{Devices: []lanfolk.DeviceRecord{dev}, Sightings: []lanfolk.StoredSighting{a, b}}))
	wantSnapshot(t, s, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{dev}, Sightings: []lanfolk.StoredSighting{a, b}})
	noErr(t, s.Save(context.Background(), lanfolk.Batch{Ended: []lanfolk.ID{a.Sighting.ID()}}))
	wantSnapshot(t, s, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{dev}, Sightings: []lanfolk.StoredSighting{b}})

	// Times and addresses that text can't hold must not keep the rest from
	// being saved or read.
	far := odd("far")
	far.Sighting.Time, far.FirstSeen = time.Unix(1<<50, 0), time.Unix(-1<<50, 0)
	far.Sighting.Addresses = []netip.Addr{{}, netip.MustParseAddr("fe80::1").WithZone("\xff%"), netip.MustParseAddr("10.0.0.1")}
	noErr(t, s.Save(context.Background(), lanfolk.Batch{Sightings: []lanfolk.StoredSighting{far}}))
	for _, x := range snapshot(t, s).Sightings {
		if x.Sighting.Key == "far" && !slices.Contains(x.Sighting.Addresses, netip.MustParseAddr("10.0.0.1")) {
			t.Errorf("the good address is gone: %v", x.Sighting.Addresses)
		}
	}
}

func inventorySnapshot(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	save := func(n int) error {
		text := fmt.Sprint(n)
		return s.Save(ctx, lanfolk.Batch{
			Devices:   []lanfolk.DeviceRecord{{ID: "d1", Heard: []string{text}}},
			Sightings: []lanfolk.StoredSighting{{Sighting: lanfolk.Sighting{Key: "k", Name: text}}},
		})
	}
	noErr(t, save(0))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for n := range 50 {
			if err := save(n); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		got := snapshot(t, s)
		if len(got.Devices) != 1 || len(got.Sightings) != 1 || got.Devices[0].Heard[0] != got.Sightings[0].Sighting.Name {
			t.Fatalf("half a batch: %+v", got)
		}
	}
}

func secrets(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	var wg sync.WaitGroup
	got := make([][]byte, 8)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = s.Secret(ctx, "session"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range got {
		if len(b) != 32 || !bytes.Equal(b, got[0]) {
			t.Fatalf("secrets differ: %x", got)
		}
	}
	other, err := s.Secret(ctx, "token")
	noErr(t, err)
	if bytes.Equal(other, got[0]) {
		t.Error("two names have one secret")
	}
	for _, name := range []string{"token", "new\x00"} {
		noErr(t, s.PutSecret(ctx, name, other[:16]))
		if put, err := s.Secret(ctx, name); err != nil || !bytes.Equal(put, other[:16]) {
			t.Errorf("%q: %x was put and %x is there, %v", name, other[:16], put, err)
		}
	}
}

func reopen(t *testing.T, open Opener) {
	ctx := context.Background()
	s := open()
	o, d := heard(1, "nas.local"), lanfolk.DeviceRecord{ID: "d1", Said: lanfolk.Said{Names: []string{"NAS"}}}
	x := lanfolk.StoredSighting{Sighting: lanfolk.Sighting{Key: "k", Attributes: map[string]string{"a": "b"}}, Device: "d1"}
	noErr(t, s.SaveObservations(ctx, []lanfolk.Observation{o}))
	noErr(t, s.Commit(ctx, []lanfolk.DeviceRecord{d}))
	noErr(t, s.Save(ctx, lanfolk.Batch{Sightings: []lanfolk.StoredSighting{x}}))
	before, err := s.Secret(ctx, "session")
	noErr(t, err)
	noErr(t, s.Close())

	s = opened(t, open)
	if diff := gocmp.Diff([]lanfolk.Observation{o}, query(t, s, store.ObservationFilter{}), same()); diff != "" {
		t.Error(diff)
	}
	wantSnapshot(t, s, lanfolk.Snapshot{Devices: []lanfolk.DeviceRecord{d}, Sightings: []lanfolk.StoredSighting{x}})
	if after, err := s.Secret(ctx, "session"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("secret %x, before %x, %v", after, before, err)
	}
}

func together(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := context.Background()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				o := heard(w, "nas.local")
				o.Last = o.Last.Add(time.Duration(i) * time.Second)
				if err := s.SaveObservations(ctx, []lanfolk.Observation{o}); err != nil {
					t.Error(err)
				}
				if err := s.Commit(ctx, []lanfolk.DeviceRecord{{ID: fmt.Sprint(w)}}); err != nil {
					t.Error(err)
				}
				if _, _, err := s.Latest(ctx, store.ObservationFilter{Query: "nas.local"}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				if _, err := s.ForgetObservations(ctx, start(), store.Retention{MaxRows: 1000, MaxAge: time.Hour}); err != nil {
					t.Error(err)
				}
				if _, err := s.Snapshot(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, o := range query(t, s, store.ObservationFilter{}) {
		if o.Count != 25 {
			t.Errorf("%v: %d packets, want 25", o.SrcMAC, o.Count)
		}
	}
}
