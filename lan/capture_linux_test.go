package lan_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

// testEtherType marks our own frames (IEEE 802, local experimental).
const testEtherType = 0x88b5

// testFrame has a broadcast destination unless another is given.
func testFrame(dst string, tag []byte, payload string) []byte {
	if dst == "" {
		dst = "ff:ff:ff:ff:ff:ff"
	}
	d, _ := net.ParseMAC(dst)
	f := slices.Concat(d, []byte{2, 0, 0, 0, 0, 9}, tag, []byte{testEtherType >> 8, testEtherType & 0xff}, []byte(payload))
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// filterOwn lets through only frames of testEtherType.
func filterOwn(t testing.TB) []bpf.RawInstruction {
	t.Helper()
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: testEtherType, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func openCapture(t testing.TB, h *nstest.Host, link string, o lan.CaptureOptions) *lan.Capture {
	t.Helper()
	var c *lan.Capture
	var err error
	h.Do(t, func() { c, err = lan.OpenCapture(findLink(t, h, link), o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// readFrames reads n frames; the capture is closed if they don't come, or after 200 ms
// for n 0.
func readFrames(t testing.TB, c *lan.Capture, n int) []packet.Frame {
	t.Helper()
	wait := patience
	if n == 0 {
		wait = 200 * time.Millisecond
	}
	stop := time.AfterFunc(wait, func() { c.Close() })
	defer stop.Stop()
	var got []packet.Frame
	for len(got) < n || n == 0 {
		f, err := c.Read()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Data = slices.Clone(f.Data)
		got = append(got, f)
	}
	if len(got) != n {
		t.Fatalf("read %d frames, want %d", len(got), n)
	}
	return got
}

func TestCaptureFramesWithTheirTag(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		if c.LinkType() != packet.LinkEthernet {
			t.Errorf("link type %d", c.LinkType())
		}
		a := findLink(t, p.a, "eth0")
		start := time.Now()
		plain := testFrame("", nil, "plain")
		p.a.SendFrames(t, a, plain)
		waitFor(t, "the first frame", func() bool { s, err := c.Stats(); return err != nil || s.Received == 1 })
		there := time.Now()
		// Priority 5, VLAN 42: the kernel takes the tag off.
		p.a.SendFrames(t, a, testFrame("", []byte{0x81, 0x00, 5 << 5, 42}, "tagged"))
		long := testFrame("", nil, strings.Repeat("x", 1486))
		p.a.SendFrames(t, a, long)
		got := readFrames(t, c, 3)
		if d := time.Since(start); d > 5*time.Second { // the kernel keeps them for 40 ms
			t.Errorf("the frames came after %v", d)
		}
		if f := got[0]; !bytes.Equal(f.Data, plain) || f.VLAN != 0 || f.Length != 60 || f.LinkType != packet.LinkEthernet || f.Interface != "eth0" {
			t.Errorf("plain: got %+v", f)
		}
		during(t, "plain", got[0].Time, start, there)
		if f := got[1]; f.VLAN != 42 || !bytes.Equal(f.Data[12:20], []byte("\x88\xb5tagged")) {
			t.Errorf("tagged: got VLAN %d and %x", f.VLAN, f.Data)
		}
		if !bytes.Equal(got[2].Data, long) {
			t.Errorf("long: got %d bytes of %d", len(got[2].Data), len(long))
		}
		// Other traffic stays in the kernel.
		send(t, listen(t, p.a, "eth0", group4), packet.Datagram{Data: []byte("x")})
		if s, err := c.Stats(); err != nil || s != (lan.CaptureStats{Received: 3}) {
			t.Errorf("%+v, %v", s, err)
		}
		readFrames(t, c, 0)
	})
}

func TestCaptureWithoutFilterHearsBothDirections(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.a, "eth0", lan.CaptureOptions{})
		send(t, listen(t, p.a, "eth0", group4), packet.Datagram{Data: []byte("from a")})
		send(t, listen(t, p.b, "eth0", group4), packet.Datagram{Data: []byte("from b")})
		for _, want := range []string{"from a", "from b"} {
			for i := 0; ; i++ {
				if i == 100 {
					t.Fatalf("no frame %q", want)
				}
				f := readFrames(t, c, 1)[0]
				if bytes.HasSuffix(bytes.TrimRight(f.Data, "\x00"), []byte(want)) {
					if ttl := f.Data[14+8]; ttl != 255 {
						t.Errorf("%q has TTL %d on the wire", want, ttl)
					}
					break
				}
			}
		}
	})
}

func TestCaptureOnTheLoopbackHearsAFrameOnce(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		here := nstest.Here(t)
		c := openCapture(t, here, "lo", lan.CaptureOptions{})
		conn := listen(t, here, "lo", group4)
		for i := range 3 {
			send(t, conn, packet.Datagram{Data: fmt.Append(nil, "frame ", i), Dst: netip.MustParseAddrPort("127.0.0.1:9")})
		}
		udp := 0
		for range 6 { // each is answered by ICMP: port unreachable
			if f := readFrames(t, c, 1)[0]; f.Data[14+9] == 17 {
				udp++
			}
		}
		if udp != 3 {
			t.Errorf("heard %d datagrams of 3", udp)
		}
	})
}

func TestCapturePromiscuous(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Promiscuous: true})
		flags := func() int {
			l, err := p.b.Handle().LinkByName("eth0")
			if err != nil {
				t.Fatal(err)
			}
			return l.Attrs().Promisc
		}
		if flags() != 1 {
			t.Error("the link isn't promiscuous")
		}
		p.a.SendFrames(t, findLink(t, p.a, "eth0"), testFrame("02:00:00:00:00:77", nil, "for another"))
		for i := 0; ; i++ {
			if i == 100 {
				t.Fatal("no frame for another host")
			}
			if bytes.Contains(readFrames(t, c, 1)[0].Data, []byte("for another")) {
				break
			}
		}
		c.Close()
		if flags() != 0 {
			t.Error("the link is promiscuous after the end")
		}
	})
}

func TestCaptureCountsWhatItDrops(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t), BufferSize: 1})
		const sent = 2000 // 2.9 MB, the smallest ring holds 0.5 MB
		f := testFrame("", nil, strings.Repeat("x", 1480))
		var s lan.CaptureStats
		for n := 500; n <= sent; n += 500 { // a kernel that is late keeps a thousand
			p.a.SendFrames(t, findLink(t, p.a, "eth0"), slices.Repeat([][]byte{f}, 500)...)
			waitFor(t, "the count of all frames", func() bool {
				var err error
				if s, err = c.Stats(); err != nil {
					t.Fatal(err)
				}
				return s.Received+s.Dropped >= uint64(n)
			})
		}
		if s.Received+s.Dropped != sent || s.Dropped < 1000 {
			t.Fatalf("%+v", s)
		}
		readFrames(t, c, int(s.Received))
		// And goes on afterwards.
		p.a.SendFrames(t, findLink(t, p.a, "eth0"), testFrame("", nil, "after"))
		if got := readFrames(t, c, 1)[0]; !bytes.Contains(got.Data, []byte("after")) {
			t.Errorf("got %x", got.Data)
		}
	})
}

func TestCaptureManyBlocks(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		a := findLink(t, p.a, "eth0")
		const frames = 5000 // 7 MB, more than the ring
		read := make(chan int, frames)
		go sendPaced(t, p.a, a, frames, read)
		for i := range frames {
			f := readFrames(t, c, 1)[0]
			if want := fmt.Sprintf("frame %5d ", i); string(f.Data[14:][:len(want)]) != want {
				t.Fatalf("frame %d is %q", i, f.Data[14:][:len(want)])
			}
			read <- 1
		}
	})
}

// sendPaced sends numbered frames of 1.4 kB, at most a thousand of which whoever reads them has
// still to read: read tells how many more were.
func sendPaced(t testing.TB, h *nstest.Host, link packet.Link, frames int, read <-chan int) {
	unread := 0
	for from := 0; from < frames; from += 500 {
		for unread > 500 {
			unread -= <-read
		}
		var fs [][]byte
		for i := range min(500, frames-from) {
			fs = append(fs, testFrame("", nil, fmt.Sprintf("frame %5d %s", from+i, strings.Repeat("x", 1400))))
		}
		h.SendFrames(t, link, fs...)
		unread += len(fs)
	}
}

func TestCloseEndsACapture(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.a, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		ended := make(chan error)
		go func() {
			_, err := c.Read()
			ended <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{<-ended, second(c.Read()), second(c.Stats()), c.Close()} {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		}
	})
}

func second[A any](_ A, err error) error { return err }

func TestCaptureOfALinkThatGoesAway(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.a, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		a := findLink(t, p.a, "eth0")
		for range 3 { // down and up is not the end
			p.a.SetDown(t, "eth0")
			p.a.SetUp(t, "eth0")
		}
		p.a.WaitUp(t, "eth0")
		p.b.WaitUp(t, "eth0")
		p.b.SendFrames(t, findLink(t, p.b, "eth0"), testFrame("", nil, "still there"))
		readFrames(t, c, 1)
		removed := make(chan bool)
		defer func() { <-removed }()
		go func() {
			defer close(removed)
			// Of a link that is down already the kernel doesn't tell that it goes.
			p.a.SetDown(t, "eth0")
			time.Sleep(50 * time.Millisecond)
			p.b.Remove(t, "eth0")
		}()
		stop := time.AfterFunc(patience, func() { c.Close() })
		defer stop.Stop()
		if _, err := c.Read(); !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("read: %v", err)
		}
		if _, err := lan.OpenCapture(a, lan.CaptureOptions{}); !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("open: %v", err)
		}
	})
}

func TestCaptureRefusesAnImpossibleFilter(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		lo := findLink(t, nstest.Here(t), "lo")
		_, err := lan.OpenCapture(lo, lan.CaptureOptions{Filter: make([]bpf.RawInstruction, 5000)})
		if want := "lan: capture on lo: the filter has 5000 instructions, the kernel takes 4096"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		_, err = lan.OpenCapture(lo, lan.CaptureOptions{Filter: []bpf.RawInstruction{{Op: 0xffff}}})
		if want := "lan: capture on lo: attach the filter: invalid argument"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestOrdinaryUserIsToldHowToCapture(t *testing.T) {
	nstest.RunAsUser(t, func(*testing.T) {}, func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		advice := fmt.Sprintf(`it needs the capability CAP_NET_RAW: run as root, or allow it with "sudo setcap cap_net_raw+ep %s": operation not permitted`, self)
		_, openErr := lan.OpenCapture(findLink(t, nstest.Here(t), "lo"), lan.CaptureOptions{})
		for _, c := range []struct {
			err  error
			want string
		}{{lan.CanCapture(), "lan: capture: " + advice}, {openErr, "lan: capture on lo: " + advice}} {
			if c.err == nil || c.err.Error() != c.want || !errors.Is(c.err, os.ErrPermission) {
				t.Errorf("got %v\nwant %s", c.err, c.want)
			}
		}
	})
	if os.Getuid() == 0 {
		if err := lan.CanCapture(); err != nil {
			t.Errorf("as root: %v", err)
		}
	}
}
