package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/config"
)

func TestLeases(t *testing.T) {
	root := t.TempDir()
	kea := filepath.Join(root, "var/lib/kea/kea-leases4.csv")
	if err := os.MkdirAll(filepath.Dir(kea), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kea, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Leases.Files = []config.LeaseFile{
		{Kind: config.LeasesDnsmasq, Path: "/nowhere/leases"},
		{Kind: config.LeasesDnsmasq, Path: kea + "/leases"},
		{Kind: config.LeasesKea, Path: kea + "/leases"},
	}
	want := []Finding{
		{"leases of dnsmasq", Warning, "/nowhere/leases isn't there", "correct [[leases.file]] in the config, or start the DHCP server"},
		{"leases of dnsmasq", Warning, "open " + kea + "/leases: not a directory", "let lanfolk's user read it, as with: setfacl -m u:lanfolk:rX " + kea + " " + kea + "/leases"},
		{"leases of kea", Warning, "open " + kea + "/leases: not a directory", "let lanfolk's user read it: add that to the group _kea, or: setfacl -m u:lanfolk:rX -m d:u:lanfolk:r " + kea},
		{"leases of kea", Good, kea, ""},
	}
	if d := cmp.Diff(want, Doctor{Config: c}.checkLeases(root)); d != "" {
		t.Error(d)
	}
	c.Leases.Find = false
	if got := (Doctor{Config: c}).checkLeases(root); len(got) != 3 {
		t.Errorf("%+v", got)
	}
	if got := (Doctor{}).checkLeases(root); got != nil {
		t.Errorf("without a config %+v", got)
	}
}

func TestHostapd(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"wlan0", "wlan1"} {
		if err := syscall.Mknod(filepath.Join(dir, name), syscall.S_IFSOCK|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Hostapd.Folders = []string{filepath.Join(dir, "missing"), filepath.Join(dir, "notes"), dir}
	const advice = "name a group that lanfolk's user is in as ctrl_interface_group in hostapd.conf"
	want := []Finding{
		{"hostapd", Warning, "open " + dir + "/notes: not a directory", advice},
		{"hostapd wlan0", Good, dir + "/wlan0", ""},
		{"hostapd wlan1", Warning, dir + "/wlan1: permission denied", advice},
	}
	got := Doctor{Config: c}.checkHostapd(func(path string) error {
		if filepath.Base(path) == "wlan1" {
			return errors.New("permission denied")
		}
		return nil
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	c.Hostapd.Enabled = false
	if got := (Doctor{Config: c}).checkHostapd(nil); got != nil {
		t.Errorf("%+v", got)
	}
}
