package api_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
)

// studio answers with what it holds, then with err; a watch without an error
// waits for ctx's end.
type studio struct {
	selection find.Selection
	changes   []find.SelectionChange
	err       error
	asked     *find.SelectRequest
}

func (s studio) Select(_ context.Context, r find.SelectRequest) (find.Selection, error) {
	*s.asked = r
	return s.selection, s.err
}

func (s studio) WatchSelection(ctx context.Context, r find.SelectRequest) iter.Seq2[find.SelectionChange, error] {
	*s.asked = r
	return func(yield func(find.SelectionChange, error) bool) {
		for _, ch := range s.changes {
			if !yield(ch, nil) {
				return
			}
		}
		if s.err != nil {
			yield(find.SelectionChange{}, s.err)
		} else {
			<-ctx.Done()
		}
	}
}

func registry(name string, pri int) find.Advert {
	return find.Advert{
		Instance: name, Domain: "example.com", Via: "unicast", Host: "reg.example.com", Port: 8080, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
		Proto: "http", Versions: []string{"v1.2", "v1.3"}, Priority: pri, SRVWeight: 5, URL: "http://reg.example.com:8080",
	}
}

func choice() find.Selection {
	a, b := registry("A <b>", 10), registry("B", 20)
	return find.Selection{
		Groups: [][]find.Advert{{a}, {b}}, Selected: &a,
		Discarded: []find.Reason{{Instance: "C", Reason: `api_proto is "HTTP"`, Domain: "example.com", Via: "unicast"}},
		Reason:    "the best of the list", Others: []find.Reason{{Instance: "B", Reason: "pri 20", Domain: "example.com", Via: "unicast"}}, Steps: []string{"unicast: 3 answers"},
	}
}

func nothing() find.Selection {
	return find.Selection{Groups: [][]find.Advert{}, Discarded: []find.Reason{}, Others: []find.Reason{}, Steps: []string{}, Reason: "nothing was found"}
}

// request is one with every field set.
func request() find.SelectRequest {
	no, seed := false, uint64(1<<63+7)
	return find.SelectRequest{
		Kind: "register", Versions: []string{"v1.2", "v1.3"}, Proto: "https", Auth: &no, Mode: "unicast",
		Domains: []string{"example.com", "b.example.com"}, Servers: []string{"192.0.2.53", "[2001:db8::53]:5300"}, URL: "https://reg.example.com/?a=b&c",
		Development: true, FallBack: true, Merge: true, Seed: &seed,
	}
}

func TestClientSelect(t *testing.T) {
	var got find.SelectRequest
	serveStudio := func(s studio) *client.Client {
		s.asked = &got
		return client.Unix(serve(t, newInventory(), func(o *api.Options) { o.NMOS = s }).socket)
	}
	for _, want := range []find.Selection{choice(), nothing()} {
		s, err := serveStudio(studio{selection: want}).Select(t.Context(), request())
		if diff := cmp.Diff(want, s, sameAddr()); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if diff := cmp.Diff(request(), got); diff != "" {
			t.Errorf("asked for something else: %s", diff)
		}
	}
	if _, err := serveStudio(studio{selection: nothing()}).Select(t.Context(), find.SelectRequest{}); err != nil || got.Kind != "netctrl" || got.Mode != "both" || got.Auth != nil || got.Seed != nil {
		t.Errorf("asked for nothing special: %v, %+v", err, got)
	}
	for _, o := range outcomes() {
		_, err := serveStudio(studio{err: o.err}).Select(t.Context(), find.SelectRequest{})
		checkOutcome(t, "select", err, o.status, o.says)
	}
}

func TestClientWatchSelection(t *testing.T) {
	var got find.SelectRequest
	watch := func(s studio, r find.SelectRequest, most int) (all []find.SelectionChange, last error) {
		s.asked = &got
		n := serve(t, newInventory(), func(o *api.Options) { o.NMOS = s })
		for ch, err := range client.Unix(n.socket).WatchSelection(t.Context(), r) {
			if last = err; err == nil {
				all = append(all, ch)
			}
			if len(all) == most {
				break
			}
		}
		return all, last
	}
	changes := []find.SelectionChange{
		{Event: find.SelectionMade, Time: noon(), Selection: choice()}, {Event: find.SelectionUpdate, Time: noon().Add(time.Second), Selection: choice()},
		{Event: find.SelectionNone, Time: noon().Add(time.Minute), Selection: nothing()},
	}
	r := request()
	r.Return, r.CheckEvery, r.Timeout, r.CA = true, 1500*time.Millisecond, time.Minute, "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
	all, err := watch(studio{changes: changes}, r, 3)
	if diff := cmp.Diff(changes, all, sameAddr()); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("asked for something else: %s", diff)
	}
	for _, o := range outcomes() {
		all, err := watch(studio{err: o.err}, find.SelectRequest{}, 1)
		if len(all) != 0 {
			t.Errorf("%v: %v", o.err, all)
		}
		checkOutcome(t, "watch", err, o.status, o.says)
	}
	if got.CheckEvery != 5*time.Second || got.Timeout != 5*time.Second {
		t.Errorf("by default it is tried every %v for %v", got.CheckEvery, got.Timeout)
	}
	// What fails later must not look like a quiet watch.
	if all, err := watch(studio{changes: changes, err: find.ErrOff}, r, 4); len(all) != 3 || !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("broken off: %d changes and %v", len(all), err)
	}
}

func TestAWatchOfASelectionEndsWithTheNode(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) {
		o.NMOS = studio{changes: []find.SelectionChange{{Event: find.SelectionMade, Selection: choice()}}, asked: new(find.SelectRequest)}
	})
	var last error
	for _, err := range client.Unix(n.socket).WatchSelection(t.Context(), find.SelectRequest{}) {
		if last = err; err == nil {
			go n.stop()
		}
	}
	if !errors.Is(last, client.ErrNotRunning) || errors.Is(last, client.ErrNobodyListens) {
		t.Errorf("when the node ends: %v", last)
	}
}

func TestSelectRefusesNonsense(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.NMOS = studio{asked: new(find.SelectRequest), selection: nothing()} })
	for _, q := range []string{
		"select?auth=maybe", "select?seed=x", "select?seed=99999999999999999999", "select?mode=all", "select?nothing=1", "select?timeout=1s",
		"events?timeout=x", "events?check_every=-1s", "events?ca=" + strings.Repeat("x", 20_000), "select?url=" + strings.Repeat("x", 3000),
		"select?" + strings.Repeat("server=1&", 9),
	} {
		if r, body := n.call(t, "GET", "/api/v1/nmos/"+q, ""); r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%.40s: %d %s", q, r.StatusCode, body)
		}
	}
	n = serve(t, newInventory())
	for _, path := range []string{"", "/select", "/events"} {
		if r, body := n.call(t, "GET", "/api/v1/nmos"+path, ""); r.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		}
	}
}

func TestSelectionsAreListed(t *testing.T) {
	kept := []find.KeptSelection{
		{Name: "studio", Type: "register", Since: noon(), Changes: 2, Selection: choice()},
		{Name: "query", Type: "query", Error: "no DNS server is known", Selection: nothing()},
	}
	n := serve(t, newInventory(), func(o *api.Options) { o.Selections = func() []find.KeptSelection { return kept } })
	r, body := n.call(t, "GET", "/api/v1/nmos", "")
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(body, `[{"name":"studio","type":"register","since":"2026-03-04T12:00:00Z","changes":2,"error":"","groups":[[{"instance":"A <b>",`) ||
		!strings.Contains(body, `"selected":null`) {
		t.Errorf("%d %s", r.StatusCode, body)
	}
}

func TestAQuietWatchOfASelectionLives(t *testing.T) {
	s := studio{asked: new(find.SelectRequest), changes: []find.SelectionChange{{Event: find.SelectionMade, Time: noon(), Selection: choice()}}}
	bubble(t, newInventory(), func(l pipes) {
		conn := l.dial(t, "/api/v1/nmos/events")
		defer conn.Close()
		start := time.Now()
		var text strings.Builder
		for b := make([]byte, 4096); strings.Count(text.String(), ": alive") < 3; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(b[:n])
		}
		if took := time.Since(start); took != 45*time.Second || !strings.Contains(text.String(), "event: selected\ndata: {\"event\":\"selected\",\"time\":\"2026-03-04T12:00:00Z\",\"groups\":[[") {
			t.Errorf("after %v: %s", took, text.String())
		}
	}, func(o *api.Options) { o.NMOS = s })
}
