package mqtt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := must(x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key))
	a.cert = must(x509.ParseCertificate(der))
	a.pool.AddCert(a.cert)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for a name, and returns it and the files it is in.
func (a *authority) issue(name string) (c tls.Certificate, certFile, keyFile string) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))
	certFile = a.write(name+".pem", "CERTIFICATE", der)
	keyFile = a.write(name+".key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	return must(tls.LoadX509KeyPair(certFile, keyFile)), certFile, keyFile
}

// echo connects, publishes and hears it.
func echo(b *mqtt.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	heard := make(chan string, 10)
	c, err := b.Connect(ctx, hemtjanst.Session{ClientID: "echo", Receive: func(m hemtjanst.Message) { heard <- string(m.Payload) }})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Subscribe(ctx, hemtjanst.SubscribeOptions{}, "x/#"); err != nil {
		return err
	}
	long := strings.Repeat("x", 6000) // Mosquitto reads 4 KiB of a WebSocket in 100 ms
	if err := c.Publish(ctx, hemtjanst.Message{Topic: "x/y", Payload: []byte(long), QoS: 1}); err != nil {
		return err
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	select {
	case got := <-heard:
		if got != long {
			return errors.New("another message than was sent")
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.Disconnect(ctx)
}

func TestWaysToABroker(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		ca := newAuthority(t)
		_, certFile, keyFile := ca.issue("broker.test")
		client, _, _ := ca.issue("client.test")
		stranger, _, _ := newAuthority(t).issue("client.test")
		passwords := filepath.Join(ca.dir, "passwords")
		if out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "anna", "p:w@d").CombinedOutput(); err != nil {
			nstest.Missing(t, "mosquitto_passwd: "+string(out))
		}
		tlsLines := func(port string) []string {
			return []string{"listener " + port + " 127.0.0.1", "allow_anonymous true", "cafile " + ca.dir + "/ca.pem", "certfile " + certFile, "keyfile " + keyFile}
		}
		lines := []string{"listener 8080 127.0.0.1", "protocol websockets", "allow_anonymous true"}
		lines = append(lines, tlsLines("8883")...)
		lines = append(lines, tlsLines("8884")...)
		lines = append(lines, "require_certificate true")
		lines = append(lines, tlsLines("8443")...)
		lines = append(lines, "protocol websockets", "listener 1884 127.0.0.1", "allow_anonymous false", "password_file "+passwords)
		startMosquitto(t, lines...)
		trust := &tls.Config{RootCAs: ca.pool}
		with := func(c tls.Certificate) *tls.Config {
			return &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{c}}
		}
		versions(t, func(t *testing.T, v mqtt.Version) {
			for _, c := range []struct {
				url            string
				tls            *tls.Config
				user, password string
				ok             bool
				err            error // if ok is false and it matters
			}{
				{"mqtt://127.0.0.1", nil, "", "", true, nil},
				{"ws://127.0.0.1:8080", nil, "", "", true, nil},
				{"ws://127.0.0.1:8080/mqtt", nil, "", "", true, nil},
				{"mqtts://127.0.0.1", trust, "", "", true, nil},
				{"mqtts://127.0.0.1", nil, "", "", false, nil},
				{"mqtts://127.0.0.1", &tls.Config{RootCAs: ca.pool, ServerName: "else.test"}, "", "", false, nil},
				{"wss://127.0.0.1:8443", trust, "", "", true, nil},
				{"mqtts://127.0.0.1:8884", with(client), "", "", true, nil},
				{"mqtts://127.0.0.1:8884", trust, "", "", false, nil},
				{"mqtts://127.0.0.1:8884", with(stranger), "", "", false, nil},
				{"mqtt://127.0.0.1:1884", nil, "anna", "p:w@d", true, nil},
				{"mqtt://anna:p%3Aw%40d@127.0.0.1:1884", nil, "", "", true, nil},
				{"mqtt://127.0.0.1:1884", nil, "anna", "wrong", false, hemtjanst.ErrDenied},
				{"mqtt://127.0.0.1:1884", nil, "", "", false, hemtjanst.ErrDenied},
				{"mqtt://127.0.0.1:1885", nil, "", "", false, nil},
			} {
				b := &mqtt.Broker{URL: c.url, Dial: (&net.Dialer{}).DialContext, TLS: c.tls, User: c.user, Password: c.password, Version: v}
				err := echo(b)
				if (err == nil) != c.ok || c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("%s as %q: %v", c.url, c.user, err)
				}
			}
		})
	})
}

func TestAddressesThatAreNone(t *testing.T) {
	for url, why := range map[string]string{
		"": "none of mqtt", "localhost:1883": "none of mqtt", "http://x": "none of mqtt", "mqtt://": "names no host", "mqtt://:1883": "names no host",
		"mqtt://x/y": "has no path", "mqtt://a:secret@x\x7f": "can't be read", "mqtt://x": "", "wss://x/path?q": "", "mqtt://[::1]:1": "",
	} {
		err := (&mqtt.Broker{URL: url}).Check()
		if why == "" && err != nil || why != "" && (!errors.Is(err, hemtjanst.ErrBroker) || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// old stands before a broker and refuses MQTT 5 as brokers of before do.
func old(t *testing.T, refuse func(net.Conn)) (address string, fives *int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	fives = new(int)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			head := make([]byte, 9) // up to the version, for a short CONNECT
			if _, err := io.ReadFull(c, head); err != nil {
				_ = c.Close()
				continue
			}
			if head[8] == 5 {
				*fives++
				refuse(c)
				_ = c.Close()
				continue
			}
			to, err := net.Dial("tcp", "127.0.0.1:1883")
			if err != nil {
				_ = c.Close()
				continue
			}
			_, _ = to.Write(head)
			go func() { _, _ = io.Copy(to, c); _ = to.Close() }()
			go func() { _, _ = io.Copy(c, to); _ = c.Close() }()
		}
	}()
	return l.Addr().String(), fives
}

func TestAnOldBrokerIsSpokenToIn311(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		startMosquitto(t)
		for name, refuse := range map[string]func(net.Conn){
			"code 1":  func(c net.Conn) { _, _ = c.Write([]byte("\x20\x02\x00\x01")) },
			"code 84": func(c net.Conn) { _, _ = c.Write([]byte("\x20\x03\x00\x84\x00")) },
			"hang up": func(net.Conn) {},
		} {
			address, fives := old(t, refuse)
			b := &mqtt.Broker{URL: "mqtt://" + address, Dial: (&net.Dialer{}).DialContext}
			for range 3 {
				if err := echo(b); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if *fives != 1 {
				t.Errorf("%s: MQTT 5 tried %d times", name, *fives)
			}
			b.Version = mqtt.V5
			if err := echo(&mqtt.Broker{URL: b.URL, Dial: b.Dial, Version: mqtt.V5}); err == nil {
				t.Errorf("%s: MQTT 5 alone is spoken", name)
			}
		}
	})
}
