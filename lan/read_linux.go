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
	// pollWait is how long PollBatch waits; the kernel's tick makes it up to
	// twice as long.
	pollWait = 4 * time.Millisecond
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
	poll  func(fd uintptr) bool
	once  func(fd uintptr)
	want  int
	got   int
	errno unix.Errno
}

const alignedControl = (controlSize + 7) &^ 7

func (r *reader) init() {
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
		r.receive(fd, unix.MSG_DONTWAIT)
		return r.errno != unix.EAGAIN
	}
	r.once = func(fd uintptr) { r.receive(fd, unix.MSG_DONTWAIT) }
	r.poll = func(fd uintptr) bool {
		r.receive(fd, unix.MSG_WAITFORONE)
		return true
	}
}

// reset prepares the headers for the next system call.
func (r *reader) reset() {
	for i := range r.hdrs[:r.want] {
		h := &r.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(alignedControl)
		h.Flags = 0
	}
}

// receive reads what is there: r.errno is EAGAIN if that is nothing. With
// MSG_WAITFORONE it waits for the first datagram.
func (r *reader) receive(fd uintptr, flags int) {
	for {
		r.got, r.errno = recvmmsg(fd, r.hdrs[:r.want], flags)
		switch r.errno {
		case unix.EINTR:
			// A signal; also how Go's scheduler asks for the processor.
			if flags&unix.MSG_DONTWAIT == 0 {
				r.errno = unix.EAGAIN
				return
			}
			continue
		case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN,
			unix.EHOSTDOWN, unix.EPROTO, unix.EMSGSIZE, unix.ENOBUFS:
			// What became of a datagram that we sent. Reading the error clears it.
			continue
		}
		return
	}
}

// ReadBatch waits until there is at least one datagram and reads as many as there
// are, at most len(d). It fills every field of d[:n]. Data stays valid until
// the next ReadBatch.
//
// After Close it returns net.ErrClosed. Other errors are not to be expected; a
// link that goes down, and even one that vanishes, is silence.
func (s *socket) ReadBatch(d []packet.Datagram) (int, error) { return s.readBatch(d, s.read.call) }

// PollBatch is ReadBatch for who expects datagrams at any moment: it returns 0
// if none came within a few milliseconds. Meanwhile it keeps the processor that
// Go's scheduler gave it, though it sleeps, which makes waking up several times
// as cheap. Others must have another processor to run on.
func (s *socket) PollBatch(d []packet.Datagram) (int, error) { return s.readBatch(d, s.read.poll) }

// TryReadBatch reads what is there, and returns 0 if that is nothing. It may be
// called while another goroutine waits in ReadBatch, which then doesn't get
// what this call gets; its data stay valid until the next TryReadBatch.
func (s *socket) TryReadBatch(d []packet.Datagram) (int, error) {
	r := &s.try
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bufs == nil {
		r.init()
	}
	if r.want = min(len(d), maxBatch); r.want == 0 {
		return 0, nil
	}
	r.reset()
	if err := s.raw.Control(r.once); err != nil {
		return 0, net.ErrClosed
	}
	if r.errno == unix.EAGAIN {
		return 0, nil
	}
	if r.errno != 0 {
		return 0, fmt.Errorf("lan: read on %s: %w", s.name, os.NewSyscallError("recvmmsg", r.errno))
	}
	return s.collect(r, d), nil
}

func (s *socket) readBatch(d []packet.Datagram, call func(fd uintptr) bool) (int, error) {
	if len(d) == 0 {
		return 0, errors.New("lan: read: no room for a datagram")
	}
	r := &s.read
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = min(len(d), maxBatch)
	for {
		r.reset()
		if err := s.raw.Read(call); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return 0, net.ErrClosed
			}
			return 0, fmt.Errorf("lan: read on %s: %w", s.name, err)
		}
		if r.errno == unix.EAGAIN {
			return 0, nil
		}
		if r.errno != 0 {
			return 0, fmt.Errorf("lan: read on %s: %w", s.name, os.NewSyscallError("recvmmsg", r.errno))
		}
		if n := s.collect(r, d); n > 0 {
			return n, nil
		}
	}
}

// collect moves what recvmmsg read into d, without what is to be dropped.
func (s *socket) collect(r *reader, d []packet.Datagram) int {
	now := time.Now()
	n := 0
	for i := range r.hdrs[:r.got] {
		m := &r.hdrs[i]
		ctl := parseControl(unsafe.Slice(m.hdr.Control, m.hdr.Controllen))
		src, ok := sockaddr(&r.names[i], m.hdr.Namelen)
		switch {
		case !ok || ctl.link == 0:
			s.stats.malformed.Add(1)
		case s.link != 0 && ctl.link != s.link:
			s.stats.otherLink.Add(1)
		case m.hdr.Flags&unix.MSG_TRUNC != 0:
			s.stats.truncated.Add(1)
		default:
			d[n] = packet.Datagram{
				Data: r.bufs[i*MaxDatagram:][:m.n:m.n],
				Src:  src,
				Dst:  netip.AddrPortFrom(ctl.dst, s.port),
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

// recvmmsg waits for a few milliseconds at most; so the scheduler isn't told of it.
func recvmmsg(fd uintptr, h []mmsghdr, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&h[0])), uintptr(len(h)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
