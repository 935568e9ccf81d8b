package ca_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
)

// file is what a gateway's file holds: it is read by later versions.
type file struct {
	Version    int       `json:"version"`
	Gateway    string    `json:"gateway"`
	Name       string    `json:"name"`
	Hubs       []string  `json:"hubs"`
	Key        []byte    `json:"key"`
	Chain      [][]byte  `json:"chain"`
	Authority  []byte    `json:"authority"`
	RenewAfter time.Time `json:"renew_after"`
}

func identityFile(t testing.TB, a *ca.Authority, now time.Time) file {
	t.Helper()
	key := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Client(gatewayOfFile, &key.PublicKey, now)
	if err != nil {
		t.Fatal(err)
	}
	return file{
		Version: 1, Gateway: gatewayOfFile, Name: "attic", Hubs: []string{address}, Key: der, Chain: [][]byte{cert.Raw},
		Authority: a.Certificate().Raw, RenewAfter: now.Add(20 * day),
	}
}

func (f file) write(t testing.TB, path string) {
	t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeIdentity(t testing.TB, path string, a *ca.Authority, now time.Time) {
	t.Helper()
	identityFile(t, a, now).write(t, path)
}

func TestAGatewaysFile(t *testing.T) {
	dir := t.TempDir()
	a, err := ca.Open(filepath.Join(dir, "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ca.Open(filepath.Join(dir, "other.pem"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		name   string
		change func(*file)
		want   string
	}{
		{"good", func(*file) {}, ""},
		{"a newer version", func(f *file) { f.Version = 2 }, "is of version 2; this program knows 1"},
		{"no key", func(f *file) { f.Key = nil }, "the key: "},
		{"another key", func(f *file) { f.Key = identityFile(t, a, now).Key }, "the certificate is of another key"},
		{"no certificate", func(f *file) { f.Chain = nil }, "no certificate"},
		{"junk for a certificate", func(f *file) { f.Chain[0] = []byte("x") }, "the certificate: "},
		{"another authority", func(f *file) { f.Authority = b.Certificate().Raw }, "the certificate is not of the hub's authority"},
		{"another id", func(f *file) { f.Gateway = enrol.NewGateway() }, "the certificate is not g"},
	} {
		path := filepath.Join(dir, c.name)
		f := identityFile(t, a, now)
		c.change(&f)
		f.write(t, path)
		i, err := enrol.Open(path)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && i.Status().Gateway != gatewayOfFile:
			t.Errorf("%s: %+v", c.name, i.Status())
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
	for name, text := range map[string]string{"junk": "junk", "more": `{"version":1,"colour":"red"}`, "nothing": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := enrol.Open(path); err == nil {
			t.Errorf("%s passes for a gateway's file", name)
		}
	}
	none := open(t, filepath.Join(dir, "none"))
	if _, err := none.TLS(); !errors.Is(err, enrol.ErrNotEnrolled) || none.Status().Gateway != "" {
		t.Errorf("no file: %v, %+v", err, none.Status())
	}
	if err := none.Renew(t.Context(), nil); !errors.Is(err, enrol.ErrNotEnrolled) {
		t.Errorf("renew without a file: %v", err)
	}
	open := filepath.Join(dir, "open")
	identityFile(t, a, now).write(t, open)
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := enrol.Open(open); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read: %v", err)
	}
}
