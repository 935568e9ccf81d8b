package api_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"net/netip"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/store"
)

// finder answers with what it holds, then with err.
type finder struct {
	answers []find.Answer
	err     error
	asked   chan find.Request
}

func (f finder) Find(_ context.Context, r find.Request, emit func(find.Answer)) error {
	if f.asked != nil {
		f.asked <- r
	}
	for _, a := range f.answers {
		emit(a)
	}
	return f.err
}

func sameAddr() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}) }

func TestClient(t *testing.T) {
	v := newInventory(printer())
	v.evidence["d-printer"] = []lanfolk.Evidence{{
		Time: noon(), Protocol: "arp", Interface: "eth0", What: "ARP reply 192.0.2.20",
		Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDMAC, Value: mac(0x20).String()}}, WhyJoined: "the first of its MAC",
	}}
	row := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "mdns", Query: "printer.local", SrcMAC: mac(1)}, First: noon(), Last: noon(), Count: 3}
	n := serve(t, v, func(o *api.Options) {
		o.Status = func() any { return map[string]any{"healthy": true} }
		o.Fingerprints = keeps(row)
	})
	remote, err := client.HTTP("http://"+n.addr+"/", apiToken+"\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*client.Client{"socket": client.Unix(n.socket), "HTTP": remote} {
		t.Run(name, func(t *testing.T) {
			defer c.Close()
			ctx := t.Context()
			devices, err := c.Devices(ctx, lanfolk.Filter{Protocol: "mdns", Type: "_ipp._tcp", State: lanfolk.Reachable, Text: "OFFICE"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]*lanfolk.Device{printer()}, devices, sameAddr()); diff != "" {
				t.Error(diff)
			}
			for _, f := range []lanfolk.Filter{{Protocol: "tged"}, {Type: "_http._tcp"}, {Gateway: "g"}, {State: lanfolk.Unknown}, {Text: "x y"}, {Since: noon()}} {
				if devices, err := c.Devices(ctx, f); err != nil || len(devices) != 0 {
					t.Errorf("%+v: %v, %v; want none", f, devices, err)
				}
			}
			services, err := c.Services(ctx, lanfolk.Filter{Type: "_ipp._tcp"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(printer().Services, services, sameAddr()); diff != "" {
				t.Error(diff)
			}
			d, err := c.Device(ctx, "2001:db8::20")
			if err != nil || d.ID != "d-printer" {
				t.Errorf("device: %v, %v", d, err)
			}
			x, err := c.Explain(ctx, mac(0x20).String())
			if err != nil {
				t.Fatal(err)
			}
			reasons, _ := v.Reasons("d-printer")
			if len(reasons) != 1 {
				t.Fatalf("%v", reasons)
			}
			if diff := cmp.Diff(client.Explanation{Device: printer(), Evidence: v.evidence["d-printer"], Reasons: reasons}, x, sameAddr()); diff != "" {
				t.Error(diff)
			}
			rows, next, err := c.Fingerprints(ctx, store.ObservationFilter{Query: "*.local"})
			if err != nil || !next.IsZero() {
				t.Fatal(next, err)
			}
			if diff := cmp.Diff([]lanfolk.Observation{row}, rows, sameAddr()); diff != "" {
				t.Error(diff)
			}
			var status struct{ Healthy bool }
			if err := c.Status(ctx, &status); err != nil || !status.Healthy {
				t.Errorf("status: %v, %v", status, err)
			}
			for _, f := range []func() (*lanfolk.Device, error){
				func() (*lanfolk.Device, error) {
					return c.SetNames(ctx, "d-printer", []string{"Printer by the window"})
				},
				func() (*lanfolk.Device, error) { return c.SetTags(ctx, "Printer by the window", nil) },
				func() (*lanfolk.Device, error) {
					return c.Separate(ctx, "d-printer", lanfolk.Identifier{Kind: lanfolk.IDMAC, Value: mac(0x20).String()})
				},
				func() (*lanfolk.Device, error) {
					return c.Rejoin(ctx, "d-printer", lanfolk.Identifier{Kind: lanfolk.IDMAC, Value: mac(0x20).String()})
				},
			} {
				if d, err := f(); err != nil || d.ID != "d-printer" {
					t.Errorf("change: %v, %v", d, err)
				}
			}
			v.put(printer())
		})
	}
	if want := fmt.Sprintf("via=socket uid=%d pid=%d", os.Getuid(), os.Getpid()); !strings.Contains(n.log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, n.log)
	}
	path, expires, err := client.Unix(n.socket).SignIn(t.Context())
	if err != nil || !strings.HasPrefix(path, "/signin#") || time.Until(expires) < time.Minute {
		t.Errorf("sign-in: %q until %v, %v", path, expires, err)
	}
	if _, _, err := remote.SignIn(t.Context()); !errors.Is(err, client.ErrDenied) {
		t.Errorf("sign-in over HTTP: %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	n := serve(t, newInventory(printer()))
	remote := func(address, token string) *client.Client {
		c, err := client.HTTP(address, token, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		name string
		c    *client.Client
		ref  string
		want error
		text string
	}{
		{"no socket", client.Unix(filepath.Join(t.TempDir(), "no.sock")), "x", client.ErrNotRunning, "no node or hub is running there: nothing listens at /"},
		{"nobody listens", remote("http://127.0.0.1:1", ""), "x", client.ErrNotRunning, "no node or hub is running there: nothing listens at http://127.0.0.1:1"},
		{"no token", remote("http://"+n.addr, ""), "x", client.ErrDenied, "sign in, or send an API token"},
		{"a wrong token", remote("http://"+n.addr, "wrong"), "x", client.ErrDenied, "the API token is not known here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.c.Device(t.Context(), c.ref)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("error %v; want %v with %q", err, c.want, c.text)
			}
			for _, err := range c.c.Watch(t.Context(), lanfolk.Filter{}) {
				if !errors.Is(err, c.want) {
					t.Errorf("watch: %v; want %v", err, c.want)
				}
			}
		})
	}
	here := client.Unix(n.socket)
	if _, err := here.Explain(t.Context(), "nobody/at all?"); !errors.Is(err, client.ErrNotFound) || !strings.Contains(fmt.Sprint(err), `"nobody/at all?"`) {
		t.Errorf("an unknown device: %v", err)
	}
	if _, err := here.SetNames(t.Context(), "nobody", nil); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("an unknown device's name: %v", err)
	}
	for _, address := range []string{"nas:4747", "ftp://nas", "http://", "://"} {
		if _, err := client.HTTP(address, "", nil); err == nil {
			t.Errorf("%q is taken for an address", address)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Unix(n.socket).Device(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestClientWatch(t *testing.T) {
	v := newInventory(printer())
	n := serve(t, v)
	c := client.Unix(n.socket)
	for _, w := range []struct {
		kind lanfolk.Kind
		want []string
	}{
		{lanfolk.KindDevice, []string{"add device d-printer 1", "synced", "update device d-printer 1"}},
		{lanfolk.KindService, []string{"add service s-ipp", "synced", "update service s-ipp"}},
		{"", []string{"add device d-printer 0", "add service s-ipp", "synced", "update device d-printer 0", "update service s-ipp"}},
	} {
		var got []string
		for e, err := range c.Watch(t.Context(), lanfolk.Filter{Kind: w.kind}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, eventText(e))
			if e.Op == lanfolk.OpSynced {
				v.put(printer())
			}
			if len(got) == len(w.want) {
				break
			}
		}
		if !slices.Equal(got, w.want) {
			t.Errorf("kind %q: %q; want %q", w.kind, got, w.want)
		}
	}
	var last error
	for e, err := range c.Watch(t.Context(), lanfolk.Filter{}) {
		if e.Op == lanfolk.OpSynced {
			go n.stop()
		}
		last = err
	}
	if !errors.Is(last, client.ErrNotRunning) {
		t.Errorf("when the node ends: %v", last)
	}
}

func eventText(e lanfolk.Event) string {
	switch {
	case e.Device != nil:
		return fmt.Sprint(e.Op, " device ", e.Device.ID, " ", len(e.Device.Services))
	case e.Service != nil:
		return fmt.Sprint(e.Op, " service ", e.Service.ID)
	}
	return string(e.Op)
}

func TestClientFind(t *testing.T) {
	answers := []find.Answer{{Service: printer().Services[0]}, {Device: printer()}}
	asked := make(chan find.Request, 1)
	for _, c := range []struct {
		name string
		f    finder
		want int
		err  error
	}{
		{"answers", finder{answers: answers, asked: asked}, 2, nil},
		{"none", finder{err: find.ErrNone}, 0, client.ErrNotFound},
		{"no answer", finder{err: find.ErrNoAnswer}, 0, client.ErrNoAnswer},
		{"nothing at all", finder{}, 0, client.ErrNoAnswer},
		{"broken off", finder{answers: answers, err: context.Canceled}, 2, client.ErrNotRunning},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := serve(t, newInventory(), func(o *api.Options) { o.Finder = c.f })
			var got []find.Answer
			var last error
			o := client.FindOptions{Via: []string{"mdns", "tged"}, Timeout: 2 * time.Second, First: true}
			for a, err := range client.Unix(n.socket).Find(t.Context(), "_ipp._tcp", o) {
				if last = err; err == nil {
					got = append(got, a)
				}
			}
			if !errors.Is(last, c.err) || len(got) != c.want {
				t.Fatalf("%d answers and %v; want %d and %v", len(got), last, c.want, c.err)
			}
			if c.err == nil {
				if diff := cmp.Diff(answers, got, sameAddr()); diff != "" {
					t.Error(diff)
				}
				r := <-asked
				if r.Query.ServiceType != "_ipp._tcp" || !slices.Equal(r.Via, o.Via) || r.Timeout != o.Timeout || !r.First {
					t.Errorf("asked %+v", r)
				}
			}
		})
	}
}
