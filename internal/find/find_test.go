package find_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
)

// asker answers after a while, then ends with err, or waits for ctx's end.
type asker struct {
	name    string
	answers []lanfolk.Sighting
	after   time.Duration
	err     error
	wait    bool
}

func (a asker) Protocol() string { return a.name }

func (a asker) Ask(ctx context.Context, _ find.Query, emit func(lanfolk.Sighting)) error {
	for _, s := range a.answers {
		select {
		case <-time.After(a.after):
			emit(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if a.wait {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.err
}

func service(protocol, name string) lanfolk.Sighting {
	return lanfolk.Sighting{
		Origin: lanfolk.Origin{Protocol: protocol, Link: "eth0"}, Kind: lanfolk.KindService,
		Key: name, Name: name, Type: "_ipp._tcp", Port: 631, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
	}
}

func TestFindEnds(t *testing.T) {
	broken := errors.New("socket: permission denied")
	for _, c := range []struct {
		name   string
		askers []find.Asker
		req    find.Request
		want   []string
		err    error
		took   time.Duration
	}{
		{"all answers until the timeout", []find.Asker{
			asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a"), service("mdns", "b")}, after: time.Second, wait: true},
			asker{name: "tged", answers: []lanfolk.Sighting{service("tged", "c")}, after: 1500 * time.Millisecond},
		}, find.Request{}, []string{"a", "c", "b"}, nil, 3 * time.Second},
		{"as soon as all protocols have heard all", []find.Asker{
			asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a")}, after: time.Second},
		}, find.Request{}, []string{"a"}, nil, time.Second},
		{"at the first answer", []find.Asker{
			asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a"), service("mdns", "b")}, after: time.Second, wait: true},
		}, find.Request{First: true}, []string{"a"}, nil, time.Second},
		{"an answer that says nothing new counts once", []find.Asker{
			asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a"), service("mdns", "a")}, after: time.Second},
		}, find.Request{}, []string{"a"}, nil, 2 * time.Second},
		{"only the named protocols", []find.Asker{
			asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a")}},
			asker{name: "tged", answers: []lanfolk.Sighting{service("tged", "c")}},
		}, find.Request{Via: []string{"tged"}}, []string{"c"}, nil, 0},
		{"nobody answers", []find.Asker{asker{name: "mdns", wait: true}}, find.Request{Timeout: time.Minute}, nil, find.ErrNoAnswer, time.Minute},
		{"somebody says there is none", []find.Asker{asker{name: "mdns", err: find.ErrNone}, asker{name: "tged"}}, find.Request{}, nil, find.ErrNone, 0},
		{"no protocol could ask", []find.Asker{asker{name: "mdns", err: broken}}, find.Request{}, nil, broken, 0},
		{"one protocol could not ask", []find.Asker{asker{name: "mdns", err: broken}, asker{name: "tged"}}, find.Request{}, nil, find.ErrNoAnswer, 0},
		{"a protocol that isn't there", []find.Asker{asker{name: "mdns"}}, find.Request{Via: []string{"telex"}}, nil, find.ErrProtocol, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var got []string
				err := find.Finder{Askers: c.askers}.Find(t.Context(), c.req, func(a find.Answer) {
					got = append(got, a.Service.Name)
				})
				if !errors.Is(err, c.err) {
					t.Errorf("error %v; want %v", err, c.err)
				}
				if len(got) != len(c.want) {
					t.Fatalf("found %q; want %q", got, c.want)
				}
				for i := range got {
					if got[i] != c.want[i] {
						t.Errorf("found %q; want %q", got, c.want)
					}
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v; want %v", took, c.took)
				}
			})
		})
	}
}

func TestFindTakesIDsFromTheInventory(t *testing.T) {
	f := find.Finder{
		Askers: []find.Asker{asker{name: "mdns", answers: []lanfolk.Sighting{service("mdns", "a")}}},
		Known: func(_ context.Context, s lanfolk.Sighting) (find.Answer, bool) {
			return find.Answer{Service: &lanfolk.Service{ID: "s1", Device: "d1", Name: s.Name}}, true
		},
	}
	var got []find.Answer
	if err := f.Find(t.Context(), find.Request{}, func(a find.Answer) { got = append(got, a) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Service.ID != "s1" || got[0].Service.Device != "d1" {
		t.Errorf("found %+v; want the inventory's service s1", got)
	}
}

func TestFindEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := find.Finder{Askers: []find.Asker{asker{name: "mdns", wait: true}}}.Find(ctx, find.Request{}, func(find.Answer) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want context.Canceled", err)
	}
}
