package lan_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

// openTunnel makes a tun device and returns the end at which packets without a link
// header go in and out.
func openTunnel(t *testing.T, h *nstest.Host, name string) *os.File {
	t.Helper()
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
	var err error
	h.Do(t, func() { err = netlink.LinkAdd(tun) })
	if err != nil {
		nstest.Missing(t, fmt.Sprintf("a tun device: %v", err))
	}
	f := tun.Fds[0]
	t.Cleanup(func() { f.Close() })
	h.SetUp(t, name, "10.8.0.1/24")
	h.WaitUp(t, name)
	return f
}

// TestCaptureOnATunnel: packets have no link header, and what is neither IPv4 nor IPv6
// is left out.
func TestCaptureOnATunnel(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		here := nstest.Here(t)
		tun := openTunnel(t, here, "tun0")
		c := openCapture(t, here, "tun0", lan.CaptureOptions{})
		if c.LinkType() != packet.LinkRaw {
			t.Errorf("link type %d", c.LinkType())
		}
		ip := make([]byte, 28)
		copy(ip, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1})
		if _, err := tun.Write(ip); err != nil {
			t.Fatal(err)
		}
		got := readFrames(t, c, 1)[0]
		for got.Data[0]>>4 == 6 { // the host's own
			got = readFrames(t, c, 1)[0]
		}
		if !bytes.Equal(got.Data, ip) || got.LinkType != packet.LinkRaw || got.Interface != "tun0" {
			t.Errorf("%+v", got)
		}
	})
}

// TestTwoCapturesOfOneLink hear the same, each for itself.
func TestTwoCapturesOfOneLink(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		a := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t), Promiscuous: true})
		b := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		send := func() { p.a.SendFrames(t, findLink(t, p.a, "eth0"), testFrame("", nil, "for both")) }
		send()
		for _, c := range []*lan.Capture{a, b} {
			if f := readFrames(t, c, 1)[0]; !bytes.Contains(f.Data, []byte("for both")) {
				t.Errorf("%x", f.Data)
			}
		}
		a.Close()
		send()
		readFrames(t, b, 1)
	})
}

// TestSetFilter: another filter holds from then on, and one that is refused
// leaves the other in its place.
func TestSetFilter(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		other := filterOwn(t)
		other[1].K++ // the EtherType
		if err := c.SetFilter(other); err != nil {
			t.Fatal(err)
		}
		if err := c.SetFilter(nil); err == nil {
			t.Error("took an empty filter")
		}
		f := testFrame("", nil, "other")
		f[13]++
		p.a.SendFrames(t, findLink(t, p.a, "eth0"), testFrame("", nil, "before"), f)
		end := time.Now().Add(patience)
		n := 0
		for n == 0 && time.Now().Before(end) {
			if err := c.ReadBlock(end, func(f packet.Frame) {
				n++
				if !bytes.Contains(f.Data, []byte("other")) {
					t.Errorf("%x", f.Data)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if n != 1 {
			t.Errorf("%d frames", n)
		}
		c.Close()
		if err := c.SetFilter(other); err == nil {
			t.Error("took a filter after the end")
		}
	})
}
