package syncthing_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/syncthing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, want, wrong string }{
		{in: "192.0.2.7:22000", want: "192.0.2.7:22000"},
		{in: "[2001:db8::7]:65535", want: "[2001:db8::7]:65535"},
		{in: "[fe80::7%eth0]:1", want: "[fe80::7]:1"},
		{in: "[::ffff:192.0.2.7]:22000", want: "192.0.2.7:22000"},
		{in: ":22000", want: "invalid AddrPort:22000"},
		{in: "0.0.0.0:22000", want: "invalid AddrPort:22000"},
		{in: "[::]:22000", want: "invalid AddrPort:22000"},
		{in: ":0", wrong: "the port must be 1 to 65535"},
		{in: ":65536", wrong: "the port must be 1 to 65535"},
		{in: ":", wrong: "the port must be 1 to 65535"},
		{in: "192.0.2.7:0", wrong: "the port must be 1 to 65535"},
		{in: "192.0.2.7", wrong: "want IP:PORT, [IPv6]:PORT or :PORT"},
		{in: "22000", wrong: "want IP:PORT"},
		{in: "", wrong: "want IP:PORT"},
		{in: "host:22000", wrong: "want IP:PORT"},
		{in: "224.0.0.1:22000", wrong: "no host has it"},
		{in: "[ff02::1]:22000", wrong: "no host has it"},
		{in: "255.255.255.255:22000", wrong: "no host has it"},
	} {
		got, err := syncthing.ParseAddress(c.in)
		text := got.String()
		if !got.Addr().IsValid() {
			text = fmt.Sprint("invalid AddrPort:", got.Port())
		}
		if c.wrong == "" && (err != nil || text != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: %s, %v", c.in, text, err)
		}
	}
}

func TestSplitServer(t *testing.T) {
	for _, c := range []struct{ in, want, wrong string }{
		{in: "disco.example.com", want: "disco.example.com 22026"},
		{in: "disco.example.com:1", want: "disco.example.com 1"},
		{in: "192.0.2.7:22027", want: "192.0.2.7 22027"},
		{in: "2001:db8::7", want: "2001:db8::7 22026"},
		{in: "[2001:db8::7]", want: "2001:db8::7 22026"},
		{in: "[fe80::7%eth0]:22027", want: "fe80::7%eth0 22027"},
		{in: "", wrong: "want HOST or HOST:PORT"},
		{in: ":22026", wrong: "want HOST or HOST:PORT"},
		{in: "udp4://disco.example.com", wrong: "the port must be 1 to 65535"},
		{in: "a/b", wrong: "want HOST or HOST:PORT"},
		{in: "a:b:c", wrong: "want HOST or HOST:PORT"},
		{in: "host:", wrong: "the port must be 1 to 65535"},
		{in: "host:0", wrong: "the port must be 1 to 65535"},
		{in: "[::1", wrong: "] is missing"},
		{in: "[::1]22026", wrong: "the port must be 1 to 65535"},
		{in: "[host]:22026", wrong: "only an IPv6 address is written in brackets"},
		{in: "0.0.0.0", wrong: "no host has that address"},
		{in: "[ff02::1]:22026", wrong: "no host has that address"},
	} {
		host, port, err := syncthing.SplitServer(c.in)
		if got := fmt.Sprint(host, " ", port); c.wrong == "" && (err != nil || got != c.want) ||
			c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || host != "") {
			t.Errorf("%q: %s, %v", c.in, got, err)
		}
	}
}

// FuzzNames holds what is read to be what can be written and read again.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"192.0.2.7:22000", "[2001:db8::7]:22000", ":22000", "disco.example.com", "fe80::1%eth0", "[::]:1", "a:1", "[a]:1", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := syncthing.ParseAddress(s); err == nil {
			if a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().Is4In6() {
				t.Errorf("%q: %v", s, a)
			}
			if a.Addr().IsValid() {
				if b, err := syncthing.ParseAddress(a.String()); err != nil || a != b {
					t.Errorf("%q: %v, then %v, %v", s, a, b, err)
				}
			}
		}
		host, port, err := syncthing.SplitServer(s)
		if err != nil {
			return
		}
		again := fmt.Sprintf("%s:%d", host, port)
		if strings.Contains(host, ":") {
			again = fmt.Sprintf("[%s]:%d", host, port)
		}
		if h, p, err := syncthing.SplitServer(again); err != nil || h != host || p != port || port == 0 {
			t.Errorf("%q: %q %d, then %q %d, %v", s, host, port, h, p, err)
		}
	})
}

func TestResolveServer(t *testing.T) {
	resolve := func(found ...string) syncthing.Resolver {
		return func(context.Context, string) ([]netip.Addr, error) {
			var out []netip.Addr
			for _, a := range found {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("192.0.2.%d", i))
	}
	failing := func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	for _, c := range []struct {
		server  string
		resolve syncthing.Resolver
		want    string
	}{
		{"192.0.2.7", nil, "[192.0.2.7:22026] <nil>"},
		{"[fe80::7%eth0]:1", failing, "[[fe80::7%eth0]:1] <nil>"},
		{"a", resolve("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"), "[192.0.2.7:22026 [2001:db8::7]:22026] <nil>"},
		{"a:1", resolve("0.0.0.0", "::", "224.0.0.1"), "[] syncthing: server a:1: the name has no address"},
		{"a", failing, "[] syncthing: server a: no such host"},
		{"a", nil, "[] syncthing: server a: names can't be resolved here"},
		{"a:", nil, `[] syncthing: server "a:": the port must be 1 to 65535`},
	} {
		got, err := syncthing.ResolveServer(t.Context(), c.server, c.resolve)
		if s := fmt.Sprint(got, " ", err); s != c.want {
			t.Errorf("%s: %s, want %s", c.server, s, c.want)
		}
	}
	if got, _ := syncthing.ResolveServer(t.Context(), "a", resolve(many...)); len(got) != 16 {
		t.Errorf("%d addresses of one name", len(got))
	}
}

func TestParseCertificate(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	good := block("CERTIFICATE", der)
	for what, text := range map[string]string{
		"alone":                     good,
		"behind a key and words":    "# mine\n" + block("EC PRIVATE KEY", []byte{1}) + good,
		"before another":            good + block("CERTIFICATE", []byte{1}),
		"with the line ends of DOS": strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if id, err := syncthing.ParseCertificate([]byte(text)); err != nil || id != syncthing.CertificateID(der) {
			t.Errorf("%s: %v, %v", what, id, err)
		}
	}
	for text, want := range map[string]string{
		"":                               "syncthing: certificate: no PEM: there is no BEGIN CERTIFICATE line, or what follows it is broken",
		good[:100]:                       "syncthing: certificate: no PEM: ",
		string(der):                      "syncthing: certificate: no PEM: ",
		block("RSA PRIVATE KEY", der):    `syncthing: certificate: no CERTIFICATE block, only "RSA PRIVATE KEY"`,
		block("CERTIFICATE", der[:50]):   "syncthing: certificate: x509: ",
		block("CERTIFICATE", nil) + good: "syncthing: certificate: x509: ",
	} {
		if _, err := syncthing.ParseCertificate([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
