package main

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/api/client"
)

func TestWhichDaemonIsAsked(t *testing.T) {
	for _, c := range []struct {
		there string
		hub   bool
		want  string
	}{
		{"", false, "node.sock"},
		{"", true, "hub.sock"},
		{"node.sock", false, "node.sock"},
		{"node.sock", true, "hub.sock"},
		{"hub.sock", false, "hub.sock"},
		{"node.sock hub.sock", false, "node.sock"},
		{"node.sock hub.sock", true, "hub.sock"},
	} {
		n := nodeFlags{state: t.TempDir(), hub: c.hub}
		for _, name := range strings.Fields(c.there) {
			if err := os.WriteFile(filepath.Join(n.state, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := filepath.Base(n.socket()); got != c.want {
			t.Errorf("with %q, hub %v: %s; want %s", c.there, c.hub, got, c.want)
		}
	}
}

func TestACertificateThatNobodyKnows(t *testing.T) {
	hub := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("[]"))
	}))
	defer hub.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("not for others")})
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hub.Certificate().Raw})
	for _, c := range []struct{ content, want string }{
		{"", "give that one's certificate, as --ca-file does"},
		{string(cert), ""},
		{string(key) + string(cert), ""},
		{string(key), "there is no certificate in it"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "malformed"},
	} {
		n := nodeFlags{api: hub.URL}
		if c.content != "" {
			n.caFile = file
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		api, err := n.client()
		if err == nil {
			_, err = api.Gateways(t.Context(), client.GatewayFilter{})
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %v; want %q", c.content, err, c.want)
		}
	}
	if _, err := (&nodeFlags{api: hub.URL, caFile: file + "x"}).client(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, n := range []nodeFlags{{caFile: file}, {tokenFile: file}, {api: hub.URL, state: "x"}} {
		var wrong usage
		if _, err := n.client(); !errors.As(err, &wrong) {
			t.Errorf("%+v: %v", n, err)
		}
	}
}
