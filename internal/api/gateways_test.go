package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/api"
)

// houses are gateways of two sites: one is offline, one revoked, and one nobody vouches for.
func houses() *hub {
	offline := standing("goffline", "office", map[string]string{"site": "north", "rack": "2"})
	offline.Online, offline.Session.Ended, offline.Session.Why = false, noon(), "keepalive: no answer"
	revoked := standing("grevoked", "barn", nil)
	revoked.Online, revoked.Revoked = false, noon()
	insecure := standing("insecure/barn", "barn", nil)
	insecure.Enrolled = time.Time{}
	return newHub(standing("gnorth", "barn", map[string]string{"site": "north"}), standing("gsouth", "cellar", map[string]string{"site": "south"}),
		offline, revoked, insecure)
}

func ids(t *testing.T, body string) string {
	t.Helper()
	var all []struct{ ID string }
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var out []string
	for _, x := range all {
		out = append(out, x.ID)
	}
	return strings.Join(out, " ")
}

func TestGatewaysAreListed(t *testing.T) {
	n := serve(t, newInventory(), houses().options)
	for query, want := range map[string]string{
		"":                                    "gnorth goffline grevoked gsouth insecure/barn",
		"?state=online":                       "gnorth gsouth insecure/barn",
		"?state=offline":                      "goffline grevoked",
		"?selector=site%3Dnorth":              "gnorth goffline",
		"?selector=site%3Dnorth%2Crack%3D2":   "goffline",
		"?selector=site%3Deast":               "",
		"?q=CELLAR":                           "gsouth",
		"?q=rack":                             "goffline",
		"?q=192.0.2.7&selector=site%3Dsouth":  "gsouth",
		"?q=barn&state=offline&selector=a%3D": "",
	} {
		resp, body := n.call(t, "GET", "/api/v1/gateways"+query, "")
		if got := ids(t, body); resp.StatusCode != 200 || got != want {
			t.Errorf("%s: %d %q; want %q", query, resp.StatusCode, got, want)
		}
	}
	if _, body := n.call(t, "GET", "/api/v1/gateways?selector=a%3Db", ""); body != "[]\n" {
		t.Errorf("none is %q", body)
	}
	for _, query := range []string{"?state=away", "?selector=site", "?nonsense=1"} {
		if resp, body := n.call(t, "GET", "/api/v1/gateways"+query, ""); resp.StatusCode != 422 {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
}

func TestAGatewayIsNamedByIDOrName(t *testing.T) {
	h := houses()
	twin := standing("gtwin", "cellar", nil)
	h.gateways[twin.ID] = twin
	n := serve(t, newInventory(), h.options)
	for ref, want := range map[string]string{
		"gnorth": "gnorth", "office": "goffline", "insecure%2Fbarn": "insecure/barn",
		// Neither one that nobody vouches for nor a revoked one takes a name away.
		"barn": "gnorth",
	} {
		resp, body := n.call(t, "GET", "/api/v1/gateways/"+ref, "")
		var g api.Gateway
		if err := json.Unmarshal([]byte(body), &g); err != nil || resp.StatusCode != 200 || g.ID != want {
			t.Errorf("%s: %d %s (%v); want %s", ref, resp.StatusCode, body, err, want)
		}
	}
	for ref, want := range map[string]struct {
		status int
		detail string
	}{
		"cellar":  {409, `"cellar" is the name of gsouth, gtwin; say which by its id`},
		"nowhere": {404, `unknown gateway: there is none of the id or name \"nowhere\"`},
	} {
		resp, body := n.call(t, "GET", "/api/v1/gateways/"+ref, "")
		if resp.StatusCode != want.status || !strings.Contains(strings.ReplaceAll(body, `\"cellar\"`, `"cellar"`), want.detail) {
			t.Errorf("%s: %d %s; want %d %s", ref, resp.StatusCode, body, want.status, want.detail)
		}
	}
}

func TestAGatewayIsShownAsPromised(t *testing.T) {
	n := serve(t, newInventory(), houses().options)
	for id, want := range map[string]string{
		"gnorth": `{"id":"gnorth","name":"barn","state":"online","address":"192.0.2.7:4000","version":"1.2","connected_at":"2026-03-04T11:59:00Z",` +
			`"last_seen":"2026-03-04T12:00:00Z","devices":6,"labels":{"site":"north"},"insecure":false,"revoked":false,"enrolled":"2026-03-04T11:00:00Z","why":""}`,
		"goffline": `{"id":"goffline","name":"office","state":"offline","address":"192.0.2.7:4000","version":"1.2","connected_at":null,` +
			`"last_seen":"2026-03-04T12:00:00Z","devices":8,"labels":{"rack":"2","site":"north"},"insecure":false,"revoked":false,"enrolled":"2026-03-04T11:00:00Z","why":"keepalive: no answer"}`,
		"insecure%2Fbarn": `{"id":"insecure/barn","name":"barn","state":"online","address":"192.0.2.7:4000","version":"1.2","connected_at":"2026-03-04T11:59:00Z",` +
			`"last_seen":"2026-03-04T12:00:00Z","devices":13,"labels":{},"insecure":true,"revoked":false,"enrolled":null,"why":""}`,
	} {
		if _, body := n.call(t, "GET", "/api/v1/gateways/"+id, ""); strings.TrimSpace(body) != want {
			t.Errorf("%s\n%s\nwant\n%s", id, body, want)
		}
	}
}

func TestANodeHasNoFleet(t *testing.T) {
	n := serve(t, newInventory())
	for _, c := range [][2]string{
		{"GET", "/gateways"}, {"GET", "/gateways/x"}, {"GET", "/gateways/events"}, {"GET", "/commands"}, {"GET", "/commands/x"},
		{"GET", "/commands/x/output"}, {"GET", "/commands/events"}, {"POST", "/commands/x/cancel"}, {"POST", "/commands"},
	} {
		body := ""
		if c[1] == "/commands" && c[0] == "POST" {
			body = `{"line":"status","all":true}`
		}
		if resp, answer := n.call(t, c[0], "/api/v1"+c[1], body); resp.StatusCode != 501 || !strings.Contains(answer, "this is no hub") {
			t.Errorf("%v: %d %s", c, resp.StatusCode, answer)
		}
	}
}

// events reads server-sent events: "add gnorth online".
func events(r *bufio.Scanner, id string, more ...string) func() string {
	return func() string {
		for r.Scan() {
			data, ok := strings.CutPrefix(r.Text(), "data: ")
			if !ok {
				continue
			}
			var e map[string]any
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return err.Error()
			}
			out := []string{e["event"].(string)}
			for _, key := range append([]string{id}, more...) {
				if v, _ := e[key].(string); v != "" {
					out = append(out, v)
				}
			}
			return strings.Join(out, " ")
		}
		return "the end"
	}
}

// streamed dials for a stream and reads its events.
func streamed(t *testing.T, l pipes, path, id string, more ...string) func() string {
	t.Helper()
	conn := l.dial(t, path)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	return events(bufio.NewScanner(resp.Body), id, more...)
}

func wants(t *testing.T, next func() string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(); got != w {
			t.Fatalf("event %q; want %q", got, w)
		}
	}
}

func TestGatewaysAreWatched(t *testing.T) {
	h := houses()
	bubble(t, newInventory(), func(l pipes) {
		next := streamed(t, l, "/api/v1/gateways/events?selector=site%3Dnorth", "id", "state", "name")
		wants(t, next, "add gnorth online barn", "add goffline offline office", "synced")
		g := standing("goffline", "office", map[string]string{"site": "north"})
		h.set(g, false)
		wants(t, next, "update goffline online office")
		// That it was seen again is no news.
		g.LastSeen = noon().Add(time.Hour)
		h.set(g, false)
		h.set(standing("gsouth", "other", map[string]string{"site": "south"}), false)
		h.set(standing("gnew", "attic", map[string]string{"site": "north"}), false)
		wants(t, next, "add gnew online attic")
		// Names and labels are looked at now and then.
		before := time.Now()
		g.Name = "study"
		h.set(g, true)
		wants(t, next, "update goffline online study")
		g.Labels = nil
		h.set(g, true)
		wants(t, next, "remove goffline online study")
		h.mu.Lock()
		delete(h.gateways, "gnew")
		h.mu.Unlock()
		wants(t, next, "remove gnew offline attic")
		if took := time.Since(before); took > 31*time.Second {
			t.Errorf("three changes were told after %v", took)
		}
	}, h.options)
}

func TestAWatcherIsNotToldOfAnOlderList(t *testing.T) {
	h := houses()
	bubble(t, newInventory(), func(l pipes) {
		first := streamed(t, l, "/api/v1/gateways/events?q=office", "id", "state", "name")
		wants(t, first, "add goffline offline office", "synced")
		time.Sleep(9500 * time.Millisecond)
		// Another one's look leaves a list that is half a second old when first looks.
		second := streamed(t, l, "/api/v1/gateways/events?q=office", "id", "state", "name")
		wants(t, second, "add goffline offline office", "synced")
		h.set(standing("goffline", "office", nil), false)
		wants(t, first, "update goffline online office")
		time.Sleep(time.Second)
		synctest.Wait()
		h.set(standing("goffline", "office 2", nil), false)
		wants(t, first, "update goffline online office 2")
		wants(t, second, "update goffline online office", "update goffline online office 2")
	}, h.options)
}

func TestManyWatchersShareALook(t *testing.T) {
	h := houses()
	bubble(t, newInventory(), func(l pipes) {
		for range 50 {
			wants(t, streamed(t, l, "/api/v1/gateways/events?q=office", "id"), "add goffline", "synced")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(gatewaysPoll + time.Second)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.reads > 3 {
			t.Errorf("50 watchers read the whole list %d times in 11 seconds", h.reads)
		}
	}, h.options)
}

const gatewaysPoll = 10 * time.Second
