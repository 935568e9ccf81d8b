package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

// rcvbuf is asked of the kernel for each socket, in bytes, of which it makes
// twice as many for its own bookkeeping. Without CAP_NET_ADMIN it grants what
// net.core.rmem_max allows. It takes memory only while datagrams wait, and holds
// 20,000 a second of 400 bytes for a third of a second in which a busy machine
// doesn't let us run. Stats().Overflow counts what didn't fit.
const rcvbuf = 4 << 20

// Conn is a UDP socket that hears and sends on one link only.
//
// ReadBatch and WriteBatch may be called at the same time; two callers of the
// same one take turns.
type Conn struct {
	link  packet.Link
	port  uint16
	dst   netip.AddrPort // where a datagram with a zero Dst goes
	v6    bool
	bound bool // SO_BINDTODEVICE was granted
	sock  *net.UDPConn
	raw   syscall.RawConn
	read  reader
	try   reader // for TryReadBatch
	write writer
	stats connCounters
}

type connCounters struct {
	overflow                        atomic.Uint32 // the kernel's own counter, 32 bits
	truncated, otherLink, malformed atomic.Uint64
}

// ListenMulticast hears a multicast group on one link. Several sockets, of
// several programs, may do so for the same group and port; each of them hears
// every multicast packet. (A unicast packet goes to only one of them, and
// the kernel chooses.)
//
// The Conn hears what comes to the group and what comes to the port by
// unicast, on that link only, from this machine's other programs, too. All that
// it sends has TTL or hop limit 255, and may be fragmented.
//
// The link must exist, but need not be up or have an address: packets come as
// soon as it does. It stays joined while the link goes down and comes back, not when it
// is removed.
func ListenMulticast(link packet.Link, group netip.AddrPort) (*Conn, error) {
	group = netip.AddrPortFrom(group.Addr().Unmap().WithZone(""), group.Port())
	if !group.Addr().IsMulticast() || group.Port() == 0 {
		return nil, fmt.Errorf("lan: listen: %v is not a multicast group and port", group)
	}
	c := &Conn{link: link, port: group.Port(), dst: group, v6: group.Addr().Is6()}
	if err := c.open(true, unix.BindToDevice, c.setMulticast); err != nil {
		return nil, fmt.Errorf("lan: listen to %v on %s: %w", group, link.Name, err)
	}
	return c, nil
}

// ListenBroadcast hears an IPv4 UDP port on one link, broadcast and unicast. Port 0
// is a free port that the kernel chooses; any other is shared with other
// programs, as far as they allow it.
//
// A datagram with a zero Dst goes to the limited broadcast address
// 255.255.255.255 at the same port, on this link, whether or not there is a
// default route; with port 0 the datagram must name its Dst. Some hosts hear
// only the broadcast of their own subnet: see DirectedBroadcasts.
func ListenBroadcast(link packet.Link, port uint16) (*Conn, error) {
	c := &Conn{link: link, port: port}
	if port != 0 {
		c.dst = netip.AddrPortFrom(limitedBroadcast, port)
	}
	if err := c.open(port != 0, unix.BindToDevice, c.setBroadcast); err != nil {
		return nil, fmt.Errorf("lan: listen to broadcasts to port %d on %s: %w", port, link.Name, err)
	}
	return c, nil
}

// LocalAddr returns the wildcard address and the port that the Conn hears.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), c.port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), c.port)
}

// Link returns the link as it was when the Conn was opened.
func (c *Conn) Link() packet.Link { return c.link }

// Bound says whether the kernel keeps other links' packets away
// (SO_BINDTODEVICE). Where it doesn't, the Conn drops them itself, but a unicast
// packet to a port shared by several Conns may reach the wrong one and be lost.
func (c *Conn) Bound() bool { return c.bound }

// Stats returns what the Conn dropped so far.
func (c *Conn) Stats() ConnStats {
	return ConnStats{
		Overflow:  uint64(c.stats.overflow.Load()),
		Truncated: c.stats.truncated.Load(),
		OtherLink: c.stats.otherLink.Load(),
		Malformed: c.stats.malformed.Load(),
	}
}

// Close closes the socket. A ReadBatch that waits returns net.ErrClosed at once.
func (c *Conn) Close() error {
	if err := c.sock.Close(); err != nil {
		return fmt.Errorf("lan: close: %w", err)
	}
	return nil
}

// open makes the socket. It is bound to the device by bind, and then given its
// options by set, before it is bound to its port.
func (c *Conn) open(share bool, bind func(fd int, device string) error, set func(fd int) error) error {
	network, wildcard := "udp4", "0.0.0.0"
	if c.v6 {
		network, wildcard = "udp6", "::" // the net package sets IPV6_V6ONLY for udp6
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = c.prepare(int(fd), share, bind, set) }); cerr != nil {
			return cerr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, net.JoinHostPort(wildcard, strconv.Itoa(int(c.port))))
	if err != nil {
		return linkError(c.link, err)
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
	c.sock, c.raw = sock, raw
	if a, ok := sock.LocalAddr().(*net.UDPAddr); ok {
		c.port = uint16(a.Port)
	}
	if cerr := raw.Control(func(fd uintptr) { err = letPoll(int(fd)) }); cerr != nil || err != nil {
		sock.Close()
		return errors.Join(cerr, err)
	}
	c.read.init()
	c.write.init(c)
	return nil
}

// prepare sets what both kinds of Conn need, before the socket is bound: the
// kernel delivers from the moment of the bind.
func (c *Conn) prepare(fd int, share bool, bind func(fd int, device string) error, set func(fd int) error) error {
	// A link's index may be used anew; a Conn for an index that now has another
	// name would speak on the wrong network.
	if name, err := linkName(fd, c.link.Index); err != nil || name != c.link.Name {
		return ErrLinkGone
	}
	o := options{fd: fd}
	if share {
		// Both, because avahi sets both and systemd-resolved only the first; and
		// programs of different users can share a port only by the first.
		o.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		o.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	o.set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if o.err != nil {
		return o.err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf) // as much as may be
	}

	switch err := bind(fd, c.link.Name); {
	case err == nil:
		c.bound = true
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOPROTOOPT):
		// Linux before 5.7 without CAP_NET_RAW: PKTINFO tells the links apart.
	default:
		return os.NewSyscallError("bind to device", err)
	}
	if c.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	} else {
		o.set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		o.set(unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	}
	if o.err != nil {
		return o.err
	}
	return set(fd)
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

// setMulticast joins the group on the link. RFC 6762 §11: every packet has IP TTL 255.
// Loopback is on, since other programs on this host must hear us. Big
// records are fragmented (RFC 6762 §17), and what is said about the path's MTU is
// not believed (PMTUDISC_OMIT).
func (c *Conn) setMulticast(fd int) error {
	o := options{fd: fd}
	if c.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, c.link.Index)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
		if o.err != nil {
			return o.err
		}
		mreq := &unix.IPv6Mreq{Multiaddr: c.dst.Addr().As16(), Interface: uint32(c.link.Index)}
		return os.NewSyscallError("join", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, mreq))
	}
	o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1)
	o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255)
	o.set(unix.IPPROTO_IP, unix.IP_TTL, 255)
	o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	if o.err != nil {
		return o.err
	}
	mreq := &unix.IPMreqn{Ifindex: int32(c.link.Index)}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, mreq); err != nil {
		return os.NewSyscallError("choose the link for multicast", err)
	}
	mreq.Multiaddr = c.dst.Addr().As4()
	return os.NewSyscallError("join", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, mreq))
}

func (c *Conn) setBroadcast(fd int) error {
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	// Without this the socket would hear multicast groups that other programs joined.
	o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	return o.err
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

// linkError makes an error that says that there is no such device into ErrLinkGone.
func linkError(link packet.Link, err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, ErrLinkGone) {
		return fmt.Errorf("%s: %w", link.Name, ErrLinkGone)
	}
	return err
}
