package lan

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// UDPConn is a UDP socket that is bound to no link: it hears what comes by any of
// them to its address, and sends by the way that the routes say.
//
// Each datagram that it reads says to which address it was sent and on which link it came. With
// that address in Src, an answer leaves from there; with that Link it finds its way
// to a sender that is only known on one (a link-local address). It tells neither TTL
// nor when the kernel received it: Time is when it was read.
//
// ReadBatch and WriteBatch may be called at the same time; two callers of the
// same one take turns.
type UDPConn struct {
	socket
	at netip.Addr
}

// UDPOptions are the choices for a UDPConn. The zero value is fit for use.
type UDPOptions struct {
	// ReceiveBuffer is asked of the kernel for datagrams that wait to be read, in
	// bytes; 0 means DefaultReceiveBuffer. A datagram of 100 bytes takes some 400 of them.
	// Without CAP_NET_ADMIN it grants what net.core.rmem_max allows: see UDPConn.ReceiveBuffer.
	ReceiveBuffer int
}

// ListenUDP opens a UDP socket at an address of the machine, or the wildcard address of a family: 0.0.0.0
// is for IPv4 alone and [::] for IPv6 alone, so that there may be one for each.
// A link-local address has the link as its zone. Port 0 is a free one that the kernel chooses.
//
// A port that somebody else holds is unix.EADDRINUSE, and a family that the machine
// doesn't have unix.EAFNOSUPPORT.
func ListenUDP(addr netip.AddrPort, o UDPOptions) (*UDPConn, error) {
	return listenUDP(addr, o, false)
}

// ListenUDPs opens n sockets as ListenUDP does, among which the kernel shares out the
// datagrams, by their source: for as many readers. No other socket that wasn't opened by the same
// call can have the port.
func ListenUDPs(addr netip.AddrPort, n int, o UDPOptions) ([]*UDPConn, error) {
	var conns []*UDPConn
	fail := func(err error) ([]*UDPConn, error) {
		for _, c := range conns {
			_ = c.Close() // nothing is left to lose
		}
		return nil, err
	}
	for range n {
		// The first takes the port for itself, as if it were alone. Only then
		// does it say that it shares it. So a server that is
		// started twice by mistake fails, rather than take half of the first one's requests.
		c, err := listenUDP(addr, o, len(conns) > 0)
		if err != nil {
			return fail(err)
		}
		conns = append(conns, c)
		if len(conns) == 1 && n > 1 {
			if err := c.share(); err != nil {
				return fail(fmt.Errorf("lan: share %v: %w", addr, err))
			}
			addr = c.LocalAddr() // if the kernel chose the port
		}
	}
	return conns, nil
}

func listenUDP(addr netip.AddrPort, o UDPOptions, share bool) (*UDPConn, error) {
	at := addr.Addr().Unmap()
	if !at.IsValid() || at.IsMulticast() {
		return nil, fmt.Errorf("lan: listen at %v: not an address of a host", addr)
	}
	c := &UDPConn{socket: socket{port: addr.Port(), v6: at.Is6()}, at: at}
	if o.ReceiveBuffer == 0 {
		o.ReceiveBuffer = DefaultReceiveBuffer
	}
	err := c.listen(at, o.ReceiveBuffer, func(fd int) error {
		if share {
			if err := shareFd(fd); err != nil {
				return err
			}
		}
		return c.set(fd)
	})
	if err != nil {
		return nil, fmt.Errorf("lan: listen: %w", err)
	}
	c.name = c.LocalAddr().String()
	return c, nil
}

// LocalAddr returns the address and the port that the UDPConn hears.
func (c *UDPConn) LocalAddr() netip.AddrPort { return netip.AddrPortFrom(c.at, c.port) }

// ReceiveBuffer returns what the kernel granted, in bytes as in UDPOptions.
func (c *UDPConn) ReceiveBuffer() (int, error) {
	n, err := 0, error(nil)
	cerr := c.raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	if err := errors.Join(cerr, err); err != nil {
		return 0, fmt.Errorf("lan: receive buffer of %s: %w", c.name, err)
	}
	return n / 2, nil // the kernel doubles it for its own bookkeeping
}

// set says that nothing is broadcast, which Go allows of itself: who asks in the name of a
// subnet's broadcast address must not have the answer sent to all of it. Multicast groups which other
// programs joined aren't heard, and what is said about a path's MTU isn't believed: strangers may
// say it (PMTUDISC_OMIT).
func (c *UDPConn) set(fd int) error {
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_BROADCAST, 0)
	if c.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	} else {
		o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	}
	return o.err
}

// share lets sockets that say the same, of the same user, have the port, too.
func (c *UDPConn) share() error {
	var err error
	cerr := c.raw.Control(func(fd uintptr) { err = shareFd(int(fd)) })
	return errors.Join(cerr, err)
}

func shareFd(fd int) error {
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	return o.err
}
