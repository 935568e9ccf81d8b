package nmos

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

// How an API behaves.
const (
	works       = "works"
	refuses     = "refused"  // nothing listens
	silent      = "silent"   // nobody has its address
	hangs       = "timeout"  // it takes the request and never answers
	answers500  = "http-500" // and so on
	answers501  = "http-501"
	answers503  = "http-503"
	saysGarbage = "garbage"   // it doesn't speak HTTP
	wrongName   = "tls-name"  // its certificate is another host's
	unknownCA   = "tls-ca"    // nobody knows who signed its certificate
	expired     = "tls-old"   // its certificate has ended
	noTLS       = "tls-plain" // it speaks HTTP where it says HTTPS
)

// api is an HTTP server at an advertised place.
type api struct {
	s     *site
	label string // "A", or "A@main.example.com:8080" where A has several places
	host  string
	addr  netip.AddrPort
	tls   bool
	how   string

	mu     sync.Mutex
	stop   func()
	repeat []time.Time // of requests by TLS but the first of a connection
	paths  []string
}

// apis starts a server for every place that the case advertises, working.
func (s *site) apis(c testCase) map[string]*api {
	s.t.Helper()
	hosts := c.hosts()
	var addrs []netip.Addr
	for _, a := range hosts {
		addrs = append(addrs, a)
	}
	s.peer.Link(s.net).AddAddresses(addrs...)
	out := map[string]*api{}
	for _, a := range c.Advertisements {
		for _, t := range a.targets() {
			host := strings.TrimSuffix(t.Host, ".")
			x := &api{s: s, label: a.Instance, host: host, addr: netip.AddrPortFrom(hosts[strings.ToLower(host)], t.Port), stop: func() {}}
			if len(a.ExtraSRV) > 0 {
				x.label = fmt.Sprintf("%s@%s:%d", a.Instance, host, t.Port)
			}
			x.tls = slices.Contains(a.strings(), "api_proto=https")
			out[x.label] = x
			x.set(works)
			s.t.Cleanup(func() { x.set(refuses) })
		}
	}
	return out
}

// set changes how the API behaves. What is open to it is cut.
func (a *api) set(how string) {
	a.s.t.Helper()
	a.stop()
	if a.how == silent {
		a.s.peer.Link(a.s.net).AddAddresses(a.addr.Addr())
	}
	a.how, a.stop = how, func() {}
	switch how {
	case silent:
		if r := a.s.peer.Run("ip", "addr", "del", a.addr.Addr().String()+"/32", "dev", a.s.peer.Link(a.s.net).Name); r.Exit != 0 {
			a.s.t.Fatalf("api %s: %s", a.label, r.Stderr)
		}
		return
	case refuses:
		return
	}
	var ln net.Listener
	// A program that is just being started holds the closed one for a moment.
	lab.Eventually(a.s.t, 20*time.Second, "listener of "+a.label, func() error {
		return a.s.peer.Do(func() (err error) {
			ln, err = net.Listen("tcp", a.addr.String())
			return err
		})
	})
	switch how {
	case saysGarbage:
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n")
				_ = c.Close()
			}
		}()
		a.stop = func() { ln.Close(); <-done }
		return
	case works, hangs, answers500, answers501, answers503, wrongName, unknownCA, expired, noTLS:
	default:
		a.s.t.Fatalf("api %s: how is %q?", a.label, how)
	}
	ended, end := context.WithCancel(context.Background())
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, how, ended) }),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, requestsKey{}, new(int))
		},
	}
	if a.tls && how != noTLS {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{a.s.certificate(a.host, how)}, MinVersion: tls.VersionTLS12})
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	a.stop = func() { end(); srv.Close(); <-done }
}

// requestsKey is where a connection counts its requests.
type requestsKey struct{}

func (a *api) serve(w http.ResponseWriter, r *http.Request, how string, ended context.Context) {
	a.mu.Lock()
	a.paths = append(a.paths, r.URL.Path)
	if n, _ := r.Context().Value(requestsKey{}).(*int); n != nil {
		if *n++; *n > 1 && a.tls {
			a.repeat = append(a.repeat, time.Now())
		}
	}
	a.mu.Unlock()
	switch how {
	case hangs:
		select {
		case <-ended.Done():
		case <-r.Context().Done():
		}
	case answers500, answers501, answers503:
		var code int
		_, _ = fmt.Sscanf(how, "http-%d", &code)
		w.WriteHeader(code)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `["v1.0/"]`)
	}
}

// attempt is a try of a client to use an API.
type attempt struct {
	label string
	at    time.Time
}

// attempts returns all tries so far, in order: each connection that the desk
// began, as seen on the wire, and each further request on one. Where TLS hides
// these they are counted when they are answered.
func (s *site) attempts(apis map[string]*api) []attempt {
	var out []attempt
	seen, requests := map[string]bool{}, map[string]int{}
	mine := s.desk.Link(s.net).V4
	for _, f := range s.wire.Frames() {
		ip, _ := f.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		tcp, _ := f.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip == nil || tcp == nil || !mine.Is4() || !ip.SrcIP.Equal(mine.AsSlice()) {
			continue
		}
		begins, asks := tcp.SYN && !tcp.ACK, bytes.HasPrefix(tcp.Payload, []byte("GET "))
		if key := fmt.Sprint(tcp.SrcPort, ip.DstIP, tcp.DstPort, tcp.Seq); !begins && !asks || seen[key] {
			continue // of no account, or sent again
		} else {
			seen[key] = true
		}
		connection := fmt.Sprint(tcp.SrcPort, ip.DstIP, tcp.DstPort)
		if begins {
			requests[connection] = 0
		} else if requests[connection]++; requests[connection] == 1 {
			continue // what it was begun for
		}
		for _, a := range apis {
			if ip.DstIP.Equal(a.addr.Addr().AsSlice()) && uint16(tcp.DstPort) == a.addr.Port() {
				out = append(out, attempt{a.label, f.Time})
			}
		}
	}
	for _, a := range apis {
		a.mu.Lock()
		for _, at := range a.repeat {
			out = append(out, attempt{a.label, at})
		}
		a.mu.Unlock()
	}
	slices.SortFunc(out, func(x, y attempt) int { return x.at.Compare(y.at) })
	return out
}

// authority signs the certificates of a site's APIs.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert}
}

func (ca authority) sign(t testing.TB, host string, end time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// certificate returns what an API shows of itself.
func (s *site) certificate(host, how string) tls.Certificate {
	s.t.Helper()
	ca, end := s.authority(), time.Now().Add(time.Hour)
	switch how {
	case wrongName:
		host = "other.example.com"
	case unknownCA:
		ca = newAuthority(s.t, "nobody knows me")
	case expired:
		end = time.Now().Add(-time.Hour)
	}
	return ca.sign(s.t, host, end)
}

// authority returns the site's own.
func (s *site) authority() authority {
	s.t.Helper()
	if s.ca == nil {
		ca := newAuthority(s.t, "the studio's authority")
		s.ca = &ca
	}
	return *s.ca
}

// caFile writes the authority's certificate to a file.
func (s *site) caFile() string {
	s.t.Helper()
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.authority().cert.Raw})
	return s.file("ca.pem", string(b))
}

// pemFiles writes a host's certificate and its key to files.
func (s *site) pemFiles(host string) (cert, key string) {
	s.t.Helper()
	c := s.certificate(host, works)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.file("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))),
		s.file("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}
