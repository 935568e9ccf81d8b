package lantest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

const (
	// queueSize is how many datagrams wait in a conn, as in a socket's buffer.
	queueSize = 1024
	maxBatch  = 32 // as in package lan
	pollWait  = 4 * time.Millisecond
	maxUDP    = 65507 // the longest payload of UDP over IPv4
	poison    = 0xDB  // what stands in data that is no longer valid
)

// Conn has the methods of *lan.Conn.
type Conn struct {
	nic    *NIC
	opened packet.Link
	port   uint16
	dst    netip.AddrPort
	group  netip.Addr // invalid: none joined
	v6     bool
	ttl    int
	ready  chan struct{}
	closed chan struct{}

	// guarded by the network's mutex
	queue    []packet.Datagram
	lent     [][]byte // what the last ReadBatch handed out
	tried    [][]byte // what the last TryReadBatch did
	isClosed bool
	// ignoreLocal: what the host itself sends to everyone isn't heard
	ignoreLocal bool
	stats       lan.ConnStats
}

// LocalAddr returns the wildcard address and the port that the Conn hears.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), c.port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), c.port)
}

// Link returns the link as it was when the Conn was opened.
func (c *Conn) Link() packet.Link { return c.opened }

// Bound is always true.
func (c *Conn) Bound() bool { return true }

// Stats returns what the Conn dropped so far.
func (c *Conn) Stats() lan.ConnStats {
	c.nic.host.network.mu.Lock()
	defer c.nic.host.network.mu.Unlock()
	return c.stats
}

// Overflow is that of Stats.
func (c *Conn) Overflow() uint64 { return c.Stats().Overflow }

// Close makes a ReadBatch that waits return net.ErrClosed.
func (c *Conn) Close() error {
	n := c.nic.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.isClosed {
		return fmt.Errorf("lan: close: %w", net.ErrClosed)
	}
	c.isClosed = true
	close(c.closed)
	c.queue = nil
	c.nic.conns = slices.DeleteFunc(c.nic.conns, func(o *Conn) bool { return o == c })
	return nil
}

// ReadBatch waits for datagrams and reads at most len(d). Data is overwritten by
// the next ReadBatch, so that a reader that keeps it is found out.
func (c *Conn) ReadBatch(d []packet.Datagram) (int, error) {
	if len(d) == 0 {
		return 0, errors.New("lan: read: no room for a datagram")
	}
	for {
		if n, err := c.take(d, &c.lent); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.ready:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
}

// PollBatch is ReadBatch, but it returns 0 if nothing comes within a few
// milliseconds.
func (c *Conn) PollBatch(d []packet.Datagram) (int, error) {
	if len(d) == 0 {
		return 0, errors.New("lan: read: no room for a datagram")
	}
	timer := time.NewTimer(pollWait)
	defer timer.Stop()
	for {
		if n, err := c.take(d, &c.lent); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.ready:
		case <-c.closed:
			return 0, net.ErrClosed
		case <-timer.C:
			return 0, nil
		}
	}
}

// TryReadBatch reads what is there, and returns 0 if that is nothing. It may be
// called while ReadBatch waits.
func (c *Conn) TryReadBatch(d []packet.Datagram) (int, error) { return c.take(d, &c.tried) }

// IgnoreLocal says whether the Conn is to ignore the multicasts and broadcasts
// of its own host.
func (c *Conn) IgnoreLocal(ignore bool) error {
	n := c.nic.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	c.ignoreLocal = ignore
	return nil
}

func (c *Conn) take(d []packet.Datagram, lent *[][]byte) (int, error) {
	c.nic.host.network.mu.Lock()
	defer c.nic.host.network.mu.Unlock()
	if c.isClosed {
		return 0, net.ErrClosed
	}
	for _, b := range *lent {
		for i := range b {
			b[i] = poison
		}
	}
	*lent = (*lent)[:0]
	n := min(len(d), len(c.queue), maxBatch)
	for i, q := range c.queue[:n] {
		d[i] = q
		*lent = append(*lent, q.Data)
	}
	c.queue = slices.Delete(c.queue, 0, n)
	if len(c.queue) > 0 {
		c.poke() // another reader may wait
	}
	return n, nil
}

// WriteTo sends one datagram.
func (c *Conn) WriteTo(b []byte, dst netip.AddrPort) error {
	_, err := c.WriteBatch([]packet.Datagram{{Data: b, Dst: dst}})
	return err
}

// TryWriteBatch is WriteBatch: there is always room.
func (c *Conn) TryWriteBatch(d []packet.Datagram) (int, error) { return c.WriteBatch(d) }

// WriteBatch sends datagrams in order, with the errors of lan.Conn's: it returns how many
// were sent, and why the next was not.
func (c *Conn) WriteBatch(d []packet.Datagram) (int, error) {
	n := c.nic.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range d {
		if err := c.send(d[i]); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return i, net.ErrClosed
			}
			return i, fmt.Errorf("lan: write on %s: %w", c.opened.Name, err)
		}
	}
	return len(d), nil
}

func (c *Conn) send(d packet.Datagram) error {
	nic := c.nic
	dst := d.Dst
	if !dst.IsValid() {
		dst = c.dst
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	switch {
	case c.isClosed:
		return net.ErrClosed
	case !dst.Addr().IsValid() || dst.Port() == 0 || dst.Addr().Is6() != c.v6:
		return fmt.Errorf("%v is no destination for this socket", dst)
	case nic.removed:
		return lan.ErrLinkGone
	case nic.link.Flags&net.FlagUp == 0:
		return syscall.ENETUNREACH
	case len(d.Data) > maxUDP:
		return syscall.EMSGSIZE
	}
	src := d.Src.Addr().Unmap().WithZone("")
	if !src.IsValid() {
		var ok bool
		if src, ok = nic.source(dst.Addr()); !ok {
			return syscall.ENETUNREACH
		}
	} else if !nic.link.Has(src) {
		return syscall.EADDRNOTAVAIL
	}
	out := packet.Datagram{
		Data: slices.Clone(d.Data), Src: netip.AddrPortFrom(src, c.port), Dst: dst, TTL: c.ttl,
	}
	if own := nic.host.owner(dst.Addr()); own != nil {
		nic.receive(out, false) // as in Linux: it arrives on the link that the sender is bound to
		return nil
	}
	if nic.everyone(dst.Addr()) {
		nic.receive(out, true)
	}
	if nic.link.Up() {
		nic.wire.transmit(nic, out)
	}
	return nil
}

// owner returns the host's interface that has the address.
func (h *Host) owner(a netip.Addr) *NIC {
	for _, nic := range h.nics {
		if nic.link.Has(a) {
			return nic
		}
	}
	return nil
}

// source chooses the address to send from: link-local to what is link-local.
func (nic *NIC) source(dst netip.Addr) (netip.Addr, bool) {
	local := dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsLinkLocalMulticast())
	var found netip.Addr
	for _, p := range nic.link.Prefixes {
		a := p.Addr()
		if a.Is4() != dst.Is4() {
			continue
		}
		if a.IsLinkLocalUnicast() == local {
			return a, true
		}
		if !found.IsValid() {
			found = a
		}
	}
	return found, found.IsValid()
}

// everyone says whether an address means all hosts on the wire.
func (nic *NIC) everyone(a netip.Addr) bool {
	return a.IsMulticast() || a == limitedBroadcast || slices.Contains(lan.DirectedBroadcasts(nic.link), a)
}

// accepts says whether the interface takes a packet off the wire.
func (nic *NIC) accepts(dst netip.Addr) bool {
	return nic.link.Up() && (nic.everyone(dst) || nic.link.Has(dst))
}

// receive hands a packet to the conns on the interface that listen for it. One
// that came back is what the host itself sent to everyone.
func (nic *NIC) receive(d packet.Datagram, cameBack bool) {
	if nic.link.Flags&net.FlagUp == 0 || nic.removed {
		return
	}
	d.Link = nic.link.Index
	d.Time = time.Now()
	var hearers []*Conn
	for _, c := range nic.conns {
		if cameBack && c.ignoreLocal {
			continue
		}
		if c.port == d.Dst.Port() && c.v6 == d.Dst.Addr().Is6() && (!d.Dst.Addr().IsMulticast() || c.group == d.Dst.Addr()) {
			hearers = append(hearers, c)
		}
	}
	if len(hearers) > 1 && !nic.everyone(d.Dst.Addr()) {
		// SO_REUSEPORT: one of them, and always the same for one sender.
		h := fnv.New32a()
		b, _ := d.Src.MarshalBinary()
		h.Write(b)
		i := int(h.Sum32() % uint32(len(hearers)))
		hearers = hearers[i : i+1]
	}
	for _, c := range hearers {
		c.push(d)
	}
}

func (c *Conn) push(d packet.Datagram) {
	switch {
	case len(d.Data) > lan.MaxDatagram:
		c.stats.Truncated++
		return
	case len(c.queue) >= queueSize:
		c.stats.Overflow++
		return
	}
	d.Data = slices.Clone(d.Data)
	c.queue = append(c.queue, d)
	c.poke()
}

func (c *Conn) poke() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}
