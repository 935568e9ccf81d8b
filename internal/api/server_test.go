package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/token"
)

const apiToken = "0123456789abcdef0123456789abcdef"

// node is a served Server.
type node struct {
	*api.Server
	inventory *inventory
	addr      string // of TCP
	socket    string
	log       *syncBuffer
	stop      func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func testTokens(t *testing.T) token.List {
	t.Helper()
	tokens, err := token.Parse([]byte("test " + apiToken + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// eventually waits for what comes soon, but in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

// serve starts a server on loopback and on a socket.
func serve(t *testing.T, v *inventory, change ...func(*api.Options)) *node {
	t.Helper()
	return serveAt(t, netip.AddrPortFrom(ownLoopback(), 0).String(), v, change...)
}

// ownLoopback is an address of loopback that other processes leave alone: nobody takes a
// port there between the end of a server and the start of the next one.
func ownLoopback() netip.Addr {
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, 1 + byte(pid>>16), byte(pid >> 8), byte(pid)})
}

func serveAt(t *testing.T, addr string, v *inventory, change ...func(*api.Options)) *node {
	t.Helper()
	n := &node{inventory: v, socket: filepath.Join(t.TempDir(), "node.sock"), log: &syncBuffer{}}
	o := api.Options{Inventory: v, Tokens: testTokens(t), Log: slog.New(slog.NewTextHandler(n.log, nil))}
	for _, f := range change {
		f(&o)
	}
	var err error
	if n.Server, err = api.New(o); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n.addr = tcp.Addr().String()
	unix, err := net.Listen("unix", n.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, ln := range []net.Listener{tcp, unix} {
		wg.Go(func() {
			if err := n.Serve(ctx, ln); err != nil {
				t.Errorf("serve %s: %v", ln.Addr(), err)
			}
		})
	}
	n.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(n.stop)
	return n
}

// call sends a request with the API token; headers are pairs, an empty value
// takes one away, "Host" sets the host.
func (n *node) call(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		switch {
		case headers[i] == "Host":
			req.Host = headers[i+1]
		case headers[i+1] == "":
			req.Header.Del(headers[i])
		default:
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestWhoMayCall(t *testing.T) {
	n := serve(t, newInventory(printer()), func(o *api.Options) { o.AllowedHosts = []string{"Nas.Example.com", "198.51.100.7"} })
	_, port, _ := net.SplitHostPort(n.addr)
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
		detail             string
	}{
		{"a token", "GET", "/api/v1/devices", nil, 200, ""},
		{"nobody", "GET", "/api/v1/devices", []string{"Authorization", ""}, 401, "sign in, or send an API token"},
		{"a wrong token", "GET", "/api/v1/devices", []string{"Authorization", "Bearer " + strings.Repeat("0", 32)}, 401, "the API token is not known here"},
		{"an empty token", "GET", "/api/v1/devices", []string{"Authorization", "Bearer "}, 401, "sign in, or send an API token"},
		{"a made-up cookie", "GET", "/api/v1/devices", []string{"Authorization", "", "Cookie", "lanfolk-" + port + "=AAAA"}, 401, "the session has ended: sign in again"},
		{"metrics want a token, too", "GET", "/metrics", []string{"Authorization", ""}, 401, "sign in, or send an API token"},
		{"the page is public", "GET", "/", []string{"Authorization", ""}, 200, ""},
		{"health is public", "GET", "/healthz", []string{"Authorization", ""}, 200, ""},
		{"the description is public", "GET", "/api/v1/openapi.json", []string{"Authorization", ""}, 200, ""},
		{"localhost", "GET", "/api/v1/devices", []string{"Host", "localhost:" + port}, 200, ""},
		{"a tunnel's port", "GET", "/api/v1/devices", []string{"Host", "localhost:9999"}, 200, ""},
		{"IPv6 loopback", "GET", "/api/v1/devices", []string{"Host", "[::1]:" + port}, 200, ""},
		{"an allowed host in another case", "GET", "/api/v1/devices", []string{"Host", "NAS.example.com."}, 200, ""},
		{"an allowed address that is another machine's", "GET", "/api/v1/devices", []string{"Host", "198.51.100.7"}, 200, ""},
		{"a rebound name", "GET", "/api/v1/devices", []string{"Host", "evil.example:" + port}, 421, "the Host header names another host than this one; see allowed_hosts"},
		{"a rebound name for the page", "GET", "/", []string{"Host", "evil.example"}, 421, "the Host header names another host than this one; see allowed_hosts"},
		{"a name that begins with localhost", "GET", "/", []string{"Host", "localhost.evil.example"}, 421, "the Host header names another host than this one; see allowed_hosts"},
		{"another address", "GET", "/", []string{"Host", "192.0.2.1"}, 421, "the Host header names another host than this one; see allowed_hosts"},
		{"a foreign origin", "PATCH", "/api/v1/devices/d-printer", []string{"Origin", "https://evil.example"}, 403, "the request comes from another web page"},
		{"a foreign origin for events", "GET", "/api/v1/events", []string{"Origin", "http://localhost:1"}, 403, "the request comes from another web page"},
		{"no origin at all", "GET", "/api/v1/devices", []string{"Origin", "null"}, 403, "the request comes from another web page"},
		{"another port of this host", "GET", "/api/v1/devices", []string{"Sec-Fetch-Site", "same-site"}, 403, "the request comes from another web page"},
		{"another site", "GET", "/api/v1/devices", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403, "the request comes from another web page"},
		{"another site's sign-in", "POST", "/api/v1/session", []string{"Sec-Fetch-Site", "cross-site"}, 403, "the request comes from another web page"},
		{"a link to the page", "GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200, ""},
		{"the page in another's", "GET", "/app.js", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, "the request comes from another web page"},
		{"our own page", "GET", "/api/v1/devices", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://" + n.addr}, 200, ""},
		{"nothing there", "GET", "/api/v1/nothing", nil, 404, "there is nothing at this address; /api/v1/openapi.json says what there is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := n.call(t, c.method, c.path, "", c.headers...)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d; want %d: %s", resp.StatusCode, c.status, body)
			}
			if c.detail != "" {
				var p struct{ Detail string }
				if err := json.Unmarshal([]byte(body), &p); err != nil || p.Detail != c.detail {
					t.Errorf("answer %q (%v); want the detail %q", body, err, c.detail)
				}
				if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
					t.Errorf("content type %q", ct)
				}
			}
			for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
				if got := resp.Header.Get(h); got != want {
					t.Errorf("%s: %q; want %q", h, got, want)
				}
			}
			csp := resp.Header.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			if strings.HasPrefix(c.path, "/api/") && !strings.Contains(c.path, "openapi") && resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the answer may be kept: %q", resp.Header.Get("Cache-Control"))
			}
		})
	}
}

func TestSignIn(t *testing.T) {
	n := serve(t, newInventory(printer()))
	_, port, _ := net.SplitHostPort(n.addr)
	path := n.SignInPath()
	token, ok := strings.CutPrefix(path, "/signin#")
	if !ok || len(token) < 32 {
		t.Fatalf("sign-in path %q", path)
	}
	anonymous := []string{"Authorization", ""}
	if resp, _ := n.call(t, "POST", "/api/v1/session", `{"token":"nonsense"}`, anonymous...); resp.StatusCode != 401 {
		t.Errorf("a wrong token: %d", resp.StatusCode)
	}
	resp, body := n.call(t, "POST", "/api/v1/session", `{"token":"`+token+`"}`, anonymous...)
	if resp.StatusCode != 204 {
		t.Fatalf("sign in: %d %s", resp.StatusCode, body)
	}
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "lanfolk-"+port || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("cookies %v", resp.Header["Set-Cookie"])
	}
	if resp, _ := n.call(t, "POST", "/api/v1/session", `{"token":"`+token+`"}`, anonymous...); resp.StatusCode != 401 {
		t.Errorf("the token works twice: %d", resp.StatusCode)
	}
	cookie := []string{"Authorization", "", "Cookie", cookies[0].Name + "=" + cookies[0].Value}
	if resp, body := n.call(t, "GET", "/api/v1/session", "", cookie...); resp.StatusCode != 200 || body != `{"via":"session","token":""}`+"\n" {
		t.Errorf("session: %d %q", resp.StatusCode, body)
	}
	if resp, _ := n.call(t, "POST", "/api/v1/sign-ins", "", cookie...); resp.StatusCode != 403 {
		t.Errorf("a browser makes sign-in tokens: %d", resp.StatusCode)
	}
	resp, _ = n.call(t, "DELETE", "/api/v1/session", "", cookie...)
	if resp.StatusCode != 204 || len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
		t.Errorf("sign out: %d %v", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	if resp, _ := n.call(t, "GET", "/api/v1/session", "", cookie...); resp.StatusCode != 401 {
		t.Errorf("the cookie works after the sign-out: %d", resp.StatusCode)
	}
	if log := n.log.String(); strings.Contains(log, token) || !strings.Contains(log, "browser signed in") {
		t.Errorf("log:\n%s", log)
	}
}

func TestASessionOutlivesARestart(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	withKey := func(o *api.Options) { o.SessionKey = key }
	a := serve(t, newInventory(printer()), withKey)
	resp, _ := a.call(t, "POST", "/api/v1/session", `{"token":"`+strings.TrimPrefix(a.SignInPath(), "/signin#")+`"}`)
	cookie := resp.Cookies()[0]
	for _, c := range []struct {
		name   string
		n      *node
		status int
	}{
		{"the same key", serve(t, newInventory(printer()), withKey), 200},
		{"another key", serve(t, newInventory(printer())), 401},
	} {
		_, port, _ := net.SplitHostPort(c.n.addr)
		resp, _ := c.n.call(t, "GET", "/api/v1/session", "", "Authorization", "", "Cookie", "lanfolk-"+port+"="+cookie.Value)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d; want %d", c.name, resp.StatusCode, c.status)
		}
	}
}

func TestChangesAreAudited(t *testing.T) {
	n := serve(t, newInventory(printer()))
	resp, body := n.call(t, "PATCH", "/api/v1/devices/192.0.2.20", `{"names":["Printer upstairs"],"tags":["office","colour"]}`)
	if resp.StatusCode != 200 || !strings.Contains(body, `"names":["Printer upstairs","Office printer"`) || !strings.Contains(body, `"tags":["office","colour"]`) {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	log := n.log.String()
	for _, want := range []string{`msg="device named" device=d-printer names="[Printer upstairs]" via=token addr=127.0.0.1:`, ` token=test`, `msg="device tagged"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestBadRequests(t *testing.T) {
	n := serve(t, newInventory(printer()))
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"an unknown state", "GET", "/api/v1/devices?state=asleep", "", 422, `"location":"query.state"`},
		{"an unknown parameter", "GET", "/api/v1/devices?protocoll=mdns", "", 422, `"message":"unknown query parameter"`},
		{"new and since", "GET", "/api/v1/devices?new=true&since=2026-01-01T00:00:00Z", "", 422, "says the same as since"},
		{"no JSON", "PATCH", "/api/v1/devices/d-printer", "names=x", 400, "invalid character"},
		{"no list", "PATCH", "/api/v1/devices/d-printer", `{"names":"x"}`, 422, "expected array"},
		{"an unknown field", "PATCH", "/api/v1/devices/d-printer", `{"name":["x"]}`, 422, "unexpected property"},
		{"an empty name", "PATCH", "/api/v1/devices/d-printer", `{"names":["  "]}`, 422, "is empty, or begins or ends with a space"},
		{"a name that turns text around", "PATCH", "/api/v1/devices/d-printer", `{"names":["a\u202eb"]}`, 422, "holds a character that can't be seen"},
		{"a name with a line's end", "PATCH", "/api/v1/devices/d-printer", `{"names":["a\nb"]}`, 422, "holds a character that can't be seen"},
		{"too large", "PATCH", "/api/v1/devices/d-printer", `{"names":["` + strings.Repeat("x", 70<<10) + `"]}`, 413, ""},
		{"no query", "GET", "/api/v1/find", "", 501, ""},
		{"no such MAC", "GET", "/api/v1/fingerprints?mac=zz", "", 501, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.status == 501 {
				c.path += "?q=x"
				c.path = strings.Replace(c.path, "?mac=zz?q=x", "", 1)
			}
			resp, body := n.call(t, c.method, c.path, c.body)
			if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %s; want %d with %q", resp.StatusCode, body, c.status, c.want)
			}
		})
	}
	if names := n.inventory.devices["d-printer"].Names; len(names) != 2 {
		t.Errorf("a refused request changed the names: %q", names)
	}
}

func TestAFailedDiskIsNotAcknowledged(t *testing.T) {
	v := newInventory(printer())
	v.failing = errors.New("store: the disk is full")
	n := serve(t, v)
	resp, body := n.call(t, "PATCH", "/api/v1/devices/d-printer", `{"names":["x"]}`)
	if resp.StatusCode != 500 || !strings.Contains(body, "the disk is full") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if log := n.log.String(); strings.Contains(log, "device named") {
		t.Errorf("the log says that it was done:\n%s", log)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	bare := *printer()
	bare.ID, bare.Aliases, bare.Names, bare.MACs, bare.Addresses, bare.Protocols, bare.Tags = "d-bare", nil, nil, nil, nil, nil, nil
	s := *bare.Services[0]
	s.Addresses, s.Attributes = nil, nil
	s.FirstSeen = s.FirstSeen.In(time.FixedZone("there", 3600))
	bare.Services[0] = &s
	bare.LastSeen = bare.LastSeen.In(time.FixedZone("there", 3600))
	v := newInventory(&bare)
	n := serve(t, v)
	for _, path := range []string{"/api/v1/devices", "/api/v1/devices/d-bare", "/api/v1/devices/d-bare/evidence", "/api/v1/services", "/api/v1/devices?q=nothing"} {
		_, body := n.call(t, "GET", path, "")
		if strings.Contains(body, "null") || strings.Contains(body, "+01:00") {
			t.Errorf("%s: %s", path, body)
		}
	}
	if _, body := n.call(t, "GET", "/api/v1/devices?q=nothing", ""); body != "[]\n" {
		t.Errorf("an empty list: %q", body)
	}
	if bare.LastSeen.Location() == time.UTC || bare.Tags != nil {
		t.Error("the inventory's own object was changed")
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := api.New(api.Options{Inventory: newInventory(printer()), Tokens: testTokens(t)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		l, ended := newPipes(), make(chan error)
		go func() { ended <- s.Serve(ctx, l) }()
		conn := l.dial(t, "/api/v1/events")
		defer conn.Close()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
			t.Errorf("content type %q", ct)
		}
		lines := bufio.NewScanner(resp.Body)
		var got []string
		for lines.Scan() {
			got = append(got, lines.Text())
			if strings.Contains(lines.Text(), `"event":"synced"`) {
				break
			}
		}
		if len(got) < 5 || got[0] != ": lanfolk" || got[2] != "event: add" ||
			!strings.HasPrefix(got[3], `data: {"event":"add","kind":"device","id":"d-printer","aliases":[],"names":["Office printer"`) {
			t.Fatalf("stream:\n%s", strings.Join(got, "\n"))
		}
		start := time.Now()
		stop()
		for lines.Scan() {
		}
		if took := time.Since(start); took != 0 || lines.Err() != nil {
			t.Errorf("the stream ended %v after the server: %v", took, lines.Err())
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
