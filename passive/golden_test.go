package passive_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

var update = flag.Bool("update", false, "write what the golden frames say into testdata/*.txt")

type golden struct {
	name   string
	frames [][]byte // Ethernet
}

// goldens reads testdata/*.hex: a first line "# what sent it", then frames in
// hex with an empty line between. Without any the test fails.
func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden frames in testdata: %v", err)
	}
	var all []golden
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(b), "\n")
		if !strings.HasPrefix(first, "# ") {
			t.Fatalf("%s: the first line doesn't say what sent it", file)
		}
		g := golden{name: strings.TrimSuffix(filepath.Base(file), ".hex")}
		for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
			f, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			g.frames = append(g.frames, f)
		}
		all = append(all, g)
	}
	return all
}

var goldenTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// ethernet is a frame as a capture hands it over.
func ethernet(b []byte) packet.Frame {
	return packet.Frame{Data: b, Length: len(b), LinkType: packet.LinkEthernet, Interface: "eth0", Time: goldenTime}
}

// text writes a fact as the command prints it, and its claims.
func text(f *passive.Fact) string {
	var b strings.Builder
	b.Write(f.AppendJSON(nil))
	for _, c := range f.Claims {
		b.WriteString("\n  claim")
		if c.MAC != (passive.MAC{}) {
			fmt.Fprintf(&b, " mac=%s", c.MAC)
		}
		if c.IP.IsValid() {
			fmt.Fprintf(&b, " ip=%s", c.IP)
		}
		for _, x := range []struct {
			set  bool
			text string
		}{
			{c.Host != "", " host=" + c.Host}, {c.ID != "", " id=" + c.ID}, {c.Hearsay, " hearsay"},
			{c.Router, " router"}, {c.Gone, " gone"}, {c.Lifetime > 0, " for " + c.Lifetime.String()},
		} {
			if x.set {
				b.WriteString(x.text)
			}
		}
	}
	return b.String() + "\n"
}

// decode returns what frames say, and the counters.
func decode(o passive.Options, frames ...packet.Frame) (string, passive.Stats) {
	var b strings.Builder
	d := passive.NewDecoder(o)
	for _, f := range frames {
		d.Decode(f, func(x *passive.Fact) { b.WriteString(text(x)) })
	}
	return b.String(), d.Stats()
}

// TestGolden: real frames, and all that they say.
func TestGolden(t *testing.T) {
	o := passive.Options{OnLink: func(_ string, a netip.Addr) bool {
		return netip.MustParsePrefix("10.77.0.0/24").Contains(a) || netip.MustParsePrefix("fd77::/64").Contains(a)
	}}
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			var frames []packet.Frame
			for _, b := range g.frames {
				frames = append(frames, ethernet(b))
			}
			got, stats := decode(o, frames...)
			if len(stats.Drops) > 0 {
				t.Errorf("dropped: %v", stats.Drops)
			}
			file := filepath.Join("testdata", g.name+".txt")
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
				t.Errorf("want -, got +:\n%s", d)
			}
		})
	}
}

// TestRepeats: a packet that comes again says the same again, at its own time
// and on its own interface.
func TestRepeats(t *testing.T) {
	for _, g := range goldens(t) {
		if g.name == "dns-tcp" {
			continue // bytes of a stream come once
		}
		d := passive.NewDecoder(passive.Options{})
		var first string
		for i := range 5 {
			var got strings.Builder
			for _, b := range g.frames {
				f := ethernet(b)
				f.Interface, f.Time = fmt.Sprintf("eth%d", i), goldenTime.Add(time.Duration(i)*time.Hour)
				d.Decode(f, func(x *passive.Fact) {
					if x.Interface != f.Interface || !x.Time.Equal(f.Time) {
						t.Errorf("%s: on %s at %s", g.name, x.Interface, x.Time)
					}
					x = x.Clone()
					x.Interface, x.Time = "eth0", goldenTime
					got.WriteString(text(x))
				})
			}
			if i == 0 {
				first = got.String()
			}
			if got.String() != first {
				t.Errorf("%s: the %dth time: %s", g.name, i+1, cmp.Diff(first, got.String()))
			}
		}
		if n := d.Stats().Facts; n != uint64(5*strings.Count(first, "\"fields\":")) {
			t.Errorf("%s: %d facts counted", g.name, n)
		}
	}
}

// TestRepeatsDiffer: what a packet says depends on more than its message.
func TestRepeatsDiffer(t *testing.T) {
	onLink := true
	d := passive.NewDecoder(passive.Options{OnLink: func(string, netip.Addr) bool { return onLink }})
	say := func(srcMAC []byte, src netip.Addr, port uint16, ttl byte) string {
		var s string
		f := ethernet(eth(macB, srcMAC, 0x0800, ip4(17, src, netip.MustParseAddr("224.0.0.251"), ttl, 1, 0, nil, udp(port, 5353, query(t, "nas.local")))))
		d.Decode(f, func(x *passive.Fact) { s = text(x) })
		return s
	}
	ways := []func() string{
		func() string { return say(macA, client, 5353, 1) },
		func() string { return say(macB, client, 5353, 1) },
		func() string { return say(macA, server, 5353, 1) },
		func() string { return say(macA, client, 4000, 1) },
		func() string { // the same bits as an address, but of IPv6
			var s string
			mapped := netip.AddrFrom16(client.As16())
			f := ethernet(eth(macB, macA, 0x86dd, ip6(17, mapped, netip.AddrFrom16(netip.MustParseAddr("224.0.0.251").As16()), 1, udp(5353, 5353, query(t, "nas.local")))))
			d.Decode(f, func(x *passive.Fact) { s = text(x) })
			return s
		},
		func() string { onLink = false; defer func() { onLink = true }(); return say(macA, client, 5353, 1) },
	}
	seen := map[string]bool{}
	var first []string
	for i := range 4 {
		for j, way := range ways {
			s := way()
			if i == 0 {
				first = append(first, s)
				if seen[s] {
					t.Errorf("way %d says what another says: %s", j, s)
				}
				seen[s] = true
			} else if s != first[j] {
				t.Errorf("way %d, the %dth time: %s\nfirst %s", j, i+1, s, first[j])
			}
		}
	}
	if a, b := say(macA, client, 4001, 1), say(macA, client, 4002, 1); a == b {
		t.Error("the port is not the packet's own")
	}
}
