package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// office is two subnets with three hosts that publish by avahi-daemon, and a
// desk with a link to each.
//
//	printer .11   nas .12                camera .11
//	     |          |                       |
//	a ===+====+=====+===        b ===+======+===
//	          |                      |
//	        eth0        desk       eth1   (.10 in both)
type office struct {
	*lab.Lab
	a, b                       *lab.Subnet
	desk, printer, nas, camera *lab.Host
	printerd, nasd, camerad    *lab.AvahiDaemon
}

// published is what the office's hosts say of themselves, by instance name.
type published struct {
	lab.Service
	host      string
	addresses []string // but for link-local ones
	link      string   // of the desk
	subnet    *lab.Subnet
}

func newOffice(t *testing.T) *office {
	t.Helper()
	lab.Require(t, "root", "ip", "avahi-daemon")
	l := lab.New(t)
	o := &office{Lab: l, a: l.Subnet("a", "10.99.1.0/24", "fd99:1::/64"), b: l.Subnet("b", "10.99.2.0/24", "fd99:2::/64")}
	o.desk = l.Host("desk").Join(o.a).Join(o.b)
	o.printer, o.nas, o.camera = l.Host("printer").Join(o.a), l.Host("nas").Join(o.a), l.Host("camera").Join(o.b)
	all := o.published()
	o.printerd = o.printer.StartAvahi(lab.Avahi{Services: of(all, "printer")})
	o.nasd = o.nas.StartAvahi(lab.Avahi{Services: of(all, "nas")})
	o.camerad = o.camera.StartAvahi(lab.Avahi{Services: of(all, "camera")})
	for _, d := range []*lab.AvahiDaemon{o.printerd, o.nasd, o.camerad} {
		d.WaitPublished()
	}
	return o
}

func (o *office) published() []published {
	a := func(n string) []string {
		return []string{"10.99.1.1" + n, "fd99:1::" + map[string]string{"1": "b", "2": "c"}[n]}
	}
	b := []string{"10.99.2.11", "fd99:2::b"}
	return []published{
		{lab.Service{Name: "Laser, 2nd floor", Type: "_ipp._tcp", Subtypes: []string{"_universal"}, Port: 631, TXT: []string{"txtvers=1", "ty=Laser 3000", "Color=", "Duplex"}}, "printer", a("1"), "eth0", o.a},
		{lab.Service{Name: "Printer's page", Type: "_http._tcp", Port: 80, TXT: []string{"path=/"}}, "printer", a("1"), "eth0", o.a},
		{lab.Service{Name: "nas.files v1.0", Type: "_http._tcp", Port: 5000, TXT: []string{"vendor=Größe"}}, "nas", a("2"), "eth0", o.a},
		{lab.Service{Name: "NAS", Type: "_smb._tcp", Port: 445}, "nas", a("2"), "eth0", o.a},
		{lab.Service{Name: "Door", Type: "_http._tcp", Port: 8080, TXT: []string{"id=7"}}, "camera", b, "eth1", o.b},
	}
}

func of(all []published, host string) []lab.Service {
	var s []lab.Service
	for _, p := range all {
		if p.host == host {
			s = append(s, p.Service)
		}
	}
	return s
}

// event is a line of `lanfolk browse --json`.
type event struct {
	Event     string             `json:"event"`
	Name      string             `json:"name"`
	Type      string             `json:"type"`
	Domain    string             `json:"domain"`
	Subtypes  []string           `json:"subtypes"`
	Host      string             `json:"host"`
	Port      uint16             `json:"port"`
	Addresses []netip.Addr       `json:"addresses"`
	TXT       map[string]*string `json:"txt"`
	TXTRaw    [][]byte           `json:"txt_raw"`
	Interface string             `json:"interface"`
	Via       string             `json:"via"`
	TTL       json.Number        `json:"ttl"`
}

func events(t *testing.T, out string) []event {
	t.Helper()
	var all []event
	for line := range strings.Lines(out) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %s: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// device and service are what `lanfolk devices` and `lanfolk services` print.
type device struct {
	ID        string    `json:"id"`
	Names     []string  `json:"names"`
	MACs      []string  `json:"macs"`
	Addresses []string  `json:"addresses"`
	State     string    `json:"state"`
	Protocols []string  `json:"protocols"`
	Services  []service `json:"services"`
}

type service struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Protocol   string            `json:"protocol"`
	Host       string            `json:"host"`
	Addresses  []string          `json:"addresses"`
	Port       uint16            `json:"port"`
	Attributes map[string]string `json:"attributes"`
	State      string            `json:"state"`
	Device     string            `json:"device"`
	Interface  string            `json:"interface"`
	Expires    time.Time         `json:"expires"`
}

func services(n *lab.RunningNode) ([]service, error) {
	var s []service
	return s, n.JSON(&s, "services")
}

func devices(n *lab.RunningNode) ([]device, error) {
	var d []device
	return d, n.JSON(&d, "devices")
}

// find returns the service with that name and type.
func find(list []service, name, typ string) (service, bool) {
	i := slices.IndexFunc(list, func(s service) bool { return s.Name == name && strings.TrimSuffix(s.Type, ".local") == typ })
	if i < 0 {
		return service{}, false
	}
	return list[i], true
}

// waitService waits until the node has the service and ok is true of it.
func waitService(t *testing.T, n *lab.RunningNode, d time.Duration, name, typ, what string, ok func(service) bool) service {
	t.Helper()
	var s service
	lab.Eventually(t, d, fmt.Sprintf("service %s %s %s", name, typ, what), func() error {
		list, err := services(n)
		if err != nil {
			return err
		}
		var found bool
		if s, found = find(list, name, typ); !found {
			return fmt.Errorf("not among %d services", len(list))
		}
		if !ok(s) {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
	return s
}

// waitNoService waits until the node has no such service that could be reached.
func waitNoService(t *testing.T, n *lab.RunningNode, d time.Duration, name, typ string) {
	t.Helper()
	lab.Eventually(t, d, fmt.Sprintf("end of service %s %s", name, typ), func() error {
		list, err := services(n)
		if err != nil {
			return err
		}
		if s, found := find(list, name, typ); found {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
}

// deviceWith returns the one device that has the MAC.
func deviceWith(list []device, mac string) (device, error) {
	var found []device
	for _, d := range list {
		if slices.Contains(d.MACs, mac) {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return device{}, fmt.Errorf("%d of %d devices have MAC %s", len(found), len(list), mac)
	}
	return found[0], nil
}
