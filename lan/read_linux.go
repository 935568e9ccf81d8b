package lan

import (
	"encoding/binary"
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

const (
	// maxBatch is the most datagrams that one system call reads or writes.
	maxBatch = 32
	// maxAge is how long a datagram can have waited in the socket; a time stamp
	// that is older, or in the future, was made before the clock was set.
	maxAge = 10 * time.Second
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// reader holds what recvmmsg needs, made once, so that reading doesn't allocate.
type reader struct {
	mu    sync.Mutex
	hdrs  [maxBatch]mmsghdr
	iovs  [maxBatch]unix.Iovec
	names [maxBatch]unix.RawSockaddrInet6
	ctls  [maxBatch][alignedControl / 8]uint64 // aligned
	bufs  []byte

	// call is handed to RawConn.Read; what goes in and comes out of it lies here,
	// because a closure that is made for each call allocates.
	call  func(fd uintptr) bool
	want  int
	got   int
	errno unix.Errno
}

const alignedControl = (controlSize + 7) &^ 7

func (r *reader) init(c *Conn) {
	r.bufs = make([]byte, maxBatch*MaxDatagram)
	for i := range r.hdrs {
		r.iovs[i].Base = &r.bufs[i*MaxDatagram]
		r.iovs[i].SetLen(MaxDatagram)
		h := &r.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.ctls[i]))
	}
	r.call = func(fd uintptr) bool {
		for {
			r.got, r.errno = recvmmsg(fd, r.hdrs[:r.want])
			switch r.errno {
			case unix.EAGAIN:
				return false
			case unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN,
				unix.EHOSTDOWN, unix.EPROTO, unix.EMSGSIZE, unix.ENOBUFS:
				// What became of a datagram that we sent. Reading the error clears it.
				continue
			}
			return true
		}
	}
}

// ReadBatch waits until there is at least one datagram and reads as many as there
// are, at most len(d). It fills every field of d[:n]. Data stays valid until
// the next ReadBatch.
//
// After Close it returns net.ErrClosed. Other errors are not to be expected; a
// link that goes down, and even one that vanishes, is silence.
func (c *Conn) ReadBatch(d []packet.Datagram) (int, error) {
	if len(d) == 0 {
		return 0, errors.New("lan: read: no room for a datagram")
	}
	r := &c.read
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = min(len(d), maxBatch)
	for {
		for i := range r.hdrs[:r.want] {
			h := &r.hdrs[i].hdr
			h.Namelen = unix.SizeofSockaddrInet6
			h.SetControllen(alignedControl)
			h.Flags = 0
		}
		if err := c.raw.Read(r.call); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return 0, net.ErrClosed
			}
			return 0, fmt.Errorf("lan: read on %s: %w", c.link.Name, err)
		}
		if r.errno != 0 {
			return 0, fmt.Errorf("lan: read on %s: %w", c.link.Name, os.NewSyscallError("recvmmsg", r.errno))
		}
		if n := c.collect(d, r.got); n > 0 {
			return n, nil
		}
	}
}

// collect moves what recvmmsg read into d, without what is to be dropped.
func (c *Conn) collect(d []packet.Datagram, got int) int {
	now := time.Now()
	n := 0
	for i := range c.read.hdrs[:got] {
		m := &c.read.hdrs[i]
		ctl := parseControl(unsafe.Slice(m.hdr.Control, m.hdr.Controllen))
		if ctl.hasLost {
			c.stats.overflow.Store(ctl.overflow)
		}
		src, ok := sockaddr(&c.read.names[i], m.hdr.Namelen)
		switch {
		case !ok || ctl.link == 0:
			c.stats.malformed.Add(1)
		case ctl.link != c.link.Index:
			c.stats.otherLink.Add(1)
		case m.hdr.Flags&unix.MSG_TRUNC != 0:
			c.stats.truncated.Add(1)
		default:
			d[n] = packet.Datagram{
				Data: c.read.bufs[i*MaxDatagram:][:m.n:m.n],
				Src:  src,
				Dst:  netip.AddrPortFrom(ctl.dst, c.port),
				Link: ctl.link,
				TTL:  ctl.ttl,
				Time: arrival(now, ctl),
			}
			n++
		}
	}
	return n
}

// arrival returns the kernel's time stamp as a time that also has Go's
// monotonic reading, so that setting the clock moves no deadline.
func arrival(now time.Time, ctl control) time.Time {
	if ctl.sec == 0 {
		return now
	}
	age := now.Sub(time.Unix(ctl.sec, ctl.nsec))
	if age < 0 || age > maxAge {
		return now
	}
	return now.Add(-age)
}

// sockaddr reads a kernel's socket address, without its zone.
func sockaddr(sa *unix.RawSockaddrInet6, n uint32) (netip.AddrPort, bool) {
	switch {
	case sa.Family == unix.AF_INET && n >= unix.SizeofSockaddrInet4:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), ntohs(sa4.Port)), true
	case sa.Family == unix.AF_INET6 && n >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), ntohs(sa.Port)), true
	}
	return netip.AddrPort{}, false
}

// ntohs and its inverse: a port lies in memory in network order.
func ntohs(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}

func recvmmsg(fd uintptr, h []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&h[0])), uintptr(len(h)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
