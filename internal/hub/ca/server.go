package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol"
)

// ServerTLS returns what the hub's listener for gateways speaks: TLS 1.3, with
// clients that show no certificate, as they come to enrol, or one of the authority's
// that is not revoked. names are the hub's host names and addresses. Now is the
// clock; nil is time.Now.
func (a *Authority) ServerTLS(names []string, revocations *Revocations, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	own := &serverCertificate{authority: a, names: names, now: now}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2"},
		Time:           now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      clients,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			id, err := enrol.GatewayOf(state.PeerCertificates[0])
			if err != nil {
				return err
			}
			return revocations.Check(id)
		},
		// Each connection shows its certificate anew.
		SessionTicketsDisabled: true,
	}
}

// A serverCertificate is the hub's own. It is made when somebody needs it, and made
// anew when two thirds of its life are over, or the clock was set to before it.
type serverCertificate struct {
	authority *Authority
	names     []string
	now       func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate
}

func (s *serverCertificate) get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.cert != nil && now.Before(renewAt(s.cert.Leaf)) && now.After(s.cert.Leaf.NotBefore) {
		return s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ca: make the hub's key: %w", err)
	}
	leaf, err := s.authority.Server(s.names, &key.PublicKey, now)
	if err != nil {
		return nil, err
	}
	// The authority goes along: it is what a pin is compared with.
	s.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw, s.authority.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return s.cert, nil
}
