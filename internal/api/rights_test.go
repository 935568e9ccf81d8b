package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// staffed is a hub with people, over SQLite, whose gateway g1 is at site north.
type staffed struct {
	*node
	hub    *hub
	fleet  *fleet.Fleet
	desk   *access.Desk
	tokens map[string]string // by user
}

// revoker revokes without certificates.
type revoker struct{ f *fleet.Fleet }

func (r revoker) Revoke(ctx context.Context, gateway, _, _ string) error {
	return r.f.Sessions.MarkRevoked(ctx, gateway, time.Now())
}

// joiner makes join strings that lead nowhere.
type joiner struct{ f *fleet.Fleet }

func (i joiner) Invite(ctx context.Context, r access.JoinRequest) (string, fleet.Token, error) {
	t := fleet.Token{ID: "t" + r.Name, Hash: fleet.HashSecret(r.Name + "x"), Name: r.Name, By: r.By, Gateway: r.Gateway, Created: time.Now(), Expires: time.Now().Add(r.TTL)}
	return "lanfolk1.join", t, i.f.Once.AddToken(ctx, t)
}

func newStaffed(t *testing.T, change ...func(*api.Options)) *staffed {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := fleet.Open(t.Context(), db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &staffed{hub: newHub(), fleet: f, tokens: make(map[string]string)}
	h.desk = &access.Desk{Accounts: f.Accounts, Audit: f.Audit, Gateways: f.Sessions, Tokens: f.Once, Registrar: joiner{f}, Revocations: revoker{f}, SealKey: sealKey()}
	if _, err := f.Sessions.Enrol(t.Context(), fleet.Gateway{ID: "g1", Name: "lab", Key: [32]byte{1}, Enrolled: noon()}); err != nil {
		t.Fatal(err)
	}
	if err := f.Sessions.SetLabels(t.Context(), "g1", map[string]string{"site": "north"}); err != nil {
		t.Fatal(err)
	}
	h.node = serve(t, newInventory(printer()), append([]func(*api.Options){func(o *api.Options) {
		h.hub.options(o)
		o.Fleet.Gateways, o.Fleet.Audit, o.Access = f.Sessions, f.Audit, h.desk
		o.Metrics = http.NotFoundHandler()
	}}, change...)...)
	return h
}

// user makes an account with an API token and, if it isn't "", a password.
func (h *staffed) user(t *testing.T, name string, role fleet.Role, password string) {
	t.Helper()
	err := h.fleet.Accounts.CreateUser(t.Context(), fleet.User{Name: name, Role: role, Created: noon().Add(-time.Hour)}, password)
	if err == nil {
		h.tokens[name], _, err = h.fleet.Accounts.CreateAPIToken(t.Context(), fleet.APIToken{User: name, Created: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// status asks and returns the answer's status, without reading more than its beginning.
func (h *staffed) status(t *testing.T, who, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	transport, address := http.DefaultTransport, "http://"+h.addr
	if who == "socket" {
		transport, address = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.socket)
		}}, "http://hub"
	}
	req, err := http.NewRequestWithContext(ctx, method, address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := h.tokens[who]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		return resp.StatusCode, "" // it may go on for ever
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return resp.StatusCode, string(text)
}

// rights says for each operation of a hub who may call it: a letter for each of callers
// that may, a dot for the rest. A line with a body says what may be asked for by it.
func rights() []struct{ operation, may, path, body string } {
	const (
		everybody = "nvogas"
		people    = ".vogas"
		operators = "..ogas"
		admins    = "....as"
	)
	type line = struct{ operation, may, path, body string }
	return []line{
		{"GET /session", people, "", ""},
		{"POST /session", everybody, "", ""},
		{"DELETE /session", everybody, "", ""},
		{"POST /sign-ins", admins, "", ""},

		{"GET /devices", people, "", ""},
		{"GET /devices/{ref}", people, "", ""},
		{"GET /devices/{ref}/evidence", people, "", ""},
		{"PATCH /devices/{ref}", admins, "", ""},
		{"POST /devices/{ref}/rejoin", admins, "", ""},
		{"POST /devices/{ref}/separate", admins, "", ""},
		{"GET /last-seen", people, "", ""},
		{"GET /services", people, "", ""},
		{"GET /events", people, "", ""},
		{"GET /fingerprints", people, "", ""},
		{"GET /status", people, "", ""},
		{"GET /nmos", people, "", ""},
		{"GET /zones", people, "", ""},
		{"GET /zones/{domain}/file", people, "", ""},
		{"GET /metrics", people, "/metrics", ""},
		{"GET /healthz", everybody, "/healthz", ""},

		{"GET /find", operators, "", ""},
		{"GET /browse", operators, "", ""},
		{"GET /resolve", operators, "", ""},
		{"POST /reconfirm", operators, "", ""},
		{"GET /lookup", operators, "", ""},
		{"GET /nmos/select", operators, "", ""},
		{"GET /nmos/events", operators, "", ""},

		{"GET /gateways", people, "", ""},
		{"GET /gateways/{ref}", people, "/gateways/g1", ""},
		{"GET /gateways/events", people, "", ""},
		{"PATCH /gateways/{ref}", admins, "", ""},
		{"DELETE /gateways/{ref}", admins, "", ""},
		{"POST /gateways/{ref}/revoke", admins, "", ""},

		{"GET /commands", people, "", ""},
		{"GET /commands/{id}", people, "", ""},
		{"GET /commands/events", people, "", ""},
		{"POST /commands", people, "", ""}, // the gateway and the verb decide:
		{"POST /commands", operators, "", `{"line":"status","gateways":["g1"]}`},
		{"POST /commands", operators, "", `{"line":"find _ipp._tcp","all":true}`},
		{"POST /commands", "...gas", "", `{"line":"exec reboot","gateways":["g1"]}`},
		{"POST /commands", admins, "", `{"line":"exec reboot","gateways":["g2"]}`}, // in the south
		{"POST /commands", admins, "", `{"line":"get log","gateways":["g1"]}`},
		{"POST /commands", admins, "", `{"line":"capture eth0 5","gateways":["g1"]}`},
		{"POST /commands", admins, "", `{"line":"format","gateways":["g1"]}`},
		{"GET /commands/{id}/output", people, "", ""},
		{"GET /commands/{id}/output", admins, "/commands/GET/output", ""}, // of another's get
		{"POST /commands/{id}/cancel", people, "", ""},
		{"POST /commands/{id}/cancel", admins, "/commands/OTHER/cancel", ""}, // another's

		{"GET /users", admins, "", ""},
		{"POST /users", admins, "", ""},
		{"PATCH /users/{name}", people, "", ""}, // one's own password, so far as this can say
		{"PATCH /users/{name}", admins, "/users/eve", `{"password":"another one"}`},
		{"PATCH /users/{name}", admins, "/users/eve", `{"role":"viewer"}`},
		{"DELETE /users/{name}", admins, "", ""},
		{"GET /grants", people, "", ""},
		{"GET /grants", admins, "/grants?user=eve", ""},
		{"POST /grants", admins, "", ""},
		{"DELETE /grants/{id}", admins, "", ""},
		{"GET /api-tokens", people, "", ""},
		{"GET /api-tokens", admins, "/api-tokens?user=eve", ""},
		{"POST /api-tokens", people, "", ""},
		{"POST /api-tokens", admins, "", `{"user":"eve"}`},
		{"DELETE /api-tokens/{id}", people, "", ""}, // somebody else's is not found
		{"GET /join-tokens", admins, "", ""},
		{"POST /join-tokens", admins, "", ""},
		{"DELETE /join-tokens/{id}", admins, "", ""},
		{"GET /revocations", admins, "", ""},
		{"GET /audit", admins, "", ""},
		{"GET /audit/head", admins, "", ""},
		{"GET /audit/start", admins, "", ""},
		{"GET /audit/entries", admins, "", ""},
	}
}

// TestWhoMayCallWhat asks for everything as everybody. It fails for an operation that
// rights leaves out: say there who may call it.
func TestWhoMayCallWhat(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	callers := []string{"nobody", "viewer", "operator", "granted", "admin", "socket"} // n v o g a s
	for _, c := range callers[1:5] {
		role := fleet.Role(c)
		if c == "granted" {
			role = fleet.Operator
		}
		h.user(t, c, role, "")
	}
	h.user(t, "eve", fleet.Viewer, "")
	if _, err := h.fleet.Accounts.Grant(t.Context(), fleet.Grant{User: "granted", Verb: "exec", Selector: map[string]string{"site": "north"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.fleet.Sessions.Enrol(t.Context(), fleet.Gateway{ID: "g2", Key: [32]byte{2}, Enrolled: noon()}); err != nil {
		t.Fatal(err)
	}
	h.hub.put(fleet.Command{ID: "GET", Gateway: "g1", Line: "get log", By: "eve", State: fleet.OK, Created: noon(), Ended: noon()})
	h.hub.put(fleet.Command{ID: "OTHER", Gateway: "g1", Line: "status", By: "eve", State: fleet.Running, Created: noon()})

	known := make(map[string]bool)
	for _, line := range rights() {
		known[line.operation] = true
		method, path, _ := strings.Cut(line.operation, " ")
		if line.path != "" {
			path = line.path
		}
		path = strings.NewReplacer("{ref}", "none", "{id}", "none", "{name}", "none", "{domain}", "none").Replace(path)
		if path != "/metrics" && path != "/healthz" {
			path = "/api/v1" + path
		}
		for i, who := range callers {
			if who == "admin" && strings.HasPrefix(path, "/api/v1/commands/OTHER") {
				h.hub.put(fleet.Command{ID: "OTHER", Gateway: "g1", Line: "status", By: "eve", State: fleet.Running, Created: noon()})
			}
			status, text := h.status(t, who, method, path, line.body)
			may := status != http.StatusUnauthorized && status != http.StatusForbidden
			if strings.Contains(path, "/session") && method == "POST" { // who sends nothing isn't let in, but heard
				may = true
			}
			if want := line.may[i] != '.'; may != want {
				t.Errorf("%s %s %s by %s: %d %s; want may: %t", method, path, line.body, who, status, text, want)
			}
			if status >= 500 && status != http.StatusNotImplemented {
				t.Errorf("%s %s by %s: %d %s", method, path, who, status, text)
			}
			if who == "nobody" && line.may[0] == '.' && status != http.StatusUnauthorized {
				t.Errorf("%s %s by nobody: %d; want 401", method, path, status)
			}
		}
	}

	_, text := h.call(t, "GET", "/api/v1/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, operations := range doc.Paths {
		for method := range operations {
			n++
			if op := strings.ToUpper(method) + " " + path; !known[op] {
				t.Errorf("nobody says who may call %s: add it to rights", op)
			}
		}
	}
	if n < 50 {
		t.Errorf("the document has %d operations", n)
	}
}

// TestAViewerWithAGrantRunsThatVerbThere tries a grant over the API.
func TestAViewerWithAGrantRunsThatVerbThere(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ben", fleet.Viewer, "")
	try := func(body string, want int) {
		t.Helper()
		if status, text := h.status(t, "ben", "POST", "/api/v1/commands", body); status != want {
			t.Errorf("%s: %d %s; want %d", body, status, text, want)
		}
	}
	const run = `{"line":"exec reboot","gateways":["g1"]}`
	try(run, 403)
	g, err := h.desk.Grant(t.Context(), access.Socket(0, true), "ben", "exec", map[string]string{"site": "north"})
	if err != nil {
		t.Fatal(err)
	}
	try(run, 200)
	try(`{"line":"status","gateways":["g1"]}`, 403)
	try(`{"line":"get log","gateways":["g1"]}`, 403)
	// The label decides at the moment of asking.
	south := "south"
	if _, err := h.desk.ChangeGateway(t.Context(), access.Socket(0, true), "g1", access.Change{Labels: map[string]*string{"site": &south}}); err != nil {
		t.Fatal(err)
	}
	try(run, 403)
	north := "north"
	if _, err := h.desk.ChangeGateway(t.Context(), access.Socket(0, true), "g1", access.Change{Labels: map[string]*string{"site": &north}}); err != nil {
		t.Fatal(err)
	}
	try(run, 200)
	if err := h.desk.RemoveGrant(t.Context(), access.Socket(0, true), g.ID); err != nil {
		t.Fatal(err)
	}
	try(run, 403)
	entries, err := h.fleet.Audit.Entries(t.Context(), fleet.AuditFilter{Who: "ben", What: "run"})
	if err != nil || len(entries) == 0 || !slices.ContainsFunc(entries, func(e fleet.Entry) bool { return e.Outcome == "denied" }) {
		t.Errorf("what was denied isn't in the audit: %v %v", entries, err)
	}
}

// One person can't take all streams, neither with one token nor with several.
func TestOnePersonsStreamsAreLimited(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "vera", fleet.Viewer, "")
	h.user(t, "otto", fleet.Operator, "")
	second, _, err := h.fleet.Accounts.CreateAPIToken(t.Context(), fleet.APIToken{User: "vera", Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	open := func(token string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.addr+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var streams []*http.Response
	for n := range 128 {
		token := h.tokens["vera"]
		if n%2 > 0 {
			token = second
		}
		resp := open(token)
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %s", n+1, resp.Status)
		}
		streams = append(streams, resp)
	}
	for _, token := range []string{h.tokens["vera"], second} {
		resp := open(token)
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "one may have no more of the streams; close one: there are 128") {
			t.Errorf("stream 129: %s: %s", resp.Status, text)
		}
	}
	other := open(h.tokens["otto"])
	defer other.Body.Close()
	if other.StatusCode != http.StatusOK {
		t.Errorf("somebody else's: %s", other.Status)
	}
	streams[0].Body.Close()
	for end := time.Now().Add(time.Minute); ; {
		resp := open(h.tokens["vera"])
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("a place that was left: %s", resp.Status)
		}
	}
}
