package lab_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

func TestHostsReachEachOtherThroughARouter(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	b := l.Subnet("b", "10.99.2.0/24", "fd99:2::/64")
	early := l.Host("early").Join(a)
	r := l.Router("r", a, b)
	late := l.Host("late").Join(b)
	if got := r.Link(b).V4.String(); got != "10.99.2.1" {
		t.Errorf("router has %s in b, not the first address", got)
	}
	for _, dst := range []string{"10.99.2.10", "fd99:2::a"} {
		if err := reaches(early, late, dst); err != nil {
			t.Errorf("early doesn't reach %s of late: %v\n%s", dst, err, early.Run("ip", "route").Stdout)
		}
	}
	// The machine's own namespace has no part in it.
	if out, err := exec.Command("ip", "-brief", "link").CombinedOutput(); err != nil || strings.Contains(string(out), "br0") {
		t.Errorf("links outside: %s %v", out, err)
	}
}

// reaches sends datagrams between two hosts until one arrives, and returns why
// none does. It asks for longer than a neighbour that was lost takes to be found
// again.
func reaches(from, to *lab.Host, dst string) error {
	return reachesWithin(20*time.Second, from, to, dst)
}

func reachesWithin(d time.Duration, from, to *lab.Host, dst string) error {
	var in, out net.PacketConn
	err := to.Do(func() (err error) {
		in, err = net.ListenPacket("udp", net.JoinHostPort(dst, "4000"))
		return err
	})
	if err != nil {
		return err
	}
	defer in.Close()
	err = from.Do(func() (err error) {
		out, err = net.ListenPacket("udp", ":0")
		return err
	})
	if err != nil {
		return err
	}
	defer out.Close()
	addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(dst, "4000"))
	if err != nil {
		return err
	}
	hello := fmt.Sprint("hello ", time.Now().UnixNano()) // one of before may still be on its way
	for end := time.Now().Add(d); time.Now().Before(end); {
		_, sent := out.WriteTo([]byte(hello), addr)
		_ = in.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		buf := make([]byte, 64)
		n, _, got := in.ReadFrom(buf)
		if got == nil && string(buf[:n]) == hello {
			return nil
		}
		err = errors.Join(sent, got)
	}
	return err
}

func TestLinkGoesAndComes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	x, y := l.Host("x").Join(a), l.Host("y").Join(a)
	k := x.Link(a)
	dst := y.Link(a).V4.String()
	if err := reaches(x, y, dst); err != nil {
		t.Fatalf("x doesn't reach y to begin with: %v", err)
	}
	k.Down()
	if reachesWithin(300*time.Millisecond, x, y, dst) == nil {
		t.Error("x reaches y though its link is down")
	}
	k.Up()
	if err := errors.Join(reaches(x, y, dst), reaches(y, x, k.V6.String())); err != nil {
		t.Errorf("the link doesn't come up again: %v\n%s", err, x.Run("ip", "addr").Stdout)
	}
	k.Unplug()
	if reachesWithin(300*time.Millisecond, x, y, dst) == nil {
		t.Error("x reaches y though its cable is out")
	}
	k.Plug()
	if err := reaches(x, y, dst); err != nil {
		t.Errorf("the cable doesn't go in again: %v", err)
	}
	k.SetMTU(1280)
	if out := x.Run("ip", "link", "show", k.Name).Stdout; !strings.Contains(out, "mtu 1280") {
		t.Errorf("MTU not set: %s", out)
	}
	x.Join(l.Subnet("b", "10.99.2.0/24"))
	x.Links[1].Remove()
	if out := x.Run("ip", "-brief", "link").Stdout; strings.Contains(out, "eth1") {
		t.Errorf("link not removed: %s", out)
	}
}

func TestLoseDropsTheShareOfPackets(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	x, y := l.Host("x").Join(a), l.Host("y").Join(a)
	to := func(port uint16) func(lab.Frame) bool {
		return func(f lab.Frame) bool { _, _, dst, ok := f.UDP(); return ok && dst == port }
	}
	send := func(port layers.UDPPort, n int) {
		for range n {
			x.Link(a).Send(
				&layers.Ethernet{SrcMAC: x.Link(a).MAC, DstMAC: y.Link(a).MAC, EthernetType: layers.EthernetTypeIPv4},
				&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: x.Link(a).V4.AsSlice(), DstIP: y.Link(a).V4.AsSlice()},
				&layers.UDP{SrcPort: 4000, DstPort: port})
		}
	}
	// arrive says how many of n do, by one that follows them and isn't lost.
	port := layers.UDPPort(4000)
	arrive := func(percent, n int) int {
		port += 2
		c := y.Link(a).Capture()
		x.Link(a).Lose(percent)
		send(port, n)
		x.Link(a).Lose(0)
		send(port+1, 1)
		c.Wait(10*time.Second, "last frame", to(uint16(port+1)))
		return c.Count(to(uint16(port)))
	}
	if n := arrive(0, 400); n != 400 {
		t.Fatalf("%d of 400 arrive with no loss", n)
	}
	if n := arrive(50, 400); n < 130 || n > 270 { // seven standard deviations from 200
		t.Errorf("%d of 400 arrive with half of them lost", n)
	}
	if n := arrive(100, 50); n != 0 {
		t.Errorf("%d of 50 arrive with all of them lost", n)
	}
	if n := arrive(0, 50); n != 50 {
		t.Errorf("%d of 50 arrive with no loss again", n)
	}
}

// What has passed a link is there, however late its reader gets its turn.
func TestCaptureHasWhatHasPassed(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	k := l.Host("x").Join(a).Link(a)
	c := k.Capture()
	for n := 1; n <= 200; n++ {
		k.SendRaw(append(make([]byte, 12), 0x88, 0xb5)) // a local experiment's type (IEEE 802)
		if got := c.Count(func(f lab.Frame) bool { return len(f.Data()) >= 14 && f.Data()[12] == 0x88 && f.Data()[13] == 0xb5 }); got != n {
			t.Fatalf("%d frames, want %d", got, n)
		}
	}
}

func TestCaptureTellsSentFromReceived(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	x, y := l.Host("x").Join(a), l.Host("y").Join(a, lab.WithAddress("10.99.1.77"), lab.WithMAC("02:00:5e:10:00:01"))
	wire, mine := a.Capture(), y.Link(a).Capture()
	arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: layers.ARPRequest, SourceHwAddress: y.Link(a).MAC, SourceProtAddress: y.Link(a).V4.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: x.Link(a).V4.AsSlice()}
	y.Link(a).Send(&layers.Ethernet{SrcMAC: y.Link(a).MAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}, arp)
	is := func(op uint16, sent bool) func(lab.Frame) bool {
		return func(f lab.Frame) bool {
			p, ok := f.Layer(layers.LayerTypeARP).(*layers.ARP)
			return ok && p.Operation == op && f.Sent == sent
		}
	}
	mine.Wait(10*time.Second, "request sent", is(layers.ARPRequest, true))
	mine.Wait(10*time.Second, "reply received", is(layers.ARPReply, false))
	wire.Wait(10*time.Second, "reply on the bridge", is(layers.ARPReply, false))
	path := l.Dir() + "/arp.pcap"
	mine.Save(path)
	if st, err := os.Stat(path); err != nil || st.Size() < 24+2*16 {
		t.Errorf("saved capture: %v %v", st, err)
	}
}

// A program that waits in the kernel looks as if nothing held it, though a signal may be about to.
func TestSignalsAreSentToAll(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.Host("h")
	p := h.Start("sh", "-c", "trap 'echo told' CONT; echo up; while :; do sleep 0.02; done")
	p.WaitText(10*time.Second, "up")
	h.Resume()
	p.WaitText(10*time.Second, "told")
}

func TestProgramsRunInTheirHost(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.Host("h").Join(l.Subnet("a", "10.99.1.0/24"))
	r := h.Run("sh", "-c", "echo out; echo err >&2; exit 7")
	if r.Stdout != "out\n" || r.Stderr != "err\n" || r.Exit != 7 {
		t.Errorf("result %+v", r)
	}
	if out := h.Run("ip", "-brief", "addr").Stdout; !strings.Contains(out, "10.99.1.10/24") {
		t.Errorf("addresses in the host: %s", out)
	}
	c := h.Command("sh", "-c", "id -u; ls /run; cat; echo $WHAT; grep CapEff /proc/self/status")
	c.User, c.Stdin, c.Env, c.Mounts = lab.Nobody, "in\n", []string{"WHAT=that"}, []lab.Mount{{Target: "/run"}}
	if out := c.Run().Stdout; out != "65534\nin\nthat\nCapEff:\t0000000000000000\n" {
		t.Errorf("as nobody with an empty /run: %q", out)
	}
	if _, err := os.Stat("/run/netns"); err != nil {
		t.Errorf("the mount came out of its program: %v", err)
	}

	p := h.Start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.05; done")
	p.WaitText(5*time.Second, "hello")
	if code := p.Stop(); code != 3 || !strings.Contains(p.Stdout(), "bye") {
		t.Errorf("stopped with %d, %q", code, p.Stdout())
	}
	p = h.Start("sh", "-c", "while :; do date +%N; sleep 0.02; done")
	p.WaitLine(5*time.Second, "output", func(string) bool { return true })
	h.Pause()
	before := ""
	lab.Eventually(t, 10*time.Second, "standstill of a paused host", func() error { // what it wrote before is still read
		if before = p.Stdout(); before != "" {
			time.Sleep(150 * time.Millisecond)
		}
		if p.Stdout() != before {
			return errors.New("it goes on")
		}
		return nil
	})
	h.Resume()
	lab.Eventually(t, 5*time.Second, "output after the pause", func() error {
		if p.Stdout() == before {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	h.Kill()
	if code := p.Wait(5 * time.Second); code != 128+9 {
		t.Errorf("killed host's program exits with %d", code)
	}
}
