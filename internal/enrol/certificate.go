package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// HubName is a name in each hub's certificate, and what a gateway asks for: a hub's
// authority signs for nobody else but gateways, whose certificates are of no use to
// a server. The domain is set aside for private use.
const HubName = "hub.lanfolk.internal"

// A gateway's id is "g" and 80 bits of chance.
const (
	idBytes  = 10
	idLength = 1 + idBytes*8/5
)

// idDigits are those of RFC 4648 §6 in lower case.
const idDigits = "abcdefghijklmnopqrstuvwxyz234567"

// NewGateway returns an id for a gateway that nobody has.
func NewGateway() string {
	var b [idBytes]byte
	rand.Read(b[:])
	return "g" + base32.NewEncoding(idDigits).EncodeToString(b[:])
}

// CheckGateway returns an error unless id has the form of an enrolled gateway's.
func CheckGateway(id string) error {
	if len(id) == idLength && id[0] == 'g' && strings.Trim(id, idDigits) == "" {
		return nil
	}
	return fmt.Errorf("enrol: %q is no gateway's id", clip(id))
}

// GatewayURI is what names a gateway in its certificate (RFC 5280 §4.2.1.6).
func GatewayURI(id string) *url.URL {
	return &url.URL{Scheme: "lanfolk", Opaque: "gateway:" + id}
}

// GatewayOf returns the id of the gateway that a certificate names: in its one URI,
// and again as the common name. It doesn't look at who signed it.
func GatewayOf(cert *x509.Certificate) (string, error) {
	if cert == nil {
		return "", errors.New("enrol: no certificate")
	}
	id := cert.Subject.CommonName
	if err := CheckGateway(id); err != nil {
		return "", err
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != GatewayURI(id).String() {
		return "", fmt.Errorf("enrol: the certificate of %s doesn't name it in its URI", id)
	}
	return id, nil
}

// newKey makes a gateway's key.
func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// request returns a PKCS #10 request for the key, in DER. It asks for no name: the
// hub assigns it.
func request(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// base is what all of a gateway's TLS has.
func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: HubName, NextProtos: []string{"h2"}}
}

func pool(ca *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca)
	return p
}

// Explain says in words what the alert means with which a hub refused a handshake
// (RFC 8446 §6.2). Other errors stay as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	// TLS has no type for alerts that came, and grpc keeps texts only.
	text := err.Error()
	for _, a := range []struct{ alert, means string }{
		{"remote error: tls: bad certificate", "the hub refuses the gateway's certificate: it was revoked"},
		{"remote error: tls: expired certificate", "the hub finds the gateway's certificate expired: join again with a new token, and look at both clocks"},
		{"remote error: tls: unknown certificate authority", "the hub doesn't know who signed the gateway's certificate: it is of another hub; join this one"},
	} {
		if strings.Contains(text, a.alert) {
			return fmt.Errorf("enrol: %s: %w", a.means, err)
		}
	}
	return clock(err)
}

// clock adds a hint to what may come of a wrong clock.
func clock(err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w (is this machine's clock right?)", err)
	}
	return err
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
