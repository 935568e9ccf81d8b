package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Files are where a broker reads who may come in and do what. "" is none.
type Files struct {
	Passwords, Rules string
	// Cert and Key are the certificate for TLS; with ClientCA clients there show one
	// that an authority in that file has signed.
	Cert, Key, ClientCA string
}

// Read puts what is in the files into options, HemtjanstRules where there are users but no
// rules, and returns what listeners with TLS need, nil if there is no certificate.
func (f Files) Read(o *Options) (*tls.Config, error) {
	o.Certificates = f.ClientCA != ""
	if f.Passwords != "" {
		in, err := os.Open(f.Passwords)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if o.Users, err = ReadPasswords(in); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Passwords, err)
		}
	}
	switch {
	case f.Rules != "":
		in, err := os.Open(f.Rules)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if o.Rules, err = ReadRules(in); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Rules, err)
		}
	case f.Passwords != "" || f.ClientCA != "":
		o.Rules = HemtjanstRules()
	}
	return f.tls()
}

func (f Files) tls() (*tls.Config, error) {
	if f.Cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Cert, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", f.ClientCA)
	}
	return c, nil
}
