package nmos_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/nmos"
)

// selection returns one of an API at the addresses.
func selection(t *testing.T, kind, proto, host string, port uint16, addresses ...netip.Addr) nmos.Selection {
	t.Helper()
	k, ok := nmos.KindOf(kind)
	if !ok {
		t.Fatalf("no kind %s", kind)
	}
	target := nmos.Target{Host: host, Port: port, Addresses: addresses}
	txt := dnssd.TXT{"api_proto=" + proto, "api_ver=v1.0", "api_auth=false", "pri=0"}
	a, err := nmos.Parse(k, nmos.Found{
		Instance: dnssd.Instance{Name: "A", Service: k.Service, Domain: "example.com"}, Targets: []nmos.Target{target}, TXT: []dnssd.TXT{txt},
	})
	if err != nil {
		t.Fatal(err)
	}
	return nmos.Selection{Advert: a, Target: target, Version: nmos.Version{Major: 1}}
}

// at returns the address and port of a server.
func at(t *testing.T, s *httptest.Server) (netip.Addr, uint16) {
	t.Helper()
	a, err := netip.ParseAddrPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a.Addr(), a.Port()
}

func TestProbeJudgesByTheAnswer(t *testing.T) {
	for status, works := range map[int]bool{
		200: true, 204: true, 301: true, 307: true, 400: true, 401: true, 404: true, 429: true, 501: true,
		500: false, 502: false, 503: false, 504: false, 599: false,
	} {
		asked := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked += r.Method + " " + r.Host + r.URL.Path
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(status)
		}))
		addr, port := at(t, s)
		err := (nmos.Probe{DialContext: (&net.Dialer{}).DialContext}).Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", port, addr))
		s.Close()
		if (err == nil) != works {
			t.Errorf("%d: %v, works should be %v", status, err, works)
		}
		if !works && (!errors.Is(err, nmos.ErrServer) || !strings.Contains(err.Error(), fmt.Sprint(status))) {
			t.Errorf("%d: %v: want an ErrServer with the number", status, err)
		}
		if want := fmt.Sprintf("GET ctl.local:%d/x-nmos/netctrl/v1.0/", port); asked != want {
			t.Errorf("asked %q, want %q", asked, want)
		}
	}
}

func TestProbeSaysWhyNobodyAnswered(t *testing.T) {
	p := nmos.Probe{DialContext: (&net.Dialer{}).DialContext, Timeout: 50 * time.Millisecond}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	here := netip.MustParseAddrPort(l.Addr().String())
	err = p.Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", here.Port(), here.Addr()))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "no answer in 50ms") {
		t.Errorf("silent: %v", err)
	}
	l.Close()
	p.Timeout = time.Minute // a refusal comes at once, or a little later
	err = p.Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", here.Port(), here.Addr()))
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "x-nmos") {
		t.Errorf("refused: %v", err)
	}
	if err := p.Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", 80)); err == nil || err.Error() != "its host has no address" {
		t.Errorf("no address: %v", err)
	}
}

// An answer that never ends, or is very large, costs what is bounded.
func TestProbeBoundsTheAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 64<<10)
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	addr, port := at(t, s)
	p := nmos.Probe{DialContext: (&net.Dialer{}).DialContext, Timeout: 5 * time.Second}
	if err := p.Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", port, addr)); err != nil {
		t.Errorf("an endless answer: %v", err)
	}
	headers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	}))
	defer headers.Close()
	addr, port = at(t, headers)
	if err := p.Check(t.Context(), selection(t, "netctrl", "http", "ctl.local", port, addr)); err == nil {
		t.Error("a megabyte of header was read")
	}
}

// The certificate is for the host's name, whatever address it has and though the name ends
// in a dot in DNS.
func TestProbeVerifiesTheName(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS() // its certificate is for example.com
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	addr, port := at(t, s)
	p := nmos.Probe{DialContext: (&net.Dialer{}).DialContext, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10}}
	c := p.Client(selection(t, "netctrl", "https", "example.com", port, addr)).Transport.(*http.Transport).TLSClientConfig
	if c.MinVersion != tls.VersionTLS12 {
		t.Error("an older TLS than 1.2 is spoken (BCP-003-01)")
	}
	for host, works := range map[string]bool{"example.com": true, "example.com.": true, "other.local": false} {
		s := selection(t, "netctrl", "https", host, port, addr)
		if err := p.Check(t.Context(), s); (err == nil) != works || strings.HasSuffix(s.TLSName(), ".") {
			t.Errorf("%s: %v", s.TLSName(), err)
		}
	}
	var unknown x509.UnknownAuthorityError
	if err := (nmos.Probe{DialContext: p.DialContext}).Check(t.Context(), selection(t, "netctrl", "https", "example.com", port, addr)); !errors.As(err, &unknown) {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := p.Check(t.Context(), selection(t, "mqtt", "secure-mqtt", "example.com.", port, addr)); err != nil {
		t.Errorf("a broker: %v", err)
	}
	if err := p.Check(t.Context(), selection(t, "mqtt", "secure-mqtt", "other.local", port, addr)); err == nil {
		t.Error("a broker with a wrong name works")
	}
	if err := p.Check(t.Context(), selection(t, "mqtt", "mqtt", "other.local", port, addr)); err != nil {
		t.Errorf("a broker without TLS: %v", err)
	}
}

func TestProbeAsksAnAuthorizationServerForItsMetadata(t *testing.T) {
	var asked string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = r.URL.EscapedPath() }))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	addr, port := at(t, s)
	p := nmos.Probe{DialContext: (&net.Dialer{}).DialContext, TLS: &tls.Config{RootCAs: roots}}
	sel := selection(t, "auth", "https", "example.com", port, addr)
	for selector, want := range map[string]string{
		"": "/.well-known/oauth-authorization-server", "/tenant/": "/.well-known/oauth-authorization-server/tenant",
		"a/b c": "/.well-known/oauth-authorization-server/a/b%20c",
	} {
		sel.Selector = selector
		if err := p.Check(t.Context(), sel); err != nil || asked != want {
			t.Errorf("selector %q: asked %q (%v), want %q", selector, asked, err, want)
		}
	}
}

// A dead address must not cost the whole time-out where another one works, and
// those that hold on one link alone come last.
func TestDialRacesAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var order []string
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			order = append(order, fmt.Sprintf("%v %s", time.Since(began), address))
			mu.Unlock()
			switch address {
			case "[2001:db8::1]:80": // silent
				<-ctx.Done()
				return nil, ctx.Err()
			case "192.0.2.1:80":
				return nil, errors.New("refused")
			}
			a, b := net.Pipe()
			b.Close()
			return a, nil
		}
		var addrs []netip.Addr
		for _, a := range []string{"fe80::1%eth0", "192.0.2.1", "192.0.2.2", "2001:db8::1"} {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		s := selection(t, "netctrl", "http", "ctl.local", 80, addrs...)
		conn, err := s.Dial(dial)(t.Context(), "tcp", "ignored:1")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		synctest.Wait()
		want := "0s [2001:db8::1]:80, 250ms 192.0.2.1:80, 250ms 192.0.2.2:80"
		if got := strings.Join(order, ", "); got != want {
			t.Errorf("dialled %s, want %s", got, want)
		}
	})
}

// A connection that comes too late is closed.
func TestDialClosesLateConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, end := net.Pipe()
		dial := func(_ context.Context, network, address string) (net.Conn, error) {
			if address == "192.0.2.1:80" {
				time.Sleep(time.Second)
				return late, nil
			}
			conn, _ := net.Pipe()
			return conn, nil
		}
		s := selection(t, "netctrl", "http", "ctl.local", 80, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
		conn, err := s.Dial(dial)(t.Context(), "tcp", "")
		if err != nil || conn == late {
			t.Fatalf("%v, %v", conn, err)
		}
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late connection: %v, want its end", err)
		}
	})
}

func TestLocations(t *testing.T) {
	k, _ := nmos.KindOf("register")
	for location, want := range map[string]string{
		"http://10.0.0.5:8080":       "http://10.0.0.5:8080/x-nmos/registration/v1.3/",
		"https://reg.example.com/":   "https://reg.example.com/x-nmos/registration/v1.3/",
		"http://[2001:db8::1]:80/a":  "http://[2001:db8::1]:80/a/",
		"http://reg:80/x-nmos/r/v1/": "http://reg:80/x-nmos/r/v1/",
	} {
		s, err := nmos.ParseLocation(k, location)
		s.Version = nmos.Version{Major: 1, Minor: 3}
		if err != nil || s.Base() != want || s.URL() != location {
			t.Errorf("%s: %v, %s, want %s", location, err, s.Base(), want)
		}
	}
	for location, want := range map[string]string{
		"ftp://host":        `nmos: location "ftp://host": want http://HOST or https://HOST`,
		"host:80":           `nmos: location "host:80": want http://HOST or https://HOST`,
		"http://":           `nmos: location "http://": want a host`,
		"http://host:99999": `nmos: location "http://host:99999": port "99999": want 1 to 65535`,
		"http://u:p@host":   `nmos: location "http://u:xxxxx@host": no user or password may be in it`,
		"http://host?a=b":   `nmos: location "http://host?a=b": want no query and no fragment`,
	} {
		if _, err := nmos.ParseLocation(k, location); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", location, err, want)
		}
	}
}
