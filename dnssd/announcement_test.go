package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnssd"
)

func TestAnnouncementIsChecked(t *testing.T) {
	good := dnssd.Announcement{Name: "Web", Type: "_http._tcp", Port: 80}
	for _, c := range []struct {
		change func(*dnssd.Announcement)
		want   string
	}{
		{func(*dnssd.Announcement) {}, ""},
		{func(a *dnssd.Announcement) { a.Name = "Build v1.2 Küche 🖨" }, ""},
		{func(a *dnssd.Announcement) { a.Name = "" }, `dnssd: an instance has a name`},
		{func(a *dnssd.Announcement) { a.Name = "a\xff" }, `dnssd: instance "a\xff": want UTF-8`},
		{func(a *dnssd.Announcement) { a.Name = "a\tb" }, `dnssd: instance "a\tb": has a control character`},
		{func(a *dnssd.Announcement) { a.Name = "\ufeffa" }, `dnssd: instance "\ufeffa": begins with a byte order mark`},
		{func(a *dnssd.Announcement) { a.Type = "http" }, `dnssd: service type "http": want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter`},
		{func(a *dnssd.Announcement) { a.Type = "_http._tcp.local" }, `dnssd: service type "_http._tcp.local": want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter`},
		{func(a *dnssd.Announcement) { a.Subtypes = []string{"_universal", "\x00\xff", strings.Repeat("s", 63)} }, ""},
		{func(a *dnssd.Announcement) { a.Subtypes = []string{""} }, `dnssd: subtype "": dnswire: name "._sub._http._tcp.local" has an empty label`},
		{func(a *dnssd.Announcement) { a.Subtypes = []string{strings.Repeat("s", 64)} }, `dnssd: subtype "` + strings.Repeat("s", 64) + `": dnswire: name "` + strings.Repeat("s", 64) + `._sub._http._tcp.local" has a label longer than 63 bytes`},
		{func(a *dnssd.Announcement) { a.Placeholders = []string{"_printer._tcp", "_ipp._tcp"} }, ""},
		{func(a *dnssd.Announcement) { a.Placeholders = []string{"_HTTP._tcp"} }, `dnssd: placeholder _HTTP._tcp: the type is there twice`},
		{func(a *dnssd.Announcement) { a.Placeholders = []string{"x"} }, `dnssd: service type "x": want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter`},
		{func(a *dnssd.Announcement) {
			a.Host = dnssd.Host{Name: "laser", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
		}, ""},
		{func(a *dnssd.Announcement) { a.Host = dnssd.Host{Name: "www.example.com"} }, ""},
		{func(a *dnssd.Announcement) {
			a.Host = dnssd.Host{Name: "www.example.com", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
		}, `dnssd: host www.example.com is not in local: its addresses can't be published there`},
		{func(a *dnssd.Announcement) { a.Host.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.9")} }, `dnssd: addresses of a host without a name`},
		{func(a *dnssd.Announcement) {
			a.Host = dnssd.Host{Name: "laser", Addresses: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}
		}, `dnssd: host laser: 224.0.0.1 is no address of a host`},
		{func(a *dnssd.Announcement) { a.Host.Name = "local" }, `dnssd: "local" is no host`},
		{func(a *dnssd.Announcement) { a.TXT = dnssd.TXT{"=x"} }, `dnssd: TXT string 1 has no key before its "="`},
		{func(a *dnssd.Announcement) { a.TXT = dnssd.TXT{"a", "A=1"} }, `dnssd: TXT key "A" is there twice`},
		{func(a *dnssd.Announcement) { a.TXT = dnssd.TXT{"ä=1"} }, `dnssd: TXT key "ä": want printable ASCII (RFC 6763 §6.4)`},
		{func(a *dnssd.Announcement) { a.TXT = dnssd.TXT{"a=" + strings.Repeat("x", 254)} }, `dnssd: TXT string 1 has 256 bytes, more than 255`},
	} {
		a := good
		c.change(&a)
		_, err := a.Checked("local", dnssd.DefaultMaxTXT)
		if c.want == "" && err != nil || c.want != "" && fmt.Sprint(err) != c.want {
			t.Errorf("%+v\nerror %v\nwant  %s", a, err, c.want)
		}
	}
}

func TestInstanceNameIsCutAfterACharacter(t *testing.T) {
	for name, want := range map[string]string{
		strings.Repeat("ä", 40):       strings.Repeat("ä", 31),
		strings.Repeat("x", 62) + "🖨": strings.Repeat("x", 62),
		strings.Repeat("x", 59) + "🖨": strings.Repeat("x", 59) + "🖨",
	} {
		a, err := dnssd.Announcement{Name: name, Type: "_http._tcp"}.Checked("local", 0)
		if err != nil || a.Name != want {
			t.Errorf("%q becomes %q, %v; want %q", name, a.Name, err, want)
		}
	}
}

// RFC 6763 §6.7: the version of the record comes first, so that it can be read
// before the rest is understood.
func TestTXTVersionComesFirst(t *testing.T) {
	a, err := dnssd.Announcement{Name: "x", Type: "_x._udp", TXT: dnssd.TXT{"b=2", "", "a", "TXTvers=1", "bin=\x00\xff"}}.Checked("local", 1300)
	if want := (dnssd.TXT{"TXTvers=1", "b=2", "a", "bin=\x00\xff"}); err != nil || !slices.Equal(a.TXT, want) {
		t.Errorf("%q, %v; want %q", a.TXT, err, want)
	}
}

func TestTXTWithNothingToSayHasOneEmptyString(t *testing.T) {
	for _, txt := range []dnssd.TXT{nil, {}, {""}, {"", ""}} {
		a, err := dnssd.Announcement{Name: "x", Type: "_x._udp", TXT: txt}.Checked("local", 1300)
		if err != nil || !slices.Equal(a.TXT, dnssd.TXT{""}) {
			t.Errorf("%q becomes %q, %v", txt, a.TXT, err)
		}
	}
}

// RFC 6763 §6.2: 400 bytes fit a packet with the rest, 1300 an Ethernet frame.
func TestTXTSizeIsBounded(t *testing.T) {
	full := dnssd.TXT{} // 1280 bytes of rdata
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		full = append(full, key+"="+strings.Repeat("x", 253))
	}
	for n, want := range map[int]string{
		1300: "",
		1301: "dnssd: the TXT record has 1301 bytes, more than 1300",
	} {
		txt := append(full[:len(full):len(full)], "z="+strings.Repeat("x", n-1280-1-2))
		_, err := dnssd.Announcement{Name: "x", Type: "_x._udp", TXT: txt}.Checked("local", dnssd.DefaultMaxTXT)
		if want == "" && err != nil || want != "" && fmt.Sprint(err) != want {
			t.Errorf("%d bytes: %v, want %q", n, err, want)
		}
	}
}

func TestHostLabel(t *testing.T) {
	for name, want := range map[string]string{
		"nas": "nas", "NAS-2.example.com": "NAS-2", "my nas_1": "my-nas-1", "büro": "b-ro", "-a-": "a", "": "lanfolk", "localhost": "lanfolk",
		"localhost.localdomain": "lanfolk", "...": "lanfolk", strings.Repeat("a", 70): strings.Repeat("a", 63), strings.Repeat("ab-", 30): strings.TrimRight(strings.Repeat("ab-", 21), "-"),
	} {
		if got := dnssd.HostLabel(name); got != want {
			t.Errorf("%q is known as %q, want %q", name, got, want)
		}
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add("Web", "_http._tcp", "_sub", "path=/", "nas")
	f.Add("Küche 🖨", "_ipp._tcp", "\x00\xff", "bin=\xff", "a.b.local")
	f.Add(strings.Repeat("ä", 40), "_x._udp", strings.Repeat("s", 63), "TXTVERS=1", `a\.b`)
	f.Fuzz(func(t *testing.T, name, service, subtype, text, host string) {
		in := dnssd.Announcement{Name: name, Type: service, Subtypes: []string{subtype}, TXT: dnssd.TXT{"a", text}, Host: dnssd.Host{Name: host}}
		a, err := in.Checked("local", dnssd.DefaultMaxTXT)
		if err != nil {
			return
		}
		if len(a.Name) == 0 || len(a.Name) > 63 || len(a.TXT) == 0 || dnssd.CheckType(a.Type) != nil {
			t.Fatalf("%+v", a)
		}
		full, err := dnssd.Instance{Name: a.Name, Service: a.Type, Domain: "local"}.FullName()
		if err != nil || !full.Valid() {
			t.Fatalf("%q: %v", full, err)
		}
		if again, err := a.Checked("local", dnssd.DefaultMaxTXT); err != nil || again.Name != a.Name || !slices.Equal(again.TXT, a.TXT) {
			t.Fatalf("%+v becomes %+v, %v", a, again, err)
		}
	})
}
