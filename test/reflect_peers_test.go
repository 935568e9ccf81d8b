package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	hashicorp "github.com/hashicorp/mdns"
	"github.com/miekg/dns"
	pion "github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"

	"github.com/lanfolk/lanfolk/test/lab"
)

// between is two subnets with a router that reflects by the command.
func between(t *testing.T) (l *lab.Lab, a, b *lab.Subnet) {
	t.Helper()
	lab.Require(t, "root", "ip")
	l = lab.New(t)
	a, b = l.Subnet("a", "10.99.1.0/24", "fd99:1::/64"), l.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	reflects(l, "router", a, b)
	return l, a, b
}

// reflects adds a host between the subnets that runs the command.
func reflects(l *lab.Lab, name string, a, b *lab.Subnet) *lab.Process {
	p := l.Host(name).Join(a).Join(b).Lanfolk("reflect", "-i", "eth0", "-i", "eth1").Start()
	p.WaitText(20*time.Second, "ready")
	return p
}

// withRoute gives a host a route for multicasts, which those need who leave the
// choice of the link to the kernel.
func withRoute(t *testing.T, h *lab.Host) *lab.Host {
	t.Helper()
	if r := h.Run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0"); r.Exit != 0 {
		t.Fatalf("add a route: %s", r.Stderr)
	}
	return h
}

// announcement is a response with a name of its own.
func announcement(t *testing.T, name string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.Response, m.Authoritative = true, true
	for _, s := range []string{"%s._http._tcp.local. 4500 IN TXT \"x\"", "%s.local. 120 IN A 10.99.1.77"} {
		rr, err := dns.NewRR(fmt.Sprintf(s, name))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTwoReflectorsDoNotAmplify puts ours beside ours, and ours beside
// avahi-daemon's, between the same two subnets.
func TestTwoReflectorsDoNotAmplify(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"ours", "avahi-daemon"} {
		t.Run(other, func(t *testing.T) {
			t.Parallel()
			l, a, b := between(t)
			if other == "ours" {
				reflects(l, "second", a, b)
			} else {
				lab.Require(t, "avahi-daemon")
				l.Host("second").Join(a).Join(b).Avahi(lab.Avahi{Reflector: true})
			}
			tester := l.Host("tester").Join(a).Links[0].Tester()
			here := l.Host("here").Join(a).Links[0].Capture()
			there := l.Host("there").Join(b).Links[0].Capture()
			const packets = 20
			for i := range packets {
				tester.Send(lab.Datagram{}, announcement(t, fmt.Sprintf("unique-%02d", i)))
				time.Sleep(50 * time.Millisecond)
			}
			holds := func(i int) func(lab.Frame) bool {
				name := []byte(fmt.Sprintf("\x09unique-%02d", i))
				return func(f lab.Frame) bool {
					payload, _, _, ok := f.UDP()
					return ok && len(payload) > 12 && payload[2]&0x80 != 0 && bytes.Contains(payload, name)
				}
			}
			for i := range packets {
				there.Wait(20*time.Second, fmt.Sprintf("packet %d on the other subnet", i), holds(i))
			}
			time.Sleep(2 * time.Second) // another copy of one would come by then
			for i := range packets {
				holds := holds(i)
				if n := there.Count(holds); n > 2 {
					t.Errorf("packet %d: %d copies on the other subnet, want 1 or 2", i, n)
				}
				if n := here.Count(holds); n > 2 {
					t.Errorf("packet %d: %d times on its own subnet, want it and one copy at most", i, n)
				}
			}
		})
	}
}

// TestOneShotQueryIsAnsweredThroughTheReflector asks as dig does: from any
// port, once, and takes what comes back there.
func TestOneShotQueryIsAnsweredThroughTheReflector(t *testing.T) {
	t.Parallel()
	l, a, b := between(t)
	l.Host("nas").Join(a).Links[0].Respond(lab.Responder{})
	desk := withRoute(t, l.Host("desk").Join(b))
	var c *net.UDPConn
	err := desk.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := new(dns.Msg)
	q.SetQuestion("nas.local.", dns.TypeA)
	q.AuthenticatedData = true
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(packed, netip.MustParseAddrPort("224.0.0.251:5353")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 9000)
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf[:n]); err != nil {
		t.Fatal(err)
	}
	if !netip.MustParsePrefix("10.99.2.0/24").Contains(from.Addr()) || from.Port() != 5353 {
		t.Errorf("answered from %v, want from port 5353 on the asker's subnet", from)
	}
	if m.Id != q.Id || len(m.Question) != 1 || m.Question[0] != q.Question[0] || m.RecursionDesired || m.AuthenticatedData {
		t.Errorf("answered with %v", m)
	}
	if len(m.Answer) == 0 || m.Answer[0].Header().Ttl > 10 || m.Answer[0].Header().Class != dns.ClassINET {
		t.Errorf("answers %v, want a TTL of 10 at most and no flush bit", m.Answer)
	}
}

// TestLibrariesFindThroughTheReflectorWhatTheyFindOnTheLink runs two Go
// libraries on the link of a host with services, and on the other side.
func TestLibrariesFindThroughTheReflectorWhatTheyFindOnTheLink(t *testing.T) {
	t.Parallel()
	lab.Require(t, "avahi-daemon")
	l, a, b := between(t)
	// hashicorp/mdns takes one service from a packet: so each host has one.
	var daemons []*lab.AvahiDaemon
	nas := l.Host("nas").Join(a)
	for i, h := range []*lab.Host{nas, l.Host("nas2").Join(a), l.Host("nas3").Join(a), l.Host("nas4").Join(a)} {
		daemons = append(daemons, h.StartAvahi(lab.Avahi{Services: []lab.Service{
			{Name: fmt.Sprint("Web ", i), Type: "_http._tcp", Port: 80, TXT: []string{"path=/"}},
		}}))
	}
	for _, d := range daemons {
		d.WaitPublished()
	}
	near, far := withRoute(t, l.Host("near").Join(a)), withRoute(t, l.Host("far").Join(b))

	t.Run("hashicorp/mdns", func(t *testing.T) {
		var here []string
		lab.Eventually(t, 30*time.Second, "all four on the link itself", func() error {
			if here = browseHashicorp(t, near); len(here) < 4 {
				return fmt.Errorf("only %q", here)
			}
			return nil
		})
		lab.Eventually(t, 30*time.Second, "the same to be found", func() error {
			there := browseHashicorp(t, far)
			for _, n := range here {
				if !slices.Contains(there, n) {
					return fmt.Errorf("%d on the link: %q; %d through the reflector: %q", len(here), here, len(there), there)
				}
			}
			return nil
		})
	})
	t.Run("pion/mdns", func(t *testing.T) {
		for _, h := range []*lab.Host{near, far} {
			got, err := lookUpPion(h, "nas.local")
			if err != nil || got != nas.Links[0].V4 {
				t.Errorf("%s finds %v, %v; want %v", h.Name, got, err, nas.Links[0].V4)
			}
		}
	})
}

func browseHashicorp(t *testing.T, h *lab.Host) (found []string) {
	t.Helper()
	time.Sleep(1100 * time.Millisecond) // no record is multicast twice within a second
	entries := make(chan *hashicorp.ServiceEntry, 1000)
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return hashicorp.QueryContext(context.Background(), &hashicorp.QueryParam{
			Service: "_http._tcp", Domain: "local", Timeout: time.Second, Interface: ifi, Entries: entries,
			DisableIPv6: true, Logger: log.New(io.Discard, "", 0),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	close(entries)
	for e := range entries {
		found = append(found, strings.TrimSuffix(e.Name, "."))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func lookUpPion(h *lab.Host, name string) (netip.Addr, error) {
	var c *pion.Conn
	err := h.Do(func() error {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: 5353})
		if err != nil {
			return err
		}
		c, err = pion.NewServer(ipv4.NewPacketConn(pc), nil)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, a, err := c.QueryAddr(ctx, name)
	return a, errors.Join(err, c.Close())
}
