package leases_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/leases"
)

// show writes a lease in a line, so that a table can be compared as text.
func show(l leases.Lease) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", l.Prefix)
	for _, x := range []struct {
		name string
		b    []byte
	}{{"mac", l.MAC}, {"id", l.ClientID}, {"duid", l.DUID}} {
		if x.b != nil {
			fmt.Fprintf(&b, " %s=%s", x.name, hex.EncodeToString(x.b))
		}
	}
	if l.Host != "" {
		fmt.Fprintf(&b, " host=%q", l.Host)
	}
	if l.Length != 0 {
		fmt.Fprintf(&b, " length=%v", l.Length)
	}
	if !l.Ends.IsZero() {
		fmt.Fprintf(&b, " ends=%d", l.Ends.Unix())
	}
	if l.Forever() {
		b.WriteString(" forever")
	}
	if l.Free {
		b.WriteString(" free")
	}
	return b.String()
}

func table(t leases.Table) string {
	var b strings.Builder
	for _, l := range t.Leases {
		fmt.Fprintln(&b, show(l))
	}
	for _, x := range t.Faults {
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprintf("%s line %d: %v", x.File, x.Line, x.Err)))
	}
	if t.Partial {
		fmt.Fprintln(&b, "partial")
	}
	return b.String()
}

func TestDnsmasqLines(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a lease", "1767225600 02:00:5e:10:00:01 10.0.0.5 printer 01:02:00:5e:10:00:01\n", "10.0.0.5/32 mac=02005e100001 id=0102005e100001 host=\"printer\" ends=1767225600\n"},
		{"no name, no id", "1767225600 02:00:5e:10:00:01 10.0.0.5 * *\n", "10.0.0.5/32 mac=02005e100001 ends=1767225600\n"},
		{"for ever", "0 02:00:5e:10:00:01 10.0.0.5 nas *\n", "10.0.0.5/32 mac=02005e100001 host=\"nas\" forever\n"},
		{"a length, where there is no clock", "3600 02:00:5e:10:00:01 10.0.0.5 nas *\n", "10.0.0.5/32 mac=02005e100001 host=\"nas\" length=1h0m0s\n"},
		{"for ever, where there is no clock", "4294967295 02:00:5e:10:00:01 10.0.0.5 nas *\n", "10.0.0.5/32 mac=02005e100001 host=\"nas\" forever\n"},
		{"IPv6", "duid 00:01:00:01:2e:00:00:00:02:00:5e:10:00:02\n1767225600 305419896 fd00::5 printer 00:03:00:01:02:00:5e:10:00:01\n1767225600 T305419896 fd00::6 * *\n",
			"fd00::5/128 duid=0003000102005e100001 host=\"printer\" ends=1767225600\nfd00::6/128 ends=1767225600\n"},
		{"token ring", "1767225600 06-02:00:5e:10:00:01 10.0.0.5 * *\n", "10.0.0.5/32 mac=02005e100001 ends=1767225600\n"},
		{"InfiniBand, which has no MAC", "1767225600 20-80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03 10.0.0.5 * ff:00\n", "10.0.0.5/32 id=ff00 ends=1767225600\n"},
		{"no hardware address at all", "1767225600 00- 10.0.0.5 * 01:02\n", "10.0.0.5/32 id=0102 ends=1767225600\n"},
		{"a group's address is no client's", "1767225600 01:00:5e:10:00:01 10.0.0.5 * *\n", "10.0.0.5/32 ends=1767225600\n"},
		{"bytes that are no text", "1767225600 02:00:5e:10:00:01 10.0.0.5 caf\xe9\x01 *\n", "10.0.0.5/32 mac=02005e100001 host=\"caf\\xe9\\x01\" ends=1767225600\n"},
		{"the last line of an address holds", "1767225600 02:00:5e:10:00:01 10.0.0.5 a *\n1767225600 02:00:5e:10:00:02 10.0.0.5 b *\n", "10.0.0.5/32 mac=02005e100002 host=\"b\" ends=1767225600\n"},
		{"a line that is still being written", "1767225600 02:00:5e:10:00:01 10.0.0.5 a *\n1767225600 02:00:5e:10:00:02 10.0.0.6 b", "10.0.0.5/32 mac=02005e100001 host=\"a\" ends=1767225600\npartial\n"},
		{"bad lines leave the good ones", "hello\n1767225600 02:00:5e:10:00:01 10.0.0.5 a *\n1767225600 02:00:5e:10:00:01 10.0.0.999 a *\n1767225600 02:00:5e:10:00 10.0.0.6\n\x00\x01\x02\n",
			"10.0.0.5/32 mac=02005e100001 host=\"a\" ends=1767225600\nline 1: 1 fields, not 5\nline 3: \"10.0.0.999\" is no address\nline 4: 3 fields, not 5\nline 5: 1 fields, not 5\n"},
		{"bad values", "soon 02:00:5e:10:00:01 10.0.0.5 a *\n1 02005e100001 10.0.0.5 a *\n1 xx-02 10.0.0.5 a *\n1  10.0.0.5 a *\n1 02:00:5e:10:00:01 224.0.0.1 a *\n1 x fd00::1 a *\n1 02:00:5e:10:00:01 10.0.0.5 a 0g\nduid xx\n-1 02:00:5e:10:00:01 10.0.0.5 a *\n",
			"line 1: \"soon\": no time in seconds\nline 2: hardware address: \"02005e100001\" isn't bytes with colons between them\nline 3: \"xx-02\" is no hardware address\nline 4: no hardware address\nline 5: 224.0.0.1 is no host's address\nline 6: \"x\" is no IAID\nline 7: client id: \"0g\" isn't bytes with colons between them\nline 8: \"xx\" isn't bytes with colons between them\n"},
		{"line ends of Windows, and empty lines", "\r\n1767225600 02:00:5e:10:00:01 10.0.0.5 a *\r\n\n", "10.0.0.5/32 mac=02005e100001 host=\"a\" ends=1767225600\n"},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, table(leases.ParseDnsmasq([]byte(c.in)))); d != "" {
				t.Error(d)
			}
		})
	}
}

const (
	head4 = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
	head6 = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source\n"
)

func TestKeaRows(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a lease", head4 + "10.0.0.5,02:00:5e:10:00:01,01:02:00:5e:10:00:01,3600,1767225600,1,0,0,printer.example.,0,\n",
			"10.0.0.5/32 mac=02005e100001 id=0102005e100001 host=\"printer.example.\" length=1h0m0s ends=1767225600\n"},
		{"the last row of an address holds", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a,0,\n10.0.0.5,02:00:5e:10:00:01,,3600,1767227400,1,0,0,a,0,\n",
			"10.0.0.5/32 mac=02005e100001 host=\"a\" length=1h0m0s ends=1767227400\n"},
		{"a lifetime of 0 removes", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a,0,\n10.0.0.5,02:00:5e:10:00:01,,0,1767225600,1,0,0,a,0,\n",
			"10.0.0.5/32 mac=02005e100001 host=\"a\" ends=1767225600 free\n"},
		{"declined, reclaimed, released, registered", head4 + "10.0.0.5,,,3600,1767225600,1,0,0,,1,\n10.0.0.6,02:00:5e:10:00:01,,3600,1767225600,1,0,0,,2,\n10.0.0.7,02:00:5e:10:00:01,,3600,1767225600,1,0,0,,3,\n10.0.0.8,02:00:5e:10:00:01,,3600,1767225600,1,0,0,,4,\n",
			"10.0.0.5/32 length=1h0m0s ends=1767225600 free\n10.0.0.6/32 mac=02005e100001 length=1h0m0s ends=1767225600 free\n10.0.0.7/32 mac=02005e100001 length=1h0m0s ends=1767225600 free\n10.0.0.8/32 mac=02005e100001 length=1h0m0s ends=1767225600\n"},
		{"for ever", head4 + "10.0.0.5,02:00:5e:10:00:01,,4294967295,6062192895,1,0,0,,0,\n", "10.0.0.5/32 mac=02005e100001 forever\n"},
		{"commas in names and contexts", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a&#x2cb&#x&#xzz&#x2,0,{ \"a\": 1&#x2c \"b\": 2 }\n",
			"10.0.0.5/32 mac=02005e100001 host=\"a,b&#x&#xzz&#x2\" length=1h0m0s ends=1767225600\n"},
		{"columns in another order, new ones, and those of old versions", "hostname,pool_id,expire,valid_lifetime,hwaddr,address\nnas,7,1767225600,60,02:00:5e:10:00:01,10.0.0.5\n",
			"10.0.0.5/32 mac=02005e100001 host=\"nas\" length=1m0s ends=1767225600\n"},
		{"a row of an older version is shorter", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a\n", "10.0.0.5/32 mac=02005e100001 host=\"a\" length=1h0m0s ends=1767225600\n"},
		{"IPv6", head6 + "fd00::5,00:01:00:01:2e:00:00:00:02:00:5e:10:00:02,3600,1767225600,1,1800,0,7,128,0,0,printer,02:00:5e:10:00:01,0,,1,4\n",
			"fd00::5/128 mac=02005e100001 duid=000100012e00000002005e100002 host=\"printer\" length=1h0m0s ends=1767225600\n"},
		{"a MAC out of the DUID may be another card's", head6 + "fd00::5,00:01:00:01:2e:00:00:00:02:00:5e:10:00:02,3600,1767225600,1,1800,0,7,128,0,0,,02:00:5e:10:00:02,0,,1,2\n",
			"fd00::5/128 duid=000100012e00000002005e100002 length=1h0m0s ends=1767225600\n"},
		{"a delegated prefix", head6 + "fd00:0:0:100::,00:03:00:01:02:00:5e:10:00:02,3600,1767225600,1,1800,2,7,56,0,0,,,0,,,\n",
			"fd00:0:0:100::/56 duid=0003000102005e100002 length=1h0m0s ends=1767225600\n"},
		{"bad rows leave the good ones", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a,0,\n10.0.0.6,02\nx,,,1,1,1,0,0,,0,\n10.0.0.7,02:00:5e:10:00:01,,-1,1,1,0,0,,0,\n10.0.0.7,,,1,1,1,0,0,,0,,,,,\n10.0.0.7,,zz,1,1,1,0,0,,0,\n10.0.0.7,,,1,x,1,0,0,,0,\n10.0.0.7,0,,1,1,1,0,0,,0,\n10.0.0.7,,,1,1,1,0,0,,zero,\n",
			"10.0.0.5/32 mac=02005e100001 host=\"a\" length=1h0m0s ends=1767225600\nf line 3: the row ends early\nf line 4: \"x\" is no address\nf line 5: valid_lifetime: \"-1\" isn't a number up to 4294967295\nf line 6: 15 columns, the header has 11\nf line 7: client_id: \"zz\" isn't bytes with colons between them\nf line 8: expire: \"x\": no time in seconds\nf line 9: hwaddr: \"0\" isn't bytes with colons between them\nf line 10: state: \"zero\" isn't a number up to 4294967295\n"},
		{"a row that is still being written", head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,a,0,\n10.0.0.5,02:00:5e:10:00:01,,0,17", "10.0.0.5/32 mac=02005e100001 host=\"a\" length=1h0m0s ends=1767225600\npartial\n"},
		{"a header that is still being written", "address,hwaddr", "partial\n"},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := leases.ParseKea(leases.Part{Name: "f", Data: []byte(c.in)})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, table(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestKeaFilesFollowEachOther(t *testing.T) {
	got, err := leases.ParseKea(
		leases.Part{Name: "f.2", Data: []byte(head4 + "10.0.0.5,02:00:5e:10:00:01,,3600,1767225600,1,0,0,old,0,\n10.0.0.6,02:00:5e:10:00:02,,3600,1767225600,1,0,0,,0,\n")},
		leases.Part{Name: "f.1", Data: []byte("address,valid_lifetime,expire,hostname\n10.0.0.5,3600,1767225600,new\nx\n")},
		leases.Part{Name: "f", Data: []byte(head4 + "10.0.0.6,02:00:5e:10:00:02,,0,1767225600,1,0,0,,0,\n")},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := "10.0.0.5/32 host=\"new\" length=1h0m0s ends=1767225600\n10.0.0.6/32 mac=02005e100002 ends=1767225600 free\nf.1 line 3: the row ends early\n"
	if d := cmp.Diff(want, table(got)); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNoFileOfKea(t *testing.T) {
	for in, want := range map[string]string{
		"1767225600 02:00:5e:10:00:01 10.0.0.5 printer *\n": `leases: f: line 1: this is no file of Kea: no column "address" in its first line`,
		"address,address,expire\n":                          `leases: f: line 1: column "address" is there twice`,
		strings.Repeat(",", 100) + "\n":                     `leases: f: line 1: 101 columns`,
	} {
		if _, err := leases.ParseKea(leases.Part{Name: "f", Data: []byte(in)}); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// A file with more than anybody has is read in bounded memory and time.
func TestBoundsOfATable(t *testing.T) {
	var b strings.Builder
	a := netip.MustParseAddr("10.0.0.1")
	for range leases.MaxLeases + 10 {
		fmt.Fprintf(&b, "1767225600 02:00:5e:10:00:01 %s * *\n", a)
		a = a.Next()
	}
	b.WriteString(strings.Repeat("x", 1<<20) + "\n")
	b.WriteString(strings.Repeat("y\n", 100))
	got := leases.ParseDnsmasq([]byte(b.String()))
	if len(got.Leases) != leases.MaxLeases || got.Dropped != 10 || got.Bad != 101 || len(got.Faults) != 8 {
		t.Errorf("%d leases, %d dropped, %d bad, %d faults", len(got.Leases), got.Dropped, got.Bad, len(got.Faults))
	}
	if want := fmt.Sprintf("%d bytes in a line", 1<<20); got.Faults[0].Err.Error() != want {
		t.Error(got.Faults[0].Err)
	}
}

// seeds are lease files that the real servers wrote.
func seeds(t testing.TB, pattern string) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no seeds %s: %v", pattern, err)
	}
	var all [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// sane checks what must hold for any input.
func sane(t *testing.T, got leases.Table) {
	t.Helper()
	seen := map[netip.Prefix]bool{}
	for _, l := range got.Leases {
		if !l.Prefix.IsValid() || seen[l.Prefix] {
			t.Fatalf("%v is there twice, or no prefix", l.Prefix)
		}
		seen[l.Prefix] = true
		if l.MAC != nil && len(l.MAC) != 6 || len(l.Host) > 255 || len(l.ClientID) > 255 || len(l.DUID) > 130 || l.Length < 0 {
			t.Fatalf("out of bounds: %s", show(l))
		}
	}
	if got.Bad > got.Lines || len(got.Faults) > got.Bad {
		t.Fatalf("%d of %d lines are bad, %d told", got.Bad, got.Lines, len(got.Faults))
	}
}

func FuzzDnsmasq(f *testing.F) {
	for _, b := range seeds(f, "*.leases") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := leases.ParseDnsmasq(b)
		sane(t, got)
		// What stands before doesn't change how a line is understood.
		if again := leases.ParseDnsmasq(append([]byte("x\n"), b...)); len(again.Leases) != len(got.Leases) || again.Bad != got.Bad+1 {
			t.Fatalf("%d leases and %d bad lines, behind another line %d and %d", len(got.Leases), got.Bad, len(again.Leases), again.Bad)
		}
	})
}

func FuzzKea(f *testing.F) {
	for _, b := range seeds(f, "*.csv") {
		f.Add(b, b)
		f.Add([]byte{}, b)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if got, err := leases.ParseKea(leases.Part{Name: "1", Data: a}, leases.Part{Name: "2", Data: b}); err == nil {
			sane(t, got)
		}
	})
}

func ExampleParseDnsmasq() {
	t := leases.ParseDnsmasq([]byte("1767225600 02:00:5e:10:00:01 10.0.0.5 printer *\nrubbish\n"))
	for _, l := range t.Leases {
		fmt.Println(l.Prefix.Addr(), l.Host, l.Ends.Format(time.RFC3339))
	}
	fmt.Println("bad lines:", t.Bad)
	// Output:
	// 10.0.0.5 printer 2026-01-01T00:00:00Z
	// bad lines: 1
}
