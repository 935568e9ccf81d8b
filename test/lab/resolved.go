package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// resolvedUnpacked is where scripts/packages.sh unpacks Debian's package
// systemd-resolved, which it doesn't install: that would take over the
// machine's own /etc/resolv.conf.
const resolvedUnpacked = "/var/cache/lanfolk-tests/systemd-resolved"

// Resolved says how a systemd-resolved is to ask.
type Resolved struct {
	Servers []string // addresses of DNS servers
	Domains []string // search domains
	// MulticastDNS lets it ask by mDNS, too.
	MulticastDNS bool
	// Stub lets it answer on 127.0.0.53, as /etc/resolv.conf says on most machines
	// that have it.
	Stub bool
}

// RunningResolved is a systemd-resolved that runs in a host, with a D-Bus of its
// own.
type RunningResolved struct {
	*Process
	host *Host
	ctl  string
	bus  string
}

// Resolved starts a systemd-resolved that uses all links of the host, and
// waits until it answers.
func (h *Host) Resolved(o Resolved) *RunningResolved {
	t := h.lab.t
	t.Helper()
	daemon, ctl := resolvedPrograms()
	if daemon == "" {
		Missing(t, "systemd-resolved (make packages unpacks it)")
	}
	dir := h.lab.tempDir("resolved")
	r := &RunningResolved{host: h, ctl: ctl, bus: h.dbus(dir)}
	etc, run := filepath.Join(dir, "etc"), filepath.Join(dir, "run")
	for _, d := range []string{etc, filepath.Join(run, "systemd")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatalf("lab: %v", err)
		}
	}
	yes := map[bool]string{true: "yes", false: "no"}
	h.lab.writeFile(etc, "resolved.conf", "[Resolve]\nLLMNR=no\nDNSSEC=no\nFallbackDNS=\nDNSStubListener="+yes[o.Stub]+"\nMulticastDNS="+yes[o.MulticastDNS]+"\n")
	// It gives up its rights to a user that only an installed package has.
	users := h.lab.writeFile(dir, "passwd", "root:x:0:0:root:/root:/bin/sh\nsystemd-resolve:x:0:0::/:/bin/false\n")
	cmd := h.Command(daemon)
	cmd.Mounts = []Mount{{Source: run, Target: "/run"}, {Source: etc, Target: "/etc/systemd"}, {Source: users, Target: "/etc/passwd"}}
	cmd.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + r.bus, "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console"}
	r.Process = cmd.Start()
	Eventually(t, 30*time.Second, "systemd-resolved", func() error {
		if res := r.Ctl("status"); res.Exit != 0 {
			return fmt.Errorf("resolvectl status: %s", res.Stderr)
		}
		return nil
	})
	for _, k := range h.Links {
		settings := [][]string{{"mdns", k.Name, yes[o.MulticastDNS]}}
		if len(o.Servers) > 0 {
			settings = append(settings, append([]string{"dns", k.Name}, o.Servers...))
		}
		if len(o.Domains) > 0 {
			settings = append(settings, append([]string{"domain", k.Name}, o.Domains...))
		}
		for _, s := range settings {
			if res := r.Ctl(s...); res.Exit != 0 {
				t.Fatalf("lab: resolvectl %s: %s", strings.Join(s, " "), res.Stderr)
			}
		}
	}
	return r
}

// Ctl runs resolvectl, which asks this systemd-resolved.
func (r *RunningResolved) Ctl(args ...string) Result {
	r.host.lab.t.Helper()
	c := r.host.Command(append([]string{r.ctl, "--no-pager"}, args...)...)
	c.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + r.bus}
	return c.Run()
}

// resolvedPrograms returns the paths of systemd-resolved and resolvectl, the
// machine's own or the unpacked ones, or "" where there is none.
func resolvedPrograms() (daemon, ctl string) {
	for _, root := range []string{"/", resolvedUnpacked} {
		daemon, ctl = filepath.Join(root, "lib/systemd/systemd-resolved"), filepath.Join(root, "usr/bin/resolvectl")
		_, errDaemon := os.Stat(daemon)
		_, errCtl := os.Stat(ctl)
		if errDaemon == nil && errCtl == nil {
			return daemon, ctl
		}
	}
	return "", ""
}
