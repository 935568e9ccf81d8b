package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DefaultReceiveBuffer is asked of the kernel for each socket, in bytes, of which it makes
// twice as many for its own bookkeeping. Without CAP_NET_ADMIN it grants what
// net.core.rmem_max allows. It takes memory only while datagrams wait, and holds
// 20,000 a second of 400 bytes for a third of a second in which a busy machine
// doesn't let us run. Stats().Overflow counts what didn't fit.
const DefaultReceiveBuffer = 4 << 20

// socket is a UDP socket that is read and written in batches: what Conn and
// UDPConn have in common.
type socket struct {
	name  string         // in errors
	link  int            // the index of the only link; 0 is any
	port  uint16         // 0 until the socket is open: a free one
	v6    bool           // the family; there are no sockets for both
	dst   netip.AddrPort // where a datagram with a zero Dst goes
	sock  *net.UDPConn
	raw   syscall.RawConn
	read  reader
	try   reader // for TryReadBatch
	write writer
	stats connCounters
}

type connCounters struct {
	overflow                        atomic.Uint32 // what Overflow said last
	truncated, otherLink, malformed atomic.Uint64
}

// Stats returns what was dropped so far.
func (s *socket) Stats() ConnStats {
	return ConnStats{
		Overflow:  s.Overflow(),
		Truncated: s.stats.truncated.Load(),
		OtherLink: s.stats.otherLink.Load(),
		Malformed: s.stats.malformed.Load(),
	}
}

// Overflow is how many datagrams the kernel dropped because nobody read: that of Stats. It
// counts them in 32 bits.
func (s *socket) Overflow() uint64 {
	// With SO_RXQ_OVFL it would tell with each datagram, at some cost for each.
	_ = s.raw.Control(func(fd uintptr) { // fails on a closed socket, which loses nothing
		if n, ok := drops(fd); ok {
			s.stats.overflow.Store(n)
		}
	})
	return uint64(s.stats.overflow.Load())
}

// drops reads how many datagrams a socket has lost.
func drops(fd uintptr) (uint32, bool) {
	var info [unix.SK_MEMINFO_DROPS + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	return info[unix.SK_MEMINFO_DROPS], errno == 0 && size == uint32(unsafe.Sizeof(info))
}

// Close closes the socket. A ReadBatch that waits returns net.ErrClosed at once.
func (s *socket) Close() error {
	s.Overflow() // is remembered
	if err := s.sock.Close(); err != nil {
		return fmt.Errorf("lan: close: %w", err)
	}
	return nil
}

// wildcard is the address of any host in a family.
func wildcard(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// listen opens the socket at an address and s.port. It gets its options by set before
// it is bound: the kernel delivers from that moment on.
func (s *socket) listen(at netip.Addr, rcvbuf int, set func(fd int) error) error {
	network := "udp4"
	if s.v6 {
		network = "udp6" // the net package sets IPV6_V6ONLY for it
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = errors.Join(s.prepare(int(fd), rcvbuf), set(int(fd))) }); cerr != nil {
			return cerr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, netip.AddrPortFrom(at, s.port).String())
	if err != nil {
		return err
	}
	sock, ok := pc.(*net.UDPConn)
	if !ok {
		pc.Close()
		return fmt.Errorf("unexpected socket type %T", pc)
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		sock.Close()
		return err
	}
	s.sock, s.raw = sock, raw
	if a, ok := sock.LocalAddr().(*net.UDPAddr); ok {
		s.port = uint16(a.Port)
	}
	if cerr := raw.Control(func(fd uintptr) { err = letPoll(int(fd)) }); cerr != nil || err != nil {
		sock.Close()
		return errors.Join(cerr, err)
	}
	s.read.init()
	s.write.init()
	return nil
}

// prepare sets what every socket needs.
func (s *socket) prepare(fd, rcvbuf int) error {
	o := options{fd: fd}
	if s.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	} else {
		o.set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if o.err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf) // as much as may be
	}
	return o.err
}

// letPoll makes the socket one that a system call can wait for, for the sake of
// PollBatch. All others say that they don't wait.
func letPoll(fd int) error {
	tv := unix.NsecToTimeval(int64(pollWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return os.NewSyscallError("set the time to wait", err)
	}
	return os.NewSyscallError("let the socket wait", unix.SetNonblock(fd, false))
}

// options sets socket options until one fails.
type options struct {
	fd  int
	err error
}

func (o *options) set(level, name, value int) {
	if o.err != nil {
		return
	}
	if err := unix.SetsockoptInt(o.fd, level, name, value); err != nil {
		o.err = os.NewSyscallError(fmt.Sprintf("setsockopt %d/%d", level, name), err)
	}
}

// linkName asks the kernel for the name of a link in the socket's own network
// namespace, which need not be the calling thread's.
func linkName(fd, index int) (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	ifr.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr); err != nil {
		return "", err
	}
	return ifr.Name(), nil
}

// linkIndex is the inverse.
func linkIndex(fd int, name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, err
	}
	return int(ifr.Uint32()), nil
}
