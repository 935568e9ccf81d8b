package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// debian says which of Debian's packages has a program.
var debian = map[string]string{
	"avahi-browse":     "avahi-utils",
	"avahi-daemon":     "avahi-daemon",
	"chromium":         "chromium",
	"dbus-daemon":      "dbus",
	"dhclient":         "isc-dhcp-client",
	"dig":              "bind9-dnsutils",
	"dnsmasq":          "dnsmasq",
	"hostapd":          "hostapd",
	"initdb":           "postgresql",
	"ip":               "iproute2",
	"kea-dhcp4":        "kea-dhcp4-server",
	"kea-dhcp6":        "kea-dhcp6-server",
	"kea-lfc":          "kea-common",
	"knotd":            "knot",
	"mosquitto":        "mosquitto",
	"mosquitto_passwd": "mosquitto",
	"named":            "bind9",
	"named-checkzone":  "bind9-utils",
	"nft":              "nftables",
	"nsupdate":         "bind9-dnsutils",
	"postgres":         "postgresql",
	"protoc":           "protobuf-compiler",
	"psql":             "postgresql",
	"setpriv":          "util-linux",
	"tcpdump":          "tcpdump",
	"wpa_supplicant":   "wpasupplicant",
}

// Require makes sure that the test has what it needs: "root", or programs by
// name. What is missing skips the test, and fails it under
// LANFOLK_REQUIRE_ALL=1.
func Require(t testing.TB, needs ...string) {
	t.Helper()
	var missing []string
	for _, n := range needs {
		if n == "root" {
			if os.Geteuid() != 0 {
				missing = append(missing, "root")
			}
			continue
		}
		if _, err := lookPath(n); err != nil {
			if pkg := debian[n]; pkg != "" {
				n = fmt.Sprintf("%s (Debian's package %s)", n, pkg)
			}
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		Missing(t, strings.Join(missing, ", "))
	}
}

// Missing skips a test for want of something, and fails it under
// LANFOLK_REQUIRE_ALL=1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
		t.Fatalf("LANFOLK_REQUIRE_ALL is set and this is missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}
