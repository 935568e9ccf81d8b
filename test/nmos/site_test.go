package nmos

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// site is a studio's network: a DNS server, a host that publishes by mDNS and
// has the addresses of all APIs, and a client.
//
//	dns .10     peer .11     desk .12
//	  |            |            |
//	==+============+============+==  10.99.1.0/24, fd99:1::/64
type site struct {
	*lab.Lab
	t               *testing.T
	net             *lab.Subnet
	dns, peer, desk *lab.Host
	wire            *lab.Capture // of what the client sends and hears
	since           time.Time    // what is published by mDNS is from then on
	ca              *authority
	env             []string // of the client
	flushes         int
}

const dnsServer = "10.99.1.10"

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteIn(t, lab.New(t))
}

func newSiteIn(t *testing.T, l *lab.Lab) *site {
	t.Helper()
	s := &site{Lab: l, t: t, net: l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")}
	s.dns, s.peer, s.desk = l.Host("dns").Join(s.net), l.Host("peer").Join(s.net), l.Host("desk").Join(s.net)
	s.wire = s.desk.Link(s.net).Capture()
	return s
}

var dnsPort = netip.MustParseAddrPort(dnsServer + ":53")

// flush waits until everything that passed the client's link so far has been
// captured.
func (s *site) flush() {
	s.t.Helper()
	s.flushes++
	marker := append(make([]byte, 12), 0x88, 0xb5, byte(s.flushes)) // a local experiment's type (IEEE 802)
	s.desk.Link(s.net).SendRaw(append(marker, make([]byte, 60)...))
	s.wire.Wait(10*time.Second, "marker", func(f lab.Frame) bool { return bytes.HasPrefix(f.Data(), marker) })
}

// file writes a file for a server and returns its path.
func (s *site) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}
