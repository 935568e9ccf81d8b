package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

// writeWait is how long a write waits for room in the socket. It is short,
// because who writes is usually the one goroutine that owns a protocol's state.
const writeWait = 50 * time.Millisecond

// writer holds what sendmmsg needs, made once.
type writer struct {
	mu    sync.Mutex
	hdrs  [maxBatch]mmsghdr
	iovs  [maxBatch]unix.Iovec
	names [maxBatch]unix.RawSockaddrInet6
	ctls  [maxBatch][6]uint64 // a header and struct in6_pktinfo, aligned
	one   [1]packet.Datagram

	call    func(fd uintptr) bool
	patient bool // waits for room
	wait    bool
	want    int
	sent    int
	errno   unix.Errno
}

func (w *writer) init(*Conn) {
	for i := range w.hdrs {
		h := &w.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		h.Iov = &w.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&w.ctls[i]))
	}
	w.call = func(fd uintptr) bool {
		for {
			w.sent, w.errno = sendmmsg(fd, w.hdrs[:w.want])
			switch w.errno {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return !w.wait
			}
			return true
		}
	}
}

// WriteBatch sends datagrams in order. A zero Dst is the group or the broadcast address
// that the Conn was opened for; a valid address in Src is the address of the
// link that the packet leaves from.
//
// It returns how many were sent and, if that is fewer than len(d), why d[n]
// was not. No such error ends the Conn: a caller may go on with d[n+1:], now or
// later. errors.Is tells them apart:
//
//	net.ErrClosed              the Conn was closed
//	ErrLinkGone                the link doesn't exist any more
//	unix.ENETDOWN, ENETUNREACH the link is down or has no fitting address
//	unix.EADDRNOTAVAIL, EINVAL Src isn't an address of the link (any more)
//	unix.EPERM                 a firewall forbids it
//	unix.EAGAIN, ENOBUFS       no room: the link is slower than we are. A write
//	                           waits 50 ms for room at most
//	unix.EMSGSIZE              longer than UDP can carry
func (c *Conn) WriteBatch(d []packet.Datagram) (int, error) {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patient = true
	return c.writeBatch(d)
}

// TryWriteBatch is WriteBatch but for one thing: it doesn't wait for room.
func (c *Conn) TryWriteBatch(d []packet.Datagram) (int, error) {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patient = false
	return c.writeBatch(d)
}

// WriteTo sends one datagram; its errors are those of WriteBatch.
func (c *Conn) WriteTo(b []byte, dst netip.AddrPort) error {
	w := &c.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.one[0] = packet.Datagram{Data: b, Dst: dst}
	w.patient = true
	_, err := c.writeBatch(w.one[:])
	w.one[0] = packet.Datagram{}
	return err
}

func (c *Conn) writeBatch(d []packet.Datagram) (int, error) {
	w := &c.write
	sent := 0
	for sent < len(d) {
		part := d[sent:min(len(d), sent+maxBatch)]
		usable := len(part)
		for i := range part {
			if err := c.fill(i, &part[i]); err != nil {
				if i == 0 {
					return sent, fmt.Errorf("lan: write on %s: %w", c.link.Name, err)
				}
				usable = i // send those before it; the error comes in the next round
				break
			}
		}
		w.want = usable
		err := c.send()
		for i := range w.iovs[:usable] {
			w.iovs[i].Base = nil // keep no caller's memory
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return sent, net.ErrClosed
			}
			return sent, fmt.Errorf("lan: write on %s: %w", c.link.Name, err)
		}
		sent += w.sent
	}
	return sent, nil
}

// send sends w.hdrs[:w.want], waiting for room if there is none.
func (c *Conn) send() error {
	w := &c.write
	w.wait = false
	err := c.raw.Write(w.call)
	if err == nil && w.errno == unix.EAGAIN && w.patient {
		w.wait = true
		if err = c.sock.SetWriteDeadline(time.Now().Add(writeWait)); err == nil {
			err = c.raw.Write(w.call)
			// Fails only on a closed socket, which the next call will notice.
			_ = c.sock.SetWriteDeadline(time.Time{})
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return os.NewSyscallError("sendmmsg", unix.EAGAIN)
		}
	}
	if err != nil {
		return err
	}
	if w.errno == 0 {
		return nil
	}
	if c.linkGone(w.errno) {
		return ErrLinkGone
	}
	return os.NewSyscallError("sendmmsg", w.errno)
}

// linkGone asks the kernel whether our link still exists, after an error that could
// mean that it doesn't: the same numbers also say that it is only down.
func (c *Conn) linkGone(errno unix.Errno) bool {
	switch errno {
	case unix.ENODEV, unix.ENXIO, unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EINVAL, unix.EHOSTUNREACH, unix.ENETDOWN:
	default:
		return false
	}
	gone := false
	err := c.raw.Control(func(fd uintptr) {
		_, err := linkName(int(fd), c.link.Index)
		gone = errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
	})
	return err == nil && gone
}

// fill makes slot i send d.
func (c *Conn) fill(i int, d *packet.Datagram) error {
	w := &c.write
	dst := d.Dst
	if !dst.IsValid() {
		dst = c.dst
	}
	addr := dst.Addr().Unmap()
	if !addr.IsValid() || dst.Port() == 0 || addr.Is6() != c.v6 {
		return fmt.Errorf("%v is no destination for this socket", dst)
	}
	src := d.Src.Addr().Unmap()
	if src.IsValid() && src.Is6() != c.v6 {
		return fmt.Errorf("%v is no source for %v", src, dst)
	}
	h := &w.hdrs[i].hdr
	if c.v6 {
		sa := &w.names[i]
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(dst.Port()), Addr: addr.As16()}
		// Only these need one, and the kernel refuses a loopback address with one.
		if addr.IsLinkLocalUnicast() || addr.IsMulticast() {
			sa.Scope_id = uint32(c.link.Index)
		}
		h.Namelen = unix.SizeofSockaddrInet6
	} else {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.names[i]))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(dst.Port()), Addr: addr.As4()}
		h.Namelen = unix.SizeofSockaddrInet4
	}
	ctl := unsafe.Slice((*byte)(unsafe.Pointer(&w.ctls[i])), int(unsafe.Sizeof(w.ctls[i])))
	h.SetControllen(len(appendPktinfo(ctl[:0], c.v6, c.link.Index, src)))
	w.iovs[i].Base = unsafe.SliceData(d.Data)
	w.iovs[i].SetLen(len(d.Data))
	return nil
}

// sendmmsg doesn't wait, so that the scheduler need not know of it.
func sendmmsg(fd uintptr, h []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&h[0])), uintptr(len(h)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
