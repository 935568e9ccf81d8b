package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"net/url"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
)

// Lives of certificates.
const (
	ClientLife = 30 * 24 * time.Hour
	ServerLife = 90 * 24 * time.Hour
	// Backdate is how far a certificate's begin is set back, for clocks that differ.
	Backdate = 2 * time.Hour
)

// always is for how long an authority is good: from 1970 on, without an end (RFC 5280
// §4.1.2.5). So it doesn't matter what the hub's clock said when it was made.
func always() (begin, end time.Time) {
	return time.Unix(0, 0).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
}

// Types of blocks in the authority's file.
const (
	pemKey         = "PRIVATE KEY" // PKCS #8
	pemCertificate = "CERTIFICATE"
)

// An Authority signs certificates. Its methods may be called at once.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open reads the authority's file, and makes one where there is none: its key and
// its certificate, in PEM, for its owner alone. The folder must be there.
func Open(path string) (*Authority, error) {
	b, err := enrol.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("ca: make the authority: %w", err)
		}
		b, err = enrol.ReadSecret(path) // another one may have been quicker
	}
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	a, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("ca: %s: %w", path, err)
	}
	return a, nil
}

func create(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	begin, end := always()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "lanfolk hub authority " + rand.Text()[:8]}, // apart from other hubs'
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	return enrol.CreateSecret(path, append(b, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert})...))
}

func parse(b []byte) (*Authority, error) {
	var a Authority
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		var err error
		switch block.Type {
		case pemKey:
			var key any
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			a.key, _ = key.(*ecdsa.PrivateKey)
		case pemCertificate:
			a.cert, err = x509.ParseCertificate(block.Bytes)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case a.key == nil:
		return nil, errors.New("no ECDSA key in it")
	case a.cert == nil:
		return nil, errors.New("no certificate in it")
	case !a.key.PublicKey.Equal(a.cert.PublicKey):
		return nil, errors.New("the certificate is of another key")
	case !a.cert.IsCA:
		return nil, errors.New("the certificate is not an authority's")
	}
	return &a, nil
}

// Certificate returns the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Pin returns by what gateways know the authority.
func (a *Authority) Pin() invitation.Pin { return invitation.PinOf(a.cert) }

// serial returns 127 bits of chance (RFC 5280 §4.1.2.2: positive, at most 20 bytes).
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	b[15] |= 1 // never zero
	return new(big.Int).SetBytes(b[:])
}

// Client makes a gateway's certificate.
func (a *Authority) Client(gateway string, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: gateway},
		URIs:        []*url.URL{enrol.GatewayURI(gateway)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key, now, ClientLife)
}

// Server makes a certificate of the hub's, for its names and addresses, and for the
// name by which gateways know it.
func (a *Authority) Server(names []string, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: enrol.HubName},
		DNSNames:    []string{enrol.HubName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.WithZone("").AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.sign(template, key, now, ServerLife)
}

func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PublicKey, now time.Time, life time.Duration) (*x509.Certificate, error) {
	template.SerialNumber = serial()
	template.NotBefore = now.Add(-Backdate)
	template.NotAfter = now.Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true // and so: no authority
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("ca: sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("ca: sign a certificate: %w", err)
	}
	return cert, nil
}

// renewAt returns when two thirds of a certificate's life are over.
func renewAt(cert *x509.Certificate) time.Time {
	begin := cert.NotBefore.Add(Backdate)
	return begin.Add(cert.NotAfter.Sub(begin) * 2 / 3)
}

// maxCSR bounds a gateway's request, in bytes; an honest one has some 200.
const maxCSR = 8 << 10

// requested returns the key for which a certificate is asked, after checking that
// who asks has it. Names that the request may hold don't matter.
func requested(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("the request has %d bytes; at most %d", len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the request can't be read: %w", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the request is for another kind of key; want ECDSA on P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request's signature is wrong: %w", err)
	}
	return key, nil
}
