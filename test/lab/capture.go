package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// Capture holds the frames that passed a link since it was made. It uses none
// of lanfolk's own code, so that it can bear witness for or against it.
type Capture struct {
	t       testing.TB
	file    *os.File
	conn    syscall.RawConn // of the file
	mu      sync.Mutex
	buf     []byte // for one frame
	control []byte // for what the kernel says of it
	frames  []Frame
	changed chan struct{}
	ended   chan struct{}
}

// Frame is one captured Ethernet frame, decoded. Sent says that the host
// itself sent it.
type Frame struct {
	gopacket.Packet
	Time time.Time
	Sent bool
}

// captureLimit is how many frames a Capture keeps at most.
const captureLimit = 200_000

// Capture starts to capture on the link.
func (k *Link) Capture() *Capture {
	k.host.lab.t.Helper()
	return k.host.lab.capture(k.host.ns, k.Name)
}

// Capture starts to capture everything that passes the subnet's bridge.
func (s *Subnet) Capture() *Capture {
	s.lab.t.Helper()
	return s.lab.capture(s.ns, "br0")
}

func (l *Lab) capture(n *namespace, device string) *Capture {
	l.t.Helper()
	c := &Capture{t: l.t, buf: make([]byte, 65536), control: make([]byte, 256), changed: make(chan struct{}), ended: make(chan struct{})}
	err := n.do(func() error {
		fd, err := packetSocket(device)
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), device)
		c.conn, err = c.file.SyscallConn()
		return err
	})
	if err != nil {
		l.t.Fatalf("lab: capture on %s: %v", device, err)
	}
	l.caps = append(l.caps, c)
	go c.read()
	return c
}

// packetSocket opens a non-blocking socket for the frames of a device.
func packetSocket(device string) (int, error) {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// A burst of 200 answers must fit.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	// The kernel says when a frame came: on a busy machine it is read later.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index})
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (c *Capture) read() {
	defer close(c.ended)
	for {
		var rerr error
		err := c.conn.Read(func(fd uintptr) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			_, rerr = c.receive(int(fd))
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil || rerr != nil {
			return // closed
		}
	}
}

// receive takes the next frame from the socket and returns its time. c.mu is held, so that
// nobody sees one that is neither in the socket nor among the frames.
func (c *Capture) receive(fd int) (time.Time, error) {
	n, nc, _, from, err := unix.Recvmsg(fd, c.buf, c.control, 0)
	for errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) { // a link that went down may come back
		n, nc, _, from, err = unix.Recvmsg(fd, c.buf, c.control, 0)
	}
	if err != nil {
		return time.Time{}, err
	}
	f := Frame{Time: stamp(c.control[:nc])}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Sent = ll.Pkttype == unix.PACKET_OUTGOING
	}
	f.Packet = gopacket.NewPacket(append([]byte(nil), c.buf[:n]...), layers.LayerTypeEthernet, gopacket.Default)
	if len(c.frames) < captureLimit {
		c.frames = append(c.frames, f)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return f.Time, nil
}

// stamp returns the time that the kernel gave a frame, or now if it gave none.
func stamp(control []byte) time.Time {
	all, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range all {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

// Frames returns what has passed so far, also what read had no time for yet.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	// A capture that is closed has what it has.
	_ = c.conn.Control(func(fd uintptr) {
		for {
			if at, err := c.receive(int(fd)); err != nil || at.After(now) {
				return
			}
		}
	})
	return c.frames[:len(c.frames):len(c.frames)]
}

// Wait returns the first frame, from the capture's beginning, of which ok is
// true. The test fails if there is none within d.
func (c *Capture) Wait(d time.Duration, what string, ok func(Frame) bool) Frame {
	c.t.Helper()
	limit, tick := newPatience(d), time.NewTicker(look)
	defer tick.Stop()
	for seen := 0; ; {
		c.mu.Lock()
		frames, changed := c.frames[seen:], c.changed
		c.mu.Unlock()
		for _, f := range frames {
			if ok(f) {
				return f
			}
		}
		seen += len(frames)
		select {
		case <-changed:
		case <-tick.C:
			if limit.ends() {
				c.t.Fatalf("lab: no %s among %d frames within %v", what, seen, d)
			}
		}
	}
}

// Count returns how many of the frames so far ok is true of.
func (c *Capture) Count(ok func(Frame) bool) int {
	n := 0
	for _, f := range c.Frames() {
		if ok(f) {
			n++
		}
	}
	return n
}

// Save writes the frames so far as a pcap file.
func (c *Capture) Save(path string) {
	c.t.Helper()
	if err := writePcap(path, c.Frames()); err != nil {
		c.t.Fatalf("lab: save capture: %v", err)
	}
}

func writePcap(path string, frames []Frame) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := pcapgo.NewWriter(f)
	err = w.WriteFileHeader(65536, layers.LinkTypeEthernet)
	for _, fr := range frames {
		if err != nil {
			break
		}
		data := fr.Data()
		err = w.WritePacket(gopacket.CaptureInfo{Timestamp: fr.Time, CaptureLength: len(data), Length: len(data)}, data)
	}
	return errors.Join(err, f.Close())
}

func (c *Capture) close() {
	c.file.Close()
	<-c.ended
}

// UDP returns the frame's UDP payload and ports; ok is false for any other
// frame.
func (f Frame) UDP() (payload []byte, src, dst uint16, ok bool) {
	u, ok := f.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok {
		return nil, 0, 0, false
	}
	return u.Payload, uint16(u.SrcPort), uint16(u.DstPort), true
}

// Send puts one frame, made of the layers, on the link: packets that no
// program of the host would send. Lengths and checksums are filled in.
func (k *Link) Send(frame ...gopacket.SerializableLayer) {
	t := k.host.lab.t
	t.Helper()
	for i, l := range frame {
		if u, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && i > 0 {
			if n, ok := frame[i-1].(gopacket.NetworkLayer); ok {
				if err := u.SetNetworkLayerForChecksum(n); err != nil {
					t.Fatalf("lab: send: %v", err)
				}
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, frame...)
	if err != nil {
		t.Fatalf("lab: send: %v", err)
	}
	k.SendRaw(buf.Bytes())
}

// SendRaw puts the bytes of one frame on the link as they are.
func (k *Link) SendRaw(frame []byte) {
	t := k.host.lab.t
	t.Helper()
	if k.raw == nil {
		err := k.host.ns.do(func() error {
			fd, err := packetSocket(k.Name)
			if err == nil {
				k.raw = os.NewFile(uintptr(fd), k.Name)
			}
			return err
		})
		if err != nil {
			t.Fatalf("lab: send on %s: %v", k, err)
		}
		t.Cleanup(func() { k.raw.Close() })
	}
	// A frame that Lose drops on its way out comes back as ENOBUFS.
	if _, err := k.raw.Write(frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("lab: send on %s: %v", k, err)
	}
}
