package test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestUpFindsEveryServiceOnEveryLink(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{})
	if n.Page == "" {
		t.Errorf("no page's address: %s", n.Stdout())
	}
	t.Logf("ready after %v", n.Ready)
	for _, want := range o.published() {
		s := waitService(t, n, 20*time.Second, want.Name, want.Type, "with its addresses", func(s service) bool {
			for _, a := range want.addresses {
				if !slices.Contains(s.Addresses, a) {
					return false
				}
			}
			return s.Port == want.Port && s.State == "reachable"
		})
		if s.Protocol != "mdns" || s.Interface != want.link || strings.TrimSuffix(s.Host, ".") != want.host+".local" {
			t.Errorf("%s: %+v", want.Name, s)
		}
		for _, x := range want.TXT {
			key, value, _ := strings.Cut(x, "=")
			if got, ok := s.Attributes[key]; !ok || got != value {
				t.Errorf("%s: attribute %s: %v", want.Name, key, s.Attributes)
			}
		}
		if s.Device == "" {
			t.Errorf("%s belongs to no device", want.Name)
		}
	}

	// All that is known of one host is one device.
	mac := o.nas.Link(o.a).MAC.String()
	lab.Eventually(t, 10*time.Second, "nas as one device", func() error {
		list, err := devices(n)
		if err != nil {
			return err
		}
		d, err := deviceWith(list, mac)
		if err != nil {
			return err
		}
		if !slices.Contains(d.Addresses, "10.99.1.12") || len(d.Services) < 2 || !slices.ContainsFunc(d.Names, func(s string) bool { return strings.HasPrefix(s, "nas") }) {
			return fmt.Errorf("it is %+v", d)
		}
		return nil
	})
	if r := n.Run("explain", mac, "--json"); r.Exit != 0 || !strings.Contains(r.Stdout, `"why_joined"`) || !strings.Contains(r.Stdout, "10.99.1.12") {
		t.Errorf("explain: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}

	// Goodbyes: of one service, then of a whole host.
	extra := lab.Service{Name: "extra", Type: "_http._tcp", Port: 81}
	o.nasd.Publish(extra)
	waitService(t, n, 20*time.Second, "extra", "_http._tcp", "known", func(service) bool { return true })
	o.nasd.Withdraw(extra)
	waitNoService(t, n, 20*time.Second, "extra", "_http._tcp")
	o.camerad.Stop()
	waitNoService(t, n, 20*time.Second, "Door", "_http._tcp")

	// A link that wasn't there when it started.
	c := o.Subnet("c", "10.99.3.0/24")
	o.Host("lamp").Join(c).Avahi(lab.Avahi{Services: []lab.Service{{Name: "late", Type: "_http._tcp", Port: 82}}})
	o.desk.Join(c)
	waitService(t, n, 20*time.Second, "late", "_http._tcp", "on the new link", func(s service) bool { return s.Interface == "eth2" })

	if code := n.Stop(); code != 0 && code != 130 {
		t.Errorf("stopped with %d", code)
	}
}

// The records that name a service outlive by far those that tell where it is,
// so a service whose host died stays known and becomes unreachable.
func TestUpSaysWhenAHostThatDiedIsUnreachable(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk, lamp := l.Host("desk").Join(a), l.Host("lamp").Join(a)
	// A fifth of it is left when it is asked for again, and either side may be late.
	const ttl = 12
	r := lamp.Link(a).Respond(lab.Responder{TTL: ttl, PointerTTL: 4500, Services: []lab.Service{{Name: "lamp", Type: "_hap._tcp", Port: 1}}})
	n := desk.Up(lab.Node{})
	reachable := func(s service) bool {
		return s.State == "reachable" && s.Port == 1 && slices.Contains(s.Addresses, "10.99.1.11")
	}
	waitService(t, n, 20*time.Second, "lamp", "_hap._tcp", "reachable", reachable)
	// It is asked again in time, for longer than its TTL.
	time.Sleep((ttl + 2) * time.Second)
	waitService(t, n, time.Second, "lamp", "_hap._tcp", "still reachable", reachable)
	r.Silence()
	waitService(t, n, (ttl+7)*time.Second, "lamp", "_hap._tcp", "unreachable", func(s service) bool { return s.State == "unreachable" })
}

func TestUpAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{User: lab.Nobody})
	for _, want := range o.published() {
		waitService(t, n, 20*time.Second, want.Name, want.Type, "reachable", func(s service) bool { return s.State == "reachable" && s.Port == want.Port })
	}
	r := n.Run("status")
	if r.Exit != 0 || !strings.Contains(strings.ToLower(r.Stdout), "capture") || !strings.Contains(strings.ToUpper(r.Stdout), "CAP_NET_RAW") {
		t.Errorf("status doesn't say what more rights would bring: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
}

// A host that never announces anything gives itself away by ARP and DHCP.
func TestUpHearsSilentHosts(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	desk := l.Host("desk").Join(a)
	quiet := l.Host("quiet").Join(a, lab.WithMAC("00:0c:29:aa:bb:01"))
	n := desk.Up(lab.Node{})
	k := quiet.Link(a)
	lab.Eventually(t, 10*time.Second, "device by ARP and DHCP", func() error {
		sendARP(k)
		sendDHCP(k, "thermostat")
		list, err := devices(n)
		if err != nil {
			return err
		}
		d, err := deviceWith(list, k.MAC.String())
		if err != nil {
			return err
		}
		if !slices.Contains(d.Addresses, k.V4.String()) || !slices.ContainsFunc(d.Names, func(s string) bool { return strings.HasPrefix(s, "thermostat") }) ||
			!slices.Contains(d.Protocols, "arp") || !slices.Contains(d.Protocols, "dhcp") {
			return fmt.Errorf("it is %+v", d)
		}
		return nil
	})
}

func ethernet(k *lab.Link, t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: k.MAC, DstMAC: layers.EthernetBroadcast, EthernetType: t}
}

// sendARP asks who has the address next to the sender's own.
func sendARP(k *lab.Link) {
	k.Send(ethernet(k, layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: k.MAC, SourceProtAddress: k.V4.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: k.V4.Next().AsSlice(),
	})
}

// sendDHCP asks for an address.
func sendDHCP(k *lab.Link, name string) {
	k.Send(ethernet(k, layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{0, 0, 0, 0}, DstIP: []byte{255, 255, 255, 255}},
		&layers.UDP{SrcPort: 68, DstPort: 67},
		&layers.DHCPv4{Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 7, ClientHWAddr: k.MAC,
			ClientIP: []byte{0, 0, 0, 0}, YourClientIP: []byte{0, 0, 0, 0}, NextServerIP: []byte{0, 0, 0, 0}, RelayAgentIP: []byte{0, 0, 0, 0},
			Options: layers.DHCPOptions{
				layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(layers.DHCPMsgTypeRequest)}),
				layers.NewDHCPOption(layers.DHCPOptRequestIP, k.V4.AsSlice()),
				layers.NewDHCPOption(layers.DHCPOptHostname, []byte(name)),
				layers.NewDHCPOption(layers.DHCPOptParamsRequest, []byte{1, 3, 6, 15}),
			}})
}

// The newest mDNS entry for a name gives the MACs of who asked and of where to.
func TestFingerprintsGiveTheMACs(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{})
	lab.Eventually(t, 10*time.Second, "fingerprint of the printer's name", func() error {
		// The printer's own announcement, or its answer to the node.
		var rows []struct {
			Protocol string `json:"protocol"`
			Query    string `json:"query"`
			SrcMAC   string `json:"src_mac"`
			DstMAC   string `json:"dst_mac"`
			SrcIP    string `json:"src_ip"`
		}
		if err := n.JSON(&rows, "fingerprints", "--protocol", "mdns", "--query", "printer.local", "--latest"); err != nil {
			return err
		}
		if len(rows) != 1 || rows[0].Protocol != "mdns" || rows[0].Query != "printer.local" || rows[0].SrcMAC == "" || rows[0].DstMAC == "" {
			return fmt.Errorf("rows %+v", rows)
		}
		return nil
	})
}

func TestRestartKeepsIDsAndNames(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	n := o.desk.Up(lab.Node{})
	macs := []string{o.nas.Link(o.a).MAC.String(), o.printer.Link(o.a).MAC.String(), o.camera.Link(o.b).MAC.String()}
	ids := func(n *lab.RunningNode) (ids []string) {
		t.Helper()
		lab.Eventually(t, 10*time.Second, "three devices", func() error {
			list, err := devices(n)
			if err != nil {
				return err
			}
			ids = nil
			for _, mac := range macs {
				d, err := deviceWith(list, mac)
				if err != nil {
					return err
				}
				if len(d.Services) == 0 {
					return fmt.Errorf("no services yet: %+v", d)
				}
				ids = append(ids, d.ID)
			}
			return nil
		})
		return ids
	}
	first := ids(n)
	// What is only heard may lose its last second or so.
	lab.Eventually(t, 20*time.Second, "the devices in the database", func() error {
		db, err := sql.Open("sqlite", filepath.Join(n.State, "lanfolk.db"))
		if err != nil {
			return err
		}
		defer db.Close()
		for i, id := range first {
			var doc string
			if err := db.QueryRowContext(t.Context(), "SELECT doc FROM device WHERE id = ?", id).Scan(&doc); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			if !strings.Contains(doc, macs[i]) {
				return fmt.Errorf("%s is %s", id, doc)
			}
		}
		return nil
	})
	if r := n.Run("device", "name", first[0], "Grandma's NAS"); r.Exit != 0 {
		t.Fatalf("name: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	n.Kill() // at once after the acknowledgement
	n = o.desk.Up(lab.Node{State: n.State})
	if second := ids(n); !slices.Equal(first, second) {
		t.Errorf("ids %v become %v", first, second)
	}
	list, err := devices(n)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := deviceWith(list, macs[0]); err != nil || len(d.Names) == 0 || d.Names[0] != "Grandma's NAS" {
		t.Errorf("after kill -9: %+v %v", d, err)
	}
	n.Stop()
	n = o.desk.Up(lab.Node{State: n.State})
	if third := ids(n); !slices.Equal(first, third) {
		t.Errorf("ids %v become %v", first, third)
	}
}
