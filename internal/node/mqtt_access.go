package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/internal/config"
)

// mqttAccess connects to the broker of the config. It reads password and certificates anew for each
// connection: they may be changed while the node runs.
type mqttAccess struct {
	config config.MQTT
	dial   func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	read mqttFiles // for broker
	last *mqtt.Broker
}

// mqttFiles are what the files of the config hold.
type mqttFiles struct{ password, ca, cert, key string }

// Connect implements hemtjanst.Transport.
func (a *mqttAccess) Connect(ctx context.Context, s hemtjanst.Session) (hemtjanst.Conn, error) {
	b, err := a.broker()
	if err != nil {
		return nil, err
	}
	return b.Connect(ctx, s)
}

// speaks returns the version of MQTT that was spoken last.
func (a *mqttAccess) speaks() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		return ""
	}
	return a.last.Speaks().String()
}

func (a *mqttAccess) broker() (*mqtt.Broker, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.config
	var read mqttFiles
	for _, f := range []struct {
		key, path string
		into      *string
	}{
		{"password_file", c.PasswordFile, &read.password},
		{"ca_file", c.CAFile, &read.ca}, {"cert_file", c.CertFile, &read.cert}, {"key_file", c.KeyFile, &read.key},
	} {
		var err error
		if *f.into, err = readSmall(f.path); err != nil {
			return nil, fmt.Errorf("node: mqtt.%s: %w", f.key, err)
		}
	}
	if a.last != nil && read == a.read {
		return a.last, nil // which knows the version that the broker speaks
	}
	line, _, _ := bytes.Cut([]byte(read.password), []byte("\n"))
	b := &mqtt.Broker{
		URL: c.Broker.Reveal(), Dial: a.dial, User: c.User,
		Password: cmp.Or(string(bytes.TrimSuffix(line, []byte("\r"))), string(c.Password)),
	}
	switch c.Version {
	case config.MQTT5:
		b.Version = mqtt.V5
	case config.MQTT311:
		b.Version = mqtt.V311
	}
	if c.Broker.Secure() {
		b.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if read.ca != "" {
			b.TLS.RootCAs = x509.NewCertPool()
			if !b.TLS.RootCAs.AppendCertsFromPEM([]byte(read.ca)) {
				return nil, fmt.Errorf("node: mqtt.ca_file: no certificate in %s", c.CAFile)
			}
		}
		if c.CertFile != "" {
			pair, err := tls.X509KeyPair([]byte(read.cert), []byte(read.key))
			if err != nil {
				return nil, fmt.Errorf("node: mqtt.cert_file: %s: %w", c.CertFile, err)
			}
			b.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	a.read, a.last = read, b
	return b, nil
}

// readSmall reads a file for a person's settings, "" if there is none to read.
func readSmall(path string) (string, error) {
	const most = 1 << 20 // bytes
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	return string(text), err
}
