package lantest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

// Host is a machine with interfaces.
type Host struct {
	network   *Network
	name      string
	nics      []*NIC
	lastIndex int
	lastPort  uint16
	watchers  map[chan struct{}]struct{}
}

// NIC is an interface of a host, on one wire.
type NIC struct {
	host    *Host
	wire    *Wire
	link    packet.Link
	conns   []*Conn
	removed bool
}

// Attach gives the host an interface on a wire: up, able to do multicast and broadcast, with a
// MAC of its own and with these addresses. Prefixes are such as "10.0.0.5/24" and
// "fe80::5/64"; a bad one panics.
func (h *Host) Attach(w *Wire, name string, prefixes ...string) *NIC {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.macs++
	nic := h.attach(w, packet.Link{
		Name: name,
		MAC:  net.HardwareAddr{0x02, 0, byte(n.macs >> 24), byte(n.macs >> 16), byte(n.macs >> 8), byte(n.macs)},
		MTU:  1500, Prefixes: parse(prefixes),
		Flags: net.FlagUp | net.FlagRunning | net.FlagBroadcast | net.FlagMulticast,
	})
	h.changed()
	return nic
}

func (h *Host) attach(w *Wire, l packet.Link) *NIC {
	h.lastIndex++ // an index is never used again
	l.Index = h.lastIndex
	nic := &NIC{host: h, wire: w, link: l}
	h.nics = append(h.nics, nic)
	w.nics = append(w.nics, nic)
	return nic
}

func parse(prefixes []string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range prefixes {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

// changed wakes the watchers.
func (h *Host) changed() {
	for w := range h.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Links is lan.Links of this host.
func (h *Host) Links() ([]packet.Link, error) {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	links := make([]packet.Link, len(h.nics))
	for i, nic := range h.nics {
		links[i] = nic.snapshot()
	}
	return links, nil
}

// WatchLinks is lan.WatchLinks of this host. It tells at once, without waiting for more changes.
func (h *Host) WatchLinks(ctx context.Context) (<-chan []packet.Link, error) {
	wake := make(chan struct{}, 1)
	out := make(chan []packet.Link)
	h.network.mu.Lock()
	h.watchers[wake] = struct{}{}
	h.network.mu.Unlock()
	go func() {
		defer close(out)
		defer func() {
			h.network.mu.Lock()
			defer h.network.mu.Unlock()
			delete(h.watchers, wake)
		}()
		now, _ := h.Links()
		var told []packet.Link
		for {
			send := out
			if told != nil && slices.EqualFunc(told, now, packet.Link.Equal) {
				send = nil
			}
			select {
			case <-ctx.Done():
				return
			case <-wake:
				now, _ = h.Links()
			case send <- now:
				told = now
			}
		}
	}()
	return out, nil
}

// Link returns the interface as lan.Links would show it now.
func (nic *NIC) Link() packet.Link {
	nic.host.network.mu.Lock()
	defer nic.host.network.mu.Unlock()
	return nic.snapshot()
}

func (nic *NIC) snapshot() packet.Link {
	l := nic.link
	l.MAC = slices.Clone(l.MAC)
	l.Prefixes = slices.Clone(l.Prefixes)
	return l
}

// SetUp switches the interface on or off, as ip link set up and down.
func (nic *NIC) SetUp(up bool) {
	nic.change(func(l *packet.Link) {
		l.Flags &^= net.FlagUp | net.FlagRunning
		if up {
			l.Flags |= net.FlagUp | net.FlagRunning
		}
	})
}

// SetCarrier plugs the cable in or out.
func (nic *NIC) SetCarrier(on bool) {
	nic.change(func(l *packet.Link) {
		l.Flags &^= net.FlagRunning
		if on && l.Flags&net.FlagUp != 0 {
			l.Flags |= net.FlagRunning
		}
	})
}

// SetAddresses replaces the interface's addresses, given as to Attach.
func (nic *NIC) SetAddresses(prefixes ...string) {
	nic.change(func(l *packet.Link) { l.Prefixes = parse(prefixes) })
}

// Remove takes the interface away for good. Its conns stay silent, and a write to them fails
// with lan.ErrLinkGone.
func (nic *NIC) Remove() {
	n := nic.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	nic.removed = true
	same := func(o *NIC) bool { return o == nic }
	nic.host.nics = slices.DeleteFunc(nic.host.nics, same)
	nic.wire.nics = slices.DeleteFunc(nic.wire.nics, same)
	nic.host.changed()
}

func (nic *NIC) change(f func(*packet.Link)) {
	n := nic.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&nic.link)
	nic.host.changed()
}

// ListenMulticast is lan.ListenMulticast on this host.
func (h *Host) ListenMulticast(link packet.Link, group netip.AddrPort) (*Conn, error) {
	group = netip.AddrPortFrom(group.Addr().Unmap().WithZone(""), group.Port())
	if !group.Addr().IsMulticast() || group.Port() == 0 {
		return nil, fmt.Errorf("lan: listen: %v is not a multicast group and port", group)
	}
	c := &Conn{port: group.Port(), dst: group, group: group.Addr(), v6: group.Addr().Is6(), ttl: 255}
	if err := h.listen(link, c); err != nil {
		return nil, fmt.Errorf("lan: listen to %v on %s: %w", group, link.Name, err)
	}
	return c, nil
}

// ListenBroadcast is lan.ListenBroadcast on this host.
func (h *Host) ListenBroadcast(link packet.Link, port uint16) (*Conn, error) {
	c := &Conn{port: port, ttl: 64}
	if port != 0 {
		c.dst = netip.AddrPortFrom(limitedBroadcast, port)
	}
	if err := h.listen(link, c); err != nil {
		return nil, fmt.Errorf("lan: listen to broadcasts to port %d on %s: %w", port, link.Name, err)
	}
	return c, nil
}

// firstPort is where the ports begin that a host gives to who asks for port 0.
const firstPort = 40000

func (h *Host) listen(link packet.Link, c *Conn) error {
	h.network.mu.Lock()
	defer h.network.mu.Unlock()
	i := slices.IndexFunc(h.nics, func(nic *NIC) bool {
		return nic.link.Index == link.Index && nic.link.Name == link.Name
	})
	if i < 0 {
		return fmt.Errorf("%s: %w", link.Name, lan.ErrLinkGone)
	}
	if c.port == 0 {
		h.lastPort = max(h.lastPort, firstPort-1) + 1
		c.port = h.lastPort
	}
	c.nic, c.opened = h.nics[i], h.nics[i].snapshot()
	c.ready, c.closed = make(chan struct{}, 1), make(chan struct{})
	c.nic.conns = append(c.nic.conns, c)
	return nil
}
