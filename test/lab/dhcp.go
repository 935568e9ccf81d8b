package lab

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// DHCPServer is a DHCP server in a host.
type DHCPServer struct {
	*Process
	Leases string // its lease file
}

// DnsmasqDHCP starts dnsmasq with ranges of addresses as --dhcp-range takes them,
// and no DNS.
func (h *Host) DnsmasqDHCP(ranges ...string) DHCPServer {
	h.lab.t.Helper()
	Require(h.lab.t, "dnsmasq")
	leases := filepath.Join(h.lab.tempDir("dnsmasq"), "leases")
	args := []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root",
		"--log-facility=-", "--pid-file=", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=" + leases}
	for _, r := range ranges {
		args = append(args, "--dhcp-range="+r)
	}
	p := h.Start(args...)
	p.WaitText(30*time.Second, "started, version")
	return DHCPServer{p, leases}
}

// Kea starts Kea's server for the family of the subnet's prefix, which leases addresses from pool on the
// link for an hour, and cleans up its lease file every few seconds.
func (h *Host) Kea(k *Link, prefix, pool string) DHCPServer {
	t := h.lab.t
	t.Helper()
	version := "4"
	if strings.Contains(prefix, ":") {
		version = "6"
	}
	Require(t, "kea-dhcp"+version, "kea-lfc")
	dir := h.lab.tempDir("kea")
	leases := filepath.Join(dir, "leases.csv")
	settings := map[string]any{
		"interfaces-config": map[string]any{"interfaces": []string{k.Name}},
		"lease-database":    map[string]any{"type": "memfile", "persist": true, "name": leases, "lfc-interval": 3},
		"valid-lifetime":    3600,
		"subnet" + version: []any{map[string]any{
			"subnet": prefix, "interface": k.Name, "pools": []any{map[string]any{"pool": pool}},
		}},
	}
	if version == "6" { // it would keep one of its own in /var/lib/kea
		settings["server-id"] = map[string]any{"type": "LL", "htype": 1, "identifier": strings.ReplaceAll(k.MAC.String(), ":", ""), "persist": false}
	}
	conf, err := json.Marshal(map[string]any{"Dhcp" + version: settings})
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	c := h.Command("kea-dhcp"+version, "-c", h.lab.writeFile(dir, "kea.json", string(conf)))
	c.Env = []string{"KEA_PIDFILE_DIR=" + dir, "KEA_LOCKFILE_DIR=none"}
	p := c.Start()
	p.WaitText(30*time.Second, "_STARTED")
	return DHCPServer{p, leases}
}

// DHCPClient is a host's client on one link. It takes leases and leaves the
// link's own addresses as they are.
type DHCPClient struct {
	link *Link
	dir  string
	args []string
}

// DHCP returns a client that tells its name, and the same DUID for both families.
func (k *Link) DHCP(name string) *DHCPClient {
	l := k.host.lab
	l.t.Helper()
	Require(l.t, "dhclient")
	c := &DHCPClient{link: k, dir: l.tempDir("dhclient")}
	conf := l.writeFile(c.dir, "conf", fmt.Sprintf("send host-name %q;\nsend fqdn.fqdn %q;\ntimeout 30;\n", name, name))
	c.args = []string{"-1", "-i", "-D", "LL", "-sf", "/bin/true", "-cf", conf}
	return c
}

func (c *DHCPClient) run(family string, more ...string) Result {
	c.link.host.lab.t.Helper()
	args := append([]string{"dhclient", family}, c.args...)
	args = append(append(args, "-lf", filepath.Join(c.dir, "leases"+family), "-pf", filepath.Join(c.dir, "pid"+family)), more...)
	return c.link.host.Run(append(args, c.link.Name)...)
}

// Lease takes an address, "-4" or "-6".
func (c *DHCPClient) Lease(family string) {
	t := c.link.host.lab.t
	t.Helper()
	if r := c.run(family); r.Exit != 0 {
		t.Fatalf("lab: dhclient %s: exit %d: %s%s", family, r.Exit, r.Stdout, r.Stderr)
	}
}

// Release gives it back.
func (c *DHCPClient) Release(family string) {
	t := c.link.host.lab.t
	t.Helper()
	if r := c.run(family, "-r"); r.Exit != 0 {
		t.Fatalf("lab: dhclient %s -r: exit %d: %s%s", family, r.Exit, r.Stdout, r.Stderr)
	}
}

// Hostapd starts hostapd as the authenticator of a wired link (IEEE 802.1X), with
// its control socket in the folder: there is no radio in a lab, and stations come, are
// authorised, and go all the same.
func (h *Host) Hostapd(k *Link, folder string) *Process {
	t := h.lab.t
	t.Helper()
	Require(t, "hostapd")
	dir := h.lab.tempDir("hostapd")
	users := h.lab.writeFile(dir, "users", "\"guest\" MD5 \"secret\"\n")
	conf := h.lab.writeFile(dir, "conf", fmt.Sprintf(
		"interface=%s\ndriver=wired\nctrl_interface=%s\nieee8021x=1\neapol_version=2\neap_server=1\neap_user_file=%s\neap_reauth_period=0\n", k.Name, folder, users))
	p := h.Start("hostapd", conf)
	p.WaitText(30*time.Second, "AP-ENABLED")
	return p
}

// Supplicant connects the link to its authenticator, as the guest that Hostapd knows. It
// leaves in order when it is stopped.
func (k *Link) Supplicant() *Process {
	l := k.host.lab
	l.t.Helper()
	Require(l.t, "wpa_supplicant")
	conf := l.writeFile(l.tempDir("supplicant"), "conf",
		"ap_scan=0\nnetwork={\n key_mgmt=IEEE8021X\n eap=MD5\n identity=\"guest\"\n password=\"secret\"\n eapol_flags=0\n}\n")
	return k.host.Start("wpa_supplicant", "-Dwired", "-i"+k.Name, "-c", conf)
}

// PassEAPOL has the subnet's bridge pass on frames of IEEE 802.1X, which are for the
// next hop alone.
func (s *Subnet) PassEAPOL() {
	s.lab.t.Helper()
	const authenticators = 1 << 3 // 01:80:c2:00:00:03
	s.ns.ip(s.lab.t, fmt.Sprintf("link set br0 type bridge group_fwd_mask %d", authenticators))
}
