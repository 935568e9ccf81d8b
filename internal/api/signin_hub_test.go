package api_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// sealKey is the same in each test.
func sealKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// visitor is a browser that is signed in at a hub.
type visitor struct {
	h            *staffed
	cookie, csrf string
}

// signIn signs a browser in by name and password; headers go with the request.
func (h *staffed) signIn(t *testing.T, name, password string, headers ...string) (*visitor, *http.Response, string) {
	t.Helper()
	body := fmt.Sprintf(`{"name":%q,"password":%q}`, name, password)
	resp, text := h.call(t, "POST", "/api/v1/session", body, append([]string{"Authorization", ""}, headers...)...)
	if resp.StatusCode != http.StatusNoContent {
		return nil, resp, text
	}
	b := &visitor{h: h, cookie: resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value}
	_, text = b.call(t, "GET", "/api/v1/session", "")
	var session struct{ CSRF string }
	if err := json.Unmarshal([]byte(text), &session); err != nil || session.CSRF == "" {
		t.Fatalf("session %s: %v", text, err)
	}
	b.csrf = session.CSRF
	return b, resp, text
}

// call asks as the page does; headers come after its own.
func (b *visitor) call(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	return b.h.call(t, method, path, body, append([]string{"Authorization", "", "Cookie", b.cookie, "X-CSRF-Token", b.csrf}, headers...)...)
}

const word = "correct horse"

func TestSigningInByName(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	const none = `"type":"urn:lanfolk:problem:no-accounts"`
	for _, c := range [][3]string{
		{"GET", "/api/v1/devices", ""},
		{"POST", "/api/v1/session", `{"name":"ann","password":"correct horse"}`},
	} {
		resp, text := h.call(t, c[0], c[1], c[2], "Authorization", "")
		if resp.StatusCode != 401 || !strings.Contains(text, none) || !strings.Contains(text, "lanfolk hub user create NAME") {
			t.Errorf("%s without accounts: %d %s", c[1], resp.StatusCode, text)
		}
	}
	h.user(t, "ann", fleet.Admin, word)
	h.user(t, "ben", fleet.Viewer, word)
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a wrong password", `{"name":"ann","password":"battery staple"}`, 401, "the name or the password is wrong"},
		{"a name that there isn't", `{"name":"eve","password":"battery staple"}`, 401, "the name or the password is wrong"},
		{"no password", `{"name":"ann"}`, 422, "want name and password"},
		{"a node's token", `{"token":"x"}`, 422, "want name and password"},
		{"a long name", `{"name":"` + strings.Repeat("x", 129) + `","password":"x"}`, 422, "maxLength"},
		{"a long password", `{"name":"ann","password":"` + strings.Repeat("x", 1025) + `"}`, 422, "maxLength"},
		{"a long body", `{"name":"ann","password":"` + strings.Repeat("x", 5000) + `"}`, 413, ""},
		{"more than that", `{"name":"ann","password":"correct horse","role":"admin"}`, 422, "unexpected property"},
	} {
		resp, text := h.call(t, "POST", "/api/v1/session", c.body, "Authorization", "")
		if resp.StatusCode != c.status || !strings.Contains(strings.ReplaceAll(text, "length <=", "maxLength"), c.want) || len(resp.Cookies()) > 0 {
			t.Errorf("%s: %d %s %v; want %d", c.name, resp.StatusCode, text, resp.Cookies(), c.status)
		}
	}
	// What is wrong in one half of a change keeps the other half from being made.
	if resp, text := h.call(t, "PATCH", "/api/v1/users/ben", `{"role":"admin","password":"short"}`, bearerOf(h.tokens["ann"])...); resp.StatusCode != 422 {
		t.Errorf("a role with a password that is none: %d %s", resp.StatusCode, text)
	}
	b, resp, text := h.signIn(t, "ben", word)
	if b == nil {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	_, port, _ := net.SplitHostPort(h.addr)
	cookie := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-lanfolk-" + port + "=", "; Path=/;", "HttpOnly", "Secure", "SameSite=Strict"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %q", cookie, want)
		}
	}
	if strings.Contains(cookie, "Domain") {
		t.Errorf("cookie %q is for other hosts, too", cookie)
	}
	for _, want := range []string{`"via":"session"`, `"name":"ben"`, `"role":"viewer"`, `"grants":[]`} {
		if !strings.Contains(text, want) {
			t.Errorf("session %s lacks %s", text, want)
		}
	}
	if resp, _ := h.call(t, "POST", "/api/v1/sign-ins", "", bearerOf(h.tokens["ann"])...); resp.StatusCode != 501 {
		t.Errorf("a sign-in link at a hub: %d", resp.StatusCode)
	}
	if resp, _ := b.call(t, "DELETE", "/api/v1/session", "", "X-CSRF-Token", ""); resp.StatusCode != 403 {
		t.Errorf("signed out without the session's token: %d", resp.StatusCode)
	}
	resp, _ = b.call(t, "DELETE", "/api/v1/session", "")
	if resp.StatusCode != 204 || resp.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign out: %d %v", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	if resp, _ := b.call(t, "GET", "/api/v1/devices", ""); resp.StatusCode != 401 {
		t.Errorf("the cookie works after the sign-out: %d", resp.StatusCode)
	}
}

func TestASignInIsAlwaysANewSession(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ann", fleet.Admin, word)
	h.user(t, "eve", fleet.Viewer, word)
	evil, _, _ := h.signIn(t, "eve", word)
	// Eve slips her own session's cookie, or one that she made up, to Ann's browser.
	for _, slipped := range []string{evil.cookie, strings.Split(evil.cookie, "=")[0] + "=MADEUPMADEUPMADEUPMADEUP00"} {
		ann, resp, text := h.signIn(t, "ann", word, "Cookie", slipped)
		if ann == nil {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		if ann.cookie == slipped {
			t.Error("the session is the one that was slipped in")
		}
		if resp, _ := h.call(t, "GET", "/api/v1/session", "", "Authorization", "", "Cookie", slipped); resp.StatusCode != 401 {
			t.Errorf("the slipped cookie is good: %d", resp.StatusCode)
		}
	}
}

func TestAnotherPageCannotActForABrowser(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ann", fleet.Admin, word)
	b, _, _ := h.signIn(t, "ann", word)
	other, _, _ := h.signIn(t, "ann", word)
	const create = `{"name":"evil","role":"admin"}`
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"without the token", []string{"X-CSRF-Token", ""}, 403},
		{"with a token that was guessed", []string{"X-CSRF-Token", "AAAAAAAAAAAAAAAAAAAAAAAAAA"}, 403},
		{"with another session's token", []string{"X-CSRF-Token", other.csrf}, 403},
		{"with the cookie as the token", []string{"X-CSRF-Token", strings.Split(b.cookie, "=")[1]}, 403},
		{"from another site", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"from another port of this host", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://127.0.0.1:1"}, 403},
		{"from another origin", []string{"Origin", "https://evil.example"}, 403},
		{"from nowhere", []string{"Origin", "null"}, 403},
		{"under another name", []string{"Host", "evil.example"}, 421},
		{"from the page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://" + h.addr}, 200},
	} {
		resp, text := b.call(t, "POST", "/api/v1/users", create, c.headers...)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s; want %d", c.name, resp.StatusCode, text, c.status)
		}
	}
	// Nor can it sign a browser in as somebody else.
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		if b, resp, _ := h.signIn(t, "ann", word, headers...); b != nil || resp.StatusCode != 403 {
			t.Errorf("%v signs in: %d", headers, resp.StatusCode)
		}
	}
	// A cookie of a node, or of another port, is none here.
	for _, name := range []string{"lanfolk", "__Host-lanfolk", "__Host-lanfolk-1"} {
		cookie := name + "=" + strings.Split(b.cookie, "=")[1]
		if resp, _ := b.call(t, "GET", "/api/v1/users", "", "Cookie", cookie); resp.StatusCode != 401 {
			t.Errorf("cookie %s: %d", name, resp.StatusCode)
		}
	}
}

func TestATokenInAnAddressIsRefused(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ann", fleet.Admin, word)
	for _, name := range []string{"access_token", "token", "api_token", "api_key", "password"} {
		path := "/api/v1/devices?" + name + "=" + h.tokens["ann"]
		for _, auth := range [][]string{{"Authorization", ""}, bearerOf(h.tokens["ann"])} {
			resp, text := h.call(t, "GET", path, "", auth...)
			if resp.StatusCode != 400 || !strings.Contains(text, "in an address ends in logs") {
				t.Errorf("%s: %d %s", name, resp.StatusCode, text)
			}
		}
	}
	if log := h.log.String(); strings.Contains(log, h.tokens["ann"]) {
		t.Error("the log holds the token")
	}
}

func TestManyGuessesAreToldToWait(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ann", fleet.Admin, "")
	var resp *http.Response
	for range 11 {
		_, resp, _ = h.signIn(t, "ann", "a guess")
	}
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Retry-After") == "0" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestStreamsOfWhoIsRemovedEnd(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.user(t, "ann", fleet.Admin, word)
	for _, name := range []string{"removed", "demoted", "granted", "renewed", "out", "revoked", "kept"} {
		h.user(t, name, fleet.Operator, word)
	}
	root := access.Socket(0, true)
	ctx := t.Context()
	out, _, _ := h.signIn(t, "out", word)
	renewed, _, _ := h.signIn(t, "renewed", word)
	cookie := func(b *visitor) []string { return []string{"Cookie", b.cookie} }
	tokenOf := func(name string) string {
		list, err := h.fleet.Accounts.APITokens(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return list[0].ID
	}
	for _, c := range []struct {
		name   string
		auth   []string
		change func() error
	}{
		{"removed", bearerOf(h.tokens["removed"]), func() error { return h.desk.RemoveUser(ctx, root, "removed") }},
		{"demoted", bearerOf(h.tokens["demoted"]), func() error { return h.desk.SetRole(ctx, root, "demoted", fleet.Viewer) }},
		{"granted", bearerOf(h.tokens["granted"]), func() error { _, err := h.desk.Grant(ctx, root, "granted", "get", nil); return err }},
		{"revoked", bearerOf(h.tokens["revoked"]), func() error { return h.desk.RevokeAPIToken(ctx, root, tokenOf("revoked")) }},
		{"renewed", cookie(renewed), func() error { return h.desk.SetPassword(ctx, root, "renewed", "", "battery staple") }},
		{"out", cookie(out), func() error { return h.desk.SignOut(ctx, strings.Split(out.cookie, "=")[1], "") }},
		{"kept", bearerOf(h.tokens["kept"]), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{"/api/v1/events", "/api/v1/gateways/events", "/api/v1/commands/events"} {
				// A stream that must end does so in some two seconds.
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "GET", "http://"+h.addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(c.auth[0], c.auth[1])
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("%s: %v %v", path, resp, err)
				}
				defer resp.Body.Close()
				if c.change == nil {
					time.AfterFunc(5*time.Second, cancel)
				}
				lines := bufio.NewScanner(resp.Body)
				lines.Scan()
				if c.change != nil && path == "/api/v1/commands/events" { // the last one
					if err := c.change(); err != nil {
						t.Fatal(err)
					}
				} else if c.change != nil {
					defer func() {
						for lines.Scan() {
						}
						if lines.Err() != nil {
							t.Errorf("%s goes on: %v", path, lines.Err())
						}
					}()
					continue
				}
				for lines.Scan() {
				}
				if goesOn := lines.Err() != nil; goesOn != (c.change == nil) {
					t.Errorf("%s: goes on: %t (%v)", path, goesOn, lines.Err())
				}
				if c.change == nil {
					return
				}
			}
		})
	}
}

func TestPeopleByTheClient(t *testing.T) {
	t.Parallel()
	h := newStaffed(t)
	h.hub.gateways["g1"] = standing("g1", "lab", nil)
	c, ctx := client.Unix(h.socket), t.Context()
	if _, err := c.CreateUser(ctx, "ann", "", word); err != nil {
		t.Fatal(err)
	}
	if u, err := c.CreateUser(ctx, "ben", "operator", ""); err != nil || u.Role != "operator" || !strings.HasPrefix(u.By, "uid:") {
		t.Fatalf("%+v %v", u, err)
	}
	_, err := c.CreateUser(ctx, "ben", "", "")
	wantText(t, err, "exists already")
	_, err = c.CreateUser(ctx, "a\nb", "", "")
	wantText(t, err, "lower-case letters")
	wantText(t, c.RemoveUser(ctx, "ann"), "the last admin")
	wantText(t, c.SetRole(ctx, "ann", "viewer"), "the last admin")
	wantText(t, c.SetRole(ctx, "eve", "viewer"), "unknown")
	if err := c.SetPassword(ctx, "ben", "", word); err != nil {
		t.Error(err)
	}
	g, err := c.Grant(ctx, "ben", "exec", map[string]string{"site": "north"})
	if err != nil || g.Selector["site"] != "north" {
		t.Fatalf("%+v %v", g, err)
	}
	_, err = c.Grant(ctx, "ben", "exec", map[string]string{"site": "north"})
	wantText(t, err, "exists already")
	token, err := c.CreateAPIToken(ctx, "ben", "ci", time.Hour)
	if err != nil || token.Expires == nil {
		t.Fatalf("%+v %v", token, err)
	}
	ben, err := client.HTTP("http://"+h.addr, token.Token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if grants, err := ben.Grants(ctx, ""); err != nil || len(grants) != 1 || grants[0].ID != g.ID {
		t.Errorf("%v %v", grants, err)
	}
	_, err = ben.Users(ctx)
	wantText(t, err, "that takes an admin")
	wantText(t, ben.SetPassword(ctx, "ben", "", "another one"), "it takes your current password")
	wantText(t, ben.SetPassword(ctx, "ben", "a guess", "another one"), "denied: your current password is another")
	if err := ben.SetPassword(ctx, "ben", word, "another one"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", ".", "..", "../users/ann", "a/b", "%", "\x00", "ann\n", strings.Repeat("x", 1000)} {
		for what, err := range map[string]error{"remove": c.RemoveUser(ctx, name), "revoke": c.RevokeGateway(ctx, name, ""), "token": c.RevokeAPIToken(ctx, name)} {
			if !errors.Is(err, client.ErrNotFound) && !strings.Contains(fmt.Sprint(err), "length <= ") {
				t.Errorf("%s %.10q: %v", what, name, err)
			}
		}
	}
	if err := ben.RevokeAPIToken(ctx, token.ID); err != nil {
		t.Error(err)
	}
	_, err = ben.Grants(ctx, "")
	wantText(t, err, "not known here, or not any more")
	if err := c.RemoveGrant(ctx, g.ID); err != nil {
		t.Error(err)
	}
	join, err := c.CreateJoinToken(ctx, client.JoinTokenRequest{Name: "roof", TTL: time.Hour})
	if err != nil || join.Token != "lanfolk1.join" {
		t.Fatalf("%+v %v", join, err)
	}
	again, err := c.CreateJoinToken(ctx, client.JoinTokenRequest{Gateway: "lab", TTL: time.Hour})
	if err != nil || again.Gateway != "g1" {
		t.Fatalf("%+v %v", again, err)
	}
	if err := c.RemoveJoinToken(ctx, join.ID); err != nil {
		t.Error(err)
	}
	if tokens, err := c.JoinTokens(ctx); err != nil || len(tokens) != 1 {
		t.Errorf("%v %v", tokens, err)
	}
	site, kind := "south", "lab"
	changed, err := c.ChangeGateway(ctx, "lab", client.GatewayChange{Labels: map[string]*string{"site": &site, "kind": &kind}})
	if err != nil || fleet.SelectorText(changed.Labels) != "kind=lab,site=south" {
		t.Errorf("%+v %v", changed, err)
	}
	changed, err = c.ChangeGateway(ctx, "lab", client.GatewayChange{Labels: map[string]*string{"site": nil}})
	if err != nil || fleet.SelectorText(changed.Labels) != "kind=lab" {
		t.Errorf("%+v %v", changed, err)
	}
	wantText(t, c.ForgetGateway(ctx, "lab"), "revoke it first")
	if err := c.RevokeGateway(ctx, "lab", "stolen"); err != nil {
		t.Error(err)
	}
	if err := c.ForgetGateway(ctx, "g1"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveUser(ctx, "ben"); err != nil {
		t.Error(err)
	}

	head, _, err := fleet.Verify(ctx, chain{c})
	if err != nil || head < 20 {
		t.Errorf("%d entries: %v", head, err)
	}
	seal, _, err := c.AuditHead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := fleet.Verify(ctx, chain{c}, seal); err != nil {
		t.Error(err)
	}
	entries, err := c.Audit(ctx, fleet.AuditFilter{What: "gateway.label", Limit: 1})
	if err != nil || len(entries) != 1 || entries[0].Outcome != "ok" || entries[0].Gateway != "g1" {
		t.Errorf("%+v %v", entries, err)
	}
}

func wantText(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v; want %q in it", err, want)
	}
}

// TestANodeHasNoPeople tries that a node is as it was.
func TestANodeHasNoPeople(t *testing.T) {
	t.Parallel()
	n := serve(t, newInventory(printer()))
	for _, path := range []string{"/users", "/grants", "/api-tokens", "/join-tokens", "/revocations", "/audit", "/audit/head", "/audit/entries"} {
		if resp, text := n.call(t, "GET", "/api/v1"+path, ""); resp.StatusCode != 501 || !strings.Contains(text, "this is no hub") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
	}
	_, err := api.New(api.Options{Inventory: newInventory()})
	if err != nil {
		t.Fatal(err)
	}
}

// chain is the audit as the client reads it.
type chain struct{ c *client.Client }

func (c chain) Head(ctx context.Context) (fleet.Head, error) {
	_, head, err := c.c.AuditHead(ctx)
	return head, err
}

func (c chain) Start(ctx context.Context) (fleet.Checkpoint, error) { return c.c.AuditStart(ctx) }

func (c chain) All(ctx context.Context) iter.Seq2[fleet.Entry, error] { return c.c.AuditEntries(ctx) }
