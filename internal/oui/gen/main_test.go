package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/oui/internal/registry"
)

const head = "Registry,Assignment,Organization Name,Organization Address\r\n"

// listing makes the IEEE's four files with these rows in oui.csv and mam.csv.
func listing(t *testing.T, oui, mam string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files() {
		content := head
		switch name {
		case "oui.csv":
			content += oui
		case "mam.csv":
			content += mam
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNamesAreCleanedAndUselessOnesLeftOut(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "registry.bin")
	dir := listing(t,
		"MA-L,00000C,\" Cisco\u00a0Systems,  Inc\t\",Somewhere\r\nMA-L,080030,ROYAL,x\r\nMA-L,080030,CERN,x\r\nMA-L,080030,NETWORK,x\r\n"+
			"MA-L,ACDE48,Private,\r\nMA-L,0055DA,IEEE Registration Authority,x\r\nMA-L,02608C,3COM,x\r\n",
		"MA-M,0055DA1,KoolPOS\x1b Inc.,x\r\n")
	if _, err := run(dir, out, false); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	table, err := registry.Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	for mac, want := range map[[6]byte]string{
		{0, 0, 0x0c}:          "Cisco Systems, Inc",
		{8, 0, 0x30}:          "CERN", // whatever the order of the rows
		{0xac, 0xde, 0x48}:    "",
		{0, 0x55, 0xda}:       "",
		{0, 0x55, 0xda, 0x1f}: "KoolPOS Inc.",
		{2, 0x60, 0x8c}:       "3COM", // old, and for oui.Vendor to leave out
	} {
		if got := table.Lookup(mac); got != want {
			t.Errorf("%x: %q, want %q", mac, got, want)
		}
	}
}

func TestCheckRewritesTheSameEditionOnly(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "registry.bin")
	a, b := listing(t, "MA-L,00000C,A,x\r\n", ""), listing(t, "MA-L,00000C,B,x\r\n", "")
	for _, c := range []struct {
		from  string
		check bool
		want  string
	}{
		{a, false, "wrote"},
		{a, true, "current"},
		{b, true, "holds another edition"},
		{filepath.Join(a, "nowhere"), true, "no listing in"},
		{b, false, "wrote"},
	} {
		if said, err := run(c.from, out, c.check); err != nil || !strings.Contains(said, c.want) {
			t.Errorf("%v: %q, %v, want %q", c, said, err, c.want)
		}
	}
	// The same edition with other content: this program has changed.
	_, edition, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	stale, err := registry.Pack(edition, registry.Blocks{{{Prefix: 1, Vendor: "stale"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, stale, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := run(b, out, true); err != nil || !strings.Contains(said, "wrote") {
		t.Errorf("%q, %v", said, err)
	}
	if _, err := run(filepath.Join(a, "nowhere"), out, false); err == nil {
		t.Error("no error without a listing")
	}
	if _, err := run(listing(t, "MA-L,00000,A,x\r\n", ""), out, false); err == nil || !strings.Contains(err.Error(), `oui.csv: line 2: "00000" is no prefix`) {
		t.Errorf("%v", err)
	}
}
