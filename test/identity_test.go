package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// found is what `devices` prints of one.
type found struct {
	ID        string
	Names     []string
	MACs      []string
	Addresses []string
}

// byMAC returns the device that has a link's MAC.
func byMAC(n *lab.RunningNode, k *lab.Link) (found, error) {
	var all []found
	if err := n.JSON(&all, "devices"); err != nil {
		return found{}, err
	}
	for _, d := range all {
		for _, m := range d.MACs {
			if m == k.MAC.String() {
				return d, nil
			}
		}
	}
	return found{}, fmt.Errorf("nobody has %s", k.MAC)
}

// A laptop with a cable and a radio tells one DUID and one name by DHCP on both
// links: it is one device, and explain says by what. One that an image was copied to,
// with a name of its own, isn't.
func TestTwoHomedHostIsOneDevice(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "dnsmasq", "dhclient")
	l := lab.New(t)
	a, b := l.Subnet("a", "10.97.1.0/24"), l.Subnet("b", "10.97.2.0/24")
	gate := l.Host("gate").Join(a).Join(b)
	gate.DnsmasqDHCP("10.97.1.100,10.97.1.150,1h", "10.97.2.100,10.97.2.150,1h")
	node := gate.Up(lab.Node{})
	lease := func(h *lab.Host, name, id string, links ...*lab.Link) {
		dir := t.TempDir()
		conf := filepath.Join(dir, "conf")
		text := fmt.Sprintf("send host-name %q;\nsend dhcp-client-identifier ff:00:00:00:01:00:02:00:00:ab:11:%s;\ntimeout 30;\n", name, id)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, k := range links {
			if r := h.Run("dhclient", "-4", "-1", "-sf", "/bin/true", "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"+k.Name), k.Name); r.Exit != 0 {
				t.Fatalf("dhclient: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
		}
	}
	laptop := l.Host("laptop").Join(a).Join(b)
	lease(laptop, "laptop", "01:02:03:04", laptop.Link(a), laptop.Link(b))
	var d found
	lab.Eventually(t, 20*time.Second, "one device with two MACs", func() (err error) {
		if d, err = byMAC(node, laptop.Link(a)); err == nil && len(d.MACs) != 2 {
			err = fmt.Errorf("%+v", d)
		}
		return err
	})
	var e struct {
		Evidence []struct {
			WhyJoined string `json:"why_joined"`
		}
	}
	if err := node.JSON(&e, "explain", d.ID); err != nil {
		t.Fatal(err)
	}
	why := false
	for _, x := range e.Evidence {
		why = why || strings.HasPrefix(x.WhyJoined, "shares id duid:00020000ab1101020304")
	}
	if !why {
		t.Errorf("explain doesn't say by which id: %+v", e)
	}

	one, two := l.Host("one").Join(a), l.Host("two").Join(b)
	lease(one, "web1", "0a:0b:0c:0d", one.Link(a))
	lease(two, "web2", "0a:0b:0c:0d", two.Link(b))
	lab.Eventually(t, 20*time.Second, "two copies of one machine", func() error {
		x, err := byMAC(node, one.Link(a))
		if err != nil {
			return err
		}
		y, err := byMAC(node, two.Link(b))
		if err == nil && (x.ID == y.ID || len(x.Names) == 0 || len(y.Names) == 0) {
			err = fmt.Errorf("%+v and %+v", x, y)
		}
		return err
	})
}

// A node behind Avahi's reflector hears of hosts beyond it: those are no names of
// the reflector's.
func TestReflectorIsNotWhomItReflects(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "avahi-daemon")
	l := lab.New(t)
	a, b := l.Subnet("a", "10.97.3.0/24"), l.Subnet("b", "10.97.4.0/24")
	node := l.Host("gate").Join(a).Up(lab.Node{})
	between := l.Host("between").Join(a).Join(b)
	between.Avahi(lab.Avahi{Reflector: true, HostName: "between"})
	service := []lab.Service{{Name: "web", Type: "_http._tcp", Port: 80}}
	l.Host("beyond").Join(b).Avahi(lab.Avahi{HostName: "beyond", Services: service})
	near := l.Host("near").Join(a)
	near.Avahi(lab.Avahi{HostName: "near"})
	named := func(d found, name string) bool {
		for _, n := range d.Names {
			if n == name || n == name+".local" {
				return true
			}
		}
		return false
	}
	lab.Eventually(t, 30*time.Second, "all three hosts", func() error {
		r, err := byMAC(node, between.Link(a))
		if err != nil {
			return err
		}
		n, err := byMAC(node, near.Link(a))
		if err != nil {
			return err
		}
		var far found
		if err := node.JSON(&struct{ Device *found }{&far}, "explain", "beyond"); err != nil {
			return err
		}
		if far.ID == r.ID || far.ID == n.ID || named(r, "beyond") || !named(r, "between") || !named(n, "near") || len(far.MACs) > 0 {
			return fmt.Errorf("the reflector is %+v, beyond it %+v, beside it %+v", r, far, n)
		}
		return nil
	})
}
