package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Mosquitto starts an MQTT broker with the lines of its configuration and waits
// until it answers at its first listener. With no line it listens on port 1883
// of every address and lets everyone in.
func (h *Host) Mosquitto(conf ...string) *Process {
	h.lab.t.Helper()
	Require(h.lab.t, "mosquitto")
	if len(conf) == 0 {
		conf = []string{"listener 1883", "allow_anonymous true"}
	}
	dir := h.lab.tempDir("mosquitto")
	// It keeps root only where it is told to.
	file := h.lab.writeFile(dir, "mosquitto.conf", "user root\n"+strings.Join(conf, "\n")+"\n")
	address, port := "127.0.0.1", "1883"
	for _, line := range conf {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "listener" {
			if port = f[1]; len(f) > 2 {
				address = f[2]
			}
			break
		}
	}
	return h.startMosquitto(file, net.JoinHostPort(address, port))
}

// Dnsmasq starts a DNS and DHCP server with command line options, which takes
// nothing from the machine's own files, and waits until it runs. It answers
// with TTL 0 unless an option says --local-ttl=.
func (h *Host) Dnsmasq(options ...string) *Process {
	h.lab.t.Helper()
	Require(h.lab.t, "dnsmasq")
	dir := h.lab.tempDir("dnsmasq")
	p := h.Start(append([]string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--user=root", "--group=root", "--log-facility=-", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(dir, "leases")}, options...)...)
	p.WaitText(30*time.Second, "started, version")
	return p
}

// BIND says what a name server is to serve.
type BIND struct {
	Zones []Zone
	// Keys are TSIG keys, hmac-sha256: name to base64 secret.
	Keys map[string]string
	// Recursion has it ask other servers for who asks it.
	Recursion bool
	// Options are statements for its options block, each with its semicolon.
	Options []string
	// Statements stand beside its zones: other kinds of zones, servers.
	Statements []string
	// Env is added to the environment that it runs in, KEY=value.
	Env []string
}

// Zone is one zone that a name server is primary for, or secondary.
type Zone struct {
	Name string // "example.test"
	// Primaries are the addresses of the servers that a secondary gets the zone
	// from, with a port where it isn't 53: "10.99.1.10 port 5300". The other fields are for a primary.
	Primaries []string
	// Records are lines of its zone file. A SOA and an NS record are added.
	Records []string
	// UpdatePolicy are its rules for dynamic updates, each with its semicolon:
	// "grant key subdomain example.test ANY;". None: no updates.
	UpdatePolicy []string
}

// BIND starts a name server on port 53 of every address and waits until it
// serves.
func (h *Host) BIND(b BIND) *Process {
	t := h.lab.t
	t.Helper()
	Require(t, "named")
	dir := h.lab.tempDir("named")
	var conf strings.Builder
	// Debian's profile for named lets it read /etc/bind and write
	// /var/cache/bind, so the folder is mounted there.
	const etc, work = "/etc/bind", "/var/cache/bind"
	fmt.Fprintf(&conf, "options {\n  directory %q;\n  pid-file none;\n  session-keyfile none;\n  listen-on { any; };\n  listen-on-v6 { any; };\n"+
		"  recursion %s;\n  dnssec-validation no;\n  notify no;\n  empty-zones-enable no;\n", work, map[bool]string{true: "yes; allow-recursion { any; }; allow-query-cache { any; }", false: "no"}[b.Recursion])
	for _, o := range b.Options {
		fmt.Fprintf(&conf, "  %s\n", o)
	}
	conf.WriteString("};\ncontrols { };\n")
	names := make([]string, 0, len(b.Keys))
	for name := range b.Keys {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&conf, "key %q { algorithm hmac-sha256; secret %q; };\n", name, b.Keys[name])
	}
	for i, z := range b.Zones {
		file := fmt.Sprintf("zone%d", i)
		if len(z.Primaries) > 0 {
			fmt.Fprintf(&conf, "zone %q {\n  type secondary;\n  file %q;\n  masterfile-format text;\n  primaries { %s; };\n};\n", z.Name, file, strings.Join(z.Primaries, "; "))
			continue
		}
		h.lab.writeFile(dir, file, fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA ns.invalid. hostmaster 1 3600 600 86400 10\n@ NS ns.invalid.\n%s\n", z.Name, strings.Join(z.Records, "\n")))
		fmt.Fprintf(&conf, "zone %q {\n  type primary;\n  file %q;\n", z.Name, file)
		if len(z.UpdatePolicy) > 0 {
			fmt.Fprintf(&conf, "  update-policy {\n    %s\n  };\n", strings.Join(z.UpdatePolicy, "\n    "))
		}
		conf.WriteString("};\n")
	}
	for _, s := range b.Statements {
		conf.WriteString(s + "\n")
	}
	h.lab.writeFile(dir, "named.conf", conf.String())
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatalf("lab: %v", err)
	}
	cmd := h.Command("named", "-g", "-n", "1", "-c", etc+"/named.conf")
	cmd.Env = b.Env
	cmd.Mounts = []Mount{{Target: "/run"}, {Source: dir, Target: etc}, {Source: dir, Target: work}}
	p := cmd.Start()
	p.WaitLine(30*time.Second, "start", func(line string) bool { return strings.HasSuffix(line, " running") })
	if strings.Contains(p.Stderr(), "not loaded due to errors") {
		t.Fatalf("lab: a zone has errors: %s", p.describe())
	}
	return p
}

// WaitListen waits until something accepts TCP connections on an address as
// seen from the host.
func (h *Host) WaitListen(d time.Duration, address string) {
	h.lab.t.Helper()
	Eventually(h.lab.t, d, "connection to "+address, func() error {
		return h.ns.do(func() error {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
	})
}
