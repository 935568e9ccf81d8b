package dnswire_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/dnswire"
)

var update = flag.Bool("update", false, "write what the golden packets say into testdata/*.txt")

type golden struct {
	name string
	from string // what sent it
	msg  []byte
}

// goldens reads testdata/*.hex: a first line "# what sent it", then hex. Without
// any the test fails.
func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden packets in testdata: %v", err)
	}
	var out []golden
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(b), "\n")
		from, ok := strings.CutPrefix(first, "# ")
		if !ok {
			t.Fatalf("%s: the first line doesn't say what sent it", f)
		}
		msg, err := hex.DecodeString(strings.Join(strings.Fields(rest), ""))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, golden{name: strings.TrimSuffix(filepath.Base(f), ".hex"), from: from, msg: msg})
	}
	return out
}

// dump prints all that a message says.
func dump(m dnswire.Message) string {
	var b strings.Builder
	h := m.Header
	fmt.Fprintf(&b, "id %d opcode %d rcode %d", h.ID, h.Opcode, h.Rcode)
	for _, f := range []struct {
		set  bool
		name string
	}{
		{h.Response, "qr"}, {h.Authoritative, "aa"}, {h.Truncated, "tc"}, {h.RecursionDesired, "rd"}, {h.RecursionAvailable, "ra"},
		{h.Zero, "z"}, {h.AuthenticData, "ad"}, {h.CheckingDisabled, "cd"},
	} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteByte('\n')
	for q := range m.Questions() {
		unicast := ""
		if q.Unicast {
			unicast = " QU"
		}
		fmt.Fprintf(&b, "question %s %s%s %s\n", q.Name, q.Class, unicast, q.Type)
	}
	for r := range m.Records() {
		malformed := ""
		if r.Malformed {
			malformed = " malformed"
		}
		fmt.Fprintf(&b, "%s%s %s\n", r.Section, malformed, r.RR())
	}
	return b.String()
}

// rebuild writes a message anew from what was read of another.
func rebuild(t testing.TB, b *dnswire.Builder, buf []byte, m dnswire.Message) []byte {
	t.Helper()
	b.Reset(buf, m.Header, 0)
	for q := range m.Questions() {
		if !b.Question(q.Name.Name(), q.Type, q.Class, q.Unicast) {
			t.Fatalf("the Builder refused question %s", q.Name)
		}
	}
	for r := range m.Records() {
		add := b.Answer
		switch r.Section {
		case dnswire.Authority:
			add = b.Authority
		case dnswire.Additional:
			add = b.Additional
		}
		if !add(r.RR()) && !r.Malformed {
			t.Fatalf("the Builder refused %s %s", r.Section, r.RR())
		}
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	var b dnswire.Builder
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			m := parse(t, g.msg)
			got := dump(m)
			file := "testdata/" + g.name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s says something else (-want +got):\n%s", g.from, d)
			}
			again := rebuild(t, &b, nil, m)
			if d := cmp.Diff(got, dump(parse(t, again))); d != "" {
				t.Errorf("written again it says something else (-want +got):\n%s", d)
			}
			if strings.HasPrefix(g.name, "lanfolk-") && string(again) != string(g.msg) {
				t.Errorf("written again it is\n%x, want\n%x", again, g.msg)
			}
			// BIND points into the rdata of SVCB, which is opaque to us.
			if len(again) > len(g.msg) && g.name != "bind-svcb" {
				t.Errorf("written again it has %d bytes, more than %d", len(again), len(g.msg))
			}
		})
	}
}

// The records of a response that all of mDNS and DNS-SD is about.
func httpService(t testing.TB) []dnswire.RR {
	t.Helper()
	inst := mustName(t, `Build v1\.2 Room\.3 Küche._http._tcp.local`)
	host := mustName(t, "NAS.local")
	txt, err := dnswire.NewTXT(inst, 4500, "txtvers=1", "path=/", "on", "empty=", "bin=\x00\xff=")
	if err != nil {
		t.Fatal(err)
	}
	rrs := []dnswire.RR{
		dnswire.NewPTR(inst.Parent(), inst, 4500),
		dnswire.NewSRV(inst, dnswire.SRV{Port: 8080, Target: host}, 120),
		txt,
		dnswire.NewAddr(host, netip.MustParseAddr("10.0.0.5"), 120),
		dnswire.NewAddr(host, netip.MustParseAddr("fe80::5"), 120),
		dnswire.NewNSEC(host, host, 120, dnswire.TypeAAAA, dnswire.TypeA),
	}
	for i := range rrs[1:] {
		rrs[i+1].Flush = true
	}
	return rrs
}

// What the Builder writes is fixed to the byte.
func TestBuilderGolden(t *testing.T) {
	rrs := httpService(t)
	for _, c := range []struct {
		file  string
		from  string
		build func(b *dnswire.Builder)
	}{
		{"lanfolk-query", "lanfolk: two questions, one of them QU, with a known answer", func(b *dnswire.Builder) {
			b.Reset(nil, dnswire.Header{}, 0)
			b.Question(rrs[0].Name, dnswire.TypePTR, dnswire.ClassIN, true)
			b.Question(mustName(t, "_ipp._tcp.local"), dnswire.TypePTR, dnswire.ClassIN, false)
			b.Answer(rrs[0])
		}},
		{"lanfolk-response", "lanfolk: a response with additional records", func(b *dnswire.Builder) {
			b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 0)
			b.Answer(rrs[0])
			for _, rr := range rrs[1:] {
				b.Additional(rr)
			}
		}},
	} {
		var b dnswire.Builder
		c.build(&b)
		var text strings.Builder
		fmt.Fprintf(&text, "# %s\n", c.from)
		for s := hex.EncodeToString(b.Bytes()); s != ""; s = s[min(64, len(s)):] {
			text.WriteString(s[:min(64, len(s))] + "\n")
		}
		file := "testdata/" + c.file + ".hex"
		if *update {
			if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.file, d)
		}
	}
}
