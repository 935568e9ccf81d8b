package hub

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a certificate with a serial number, and its key.
func writePair(t *testing.T, dir string, serial int64, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, DNSNames: []string{"hub.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "hub.pem"), filepath.Join(dir, "hub.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir, tomorrow := t.TempDir(), time.Now().Add(24*time.Hour)
	cert, key := writePair(t, dir, 1, tomorrow)
	k := &keyPair{cert: cert, key: key, log: slog.New(slog.DiscardHandler)}
	if err := k.read(); err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		k.mu.Lock()
		k.looked = time.Time{} // a second has gone by
		k.mu.Unlock()
		pair, err := k.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d; want 1", got)
	}
	writePair(t, dir, 2, tomorrow)
	if got := serial(); got != 2 {
		t.Errorf("after a change certificate %d; want 2", got)
	}
	if err := os.WriteFile(key, []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("with a broken key certificate %d; want 2", got)
	}
	writePair(t, dir, 3, time.Now().Add(-time.Hour))
	if got := serial(); got != 2 {
		t.Errorf("after an expired one certificate %d; want 2", got)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("without a file certificate %d; want 2", got)
	}
	writePair(t, dir, 4, tomorrow)
	if got := serial(); got != 4 {
		t.Errorf("put right certificate %d; want 4", got)
	}
	writePair(t, dir, 5, time.Now().Add(-time.Hour))
	if err := (&keyPair{cert: cert, key: key}).read(); err == nil || !strings.HasSuffix(err.Error(), "hub.pem: it has expired") {
		t.Errorf("at the start, with an expired one: %v", err)
	}
}
