package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// runner answers a command at a gateway after a second, by what the gateway says: "none",
// "silent", or lines.
type runner struct {
	says map[string]string

	mu    sync.Mutex
	asked []fleet.Request
	out   map[string]string
}

func (r *runner) Submit(_ context.Context, q fleet.Request) (made []fleet.Command, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
	for _, g := range q.Gateways {
		c := fleet.Command{ID: "c-" + g.ID, Gateway: g.ID, Line: q.Line, State: fleet.Sent}
		r.out[c.ID] = r.says[g.ID]
		made = append(made, c)
	}
	return made, nil
}

func (r *runner) Watch(ctx context.Context, ids ...string) <-chan fleet.Command {
	c := make(chan fleet.Command)
	go func() {
		defer close(c)
		time.Sleep(time.Second)
		for _, id := range ids {
			now := fleet.Command{ID: id, Gateway: strings.TrimPrefix(id, "c-"), State: fleet.OK}
			switch r.said(id) {
			case "silent":
				continue
			case "none":
				now.State, now.Error = fleet.Error, "find: there is none"
			}
			select {
			case c <- now:
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done()
	}()
	return c
}

func (r *runner) Output(_ context.Context, id string, _ int64, _ bool) (io.ReadCloser, error) {
	text := r.said(id)
	if text == "lost" {
		return nil, fleet.ErrUnknown
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (r *runner) said(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[id]
}

func TestFindAsksGateways(t *testing.T) {
	const found = `{"kind":"service","id":"s9","name":"Live","type":"_http._tcp","protocol":"mdns","state":"reachable","device":"d9","gateway":"invented","addresses":["10.0.0.9"]}`
	for name, c := range map[string]struct {
		query  string
		via    []string
		first  bool
		says   map[string]string // by gateway; those that are in it are online
		want   []string          // in the order of their coming
		err    error
		asked  int // gateways
		within time.Duration
	}{
		"known and live": {
			query: "_http._tcp", says: map[string]string{"g1": found + "\n" + found, "g2": "", "g3": "silent"},
			want: []string{"g1.s1 name-g1", "g1.s9 name-g1"}, asked: 3, within: 7 * time.Second,
		},
		"the first is enough":      {query: "_http._tcp", first: true, says: map[string]string{"g1": found}, want: []string{"g1.s1 name-g1"}},
		"a gateway that is away":   {query: "_http._tcp", says: map[string]string{"g2": found}, want: []string{"g2.s9 name-g2"}, asked: 1},
		"by another protocol":      {query: "_http._tcp", via: []string{"syncthing"}, says: map[string]string{"g1": found}, err: find.ErrNoAnswer, asked: 1},
		"what is known goes by id": {query: "nas", says: map[string]string{"g1": `{"kind":"device","id":"d1","names":["live"],"state":"reachable"}`}, want: []string{"g1.d1 name-g1"}, asked: 1},
		"a device without a kind":  {query: "x", says: map[string]string{"g1": `{"id":"d7","names":["x"],"state":"reachable"}`}, want: []string{"g1.d7 name-g1"}, asked: 1},
		"nobody is online":         {query: "x", says: map[string]string{}, err: find.ErrNoAnswer},
		"nobody answers":           {query: "x", says: map[string]string{"g1": "silent"}, err: find.ErrNoAnswer, asked: 1, within: 7 * time.Second},
		"there is none":            {query: "x", says: map[string]string{"g1": "silent", "g2": "none"}, err: find.ErrNone, asked: 2, within: 7 * time.Second},
		"lost":                     {query: "x", says: map[string]string{"g1": "lost"}, err: find.ErrNoAnswer, asked: 1},
		"junk": {
			query: "x", err: find.ErrNoAnswer, asked: 1,
			says: map[string]string{"g1": "junk\n7\n{\n" + `{"kind":"device","state":"up"}` + "\n" + `{"kind":"device","state":"reachable","names":["` + strings.Repeat("x", 9000) + `"]}` + "\n" + strings.Repeat("y", 300<<10)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := newHub(t, newDatabase(), inventory.Limits{})
				r := &runner{says: c.says, out: make(map[string]string)}
				hub.Gateway(standing("insecure/x", "x", true))
				for _, g := range []string{"g1", "g2", "g3"} {
					_, online := c.says[g]
					hub.Gateway(standing(g, "name-"+g, online))
				}
				one := teller{t, hub, "g1", "E", 0}
				one.tell(true, device("d1", "nas", 1), service("s1", "d1", "web"))
				q, err := find.ParseQuery(c.query)
				if err != nil {
					t.Fatal(err)
				}
				f := inventory.Finder{Known: hub, Runner: r, By: func(context.Context) string { return "ada" }}
				began := time.Now()
				var got []string
				err = f.Find(t.Context(), find.Request{Query: q, Via: c.via, First: c.first}, func(a find.Answer) {
					if a.Service != nil {
						got = append(got, a.Service.ID+" "+a.Service.Gateway)
					} else {
						got = append(got, a.Device.ID+" "+a.Device.Gateway)
					}
				})
				if !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				same(t, got, c.want)
				if took := time.Since(began); took > max(c.within, 2*time.Second) {
					t.Errorf("it took %s", took)
				}
				asked := 0
				for _, q := range r.asked {
					asked += len(q.Gateways)
					if q.By != "ada" || q.Line != "find --timeout 3s "+c.query {
						t.Errorf("asked %q by %q", q.Line, q.By)
					}
				}
				same(t, asked, c.asked)
			})
		})
	}
}

func TestFindAsksManyInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t, newDatabase(), inventory.Limits{})
		r := &runner{says: make(map[string]string), out: make(map[string]string)}
		for n := range 1300 {
			id := fmt.Sprintf("g%04d", n)
			r.says[id] = fmt.Sprintf(`{"kind":"device","id":"d1","names":["x"],"state":"reachable","macs":["02:00:00:00:%02x:%02x"]}`, n/256, n%256)
			hub.Gateway(standing(id, "", true))
		}
		var got []string
		f := inventory.Finder{Known: hub, Runner: r}
		err := f.Find(t.Context(), find.Request{Query: find.Query{Text: "x"}}, func(a find.Answer) { got = append(got, a.Device.Gateway) })
		if err != nil || len(got) != 1300 || len(r.asked) != 3 {
			t.Errorf("%d answers of %d parts: %v", len(got), len(r.asked), err)
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != 1300 {
			t.Errorf("%d gateways answered", n)
		}
	})
}

func TestWhatIsKnownByItsQuery(t *testing.T) {
	hub := newHub(t, newDatabase(), inventory.Limits{}, "g1")
	one := teller{t, hub, "g1", "E", 0}
	one.tell(true, device("d1", "nas.local", 1), service("s1", "d1", "Web"))
	for text, want := range map[string]int{
		"nas": 1, "NAS.local": 1, "02:00:00:00:00:01": 1, "02:00:00:00:00:02": 0, "10.0.0.1": 0, "_http._tcp": 1, "_sub1._sub._http._tcp": 1, "_ipp._tcp": 0, "web": 1, "SQL": 0,
	} {
		q, err := find.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = (&inventory.Finder{Known: hub}).Find(t.Context(), find.Request{Query: q}, func(find.Answer) { n++ })
		if n != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d answers, %v", text, n, err)
		}
	}
	hub.Gateway(standing("g1", "", false))
	if err := (&inventory.Finder{Known: hub}).Find(t.Context(), find.Request{Query: find.Query{Text: "nas"}}, func(find.Answer) {}); !errors.Is(err, find.ErrNoAnswer) {
		t.Errorf("what an offline gateway told is found: %v", err)
	}
	same(t, len(hub.Devices(lanfolk.Filter{})), 1)
}
