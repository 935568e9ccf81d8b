package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
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

func (w *writer) init() {
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
// that a Conn was opened for; a valid address in Src is the address of the
// link, or in a UDPConn of the machine, that the packet leaves from. Link counts in a
// UDPConn alone: where Dst or Src is a link-local address, a group or the limited broadcast, and
// Dst names no zone.
//
// It returns how many were sent and, if that is fewer than len(d), why d[n]
// was not. No such error ends the socket: a caller may go on with d[n+1:], now or
// later. errors.Is tells them apart:
//
//	net.ErrClosed              the socket was closed
//	ErrLinkGone                the link doesn't exist any more
//	unix.ENETDOWN, ENETUNREACH the link is down or has no fitting address
//	unix.EADDRNOTAVAIL, EINVAL Src isn't an address of the link (any more)
//	unix.EPERM                 a firewall forbids it
//	unix.EAGAIN, ENOBUFS       no room: the link is slower than we are. A write
//	                           waits 50 ms for room at most
//	unix.EMSGSIZE              longer than UDP can carry
func (s *socket) WriteBatch(d []packet.Datagram) (int, error) {
	w := &s.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patient = true
	return s.writeBatch(d)
}

// TryWriteBatch is WriteBatch but for one thing: it doesn't wait for room.
func (s *socket) TryWriteBatch(d []packet.Datagram) (int, error) {
	w := &s.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.patient = false
	return s.writeBatch(d)
}

// WriteTo sends one datagram; its errors are those of WriteBatch.
func (s *socket) WriteTo(b []byte, dst netip.AddrPort) error {
	w := &s.write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.one[0] = packet.Datagram{Data: b, Dst: dst}
	w.patient = true
	_, err := s.writeBatch(w.one[:])
	w.one[0] = packet.Datagram{}
	return err
}

func (s *socket) writeBatch(d []packet.Datagram) (int, error) {
	w := &s.write
	sent := 0
	for sent < len(d) {
		part := d[sent:min(len(d), sent+maxBatch)]
		usable := len(part)
		for i := range part {
			if err := s.fill(i, &part[i]); err != nil {
				if i == 0 {
					return sent, fmt.Errorf("lan: write on %s: %w", s.name, err)
				}
				usable = i // send those before it; the error comes in the next round
				break
			}
		}
		w.want = usable
		err := s.send()
		for i := range w.iovs[:usable] {
			w.iovs[i].Base = nil // keep no caller's memory
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return sent, net.ErrClosed
			}
			return sent, fmt.Errorf("lan: write on %s: %w", s.name, err)
		}
		sent += w.sent
	}
	return sent, nil
}

// send sends w.hdrs[:w.want], waiting for room if there is none.
func (s *socket) send() error {
	w := &s.write
	w.wait = false
	err := s.raw.Write(w.call)
	if err == nil && w.errno == unix.EAGAIN && w.patient {
		w.wait = true
		if err = s.sock.SetWriteDeadline(time.Now().Add(writeWait)); err == nil {
			err = s.raw.Write(w.call)
			// Fails only on a closed socket, which the next call will notice.
			_ = s.sock.SetWriteDeadline(time.Time{})
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
	if s.linkGone(w.errno) {
		return ErrLinkGone
	}
	return os.NewSyscallError("sendmmsg", w.errno)
}

// linkGone asks the kernel whether our link still exists, after an error that could
// mean that it doesn't: the same numbers also say that it is only down.
func (s *socket) linkGone(errno unix.Errno) bool {
	switch errno {
	case unix.ENODEV, unix.ENXIO, unix.ENETUNREACH, unix.EADDRNOTAVAIL, unix.EINVAL, unix.EHOSTUNREACH, unix.ENETDOWN:
	default:
		return false
	}
	if s.link == 0 {
		return false
	}
	gone := false
	err := s.raw.Control(func(fd uintptr) {
		_, err := linkName(int(fd), s.link)
		gone = errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
	})
	return err == nil && gone
}

// fill makes slot i send d.
func (s *socket) fill(i int, d *packet.Datagram) error {
	w := &s.write
	dst := d.Dst
	if !dst.IsValid() {
		dst = s.dst
	}
	addr := dst.Addr().Unmap()
	if !addr.IsValid() || dst.Port() == 0 || addr.Is6() != s.v6 {
		return fmt.Errorf("%v is no destination for this socket", dst)
	}
	src := d.Src.Addr().Unmap()
	if src.IsValid() && src.Is6() != s.v6 {
		return fmt.Errorf("%v is no source for %v", src, dst)
	}
	link, err := s.way(d.Link, src, addr)
	if err != nil {
		return err
	}
	h := &w.hdrs[i].hdr
	if s.v6 {
		sa := &w.names[i]
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(dst.Port()), Addr: addr.As16()}
		// Only these need one, and the kernel refuses a loopback address with one.
		if addr.IsLinkLocalUnicast() || addr.IsMulticast() {
			sa.Scope_id = uint32(link)
		}
		h.Namelen = unix.SizeofSockaddrInet6
	} else {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.names[i]))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(dst.Port()), Addr: addr.As4()}
		h.Namelen = unix.SizeofSockaddrInet4
	}
	h.SetControllen(0)
	if link != 0 || src.IsValid() {
		ctl := unsafe.Slice((*byte)(unsafe.Pointer(&w.ctls[i])), int(unsafe.Sizeof(w.ctls[i])))
		h.SetControllen(len(appendPktinfo(ctl[:0], s.v6, link, src)))
	}
	w.iovs[i].Base = unsafe.SliceData(d.Data)
	w.iovs[i].SetLen(len(d.Data))
	return nil
}

// way returns the index of the link that a datagram must leave by, 0 if the routes say.
// A socket of any link needs to be told only where an address is good for one link alone.
func (s *socket) way(link int, src, dst netip.Addr) (int, error) {
	switch {
	case s.link != 0:
		return s.link, nil
	case dst.Zone() != "":
		return s.zone(dst.Zone())
	case dst.IsLinkLocalUnicast() || dst.IsMulticast() || dst == limitedBroadcast || src.IsLinkLocalUnicast():
		return link, nil
	}
	return 0, nil
}

// zone returns the index of a link that an address names: the number itself, or the name.
func (s *socket) zone(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	n, err := 0, error(nil)
	if cerr := s.raw.Control(func(fd uintptr) { n, err = linkIndex(int(fd), name) }); cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, ErrLinkGone)
	}
	return n, nil
}

// sendmmsg doesn't wait, so that the scheduler need not know of it.
func sendmmsg(fd uintptr, h []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&h[0])), uintptr(len(h)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
