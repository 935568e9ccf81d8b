package lab

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Service is one DNS-SD service that a peer publishes.
type Service struct {
	Name     string // the instance name, at most 63 bytes
	Type     string // "_http._tcp"
	Subtypes []string
	Port     uint16
	TXT      []string // "key=value", "key=" or "key"
	Host     string   // "" for the peer's own host name
}

// Avahi says how an avahi-daemon is to run. The zero value runs one that
// publishes its host name alone.
type Avahi struct {
	// HostName is the name without domain, "" for the host's own.
	HostName string
	Services []Service
	// Hosts are further host names to publish, "a.local", each with an address of
	// its own.
	Hosts map[string]netip.Addr
	// Interfaces limits the daemon to these links, none for all.
	Interfaces []string
	Reflector  bool
	// DNSServer is asked for what lies in other domains than local, "" for none.
	DNSServer string
	// DBus gives the daemon a private bus, so that avahi-browse and its like
	// can be used; see AvahiDaemon.Command.
	DBus bool
}

// AvahiDaemon is an avahi-daemon that runs in a host.
type AvahiDaemon struct {
	*Process
	host     *Host
	services string // the folder that it reads services from
	bus      string // the address of its D-Bus
	first    int    // how many services it was started with
	hosts    []string
}

// Avahi starts an avahi-daemon and waits until it has published everything.
func (h *Host) Avahi(a Avahi) *AvahiDaemon {
	h.lab.t.Helper()
	d := h.StartAvahi(a)
	d.WaitPublished()
	return d
}

// StartAvahi starts an avahi-daemon and doesn't wait, so that those of many
// hosts can start at once. Call WaitPublished before anything else.
func (h *Host) StartAvahi(a Avahi) *AvahiDaemon {
	t := h.lab.t
	t.Helper()
	Require(t, "avahi-daemon")
	dir := h.lab.tempDir("avahi")
	d := &AvahiDaemon{host: h, services: filepath.Join(dir, "services")}
	if err := os.Mkdir(d.services, 0o755); err != nil {
		t.Fatalf("lab: %v", err)
	}
	if a.DBus {
		d.bus = h.dbus(dir)
	}
	if a.HostName == "" {
		a.HostName = h.Name
	}
	for i, s := range a.Services {
		d.write(fmt.Sprintf("%04d", i), s)
	}
	// An empty list would allow none.
	allow := ""
	if len(a.Interfaces) > 0 {
		allow = "allow-interfaces=" + strings.Join(a.Interfaces, ",")
	}
	yes := map[bool]string{true: "yes", false: "no"}
	conf := h.lab.writeFile(dir, "avahi-daemon.conf", fmt.Sprintf(`[server]
host-name=%s
use-ipv4=yes
use-ipv6=yes
enable-dbus=%s
%s
ratelimit-interval-usec=1000000
ratelimit-burst=100000
entries-per-entry-group-max=0
objects-per-client-max=100000
cache-entries-max=100000
[publish]
publish-hinfo=no
publish-workstation=no
[reflector]
enable-reflector=%s
[wide-area]
enable-wide-area=%s
[rlimits]
`, a.HostName, yes[a.DBus], allow, yes[a.Reflector], yes[a.DNSServer != ""]))
	cmd := h.Command("avahi-daemon", "--file="+conf, "--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title")
	var hosts strings.Builder
	for name, addr := range a.Hosts {
		fmt.Fprintf(&hosts, "%s %s\n", addr, name)
	}
	cmd.Mounts = []Mount{
		{Target: "/run"}, {Source: d.services, Target: "/etc/avahi/services"},
		{Source: h.lab.writeFile(dir, "hosts", hosts.String()), Target: "/etc/avahi/hosts"},
	}
	if a.DNSServer != "" {
		cmd.Mounts = append(cmd.Mounts, Mount{Source: h.lab.writeFile(dir, "resolv.conf", "nameserver "+a.DNSServer+"\n"), Target: "/etc/resolv.conf"})
	}
	cmd.Env = d.env()
	d.Process = cmd.Start()
	d.first = len(a.Services)
	for name := range a.Hosts {
		d.hosts = append(d.hosts, name)
	}
	return d
}

// WaitPublished waits until the daemon has published its host names and the
// services that it was started with.
func (d *AvahiDaemon) WaitPublished() {
	d.t.Helper()
	d.WaitText(30*time.Second, "Server startup complete")
	for i := range d.first {
		d.waitPublished(fmt.Sprintf("%04d", i))
	}
	for _, name := range d.hosts {
		d.WaitText(30*time.Second, fmt.Sprintf("Static host name %q successfully established", name))
	}
}

// Publish adds a service and waits until the daemon has published it.
func (d *AvahiDaemon) Publish(s Service) {
	d.t.Helper()
	file := fmt.Sprintf("%x", s.Name)
	d.write(file, s)
	d.waitPublished(file)
}

// Withdraw takes a service that was added with Publish away, of which the
// daemon says goodbye.
func (d *AvahiDaemon) Withdraw(s Service) {
	d.t.Helper()
	if err := os.Remove(d.path(fmt.Sprintf("%x", s.Name))); err != nil {
		d.t.Fatalf("lab: %v", err)
	}
}

// Command prepares a program that uses the daemon by D-Bus: avahi-browse,
// avahi-resolve, avahi-publish. The daemon must have been started with DBus.
func (d *AvahiDaemon) Command(args ...string) *Command {
	d.t.Helper()
	if d.bus == "" {
		d.t.Fatalf("lab: %s needs an avahi-daemon with DBus", args[0])
	}
	Require(d.t, args[0])
	c := d.host.Command(args...)
	c.Env = d.env()
	return c
}

func (d *AvahiDaemon) env() []string {
	if d.bus == "" {
		return nil
	}
	return []string{"DBUS_SYSTEM_BUS_ADDRESS=" + d.bus}
}

func (d *AvahiDaemon) path(file string) string { return filepath.Join(d.services, file+".service") }

// write makes a service's file in one step, so that the daemon never reads half
// of one.
func (d *AvahiDaemon) write(file string, s Service) {
	d.host.lab.t.Helper()
	type elem struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	}
	text := func(name, text string) elem { return elem{xml.Name{Local: name}, text} }
	var doc struct {
		XMLName xml.Name `xml:"service-group"`
		Name    string   `xml:"name"`
		Service struct {
			Fields []elem
		} `xml:"service"`
	}
	doc.Name = s.Name
	f := []elem{text("type", s.Type)}
	for _, sub := range s.Subtypes {
		f = append(f, text("subtype", sub+"._sub."+s.Type))
	}
	if s.Host != "" {
		f = append(f, text("host-name", s.Host))
	}
	f = append(f, text("port", fmt.Sprint(s.Port)))
	for _, x := range s.TXT {
		f = append(f, text("txt-record", x))
	}
	doc.Service.Fields = f
	b, err := xml.Marshal(doc)
	if err != nil {
		d.host.lab.t.Fatalf("lab: %v", err)
	}
	tmp := halfWritten(d.services, file)
	if err := os.WriteFile(tmp, append([]byte(xml.Header+`<!DOCTYPE service-group SYSTEM "avahi-service.dtd">`+"\n"), b...), 0o644); err != nil {
		d.host.lab.t.Fatalf("lab: %v", err)
	}
	if err := os.Rename(tmp, d.path(file)); err != nil {
		d.host.lab.t.Fatalf("lab: %v", err)
	}
}

// halfWritten is a name that avahi-daemon does not read.
func halfWritten(dir, file string) string { return filepath.Join(dir, "."+file+".tmp") }

func (d *AvahiDaemon) waitPublished(file string) {
	d.host.lab.t.Helper()
	d.WaitLine(30*time.Second, "service of "+file, func(line string) bool {
		return strings.HasPrefix(line, "Service ") && strings.Contains(line, "/"+file+".service") && strings.Contains(line, "successfully established")
	})
}

// busEscape writes a value of a D-Bus address.
func busEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', strings.IndexByte(`-_/.*`, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// dbus starts a private bus that lets everyone do everything, and returns its
// address.
func (h *Host) dbus(dir string) string {
	h.lab.t.Helper()
	Require(h.lab.t, "dbus-daemon")
	address := "unix:path=" + busEscape(filepath.Join(dir, "bus"))
	conf := h.lab.writeFile(dir, "bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>`+address+`</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
  <limit name="max_match_rules_per_connection">100000</limit>
</busconfig>
`)
	h.Start("dbus-daemon", "--nofork", "--nopidfile", "--config-file="+conf, "--print-address=1").WaitText(30*time.Second, "unix:path=")
	return address
}
