package hub_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/hub"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// loopback is a configuration for tests: nothing leaves this machine.
const loopback = `
[hub]
grpc = "127.0.0.1:0"
listen = "127.0.0.1:0"
insecure.grpc = "127.0.0.1:0"
`

// running is a hub that runs.
type running struct {
	t     testing.TB
	state string
	page  string
	stop  func() error // ends it and returns what Run did; may be called again
}

// newHub makes one from the text of a configuration.
func newHub(t testing.TB, state, text string) *hub.Hub {
	t.Helper()
	c, err := config.Parse("lanfolk.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &hub.Hub{Config: c, State: state, Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
}

// start starts one and waits until it serves.
func start(t testing.TB, state, text string) *running {
	t.Helper()
	h := newHub(t, state, text)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	h.Ready = func(page string) { ready <- page }
	go func() { ended <- h.Run(ctx) }()
	r := &running{t: t, state: state}
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("the hub ended: %v", err)
		}
	})
	select {
	case r.page = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the hub doesn't start: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the hub isn't ready")
	}
	return r
}

func (r *running) status() hub.Status {
	r.t.Helper()
	var s hub.Status
	c := client.Unix(config.HubSocketPath(r.state))
	defer c.Close()
	if err := c.Status(r.t.Context(), &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// roots returns who vouches for the page.
func (r *running) roots() *x509.CertPool {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.state, "hub-ca.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) || strings.Contains(string(text), "KEY") {
		r.t.Fatalf("hub-ca.pem holds %q", text)
	}
	return roots
}

// by returns a client that shows an API token.
func (r *running) by(token string) *client.Client {
	r.t.Helper()
	c, err := client.HTTP(r.page, token, r.roots())
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// get gets something of the page by TLS, as who has the authority's certificate.
func (r *running) get(path string) (int, string) {
	r.t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots()}}}
	defer c.CloseIdleConnections()
	answer, err := c.Get(r.page + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestHubServesAndStartsAgain(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	r := start(t, state, loopback)
	s := r.status()
	if !s.Healthy || s.Kind != hub.Kind || s.Page != r.page || s.Insecure == "" || len(s.Addresses) != 1 || s.Addresses[0] != s.GRPC || s.Pin == "" {
		t.Errorf("status %+v", s)
	}
	if code, body := r.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz answers %d %q", code, body)
	}
	if code, _ := r.get("/api/v1/gateways"); code != http.StatusUnauthorized {
		t.Errorf("who isn't signed in gets %d; want 401", code)
	}
	if info, err := os.Stat(config.HubSocketPath(state)); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}

	// A second one is kept out, and leaves the first alone.
	if err := newHub(t, state, loopback).Run(t.Context()); !errors.Is(err, daemon.ErrTaken) {
		t.Errorf("a second hub in the folder: %v; want %v", err, daemon.ErrTaken)
	}
	if s := r.status(); !s.Healthy {
		t.Errorf("after that: %+v", s)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config.HubSocketPath(state)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	again := start(t, state, loopback)
	if now := again.status(); now.Pin != s.Pin {
		t.Errorf("the authority is %s after a restart, and was %s", now.Pin, s.Pin)
	}
}

func TestMetricsSayHowTheHubIs(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), loopback)
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", config.HubSocketPath(r.state))
	}}}
	defer c.CloseIdleConnections()
	get := func() string {
		answer, err := c.Get("http://hub/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	// Ready is said as soon as it listens; its parts begin beside that.
	until(t, "the parts are up", func() bool { return strings.Contains(get(), "lanfolk_part_up{part=\"grpc\"} 1\n") })
	body := get()
	for _, want := range []string{
		"lanfolk_healthy 1", "lanfolk_store_healthy 1", `lanfolk_hub_gateways{state="online"} 0`, "lanfolk_hub_commands_outstanding 0",
		`lanfolk_part_events_total{event="refused: identity",part="grpc"} 0`, `lanfolk_build_info{version="test"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestHubThatCantStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // the cases run after this function has returned
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(key, value string) string {
		lines := strings.Split(loopback, "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, key+" = ") {
				lines[i] = key + " = " + value
			}
		}
		return strings.Join(lines, "\n")
	}
	broken := func(name, text string) string {
		state := t.TempDir()
		if err := os.Mkdir(filepath.Join(state, "hub"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(state, "hub", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return state
	}
	open := func(state, name string) string {
		if err := os.Chmod(filepath.Join(state, "hub", name), 0o644); err != nil {
			t.Fatal(err)
		}
		return state
	}
	port := `"` + taken.Addr().String() + `"`
	for _, c := range []struct{ name, state, config, want string }{
		{"grpc's port", "", with("grpc", port), "hub: the address for gateways: listen tcp " + taken.Addr().String() + ": bind: address already in use; choose another with --grpc"},
		{"page's port", "", with("listen", port), "hub: the page's address: listen tcp " + taken.Addr().String() + ": bind: address already in use; choose another with --listen"},
		{"insecure port", "", with("insecure.grpc", port), "hub: the address without TLS: listen tcp " + taken.Addr().String() + ": bind: address already in use; choose another with --insecure-grpc"},
		{"folder that is a file", file, loopback, "daemon: state folder: mkdir " + file + ": not a directory"},
		{"folder nobody can write to", "/proc/lanfolk", loopback, "daemon: state folder: mkdir /proc/lanfolk: no such file or directory"},
		{"database that is none", "", loopback + "\n[store]\npath = \"" + file + "\"\n", "database damaged: it does not begin as a SQLite file"},
		{"certificate that isn't there", "", loopback + "\ncert_file = \"/none.pem\"\nkey_file = \"/none.key\"\n", "hub: the page's certificate: stat /none.pem: no such file or directory"},
		{"authority that is none", broken("ca.pem", "?"), loopback, "ca.pem"},
		{"seals' key that is none", broken("seal.key", "?"), loopback, "seal.key holds no private key in PEM"},
		{"seals' key that others may read", open(broken("seal.key", "?"), "seal.key"), loopback, "chmod 600 it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.state == "" {
				c.state = t.TempDir()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			err := newHub(t, c.state, c.config).Run(ctx)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v; want %s", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(c.state, "hub.sock")); err == nil {
				t.Error("it left its socket")
			}
		})
	}
}

func TestAuditIsSealedAtTheEnd(t *testing.T) {
	t.Parallel()
	state, elsewhere := t.TempDir(), t.TempDir()
	r := start(t, state, loopback+"\n[hub.seals]\npath = \""+elsewhere+"\"\n")
	c := client.Unix(config.HubSocketPath(state))
	defer c.Close()
	if _, err := c.CreateJoinToken(t.Context(), client.JoinTokenRequest{Name: "barn"}); err != nil {
		t.Fatal(err)
	}
	entries := r.status().Audit.Entries
	if entries == 0 {
		t.Fatal("the audit is empty")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(state, "hub", "seals.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(lines)), "\n")
	seal, err := fleet.ParseSeal([]byte(all[len(all)-1]), nil)
	if err != nil || seal.Seq < entries {
		t.Errorf("the last seal is %+v, %v; want entry %d", seal, err, entries)
	}
	files, err := filepath.Glob(filepath.Join(elsewhere, "seal-*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is sealed elsewhere: %v", err)
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	var same fleet.Seal
	if err := json.Unmarshal(text, &same); err != nil || same != seal {
		t.Errorf("elsewhere is %+v, %v; want %+v", same, err, seal)
	}
}
