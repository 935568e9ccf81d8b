package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
)

// asked is what somebody wanted to know by DNS-SD.
type asked struct {
	browse     find.BrowseRequest
	name, kind string
	again      bool
	host       string
	timeout    time.Duration
}

// directory answers with what it holds, then with err; without Once and an
// error it then waits for ctx's end.
type directory struct {
	instances []find.Instance
	addresses []find.HostAddress
	err       error
	asked     *asked
}

func (d directory) Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error] {
	*d.asked = asked{browse: r}
	return func(yield func(find.Instance, error) bool) {
		for _, i := range d.instances {
			if !yield(i, nil) {
				return
			}
		}
		if d.err != nil {
			yield(find.Instance{}, d.err)
		} else if !r.Once {
			<-ctx.Done()
		}
	}
}

func (d directory) Resolve(_ context.Context, name, serviceType string, timeout time.Duration) ([]find.Instance, error) {
	*d.asked = asked{name: name, kind: serviceType, timeout: timeout}
	return d.instances, d.err
}

func (d directory) Reconfirm(_ context.Context, name, serviceType string) ([]find.Instance, error) {
	*d.asked = asked{name: name, kind: serviceType, again: true}
	return d.instances, d.err
}

func (d directory) Lookup(_ context.Context, host string, timeout time.Duration) ([]find.HostAddress, error) {
	*d.asked = asked{host: host, timeout: timeout}
	return d.addresses, d.err
}

// instances are a resolved one, one that is not, and a type.
func instances() []find.Instance {
	value := "<ipp> & Größe"
	return []find.Instance{
		{Event: "add", Name: "Laser, 2nd floor", Type: "_ipp._tcp", Domain: "local", Subtypes: []string{"_universal"}, Interface: "eth0", Via: "mdns", TTL: 4500, Location: &find.Location{
			Host: "printer.local", Port: 631, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.20"), netip.MustParseAddr("fe80::20")},
			TXT: map[string]*string{"rp": &value, "Duplex": nil}, TXTRaw: []string{"RHVwbGV4"},
		}},
		{Event: "update", Name: "Lobby", Type: "_ipp._tcp", Domain: "local", Subtypes: []string{}, Interface: "eth0", Via: "mdns", TTL: 120, Location: &find.Location{
			Addresses: []netip.Addr{}, TXT: map[string]*string{}, TXTRaw: []string{},
		}},
		{Event: "remove", Type: "_http._tcp", Domain: "local", Subtypes: []string{}, Interface: "eth1", Via: "mdns"},
	}
}

// outcomes are what a question can end with, and the status that tells it.
func outcomes() []struct {
	err    error
	status int
	says   string
} {
	return []struct {
		err    error
		status int
		says   string
	}{
		{find.ErrNone, http.StatusNotFound, "there is none"},
		{find.ErrNoAnswer, http.StatusGatewayTimeout, "nobody answered"},
		{fmt.Errorf("mDNS %w", find.ErrOff), http.StatusServiceUnavailable, "mDNS isn't running here"},
		{fmt.Errorf("no type: %w", lanfolk.ErrInvalid), http.StatusUnprocessableEntity, "no type: invalid"},
		{errors.New("out of memory"), http.StatusInternalServerError, "out of memory"},
	}
}

func checkOutcome(t *testing.T, what string, err error, status int, says string) {
	t.Helper()
	var problem *client.Error
	if !errors.As(err, &problem) || problem.Status != status || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v; want %d and %q", what, err, status, says)
	}
}

func TestClientBrowse(t *testing.T) {
	var got asked
	browse := func(d directory, r find.BrowseRequest) (all []find.Instance, last error) {
		d.asked = &got
		n := serve(t, newInventory(), func(o *api.Options) { o.DNSSD = d })
		for i, err := range client.Unix(n.socket).Browse(t.Context(), r) {
			if last = err; err == nil {
				all = append(all, i)
			}
		}
		return all, last
	}
	r := find.BrowseRequest{Type: "_universal._sub._ipp._tcp", Also: []string{"_printer._tcp", "_pdl-datastream._tcp"}, Resolve: true, Once: true}
	all, err := browse(directory{instances: instances()}, r)
	if diff := cmp.Diff(instances(), all, sameAddr()); err != nil || diff != "" || !reflect.DeepEqual(got.browse, r) {
		t.Errorf("asked %+v: %v %s", got.browse, err, diff)
	}
	if all, err := browse(directory{}, find.BrowseRequest{Once: true}); err != nil || len(all) != 0 {
		t.Errorf("nothing there: %v, %v", all, err)
	}
	for _, o := range outcomes() {
		all, err := browse(directory{err: o.err}, find.BrowseRequest{})
		if len(all) != 0 {
			t.Errorf("%v: %v", o.err, all)
		}
		checkOutcome(t, "browse", err, o.status, o.says)
	}
	// What fails after answers must not look like the end of them.
	if all, err := browse(directory{instances: instances(), err: find.ErrOff}, r); len(all) != 3 || !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("broken off: %d answers and %v", len(all), err)
	}
}

func TestBrowseEndsWithTheReaderAndWithTheNode(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.DNSSD = directory{instances: instances(), asked: new(asked)} })
	c := client.Unix(n.socket)
	for _, err := range c.Browse(t.Context(), find.BrowseRequest{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.Browse(ctx, find.BrowseRequest{}) {
		if cancel(); err != nil {
			t.Errorf("the caller's own end: %v", err)
		}
	}
	var last error
	count := 0
	for _, err := range c.Browse(t.Context(), find.BrowseRequest{}) {
		if count++; count == 3 {
			go n.stop()
		}
		last = err
	}
	if !errors.Is(last, client.ErrNotRunning) || errors.Is(last, client.ErrNobodyListens) {
		t.Errorf("when the node ends: %v", last)
	}
	n.stop() // its streams end before it does: wait until nobody listens any more
	for _, err := range c.Browse(t.Context(), find.BrowseRequest{}) {
		if !errors.Is(err, client.ErrNobodyListens) {
			t.Errorf("after its end: %v", err)
		}
	}
}

func TestClientResolveAndLookup(t *testing.T) {
	var got asked
	d := directory{
		instances: instances()[:1], asked: &got,
		addresses: []find.HostAddress{{Host: "printer.local", Address: netip.MustParseAddr("fe80::20"), Interface: "eth0", Via: "mdns", TTL: 120}},
	}
	serveDirectory := func(d directory) *client.Client {
		return client.Unix(serve(t, newInventory(), func(o *api.Options) { o.DNSSD = d }).socket)
	}
	c := serveDirectory(d)
	found, err := c.Resolve(t.Context(), "Laser, 2nd floor", "_ipp._tcp", 2*time.Second)
	if diff := cmp.Diff(d.instances, found, sameAddr()); err != nil || diff != "" || !reflect.DeepEqual(got, asked{name: "Laser, 2nd floor", kind: "_ipp._tcp", timeout: 2 * time.Second}) {
		t.Errorf("resolve asked %+v: %v %s", got, err, diff)
	}
	found, err = c.Reconfirm(t.Context(), "Laser, 2nd floor", "_ipp._tcp")
	if diff := cmp.Diff(d.instances, found, sameAddr()); err != nil || diff != "" || !reflect.DeepEqual(got, asked{name: "Laser, 2nd floor", kind: "_ipp._tcp", again: true}) {
		t.Errorf("reconfirm asked %+v: %v %s", got, err, diff)
	}
	addresses, err := c.Lookup(t.Context(), "printer.local", time.Second)
	if diff := cmp.Diff(d.addresses, addresses, sameAddr()); err != nil || diff != "" || !reflect.DeepEqual(got, asked{host: "printer.local", timeout: time.Second}) {
		t.Errorf("lookup asked %+v: %v %s", got, err, diff)
	}
	for _, o := range outcomes() {
		c := serveDirectory(directory{err: o.err, asked: &got})
		_, err := c.Resolve(t.Context(), "x", "_ipp._tcp", time.Second)
		checkOutcome(t, "resolve", err, o.status, o.says)
		_, err = c.Reconfirm(t.Context(), "x", "_ipp._tcp")
		checkOutcome(t, "reconfirm", err, o.status, o.says)
		_, err = c.Lookup(t.Context(), "x.local", time.Second)
		checkOutcome(t, "lookup", err, o.status, o.says)
	}
	if _, err := c.Lookup(t.Context(), "x.local", time.Hour); err == nil || !strings.Contains(err.Error(), "is no duration between 0 and 5m0s") {
		t.Errorf("a timeout of an hour: %v", err)
	}
}

func TestWithoutDNSSD(t *testing.T) {
	n := serve(t, newInventory())
	for _, path := range []string{"/browse", "/resolve?name=x&type=_ipp._tcp", "/lookup?host=x.local"} {
		if r, body := n.call(t, "GET", "/api/v1"+path, ""); r.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", path, r.StatusCode, body)
		}
	}
}

func TestAQuietBrowseLivesAndSaysSo(t *testing.T) {
	d := directory{asked: new(asked)}
	bubble(t, newInventory(), func(l pipes) {
		conn := l.dial(t, "/api/v1/browse?type=_ipp._tcp")
		defer conn.Close()
		start := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var alive []time.Duration
		for b := make([]byte, 64); len(alive) < 40; {
			n, err := resp.Body.Read(b)
			if err != nil || string(b[:n]) != "\n" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			alive = append(alive, time.Since(start))
		}
		// The first silence comes before the status, the others are ended by an
		// empty line each: longer than the timeouts for other requests.
		if alive[0] != 30*time.Second || alive[39] != 615*time.Second {
			t.Errorf("signs of life after %v", alive)
		}
	}, func(o *api.Options) { o.DNSSD = d })
}

func TestABrowseIsAStream(t *testing.T) {
	n := serve(t, newInventory(), func(o *api.Options) { o.DNSSD = directory{instances: instances(), asked: new(asked)} })
	r, body := n.call(t, "GET", "/api/v1/browse?once=true", "")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if r.Header.Get("Content-Type") != "application/jsonl" || len(lines) != 3 {
		t.Errorf("%v %q", r.Header, body)
	}
	if want := `{"event":"remove","name":"","type":"_http._tcp","domain":"local","subtypes":[],"interface":"eth1","via":"mdns","ttl":0}`; lines[2] != want {
		t.Errorf("a type:\n%s; want\n%s", lines[2], want)
	}
}
