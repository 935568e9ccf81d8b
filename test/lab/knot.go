package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Knot says what Knot DNS is to serve. A zone's UpdatePolicy is BIND's and isn't
// read.
type Knot struct {
	Zones []Zone
	// Keys are TSIG keys, hmac-sha256: name to base64 secret.
	Keys map[string]string
	// Grants are the names that each key may update, relative to the zone; none
	// means all.
	Grants map[string][]string
	// Copies are zones that it has from a primary, by that one's address. With a
	// CopyKey, one of Keys, transfers and what it is told are signed.
	Copies  map[string]string
	CopyKey string
}

// Knot starts a name server on port 53 of every address and waits until it
// serves.
func (h *Host) Knot(k Knot) *Process {
	t := h.lab.t
	t.Helper()
	Require(t, "knotd")
	dir := h.lab.tempDir("knot")
	var conf strings.Builder
	fmt.Fprintf(&conf, "server:\n    rundir: %q\n    user: root:root\n    listen: [ 0.0.0.0@53, \"::@53\" ]\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n", dir)
	fmt.Fprintf(&conf, "log:\n  - target: stderr\n    any: info\ndatabase:\n    storage: %q\n", dir)
	keys := slices.Sorted(maps.Keys(k.Keys))
	if len(keys) > 0 {
		conf.WriteString("key:\n")
	}
	for _, key := range keys {
		fmt.Fprintf(&conf, "  - id: %q\n    algorithm: hmac-sha256\n    secret: %q\n", key, k.Keys[key])
	}
	conf.WriteString("acl:\n  - id: whole\n    address: [ 0.0.0.0/0, \"::/0\" ]\n    action: transfer\n")
	for _, key := range keys {
		fmt.Fprintf(&conf, "  - id: %q\n    key: %q\n    action: update\n", key, key)
		if names := k.Grants[key]; len(names) > 0 {
			fmt.Fprintf(&conf, "    update-owner: name\n    update-owner-match: equal\n    update-owner-name: [ %s ]\n", strings.Join(names, ", "))
		}
	}
	copies := slices.Sorted(maps.Keys(k.Copies))
	signed := ""
	if k.CopyKey != "" {
		signed = fmt.Sprintf("    key: %q\n", k.CopyKey)
	}
	for i, zone := range copies {
		fmt.Fprintf(&conf, "  - id: told%d\n    address: %q\n%s    action: notify\n", i, k.Copies[zone], signed)
	}
	for i, zone := range copies {
		if i == 0 {
			conf.WriteString("remote:\n")
		}
		fmt.Fprintf(&conf, "  - id: primary%d\n    address: \"%s@53\"\n%s", i, k.Copies[zone], signed)
	}
	conf.WriteString("zone:\n")
	for i, zone := range copies {
		fmt.Fprintf(&conf, "  - domain: %q\n    master: primary%d\n    acl: [ told%d, whole ]\n    zonefile-sync: -1\n", zone, i, i)
	}
	for i, z := range k.Zones {
		file := h.lab.writeFile(dir, fmt.Sprintf("zone%d", i),
			fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA ns.invalid. hostmaster 1 3600 600 86400 10\n@ NS ns.invalid.\n%s\n", z.Name, strings.Join(z.Records, "\n")))
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n    zonefile-sync: -1\n", z.Name, file)
		fmt.Fprintf(&conf, "    acl: [ %s ]\n", strings.Join(append(keys, "whole"), ", "))
	}
	p := h.Start("knotd", "-c", h.lab.writeFile(dir, "knot.conf", conf.String()))
	p.WaitLine(30*time.Second, "start", func(line string) bool { return strings.Contains(line, "server started in the foreground") })
	return p
}
