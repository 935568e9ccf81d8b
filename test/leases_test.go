package test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// evidence is what `explain` prints.
type evidence struct {
	Evidence []struct {
		Protocol, Interface, What string
		Attributes                map[string]string
	}
}

// told returns what one protocol told of a device, by its evidence in words.
func told(n *lab.RunningNode, device, protocol string) []string {
	var e evidence
	if err := n.JSON(&e, "explain", device); err != nil {
		return nil
	}
	var what []string
	for _, x := range e.Evidence {
		if x.Protocol == protocol {
			what = append(what, x.Interface+": "+x.What)
		}
	}
	slices.Sort(what)
	return what
}

// leaseStatus is what `status` says of lease files.
type leaseStatus struct {
	Leases []struct {
		Kind, Path, Error string
		Leases            int
		BadLines          int `json:"bad_lines"`
		Bad               []string
	}
}

// Whom a DHCP server on the node's own machine gave addresses is known by its lease file alone:
// both families of one client are one device, what is given back goes.
func TestLeasesOfRealServers(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		protocol string
		start    func(gate *lab.Host, k *lab.Link) (v4, v6 lab.DHCPServer)
	}{
		{"dnsmasq", func(gate *lab.Host, _ *lab.Link) (v4, v6 lab.DHCPServer) {
			both := gate.DnsmasqDHCP("10.99.1.100,10.99.1.150,1h", "fd00:99:1::100,fd00:99:1::150,64,1h")
			return both, both
		}},
		{"kea", func(gate *lab.Host, k *lab.Link) (v4, v6 lab.DHCPServer) {
			return gate.Kea(k, "10.99.1.0/24", "10.99.1.100-10.99.1.150"), gate.Kea(k, "fd00:99:1::/64", "fd00:99:1::100-fd00:99:1::150")
		}},
	} {
		t.Run(server.protocol, func(t *testing.T) {
			t.Parallel()
			lab.Require(t, "root", "ip")
			l := lab.New(t)
			a := l.Subnet("a", "10.99.1.0/24", "fd00:99:1::/64")
			gate, laptop := l.Host("gate").Join(a), l.Host("laptop").Join(a)
			link, client := gate.Link(a), laptop.Link(a).DHCP("laptop")
			v4, v6 := server.start(gate, link)
			config := "[passive]\nenabled = false\n"
			for _, path := range slices.Compact([]string{v4.Leases, v6.Leases}) {
				config += fmt.Sprintf("[[leases.file]]\nkind = %q\npath = %q\n", server.protocol, path)
			}
			n := gate.Up(lab.Node{Config: config})
			mac := laptop.Link(a).MAC.String()
			leased := func(prefix string) func() error {
				return func() error {
					list, err := devices(n)
					if err != nil {
						return err
					}
					d, err := deviceWith(list, mac)
					if err != nil {
						return err
					}
					if !slices.Contains(d.Protocols, server.protocol) || !slices.Contains(d.Names, "laptop") || !slices.ContainsFunc(d.Addresses, func(s string) bool {
						a, err := netip.ParseAddr(s)
						return err == nil && netip.MustParsePrefix(prefix).Contains(a)
					}) {
						return fmt.Errorf("it is %+v", d)
					}
					return nil
				}
			}
			client.Lease("-4")
			lab.Eventually(t, 5*time.Second, "the lease of IPv4", leased("10.99.1.96/27"))
			client.Lease("-6")
			lab.Eventually(t, 5*time.Second, "the lease of IPv6", leased("fd00:99:1::100/120"))
			what := told(n, mac, server.protocol)
			if len(what) != 2 || !strings.HasPrefix(what[0], "eth0: "+server.protocol+" leases 10.99.1.1") || !strings.HasPrefix(what[1], "eth0: "+server.protocol+" leases fd00:99:1::1") {
				t.Fatalf("the evidence is %q", what)
			}
			v6Address := what[1][strings.LastIndex(what[1], " fd00:")+1:]
			v6Address, _, _ = strings.Cut(v6Address, " ")
			keep(t, server.protocol, v4.Leases, v6.Leases)

			if server.protocol == "kea" {
				// Its clean-up takes nobody away.
				cleaned(t, n, mac, v4.Leases)
			}
			client.Release("-4")
			lab.Eventually(t, 5*time.Second, "the end of the lease of IPv4", func() error {
				if what := told(n, v6Address, server.protocol); len(what) != 1 || !strings.Contains(what[0], "leases "+v6Address) {
					return fmt.Errorf("the evidence is %q", what)
				}
				return nil
			})

			// Lines that nobody understands cost nothing but themselves.
			f, err := os.OpenFile(v4.Leases, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("rubbish\n"); err != nil {
				t.Fatal(err)
			}
			f.Close()
			lab.Eventually(t, 5*time.Second, "a bad line in the status", func() error {
				var s leaseStatus
				if err := n.JSON(&s, "status"); err != nil {
					return err
				}
				for _, x := range s.Leases {
					if x.Path == v4.Leases && x.BadLines == 1 && len(x.Bad) == 1 && strings.Contains(x.Bad[0], "line ") && x.Error == "" {
						return nil
					}
				}
				return fmt.Errorf("the status is %+v", s)
			})
			if what := told(n, v6Address, server.protocol); len(what) != 1 {
				t.Errorf("with a bad line the evidence is %q", what)
			}
		})
	}
}

// cleaned waits until Kea has cleaned up its lease file, and looks all the while
// whether a device keeps its leases.
func cleaned(t *testing.T, n *lab.RunningNode, mac, path string) {
	t.Helper()
	lab.Eventually(t, 15*time.Second, "a clean-up", func() error {
		if what := told(n, mac, "kea"); len(what) != 2 {
			t.Errorf("in a clean-up the evidence is %q", what)
		}
		_, err := os.Stat(path + ".2")
		return err
	})
}

// keep copies lease files to where LANFOLK_KEEP says, as seeds for the parsers' fuzz targets.
func keep(t *testing.T, name string, paths ...string) {
	t.Helper()
	dir := os.Getenv("LANFOLK_KEEP")
	if dir == "" {
		return
	}
	for i, p := range slices.Compact(paths) {
		b, err := os.ReadFile(p)
		if err == nil {
			err = os.WriteFile(fmt.Sprintf("%s/%s%d", dir, name, i), b, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
