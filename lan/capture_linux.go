package lan

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

const (
	// captureDelay is how long a frame may wait for others before Read returns it.
	captureDelay = 40 * time.Millisecond
	// goneCheck is how often a capture looks whether a link that went down still exists.
	goneCheck = 500 * time.Millisecond
)

// CaptureOptions are the choices for a capture. The zero value is fit for use.
type CaptureOptions struct {
	// Promiscuous also takes frames that are meant for other hosts, where the
	// link brings them.
	Promiscuous bool
	// Filter is a BPF program for the link type that CaptureType says. Frames
	// for which it returns 0 stay in the kernel. Empty takes all.
	Filter []bpf.RawInstruction
	// BufferSize is the size in bytes of the memory shared with the kernel,
	// rounded up to blocks of 256 KiB; 0 means as fits the machine's memory,
	// 1 MiB to 16 MiB. Where the kernel has no room for it, it is less.
	BufferSize int
}

// CaptureStats counts frames that passed the filter.
type CaptureStats struct {
	Received uint64 // they were or will be read
	Dropped  uint64 // the buffer was full
}

// Capture hears the frames that pass a link, in both directions. (On the loopback, where
// each frame passes twice, it hears one.)
type Capture struct {
	link     packet.Link
	linkType packet.LinkType
	size     int // of the ring, in bytes
	file     *os.File
	raw      syscall.RawConn
	closed   atomic.Bool

	mu       sync.Mutex // held by Read and ReadBlock; guards the ring
	ring     *ring      // nil after Close
	frame    []byte
	ready    func(fd uintptr) bool
	sockErr  syscall.Errno
	deadline time.Time // the file's
	down     bool      // the link was down when it was last looked at

	statsMu sync.Mutex
	stats   CaptureStats
}

// captureClosed is net.ErrClosed and os.ErrClosed at once: a capture is as much a
// connection as a file.
type captureClosed struct{}

func (captureClosed) Error() string        { return "lan: the capture is closed" }
func (captureClosed) Is(target error) bool { return target == net.ErrClosed || target == os.ErrClosed }

// CanCapture says whether this process may capture. If not, the error says
// what is missing and what to do about it; errors.Is(err, os.ErrPermission) if it is a
// matter of rights.
func CanCapture() error {
	fd, err := captureSocket(unix.SOCK_RAW)
	if err != nil {
		return fmt.Errorf("lan: capture: %w", err)
	}
	unix.Close(fd)
	return nil
}

// captureSocket opens a socket that hears nothing yet.
func captureSocket(kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		program := "the lanfolk program"
		if path, err := os.Executable(); err == nil {
			program = path
		}
		return 0, fmt.Errorf("it needs the capability CAP_NET_RAW: run as root, or allow it with \"sudo setcap cap_net_raw+ep %s\": %w", program, err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return 0, fmt.Errorf("this kernel has no packet sockets: %w", err)
	case err != nil:
		return 0, os.NewSyscallError("socket", err)
	}
	return fd, nil
}

// CaptureType says what the frames of a link begin with, which is what a filter
// for it must be made for: LinkEthernet for Ethernet, Wi-Fi and the loopback,
// LinkRaw for tunnels. It needs the right to capture.
func CaptureType(link packet.Link) (packet.LinkType, error) {
	fd, err := captureSocket(unix.SOCK_RAW)
	if err != nil {
		return 0, fmt.Errorf("lan: capture on %s: %w", link.Name, err)
	}
	defer unix.Close(fd)
	t, err := captureType(fd, link)
	if err != nil {
		return 0, fmt.Errorf("lan: capture on %s: %w", link.Name, err)
	}
	return t, nil
}

func captureType(fd int, link packet.Link) (packet.LinkType, error) {
	if name, err := linkName(fd, link.Index); err != nil || name != link.Name {
		return 0, ErrLinkGone
	}
	ifr, err := unix.NewIfreq(link.Name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, linkError(link, os.NewSyscallError("hardware type", err))
	}
	switch hatype := ifr.Uint16(); hatype {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return packet.LinkEthernet, nil
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6,
		unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE:
		return packet.LinkRaw, nil
	default:
		return 0, fmt.Errorf("hardware type %d is not supported", hatype)
	}
}

// OpenCapture begins to capture on a link, which may be down. What CanCapture says applies.
func OpenCapture(link packet.Link, o CaptureOptions) (*Capture, error) {
	c, err := openCapture(link, o)
	if err != nil {
		return nil, fmt.Errorf("lan: capture on %s: %w", link.Name, err)
	}
	return c, nil
}

func openCapture(link packet.Link, o CaptureOptions) (_ *Capture, err error) {
	fd, err := captureSocket(unix.SOCK_RAW)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && fd >= 0 {
			unix.Close(fd)
		}
	}()
	c := &Capture{link: link}
	if c.linkType, err = captureType(fd, link); err != nil {
		return nil, err
	}
	if c.linkType == packet.LinkRaw {
		// Their link headers are of many kinds: let the kernel take them off.
		unix.Close(fd)
		if fd, err = captureSocket(unix.SOCK_DGRAM); err != nil {
			return nil, err
		}
	}
	if link.Flags&net.FlagLoopback != 0 {
		opt := options{fd: fd}
		opt.set(unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		if opt.err != nil {
			return nil, opt.err
		}
	}
	// The filter comes before the bind, so that nothing slips past it.
	if len(o.Filter) > 0 {
		if err = attachFilter(fd, o.Filter); err != nil {
			return nil, err
		}
	}
	if c.ring, err = newRing(fd, o.BufferSize, captureDelay); err != nil {
		return nil, err
	}
	c.size = len(c.ring.mem)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.ring.unmap())
		}
	}()
	if o.Promiscuous {
		mreq := &unix.PacketMreq{Ifindex: int32(link.Index), Type: unix.PACKET_MR_PROMISC}
		if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
			return nil, linkError(link, os.NewSyscallError("promiscuous mode", err))
		}
	}
	bind := &unix.SockaddrLinklayer{Protocol: ntohs(unix.ETH_P_ALL), Ifindex: link.Index}
	if err = unix.Bind(fd, bind); err != nil {
		return nil, linkError(link, os.NewSyscallError("bind", err))
	}
	c.file = os.NewFile(uintptr(fd), "capture on "+link.Name)
	fd = -1 // c.file's from here on
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, err
	}
	c.ready = func(fd uintptr) bool {
		if c.ring.ready() {
			return true
		}
		// The socket's error, which reading it clears.
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		c.sockErr = syscall.Errno(n)
		return err != nil || n != 0
	}
	return c, nil
}

func attachFilter(fd int, filter []bpf.RawInstruction) error {
	if len(filter) == 0 || len(filter) > unix.BPF_MAXINSNS {
		return fmt.Errorf("the filter has %d instructions, the kernel takes %d", len(filter), unix.BPF_MAXINSNS)
	}
	prog := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	return os.NewSyscallError("attach the filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog))
}

// SetFilter puts another filter in the place of the one that there is, without a
// gap between them.
func (c *Capture) SetFilter(filter []bpf.RawInstruction) error {
	var err error
	if c.raw.Control(func(fd uintptr) { err = attachFilter(int(fd), filter) }) != nil {
		return captureClosed{}
	}
	if err != nil {
		return fmt.Errorf("lan: capture on %s: %w", c.link.Name, err)
	}
	return nil
}

// Link returns the link as it was when the capture was opened.
func (c *Capture) Link() packet.Link { return c.link }

// LinkType says what the frames begin with.
func (c *Capture) LinkType() packet.LinkType { return c.linkType }

// BufferSize is how much memory is shared with the kernel, in bytes.
func (c *Capture) BufferSize() int { return c.size }

// Read waits for the next frame. Its Data is valid until the next Read. A
// frame comes up to some 50 ms after it passed; its Time is right.
//
// A link that goes down is silence; one that vanishes is ErrLinkGone. After
// Close it returns an error that is net.ErrClosed.
func (c *Capture) Read() (packet.Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.ring == nil {
			return packet.Frame{}, captureClosed{}
		}
		if f, ok := c.ring.next(); ok {
			if c.foreign(&f) {
				continue
			}
			c.frame = append(c.frame[:0], f.data...) // Close may unmap the ring at any time
			f.data = c.frame
			return c.framed(&f), nil
		}
		if _, err := c.wait(time.Time{}); err != nil {
			return packet.Frame{}, err
		}
	}
}

// ReadBlock waits for frames and calls emit for each of those that the kernel
// hands over at once: for many frames it is much cheaper than Read. It returns
// after them, or with none at the deadline, of which the zero time means never.
//
// A frame's Data is the memory shared with the kernel: it must not be changed,
// and is valid until emit returns. While emit runs Close waits, so emit
// must not call it or wait for one that does. For the rest see Read.
func (c *Capture) ReadBlock(deadline time.Time, emit func(packet.Frame)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.ring == nil {
			return captureClosed{}
		}
		if c.ring.ready() {
			break
		}
		late, err := c.wait(deadline)
		if err != nil || late {
			return err
		}
	}
	for more := true; more && !c.closed.Load(); {
		var f frame
		if f, more = c.ring.nextInBlock(); more && !c.foreign(&f) {
			emit(c.framed(&f))
		}
	}
	return nil
}

// framed is what the kernel said about a frame, and what holds for all.
func (c *Capture) framed(f *frame) packet.Frame {
	return packet.Frame{
		Data: f.data, Length: f.length, LinkType: c.linkType, Interface: c.link.Name,
		VLAN: f.vlan, Time: f.time,
	}
}

// foreign says that nobody can tell what kind of packet it is.
func (c *Capture) foreign(f *frame) bool { return c.linkType == packet.LinkRaw && !isIP(f.data) }

// isIP says whether a packet without link header is IPv4 or IPv6: a tunnel may carry others,
// whose kind could not be told.
func isIP(b []byte) bool {
	return len(b) > 0 && (b[0]>>4 == 4 || b[0]>>4 == 6)
}

// wait waits until the ring has a block for us, and says whether it was the
// deadline that came first, the zero time for none.
func (c *Capture) wait(deadline time.Time) (late bool, err error) {
	// A link that is down may be removed, of which the kernel says nothing:
	// look again now and then.
	until := deadline
	if c.down {
		if again := time.Now().Add(goneCheck); until.IsZero() || again.Before(until) {
			until = again
		}
	}
	if !until.Equal(c.deadline) {
		if err := c.file.SetReadDeadline(until); err != nil {
			return false, captureClosed{}
		}
		c.deadline = until
	}
	c.sockErr = 0
	err = c.raw.Read(c.ready)
	switch {
	case c.closed.Load():
		return false, captureClosed{}
	case errors.Is(err, os.ErrDeadlineExceeded):
		late = until.Equal(deadline)
		if !c.down {
			return late, nil
		}
	case err != nil:
		return false, fmt.Errorf("lan: capture on %s: %w", c.link.Name, err)
	case c.sockErr == 0:
		return false, nil
	case c.sockErr != unix.ENETDOWN:
		return false, fmt.Errorf("lan: capture on %s: %w", c.link.Name, c.sockErr)
	}
	// The link went down. The kernel says so once, before it takes away a link
	// that is being removed.
	var gone, up bool
	if err := c.raw.Control(func(fd uintptr) { gone, up = c.lookAtLink(int(fd)) }); err != nil {
		return false, captureClosed{}
	}
	if gone {
		return false, fmt.Errorf("lan: capture: %s: %w", c.link.Name, ErrLinkGone)
	}
	c.down = !up
	return late, nil
}

func (c *Capture) lookAtLink(fd int) (gone, up bool) {
	name, err := linkName(fd, c.link.Index)
	if err != nil {
		return true, false
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return false, false
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr)
	return false, err == nil && ifr.Uint16()&unix.IFF_UP != 0
}

// Stats returns the counts since the capture was opened; after Close, until then.
func (c *Capture) Stats() (CaptureStats, error) {
	c.statsMu.Lock()
	defer c.statsMu.Unlock()
	var s *unix.TpacketStatsV3
	var err error
	cerr := c.raw.Control(func(fd uintptr) {
		// Reading them resets them.
		s, err = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if cerr != nil {
		return c.stats, captureClosed{}
	}
	if err != nil {
		return c.stats, fmt.Errorf("lan: capture on %s: %w", c.link.Name, os.NewSyscallError("statistics", err))
	}
	c.stats.Received += uint64(s.Packets - s.Drops) // the kernel's count of packets includes the dropped ones
	c.stats.Dropped += uint64(s.Drops)
	return c.stats, nil
}

// Close ends the capture and a Read that waits.
func (c *Capture) Close() error {
	if c.closed.Swap(true) {
		return captureClosed{}
	}
	_, _ = c.Stats()      // the last of them
	err := c.file.Close() // wakes Read, which holds the mutex
	c.mu.Lock()
	defer c.mu.Unlock()
	err = errors.Join(err, c.ring.unmap())
	c.ring = nil
	if err != nil {
		return fmt.Errorf("lan: close the capture: %w", err)
	}
	return nil
}
