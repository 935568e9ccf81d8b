package syncthing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

// captured returns the bytes of a captured packet.
func captured(t *testing.T, id string) []byte {
	t.Helper()
	for _, c := range readVectors(t).Captured {
		if c.ID == id {
			return c.Hex
		}
	}
	t.Fatalf("no vector %s", id)
	return nil
}

// announce starts `syncthing announce`.
func announce(h *lab.Host, args ...string) *lab.Process {
	return h.Lanfolk(append([]string{"syncthing", "announce"}, args...)...).Start()
}

// TestAnnounceToServers: byte by byte what real old clients sent to theirs, by IPv4 and IPv6, to several
// at once; and again after the interval. They verify it with a query.
func TestAnnounceToServers(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, s := l.Host("device").Join(net), l.Host("server").Join(net)
	v4, v6 := at(s.Link(net).V4), at(s.Link(net).V6)
	one := newFake(t, s, v4.String(), nil)
	two := newFake(t, s, v6.String(), nil)
	for _, c := range []struct {
		vector, name string
		addresses    []string
	}{
		{"g00", "alpha", []string{":22000"}},
		{"g00", "alpha", []string{"0.0.0.0:22000"}},
		{"g06", "v6only", []string{"[2001:db8::7]:22002"}},
		{"g09", "beta", []string{"192.0.2.7:22001", "[2001:db8::7]:22002", ":22003"}},
		{"g29", "epsilon", nil}, // 22000 is where devices listen
	} {
		args := []string{"--id", textID(c.name), "--server", v4.String(), "--server", "[" + v6.Addr().String() + "]", "--interval", "30m"}
		for _, a := range c.addresses {
			args = append(args, "--address", a)
		}
		before4, before6 := len(one.questions()), len(two.questions())
		p := announce(h, args...)
		for name, f := range map[string]func() [][]byte{
			"IPv4": func() [][]byte { return one.questions()[before4:] },
			"IPv6": func() [][]byte { return two.questions()[before6:] },
		} {
			lab.Eventually(t, 20*time.Second, c.vector+" and a question, by "+name, func() error {
				got := f()
				// The one before may have asked once more just before it ended.
				for len(got) > 0 && len(got[0]) == querySize {
					got = got[1:]
				}
				if len(got) < 2 || !bytes.Equal(got[0], captured(t, c.vector)) || !bytes.Equal(got[1], query(deviceID(c.name))) {
					return fmt.Errorf("got  %x\nwant %x", got, captured(t, c.vector))
				}
				return nil
			})
		}
		if exit := p.Stop(); exit != 0 {
			t.Errorf("exit %d: %s", exit, p.Stderr())
		}
	}
}

// TestAnnounceOfACertificate: the ID is its SHA-256.
func TestAnnounceOfACertificate(t *testing.T) {
	l := newLab(t)
	h := l.Host("device")
	f := newFake(t, h, "127.0.0.1:22026", nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "syncthing"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, l, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	announce(h, "--cert", path, "--server", "127.0.0.1", "--address", ":22000")
	lab.Eventually(t, 20*time.Second, "the announcement", func() error {
		if got, want := f.questions(), announcement(sha256.Sum256(der), ":22000"); len(got) == 0 || !bytes.Equal(got[0], want) {
			return fmt.Errorf("got %x\nwant %x", got, want)
		}
		return nil
	})
}

// TestAnnounceLocally: byte by byte what real old clients sent, on each link, by IPv4 to all and
// by IPv6 to the group; first at once, then not before half a minute.
func TestAnnounceLocally(t *testing.T) {
	l := newLab(t)
	a, b := l.Subnet("a", "10.77.0.0/24", "fd77::/64"), l.Subnet("b", "10.78.0.0/24")
	h := l.Host("device").Join(a).Join(b)
	onA, onB := a.Capture(), b.Capture()
	p := announce(h, "--id", hexID("alpha"), "--local", "--address", ":22000", "--address", "10.77.0.1:22001")
	want := captured(t, "l02")
	sent := func(c *lab.Capture, family byte) (all []lab.Frame) {
		for _, f := range c.Frames() {
			_, _, dst, ok := f.UDP()
			if v6 := f.Layer(layers.LayerTypeIPv6) != nil; ok && (family == 6) == v6 && (dst == localPort || dst == 21026) {
				all = append(all, f)
			}
		}
		return all
	}
	for _, c := range []struct {
		capture *lab.Capture
		link    *lab.Link
	}{{onA, h.Link(a)}, {onB, h.Link(b)}} {
		lab.Eventually(t, 20*time.Second, "announcements on "+c.link.Name, func() error {
			if n, m := len(sent(c.capture, 4)), len(sent(c.capture, 6)); n < 1 || m < 1 {
				return fmt.Errorf("%d by IPv4, %d by IPv6: %s", n, m, p.Stderr())
			}
			return nil
		})
	}
	time.Sleep(2 * time.Second)
	for _, c := range []struct {
		capture   *lab.Capture
		link      *lab.Link
		broadcast string
	}{{onA, h.Link(a), "10.77.0.255"}, {onB, h.Link(b), "10.78.0.255"}} {
		v4, v6 := sent(c.capture, 4), sent(c.capture, 6)
		if len(v4) != 1 || len(v6) != 1 {
			t.Errorf("%s: %d and %d announcements", c.link.Name, len(v4), len(v6))
		}
		ip4 := v4[0].Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		data, _, port, _ := v4[0].UDP()
		if to := ip4.DstIP.String(); !bytes.Equal(data, want) || port != localPort || to != c.broadcast && to != "255.255.255.255" || ip4.SrcIP.String() != c.link.V4.String() {
			t.Errorf("%s: %v:\n got %x\nwant %x", c.link.Name, v4[0], data, want)
		}
		ip6 := v6[0].Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		data, _, port, _ = v6[0].UDP()
		if src, _ := netip.AddrFromSlice(ip6.SrcIP); !bytes.Equal(data, want) || port != 21026 || ip6.DstIP.String() != "ff32::5222" || src != c.link.LinkLocal() {
			t.Errorf("%s: %v:\n got %x\nwant %x", c.link.Name, v6[0], data, want)
		}
	}
	if exit := p.Stop(); exit != 0 {
		t.Errorf("exit %d: %s", exit, p.Stderr())
	}
}

// TestAnnounceWhenADeviceIsNew: a new device is told at once, and two announcers don't
// answer each other for ever, whatever else is made up.
func TestAnnounceWhenADeviceIsNew(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24")
	one, two := l.Host("one").Join(net), l.Host("two").Join(net)
	capture := net.Capture()
	from := func(h *lab.Host) int {
		return capture.Count(func(f lab.Frame) bool {
			ip, ok := f.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			_, _, dst, udp := f.UDP()
			return ok && udp && dst == localPort && ip.SrcIP.String() == h.Link(net).V4.String()
		})
	}
	announces := func(h *lab.Host, n int, d time.Duration) {
		t.Helper()
		lab.Eventually(t, d, fmt.Sprintf("announcement %d of %s", n, h.Name), func() error {
			if got := from(h); got < n {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	announce(one, "--id", hexID("alpha"), "--local")
	announces(one, 1, 20*time.Second)
	time.Sleep(1500 * time.Millisecond) // it doesn't speak twice in a second
	announce(two, "--id", hexID("beta"), "--local")
	announces(two, 1, 20*time.Second)
	announces(one, 2, 20*time.Second)
	time.Sleep(3 * time.Second)
	if a, b := from(one), from(two); a > 3 || b > 3 { // the next is due after half a minute
		t.Errorf("%d and %d announcements", a, b)
	}
	src := netip.AddrPortFrom(two.Link(net).V4, 4000)
	before, begin := from(one), time.Now()
	for i := range 300 {
		replay(t, two.Link(net), src, netip.MustParseAddrPort("10.77.0.255:21025"), announcement(deviceID(fmt.Sprint("made up ", i)), ":1"))
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(begin)
	if n, most := from(one)-before, 2+int(took.Seconds()); n > most { // one a second
		t.Errorf("%d announcements in %v because of made-up devices", n, took)
	}
}

// TestAnnounceBesideAnOldProgram: where one holds port 21025 for itself, the device is announced from
// another port, and that is said.
func TestAnnounceBesideAnOldProgram(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24")
	h := l.Host("device").Join(net)
	capture := net.Capture()
	open(t, h, "0.0.0.0:21025")
	p := announce(h, "--id", hexID("alpha"), "--local")
	f := capture.Wait(20*time.Second, "announcement", func(f lab.Frame) bool {
		_, _, dst, ok := f.UDP()
		return ok && dst == localPort
	})
	if data, src, _, _ := f.UDP(); !bytes.Equal(data, announcement(deviceID("alpha"), ":22000")) || src == localPort {
		t.Errorf("from port %d: %x", src, data)
	}
	p.WaitText(20*time.Second, "address already in use")
}

// TestAnnounceArguments: what can't be announced.
func TestAnnounceArguments(t *testing.T) {
	l := newLab(t)
	h := l.Host("h")
	garbage := writeFile(t, l, "garbage.pem", []byte("no certificate"))
	id := textID("alpha")
	many := []string{"--id", id, "--server", "127.0.0.1"}
	for i := range 17 {
		many = append(many, "--address", fmt.Sprintf("192.0.2.1:%d", i+1))
	}
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"--local"}, 2, "--id"},
		{[]string{"--id", id, "--cert", garbage, "--local"}, 2, "--cert"},
		{[]string{"--id", id}, 2, "--local"},
		{[]string{"--id", id[:len(id)-1] + "7", "--local"}, 2, "check digit 4 of 4"},
		{[]string{"--cert", garbage, "--local"}, -1, "garbage.pem"},
		{[]string{"--cert", garbage + ".not", "--local"}, -1, "garbage.pem.not"},
		{[]string{"--id", id, "--local", "--address", "192.0.2.1"}, 2, "192.0.2.1"},
		{[]string{"--id", id, "--local", "--address", ":0"}, 2, ":0"},
		{[]string{"--id", id, "--local", "--address", ":65536"}, 2, ":65536"},
		{[]string{"--id", id, "--local", "--address", "224.0.0.1:1"}, 2, "224.0.0.1"},
		{many, 2, "16"},
		{[]string{"--id", id, "--local", "--interval", "-1s"}, 2, "--interval"},
		{[]string{"--id", id, "--server", "a b"}, 2, "a b"},
		{[]string{"--id", id, "--local", "-i", "nosuch"}, 2, "nosuch"},
	} {
		cmd := h.Lanfolk(append([]string{"syncthing", "announce"}, c.args...)...)
		r := cmd.Run()
		if r.Exit != c.exit && (c.exit >= 0 || r.Exit < 1 || r.Exit > 2) || !strings.Contains(r.Stderr, c.says) || r.Stdout != "" {
			t.Errorf("%q: exit %d, want %d and %q: %s%s", c.args, r.Exit, c.exit, c.says, r.Stdout, r.Stderr)
		}
	}
	for _, c := range [][]string{
		{"--listen", "nonsense"}, {"--listen", "127.0.0.1:0"}, {"--rate-limit", "0/s"}, {"--rate-limit", "-1"}, {"--rate-limit", "much"}, {"extra"},
	} {
		if r := h.Lanfolk(append([]string{"syncthing", "serve"}, c...)...).Run(); r.Exit != 2 || r.Stdout != "" || !strings.Contains(r.Stderr, c[len(c)-1]) {
			t.Errorf("serve %q: exit %d: %s%s", c, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if r := h.Lanfolk("syncthing", "serve", "--listen", "192.0.2.1:22026").Run(); r.Exit != 2 || !strings.Contains(r.Stderr, "no interface has that address") {
		t.Errorf("an address that isn't ours: exit %d: %s", r.Exit, r.Stderr)
	}
}
