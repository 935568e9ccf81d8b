package announce_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/health"
)

// nameServer is a zone in memory, example.com, that does whatever an update says.
type nameServer struct {
	mu   sync.Mutex
	zone []dns.RR
}

func (s *nameServer) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		b := make([]byte, 65535)
		for {
			n, err := theirs.Read(b)
			var q, a dns.Msg
			if err != nil || q.Unpack(b[:n]) != nil {
				return
			}
			a.SetReply(&q)
			s.answer(&q, &a)
			if out, err := a.Pack(); err == nil {
				theirs.Write(out) // the other end may have gone
			}
		}
	}()
	return ours, nil
}

func (s *nameServer) answer(q, a *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Opcode != dns.OpcodeUpdate {
		for _, rr := range s.zone {
			if h := rr.Header(); h.Name == q.Question[0].Name && h.Rrtype == q.Question[0].Qtype {
				a.Answer = append(a.Answer, rr)
			}
		}
		soa, _ := dns.NewRR("example.com. 60 SOA ns. host. 1 60 60 60 20")
		a.Ns = append(a.Ns, soa)
		return
	}
	for _, u := range q.Ns {
		h := *u.Header()
		rr := dns.Copy(u)
		rr.Header().Class = dns.ClassINET
		s.zone = slices.DeleteFunc(s.zone, func(o dns.RR) bool {
			return o.Header().Name == h.Name && o.Header().Rrtype == h.Rrtype && (h.Class == dns.ClassANY || dns.IsDuplicate(o, rr))
		})
		if h.Class == dns.ClassINET {
			s.zone = append(s.zone, rr)
		}
	}
}

// addresses are those of the host, and SRV where the service is.
func (s *nameServer) has() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, rr := range s.zone {
		switch x := rr.(type) {
		case *dns.A:
			out = append(out, x.A.String())
		case *dns.SRV:
			out = append(out, fmt.Sprint(x.Port))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestServiceInADomainFollowsItsHealthAndItsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &nameServer{}
		start := time.Now()
		var dead atomic.Bool
		dead.Store(true)
		check := health.Check{Interval: 10 * time.Second, Timeout: time.Second, Rises: 1, Falls: 2, Probe: func(context.Context) error {
			if dead.Load() {
				return errors.New("refused")
			}
			return nil
		}}
		addresses := make(chan []netip.Addr)
		r := &unicast.Registrar{
			Servers:  unicast.Servers{Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53")}, Dial: server.dial},
			Instance: dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "example.com"},
			Offer:    unicast.Offer{Port: 80, Host: "www.example.com", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		}
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- announce.Run(ctx, check, announce.InDomain(r, addresses, func(st announce.Registration) {
				if st.State == unicast.Registered || st.State == unicast.Withdrawn && st.Dead != nil {
					told = append(told, fmt.Sprint(time.Since(start).Truncate(time.Second), " ", st.State, " ", st.Dead))
				}
			}))
		}()
		for i, c := range []struct {
			wait time.Duration
			do   func()
			want string
		}{
			{15 * time.Second, func() { dead.Store(false) }, ""}, // found out at 20 s
			{10 * time.Second, func() { addresses <- []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")} }, "192.0.2.1 80"},
			{5 * time.Second, func() { addresses <- nil }, "192.0.2.2 192.0.2.3 80"}, // off the network: no reason to forget them
			{5 * time.Second, func() { dead.Store(true) }, "192.0.2.2 192.0.2.3 80"}, // found out at 50 s
			{20 * time.Second, func() { close(addresses) }, ""},
			{10 * time.Second, func() { dead.Store(false) }, ""}, // found out at 70 s
			{10 * time.Second, func() {}, "192.0.2.2 192.0.2.3 80"},
		} {
			time.Sleep(c.wait)
			synctest.Wait()
			if got := server.has(); got != c.want {
				t.Errorf("%d: the zone has %q, want %q", i, got, c.want)
			}
			c.do()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := server.has(); got != "" {
			t.Errorf("left in the zone: %s", got)
		}
		told = slices.Compact(told)
		if want := []string{"0s withdrawn refused", "20s registered <nil>", "25s registered <nil>", "50s withdrawn refused", "1m10s registered <nil>"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestWrongOfferIsAnError(t *testing.T) {
	err := announce.Run(t.Context(), health.Check{}, announce.InDomain(&unicast.Registrar{Instance: dnssd.Instance{Name: "Web", Service: "_http._tcp", Domain: "local"}}, nil, nil))
	if err == nil || !strings.HasPrefix(err.Error(), "announce: unicast: register: ") {
		t.Errorf("error %v", err)
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = "up:hmac-sha256:c2VjcmV0"
	for _, c := range []struct {
		path string
		open bool
		err  string
	}{
		{write("good", good, 0o640), false, ""},
		{write("open", good, 0o644), true, ""},
		{write("writable", good, 0o602), true, ""},
		{write("bad", "up:rot13:c2VjcmV0", 0o600), false, "the algorithm is unknown"},
		{write("large", strings.Repeat(" ", 65<<10), 0o600), false, "is no file with a key"},
		{dir, false, "is no file with a key"},
		{filepath.Join(dir, "none"), false, "no such file"},
	} {
		key, open, err := announce.ReadKey(c.path)
		switch {
		case c.err == "" && (err != nil || open != c.open || string(key.Secret) != "secret"):
			t.Errorf("%s: %v, open %v, %v", c.path, key, open, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "c2VjcmV0")):
			t.Errorf("%s: error %v, want %s", c.path, err, c.err)
		}
	}
}
