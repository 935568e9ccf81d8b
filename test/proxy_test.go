package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A router whose kernel answers ARP for the hosts behind it (RFC 1027) is a device with
// one address: theirs aren't shown as its own, and explain says why.
func TestProxyIsNotWhomItAnswersFor(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip")
	l := lab.New(t)
	a, b := l.Subnet("a", "10.97.5.0/24"), l.Subnet("b", "10.97.5.128/25")
	proxy := l.Router("proxy", a, b)
	gate := l.Host("gate").Join(a)
	near := proxy.Link(a)
	for _, s := range []string{"conf.%s.proxy_arp=1", "neigh.%s.proxy_delay=0"} {
		if r := proxy.Run("sysctl", "-w", "net.ipv4."+fmt.Sprintf(s, near.Name)); r.Exit != 0 {
			t.Fatalf("sysctl: %s%s", r.Stdout, r.Stderr)
		}
	}
	behind := l.Host("behind").Join(b)
	var far []string
	for n := range 12 {
		ip := netip.AddrFrom4([4]byte{10, 97, 5, byte(140 + n)})
		behind.Link(b).AddAddresses(ip)
		far = append(far, ip.String())
	}
	node := gate.Up(lab.Node{})
	var d found
	lab.Eventually(t, 30*time.Second, "the router with an address of its own, told from those that it answers for", func() error {
		for _, ip := range far {
			if r := gate.Run("ping", "-c1", "-W1", ip); r.Exit != 0 {
				return fmt.Errorf("ping %s: %s%s", ip, r.Stdout, r.Stderr)
			}
		}
		var err error
		if d, err = byMAC(node, near); err != nil {
			return err
		}
		if !slices.Contains(d.Addresses, near.V4.String()) || slices.ContainsFunc(d.Addresses, func(a string) bool { return slices.Contains(far, a) }) {
			return fmt.Errorf("it shows %q", d.Addresses)
		}
		return nil
	})
	var e struct {
		Evidence []struct {
			WhyJoined string `json:"why_joined"`
		}
	}
	if err := node.JSON(&e, "explain", d.ID); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, x := range e.Evidence {
		if strings.Contains(x.WhyJoined, "isn't its own: a proxy, it answers there for 12 that it never speaks from") {
			told++
		}
	}
	if told < len(far) {
		t.Errorf("explain says of %d addresses that they are others': %+v", told, e.Evidence)
	}
}
