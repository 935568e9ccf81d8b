package lan

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

// Conn is a UDP socket that hears and sends on one link only.
//
// ReadBatch and WriteBatch may be called at the same time; two callers of the
// same one take turns.
type Conn struct {
	socket
	opened packet.Link // as it was then
	bound  bool        // SO_BINDTODEVICE was granted
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
	c := newConn(link, group)
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
	c := newConn(link, netip.AddrPortFrom(limitedBroadcast, port))
	if err := c.open(port != 0, unix.BindToDevice, c.setBroadcast); err != nil {
		return nil, fmt.Errorf("lan: listen to broadcasts to port %d on %s: %w", port, link.Name, err)
	}
	return c, nil
}

// newConn makes a Conn for where its datagrams go unless they say so themselves.
func newConn(link packet.Link, dst netip.AddrPort) *Conn {
	c := &Conn{socket: socket{name: link.Name, link: link.Index, port: dst.Port(), v6: dst.Addr().Is6()}, opened: link}
	if dst.Port() != 0 {
		c.dst = dst
	}
	return c
}

// LocalAddr returns the wildcard address and the port that the Conn hears.
func (c *Conn) LocalAddr() netip.AddrPort { return netip.AddrPortFrom(wildcard(c.v6), c.port) }

// Link returns the link as it was when the Conn was opened.
func (c *Conn) Link() packet.Link { return c.opened }

// Bound says whether the kernel keeps other links' packets away
// (SO_BINDTODEVICE). Where it doesn't, the Conn drops them itself, but a unicast
// packet to a port shared by several Conns may reach the wrong one and be lost.
func (c *Conn) Bound() bool { return c.bound }

// open makes the socket. It is bound to the device by bind, and then given its
// options by set, before it is bound to its port.
func (c *Conn) open(share bool, bind func(fd int, device string) error, set func(fd int) error) error {
	err := c.listen(wildcard(c.v6), DefaultReceiveBuffer, func(fd int) error { return c.setUp(fd, share, bind, set) })
	return linkError(c.opened, err)
}

// setUp binds to the device and sets what both kinds of Conn need.
func (c *Conn) setUp(fd int, share bool, bind func(fd int, device string) error, set func(fd int) error) error {
	// A link's index may be used anew; a Conn for an index that now has another
	// name would speak on the wrong network.
	if name, err := linkName(fd, c.link); err != nil || name != c.opened.Name {
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
	if c.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	} else {
		o.set(unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	}
	if o.err != nil {
		return o.err
	}
	switch err := bind(fd, c.opened.Name); {
	case err == nil:
		c.bound = true
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOPROTOOPT):
		// Linux before 5.7 without CAP_NET_RAW: PKTINFO tells the links apart.
	default:
		return os.NewSyscallError("bind to device", err)
	}
	return set(fd)
}

// setMulticast joins the group on the link. RFC 6762 §11: every packet has IP TTL 255.
// Loopback is on, since other programs on this host must hear us. Big
// records are fragmented (RFC 6762 §17), and what is said about the path's MTU is
// not believed (PMTUDISC_OMIT).
func (c *Conn) setMulticast(fd int) error {
	o := options{fd: fd}
	if c.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, c.link)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
		if o.err != nil {
			return o.err
		}
		mreq := &unix.IPv6Mreq{Multiaddr: c.dst.Addr().As16(), Interface: uint32(c.link)}
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
	mreq := &unix.IPMreqn{Ifindex: int32(c.link)}
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

// linkError makes an error that says that there is no such device into ErrLinkGone.
func linkError(link packet.Link, err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, ErrLinkGone) {
		return fmt.Errorf("%s: %w", link.Name, ErrLinkGone)
	}
	return err
}
