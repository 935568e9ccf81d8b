package lan_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

func TestReadBlockGivesWhatIsThere(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		const frames = 5000 // 7 MB: many blocks
		read := make(chan int, frames)
		go sendPaced(t, p.a, findLink(t, p.a, "eth0"), frames, read)
		n, blocks := 0, 0
		start := time.Now()
		end := start.Add(patience)
		for n < frames {
			before := n
			err := c.ReadBlock(end, func(f packet.Frame) {
				if want := fmt.Sprintf("frame %5d ", n); string(f.Data[14:][:len(want)]) != want {
					t.Fatalf("frame %d is %q", n, f.Data[14:][:len(want)])
				}
				if f.Interface != "eth0" || f.LinkType != packet.LinkEthernet || f.Length != len(f.Data) {
					t.Fatalf("%+v", f)
				}
				n++
			})
			if err != nil || n == before {
				t.Fatalf("after %d frames: %v", n, err)
			}
			blocks++
			read <- n - before
		}
		// A block is full, or 40 ms old.
		if took := time.Since(start); blocks > frames/20+int(took/(20*time.Millisecond)) {
			t.Errorf("%d blocks for %d frames in %v", blocks, n, took)
		}
	})
}

func TestReadBlockReturnsAtItsDeadline(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.a, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		none := func(f packet.Frame) { t.Errorf("frame %x", f.Data) }
		wait := func(d time.Duration) {
			t.Helper()
			start := time.Now()
			if err := c.ReadBlock(start.Add(d), none); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < d || took > d+patience {
				t.Errorf("after %v, want %v", took, d)
			}
		}
		wait(0)
		wait(50 * time.Millisecond)
		// A link that is down is looked at now and then, which is no news.
		p.a.SetDown(t, "eth0")
		wait(50 * time.Millisecond)
		wait(700 * time.Millisecond)
		p.a.SetUp(t, "eth0")
		p.a.WaitUp(t, "eth0")
		p.b.SendFrames(t, findLink(t, p.b, "eth0"), testFrame("", nil, "back"))
		n := 0
		for end := time.Now().Add(patience); n == 0 && time.Now().Before(end); {
			if err := c.ReadBlock(end, func(packet.Frame) { n++ }); err != nil {
				t.Fatal(err)
			}
		}
		if n != 1 {
			t.Errorf("%d frames, want 1", n)
		}
		p.a.SetDown(t, "eth0")
		gone := time.AfterFunc(20*time.Millisecond, func() { p.b.Remove(t, "eth0") })
		defer gone.Stop()
		if err := c.ReadBlock(time.Now().Add(patience), none); !errors.Is(err, lan.ErrLinkGone) {
			t.Errorf("of a link that was removed: %v", err)
		}
	})
}

func TestCloseEndsReadBlock(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		c := openCapture(t, p.b, "eth0", lan.CaptureOptions{Filter: filterOwn(t)})
		p.a.SendFrames(t, findLink(t, p.a, "eth0"), slices.Repeat([][]byte{testFrame("", nil, "x")}, 50)...)
		waitFor(t, "the frames", func() bool { s, err := c.Stats(); return err != nil || s.Received == 50 })
		closed := make(chan error)
		n := 0
		err := c.ReadBlock(time.Time{}, func(f packet.Frame) {
			if n++; n == 1 { // Close waits until this has returned: the memory stays
				go func() { closed <- c.Close() }()
				waitFor(t, "Close to begin", func() bool { _, err := c.Stats(); return err != nil })
				time.Sleep(20 * time.Millisecond)
			}
			if string(f.Data[14:15]) != "x" {
				t.Errorf("%x", f.Data)
			}
		})
		if err != nil || n != 1 {
			t.Errorf("%d frames after Close, %v", n, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := c.ReadBlock(time.Time{}, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if s, _ := c.Stats(); s != (lan.CaptureStats{Received: 50}) {
			t.Errorf("the last counts: %+v", s)
		}
	})
}
