package ca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
)

func TestAnAuthorityIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authority.pem")
	var all sync.WaitGroup
	pins := make([]invitation.Pin, 4)
	for n := range pins {
		all.Go(func() {
			a, err := ca.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			pins[n] = a.Pin()
		})
	}
	all.Wait()
	if slices.ContainsFunc(pins, func(p invitation.Pin) bool { return p != pins[0] }) {
		t.Errorf("several at once made several authorities: %v", pins)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	a, err := ca.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cert := a.Certificate()
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("its key is %T", cert.PublicKey)
	}
	if cert.NotAfter.Year() != 9999 || cert.NotBefore.Year() != 1970 || !cert.IsCA || !cert.MaxPathLenZero || cert.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("from %s until %s, CA %v %v, usage %b", cert.NotBefore, cert.NotAfter, cert.IsCA, cert.MaxPathLenZero, cert.KeyUsage)
	}
}

func TestAFileThatIsNoAuthority(t *testing.T) {
	dir := t.TempDir()
	good := func(name string) []byte {
		if _, err := ca.Open(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := good("one"), good("two")
	cut := bytes.Index(one, []byte("-----BEGIN CERTIFICATE"))
	for _, c := range []struct {
		name string
		text []byte
		mode os.FileMode
		want string
	}{
		{"others may read it", one, 0o644, "mode 0644 lets others reach the key; chmod 600 it"},
		{"nothing", nil, 0o600, "no ECDSA key in it"},
		{"no certificate", one[:cut], 0o600, "no certificate in it"},
		{"no key", one[cut:], 0o600, "no ECDSA key in it"},
		{"another's certificate", slices.Concat(one[:cut], two[bytes.Index(two, []byte("-----BEGIN CERTIFICATE")):]), 0o600, "the certificate is of another key"},
		{"too much", bytes.Repeat([]byte("x"), 300<<10), 0o600, "more than 262144 bytes"},
	} {
		path := filepath.Join(dir, c.name)
		if err := errors.Join(os.WriteFile(path, c.text, c.mode), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Open(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
		if b, _ := os.ReadFile(path); !bytes.Equal(b, c.text) {
			t.Errorf("%s: the file was changed", c.name)
		}
	}
	if _, err := ca.Open(filepath.Join(dir, "no", "folder")); err == nil {
		t.Error("an authority without a folder")
	}
}

func TestWhatCertificatesAreGoodFor(t *testing.T) {
	a, err := ca.Open(filepath.Join(t.TempDir(), "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := enrol.NewGateway()
	client, err := a.Client(id, &key.PublicKey, now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.Server([]string{"hub.example.org", "192.0.2.7", "2001:db8::7"}, &key.PublicKey, now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	good := func(cert *x509.Certificate, usage x509.ExtKeyUsage, at time.Time, name string) string {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at, DNSName: name})
		return fmt.Sprint(err)
	}
	const yes = "<nil>"
	for _, c := range []struct {
		name  string
		cert  *x509.Certificate
		usage x509.ExtKeyUsage
		at    time.Time
		host  string
		want  string
	}{
		{"a gateway's for a client", client, x509.ExtKeyUsageClientAuth, now, "", yes},
		{"a gateway's for a server", client, x509.ExtKeyUsageServerAuth, now, "", "incompatible key usage"},
		{"a gateway's an hour before", client, x509.ExtKeyUsageClientAuth, now.Add(-time.Hour), "", yes},
		{"a gateway's three hours before", client, x509.ExtKeyUsageClientAuth, now.Add(-3 * time.Hour), "", "not yet valid"},
		{"a gateway's on day 30", client, x509.ExtKeyUsageClientAuth, now.Add(30*24*time.Hour - time.Second), "", yes},
		{"a gateway's after day 30", client, x509.ExtKeyUsageClientAuth, now.Add(30*24*time.Hour + time.Second), "", "expired"},
		{"the hub's for a server", server, x509.ExtKeyUsageServerAuth, now, enrol.HubName, yes},
		{"the hub's for a client", server, x509.ExtKeyUsageClientAuth, now, "", "incompatible key usage"},
		{"the hub's by its name", server, x509.ExtKeyUsageServerAuth, now, "hub.example.org", yes},
		{"the hub's by its address", server, x509.ExtKeyUsageServerAuth, now, "192.0.2.7", yes},
		{"the hub's by its other address", server, x509.ExtKeyUsageServerAuth, now, "2001:db8::7", yes},
		{"the hub's by another name", server, x509.ExtKeyUsageServerAuth, now, "example.org", "not example.org"},
	} {
		if got := good(c.cert, c.usage, c.at, c.host); c.want == yes && got != yes || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
	for _, cert := range []*x509.Certificate{client, server} {
		if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.ExtKeyUsage) != 1 || cert.SerialNumber.BitLen() < 64 || cert.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: CA %v, usages %b %v, serial %x", cert.Subject, cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage, cert.SerialNumber)
		}
	}
	if got, err := enrol.GatewayOf(client); got != id || err != nil {
		t.Errorf("it is %q's, %v; want %s", got, err, id)
	}
	if got := client.URIs[0].String(); got != "lanfolk:gateway:"+id {
		t.Errorf("its URI is %s", got)
	}
	if got, err := enrol.GatewayOf(server); err == nil {
		t.Errorf("the hub's certificate is the gateway %q's", got)
	}
}

func TestIDsOfGateways(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := enrol.NewGateway()
		if err := enrol.CheckGateway(id); err != nil || seen[id] {
			t.Fatalf("%s: %v", id, err)
		}
		seen[id] = true
	}
	for _, id := range []string{"", "g", "gabcdefghijklmnop1", "Gabcdefghijklmnop", "gABCDEFGHIJKLMNOP", "gabcdefghijklmno", "gabcdefghijklmnopq", "insecure/gabcdefg", "gabcdefgh\x00jklmnop"} {
		if enrol.CheckGateway(id) == nil {
			t.Errorf("%q passes for a gateway's id", id)
		}
	}
}

// The hub's certificate is made anew while the hub runs, and known by the same pin.
func TestTheHubsCertificateRenewsItself(t *testing.T) {
	a, err := ca.Open(filepath.Join(t.TempDir(), "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := begin
	config := a.ServerTLS([]string{"hub.example.org"}, &ca.Revocations{}, func() time.Time { return now })
	var last string
	for _, c := range []struct {
		at  time.Duration
		new bool
	}{{0, true}, {time.Hour, false}, {-time.Hour, false}, {60*day - time.Second, false}, {60 * day, true}, {119 * day, false}, {121 * day, true}, {-3 * time.Hour, true}, {0, false}} {
		now = begin.Add(c.at)
		cert, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		serial := cert.Leaf.SerialNumber.String()
		if (serial != last) != c.new {
			t.Errorf("at %s: a new certificate %v; want %v", c.at, serial != last, c.new)
		}
		last = serial
		if now.Before(cert.Leaf.NotBefore) || now.After(cert.Leaf.NotAfter) {
			t.Errorf("at %s: it is good from %s until %s", c.at, cert.Leaf.NotBefore, cert.Leaf.NotAfter)
		}
		issuer, err := x509.ParseCertificate(cert.Certificate[1])
		if err != nil || invitation.PinOf(issuer) != a.Pin() || cert.Leaf.CheckSignatureFrom(issuer) != nil {
			t.Errorf("at %s: it isn't the authority's", c.at)
		}
	}
}
