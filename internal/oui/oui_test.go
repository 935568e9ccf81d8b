package oui_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lanfolk/lanfolk/internal/oui"
)

func mac(t testing.TB, text string) (m [6]byte) {
	t.Helper()
	const hex = "0123456789abcdef"
	digits := strings.ReplaceAll(strings.ToLower(text), ":", "")
	if len(digits) != 12 {
		t.Fatalf("%q is no MAC", text)
	}
	for i := range m {
		m[i] = byte(strings.IndexByte(hex, digits[2*i])<<4 | strings.IndexByte(hex, digits[2*i+1]))
	}
	return m
}

func newTable(files ...string) (*oui.Table, error) {
	var readers []io.Reader
	for _, f := range files {
		readers = append(readers, strings.NewReader(f))
	}
	return oui.New(readers...)
}

func table(t testing.TB, files ...string) *oui.Table {
	t.Helper()
	tab, err := newTable(files...)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestVendorOfEachSizeOfBlock(t *testing.T) {
	t.Parallel()
	tab := table(t)
	for _, c := range []struct{ mac, want, why string }{
		{"00:00:0c:12:34:56", "Cisco Systems, Inc", "an MA-L"},
		{"b8:27:eb:00:00:01", "Raspberry Pi Foundation", "an MA-L"},
		{"00:00:00:00:00:01", "XEROX CORPORATION", "the first block"},
		{"70:b3:d5:ff:ff:ff", "", "an MA-S that nobody has, in a block of the IEEE's own"},
		{"70:b3:d5:71:9a:bc", "2M Technology", "an MA-S inside a block of the IEEE's own"},
		{"20:85:93:b1:23:45", "IOG Products LLC", "an MA-M"},
		{"00:50:c2:00:00:01", "T.L.S. Corp.", "an IAB, the older MA-S"},
		{"02:00:00:00:00:01", "", "locally administered"},
		{"02:60:8c:00:00:01", "", "locally administered, though the list has it"},
		{"01:00:5e:00:00:fb", "", "a group address"},
		{"ff:ff:ff:ff:ff:ff", "", "broadcast"},
		{"00:00:0c:ff:ff:ff", "Cisco Systems, Inc", "the last address of a block"},
	} {
		if got := tab.Vendor(mac(t, c.mac)); got != c.want {
			t.Errorf("%s (%s): %q, want %q", c.mac, c.why, got, c.want)
		}
	}
}

func TestOwnFilesGoBeforeTheList(t *testing.T) {
	t.Parallel()
	tab := table(t,
		"\ufeff# ours\n00:00:0c  Our switches # bought in 2020\n\n0055DA1\tOur sensors\r\n70-B3-D5-71-9F-FF/36 Our controllers\n",
		"0000.0c123 Our routers\n00:00:0c:12:34:50/36   Nobody else\n",
	)
	for text, want := range map[string]string{
		"00:00:0c:00:00:01": "Our switches",
		"00:00:0c:12:00:01": "Our switches",
		"00:00:0c:12:34:56": "Nobody else", // a later file, a smaller block
		"00:55:da:1f:00:00": "Our sensors",
		"70:b3:d5:71:90:00": "Our controllers",
		"b8:27:eb:00:00:01": "Raspberry Pi Foundation",
	} {
		if got := tab.Vendor(mac(t, text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestOwnFilesWithErrorsAreRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"00:00:0c\n":                     `oui: line 1, column 9: no name after 00:00:0c`,
		"# a\n\n  00:00:0x Name":         `oui: line 3, column 3: "00:00:0x" is no prefix of a MAC`,
		"-00000 Name":                    `oui: line 1, column 1: "-00000" has 20 bits; a vendor's prefix has 24, 28 or 36`,
		"+00000c Name":                   `oui: line 1, column 1: "+00000c" is no prefix of a MAC`,
		"00:00 Name":                     `oui: line 1, column 1: "00:00" has 16 bits; a vendor's prefix has 24, 28 or 36`,
		"/24 Name":                       `oui: line 1, column 1: "/24": there are no "24" bits in the prefix`,
		"00:00:0c/28 Name":               `oui: line 1, column 1: "00:00:0c/28": there are no "28" bits in the prefix`,
		"00:00:0c:00/x Name":             `oui: line 1, column 1: "00:00:0c:00/x": there are no "x" bits in the prefix`,
		"00:00:0c:00/-1 Name":            `oui: line 1, column 1: "00:00:0c:00/-1": there are no "-1" bits in the prefix`,
		"00:00:0c:00:00:00:00/24 N":      `oui: line 1, column 1: "00:00:0c:00:00:00:00/24" is no prefix of a MAC`,
		"00:00:0c Name\n02:42:ac Name":   `oui: line 2, column 1: "02:42:ac" is of locally administered or group addresses, which have no vendor`,
		"01:00:5e Name":                  `oui: line 1, column 1: "01:00:5e" is of locally administered or group addresses, which have no vendor`,
		"00:00:0c \x1b[2Jhi":             `oui: line 1, column 10: the name of 00:00:0c holds bytes that are no text`,
		"00:00:0c \xff":                  `oui: line 1, column 10: the name of 00:00:0c holds bytes that are no text`,
		"\n" + strings.Repeat("x", 5000): `oui: line 2: longer than 4096 bytes`,
	} {
		_, err := newTable(file)
		if err == nil || err.Error() != want {
			t.Errorf("%.40q:\ngot  %v\nwant %s", file, err, want)
		}
	}
}

func TestVendorAllocatesNothing(t *testing.T) {
	tab := table(t, "00:00:0c Our switches")
	macs := [][6]byte{mac(t, "00:00:0c:00:00:01"), mac(t, "b8:27:eb:00:00:01"), mac(t, "70:b3:d5:71:9a:bc"), mac(t, "02:00:00:00:00:01")}
	tab.Load()
	if n := testing.AllocsPerRun(100, func() {
		for _, m := range macs {
			tab.Vendor(m)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	t.Parallel()
	tab := table(t)
	m := mac(t, "00:00:0c:00:00:01")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if tab.Vendor(m) == "" {
				t.Error("no vendor")
			}
		})
	}
	wg.Wait()
}

// The list is a megabyte in the program at most, and current where the files
// that it was made from are at hand.
func TestListIsSmallAndCurrent(t *testing.T) {
	t.Parallel()
	info, err := os.Stat("registry.bin")
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("%v, %v", info.Size(), err)
	}
	copied := filepath.Join(t.TempDir(), "registry.bin")
	before, err := os.ReadFile("registry.bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, before, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", "./gen", "-check", "-out", copied).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after, err := os.ReadFile(copied)
	if err != nil || string(after) != string(before) {
		t.Errorf("registry.bin is not current (%v); run: go generate ./internal/oui\n%s", err, out)
	}
}

func FuzzOwnFile(f *testing.F) {
	for _, s := range []string{"00:00:0c Name\n", "0055DA1\tA # b\r\n", "70-B3-D5-00-00-00/36 C", "\ufeff#\n\n", "/24 x", "00:00:0c/24", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		tab, err := newTable(file)
		if err != nil {
			if tab != nil || !strings.HasPrefix(err.Error(), "oui: ") {
				t.Errorf("%v", err)
			}
			return
		}
		if got := tab.Vendor([6]byte{2}); got != "" {
			t.Errorf("a locally administered address has the vendor %q", got)
		}
	})
}

func BenchmarkVendor(b *testing.B) {
	tab := table(b)
	m := mac(b, "b8:27:eb:00:00:01")
	tab.Load()
	b.ReportAllocs()
	for b.Loop() {
		tab.Vendor(m)
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		table(b).Load()
	}
}
