package nmos

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/nmos"
	"github.com/lanfolk/lanfolk/test/lab"
)

// Every kind of API is advertised by lanfolk, chosen by lanfolk, and tried at the place
// that its specification names.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	paths := map[string]string{
		"netctrl": "/x-nmos/netctrl/v1.0/", "register": "/x-nmos/registration/v1.3/", "registration": "/x-nmos/registration/v1.2/",
		"query": "/x-nmos/query/v1.3/", "node": "/x-nmos/node/v1.3/", "system": "/x-nmos/system/v1.0/",
		"auth": "/.well-known/oauth-authorization-server/studio", "mqtt": "",
	}
	for _, k := range nmos.Kinds() {
		path, ok := paths[k.Name]
		if !ok {
			t.Errorf("kind %s has no path here", k.Name)
		}
		for _, proto := range k.Protos {
			t.Run(k.Name+"/"+proto, func(t *testing.T) {
				t.Parallel()
				everyKind(t, k, proto, path)
			})
		}
	}
}

func everyKind(t *testing.T, k nmos.Kind, proto, path string) {
	s := newSite(t)
	args := []string{"nmos", "advertise", "API", "8443", "--type", k.Name, "--proto", proto, "--host", "api", "--address", "10.99.1.101", "--domain", "example.com", "--zone-file", "-"}
	look := []string{"--type", k.Name, "--proto", proto, "--domain", "example.com", "--server", dnsServer}
	if k.HasVersion {
		version := "v1.0"
		if at := strings.Index(path, "/v1."); at >= 0 {
			version = strings.Trim(path[at:], "/")
		}
		args, look = append(args, "--api-version", version), append(look, "--api-version", version)
	}
	if k.HasPriority {
		args = append(args, "--pri", "7")
	}
	auth := k.HasAuth && proto != "http" // authorization needs TLS (BCP-003-02)
	if k.HasAuth {
		args = append(args, "--auth", fmt.Sprint(auth))
	}
	if k.HasSelector {
		args = append(args, "--selector", "studio")
	}
	r := s.peer.Lanfolk(args...).Run()
	if r.Exit != 0 {
		t.Fatalf("advertise: exit %d: %s", r.Exit, r.Stderr)
	}
	s.dns.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.com", Records: []string{r.Stdout}}}})
	got, res := s.choose(append(look, "--auth", fmt.Sprint(auth))...)
	want := fmt.Sprintf("%s://api.example.com:8443", proto)
	if got.Selected == nil || got.Selected.URL != want || got.Selected.Auth != auth || (got.Selected.Priority == 7) != k.HasPriority {
		t.Fatalf("selected %+v: %s%s", got.Selected, res.Stdout, res.Stderr)
	}
	s.peer.Link(s.net).AddAddresses(netip.MustParseAddr("10.99.1.101"))
	secure := strings.HasSuffix(proto, "s") || strings.HasPrefix(proto, "secure-")
	a := &api{s: s, label: "API", host: "api.example.com", addr: netip.MustParseAddrPort("10.99.1.101:8443"), tls: secure, stop: func() {}}
	t.Cleanup(func() { a.set(refuses) })
	if k.Name == "mqtt" {
		s.mosquitto(a)
	} else {
		a.set(works)
	}
	if secure {
		look = append(look, "--ca-file", s.caFile())
	}
	w := s.watch(map[string]*api{"API": a}, look...)
	w.selects(15*time.Second, "API")
	lab.Eventually(t, 10*time.Second, "two tries", func() error {
		n := len(s.attempts(w.apis))
		if n < 2 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	if all := w.changes(); len(all) != 1 {
		t.Errorf("it works, and yet: %s", w.Stdout())
	}
	a.mu.Lock()
	for _, p := range a.paths {
		if p != path {
			t.Errorf("tried %s, want %s", p, path)
		}
	}
	a.mu.Unlock()
	if k.Name == "mqtt" {
		return
	}
	if a.set(refuses); w.next(10*time.Second).Selected != nil {
		t.Errorf("it is gone, and yet: %s", w.Stdout())
	}
}

// mosquitto runs a broker at an API's place.
func (s *site) mosquitto(a *api) {
	s.t.Helper()
	conf := []string{fmt.Sprintf("listener %d %s", a.addr.Port(), a.addr.Addr()), "allow_anonymous true"}
	if a.tls {
		cert, key := s.pemFiles(a.host)
		conf = append(conf, "certfile "+cert, "keyfile "+key)
	}
	s.peer.Mosquitto(conf...)
}
