package dnssd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

var instanceSeeds = []string{
	`NAS._http._tcp.local`, `Build v1\.2 Room\.3._http._tcp.local`, `back\\slash._http._tcp.local`, `Küche 🖨._ipp._tcp.local`,
	`\009tab\255._x._udp.example.org`, `a._b._c.d`, `0._00._\..0.0`, `_http._tcp.local`, `.._http._tcp.local`, `\`, ``,
}

func TestInstanceNamesJoinAndPart(t *testing.T) {
	for _, c := range []struct {
		in   dnssd.Instance
		text string
	}{
		{dnssd.Instance{Name: "Build v1.2 Room.3", Service: "_http._tcp", Domain: "local"}, `Build v1\.2 Room\.3._http._tcp.local`},
		{dnssd.Instance{Name: `back\slash`, Service: "_http._tcp", Domain: "local"}, `back\\slash._http._tcp.local`},
		{dnssd.Instance{Name: "Küche 🖨", Service: "_ipp._tcp", Domain: "local"}, `Küche 🖨._ipp._tcp.local`},
		{dnssd.Instance{Name: "bell\a\xff", Service: "_x._udp", Domain: "example.org"}, `bell\007\255._x._udp.example.org`},
		{dnssd.Instance{Name: strings.Repeat("ä", 31), Service: "_x._udp", Domain: "local"}, strings.Repeat("ä", 31) + `._x._udp.local`},
	} {
		if got := c.in.String(); got != c.text {
			t.Errorf("%+v joins to %q, want %q", c.in, got, c.text)
		}
		if got, err := dnssd.ParseInstance(c.text); err != nil || got != c.in {
			t.Errorf("%q parts to %+v, %v; want %+v", c.text, got, err, c.in)
		}
	}
	for text, want := range map[string]string{
		"nas.local":                          `dnssd: "nas.local" is no service instance: want NAME._type._tcp.DOMAIN or NAME._type._udp.DOMAIN`,
		"_http._tcp.local":                   `dnssd: "_http._tcp.local" is no service instance: want NAME._type._tcp.DOMAIN or NAME._type._udp.DOMAIN`,
		"NAS._http._tcp":                     `dnssd: "NAS._http._tcp" is no service instance: want NAME._type._tcp.DOMAIN or NAME._type._udp.DOMAIN`,
		"a..b":                               `dnssd: instance: dnswire: name "a..b" has an empty label`,
		strings.Repeat("x", 64) + "._a._b.c": `dnssd: instance: dnswire: name "` + strings.Repeat("x", 64) + `._a._b.c" has a label longer than 63 bytes`,
	} {
		if _, err := dnssd.ParseInstance(text); fmt.Sprint(err) != want {
			t.Errorf("%q: error %q, want %q", text, err, want)
		}
	}
}

func FuzzInstanceRoundTrip(f *testing.F) {
	for _, s := range instanceSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := dnssd.ParseInstance(text)
		if err != nil {
			return
		}
		again, err := dnssd.ParseInstance(in.String())
		if err != nil || again != in {
			t.Fatalf("%q is %+v, whose String %q is %+v, %v", text, in, in.String(), again, err)
		}
		if s := again.String(); s != in.String() {
			t.Fatalf("String is %q, and then %q", in.String(), s)
		}
	})
}

func TestFuzzSeeds(t *testing.T) {
	good := 0
	for _, s := range instanceSeeds {
		if _, err := dnssd.ParseInstance(s); err == nil {
			good++
		}
	}
	if good < 5 || good == len(instanceSeeds) {
		t.Errorf("%d of %d seeds are instances, want some that are and some that aren't", good, len(instanceSeeds))
	}
}

func TestTypesOlderThanTheLimitMayBeLonger(t *testing.T) {
	for s, ok := range map[string]bool{
		"_nmos-registration._tcp": true, "_http._udp": true, "_" + strings.Repeat("x", 62) + "._tcp": true,
		"_" + strings.Repeat("x", 63) + "._tcp": false, "_nmos--registration._tcp": false, "_nmos-registration": false, "_._tcp": false,
	} {
		if err := dnssd.CheckLongType(s); (err == nil) != ok {
			t.Errorf("%s: %v", s, err)
		}
		a := dnssd.Announcement{Name: "A", Type: s, LongType: true}
		if _, err := a.Checked("local", dnssd.DefaultMaxTXT); (err == nil) != ok {
			t.Errorf("%s announced: %v", s, err)
		}
	}
}

func TestCheckType(t *testing.T) {
	for s, ok := range map[string]bool{
		"_http._tcp": true, "_HTTP._UDP": true, "_a._tcp": true, "_nmos-netctrl._tcp": true, "_fifteen-letters._tcp": true,
		"_sixteen-letters1._tcp": false, "http._tcp": false, "_http._sctp": false, "_http": false, "_._tcp": false, "": false,
		"_-a._tcp": false, "_a-._tcp": false, "_a--b._tcp": false, "_1._tcp": false, "_a_b._tcp": false, "_ä._tcp": false,
	} {
		if err := dnssd.CheckType(s); (err == nil) != ok {
			t.Errorf("%q: %v, want it good: %v", s, err, ok)
		}
	}
	want := `dnssd: service type "http": want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter`
	if err := dnssd.CheckType("http"); fmt.Sprint(err) != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestTXTHasFourStates(t *testing.T) {
	x := dnssd.TXT{"=ignored", "ro", "Empty=", "path=/a=b", "PATH=/later", "bin=\x00\xff", "", "RO=no"}
	for _, c := range []struct {
		key  string
		want dnssd.Value
		ok   bool
	}{
		{"absent", dnssd.Value{}, false},
		{"", dnssd.Value{}, false},
		{"RO", dnssd.Value{}, true},
		{"empty", dnssd.Value{Set: true}, true},
		{"path", dnssd.Value{Data: "/a=b", Set: true}, true},
		{"bin", dnssd.Value{Data: "\x00\xff", Set: true}, true},
	} {
		if got, ok := x.Get(c.key); got != c.want || ok != c.ok {
			t.Errorf("%q is %+v, %v; want %+v, %v", c.key, got, ok, c.want, c.ok)
		}
	}
	var keys []string
	for k := range x.All() {
		keys = append(keys, k)
	}
	same(t, "keys", keys, []string{"ro", "Empty", "path", "bin"})
	m := x.Map()
	if len(m) != 4 || m["ro"] != nil || m["Empty"] == nil || *m["Empty"] != "" || *m["path"] != "/a=b" {
		t.Errorf("map %v", m)
	}
}

func TestTXTWithNothingInItReadsAlike(t *testing.T) {
	// No string at all, and one empty string.
	for _, rdlength := range []int{0, 1} {
		inBubble(t, func(r *rig) {
			x := r.respond(r.wire, "nas", "10.0.0.9/16", true)
			records := web("NAS", "nas.local", 80, "10.0.0.9")
			msg := x.message(append(records[:2:2], records[3:]...), nil)
			msg[7]++ // and a TXT record behind the others
			msg = append(msg, records[2].Name...)
			msg = append(msg, 0, byte(dnswire.TypeTXT), 0x80, 1, 0, 0, 1, 0, 0, byte(rdlength))
			msg = append(msg, make([]byte, rdlength)...)
			go func() {
				time.Sleep(200 * time.Millisecond)
				x.conn.WriteBatch([]packet.Datagram{{Data: msg}})
			}()
			same(t, "events", r.once(resolveHTTP), []string{`add NAS._http._tcp.local nas.local:80 [10.0.0.9] [] on eth0`, "settled"})
			if d := time.Since(r.start); d > time.Second {
				t.Errorf("settled after %v: waited for a TXT record that is there", d)
			}
		})
	}
}

func TestTypesAndInstancesOfHostilePointersAreIgnored(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.respond(r.wire, "evil", "10.0.0.66/16", true,
			ptr("_http._tcp.local", "local"), ptr("_http._tcp.local", "."), ptr("_http._tcp.local", "_http._tcp.local"),
			ptr("_http._tcp.local", "x.y.z"), ptr("_http._tcp.local", `<script>\000._http._tcp.local`))
		got := r.once(dnssd.Browser{Type: "_http._tcp"})
		if !slices.Equal(got, []string{`add <script>\000._http._tcp.local unresolved on eth0`, "settled"}) {
			t.Errorf("events %q", got)
		}
	})
}
