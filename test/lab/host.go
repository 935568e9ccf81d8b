package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
)

// Subnet is a bridge in a namespace of its own.
type Subnet struct {
	Name     string
	Prefixes []netip.Prefix
	lab      *Lab
	ns       *namespace
	router   *Host
	nextHost uint32
	ports    int
}

// Host is a network namespace with the programs that run in it.
type Host struct {
	Name  string
	Links []*Link
	lab   *Lab
	ns    *namespace
}

// Link is a host's interface, one end of a veth pair whose other end is a port
// of a subnet's bridge.
type Link struct {
	Name   string // "eth0", "eth1", … in the order of joining
	Index  int
	MAC    net.HardwareAddr
	V4, V6 netip.Addr // not valid where the subnet has no such prefix
	Subnet *Subnet
	host   *Host
	port   string   // the bridge's end
	raw    *os.File // for Send
}

type joinOptions struct {
	host  uint32 // number of the host in each prefix, 0 for the next free one
	addrs []netip.Addr
	mac   net.HardwareAddr
}

// JoinOption changes how a host joins a subnet.
type JoinOption func(*joinOptions)

// WithAddress gives the link an address instead of the next free one of that
// family.
func WithAddress(addr string) JoinOption {
	a := netip.MustParseAddr(addr)
	return func(o *joinOptions) { o.addrs = append(o.addrs, a) }
}

// WithMAC gives the link a hardware address instead of one that follows from
// the host's number.
func WithMAC(mac string) JoinOption {
	m, err := net.ParseMAC(mac)
	return func(o *joinOptions) {
		if err != nil {
			panic(fmt.Sprintf("lab: %v", err)) // a mistake in the test's own text
		}
		o.mac = m
	}
}

// Join gives the host a link to the subnet and returns the host.
func (h *Host) Join(s *Subnet, options ...JoinOption) *Host {
	h.lab.t.Helper()
	var o joinOptions
	for _, opt := range options {
		opt(&o)
	}
	h.join(s, o)
	h.defaultRoutes(s)
	return h
}

func (h *Host) join(s *Subnet, o joinOptions) {
	t := h.lab.t
	t.Helper()
	if o.host == 0 {
		o.host = s.nextHost
		s.nextHost++
	}
	k := &Link{Name: fmt.Sprintf("eth%d", len(h.Links)), MAC: o.mac, Subnet: s, host: h, port: fmt.Sprintf("port%d", s.ports)}
	s.ports++
	if k.MAC == nil {
		// Locally administered; the subnet's place in the lab and the host's number.
		k.MAC = net.HardwareAddr{0x02, 0x1a, 0xb0, byte(h.lab.subnetNumber(s)), byte(o.host >> 8), byte(o.host)}
	}
	script := []string{
		fmt.Sprintf("link add %s address %s type veth peer name %s netns %s", k.Name, k.MAC, k.port, s.ns.name),
	}
	for _, p := range s.Prefixes {
		a := nthAddr(p, o.host)
		for _, own := range o.addrs {
			if own.Is4() == p.Addr().Is4() {
				a = own
			}
		}
		if a.Is4() {
			k.V4 = a
			script = append(script, fmt.Sprintf("addr add %s/%d broadcast + dev %s", a, p.Bits(), k.Name))
		} else {
			k.V6 = a
			script = append(script, fmt.Sprintf("addr add %s/%d dev %s nodad", a, p.Bits(), k.Name))
		}
	}
	script = append(script, fmt.Sprintf("link set %s up", k.Name))
	h.ns.ip(t, script...)
	s.ns.ip(t, fmt.Sprintf("link set %s master br0 up", k.port))
	err := h.ns.do(func() error {
		ifi, err := net.InterfaceByName(k.Name)
		if err == nil {
			k.Index = ifi.Index
		}
		return err
	})
	if err != nil {
		t.Fatalf("lab: %s: %v", h.Name, err)
	}
	h.Links = append(h.Links, k)
	k.waitCarrier()
}

// defaultRoutes sends through the subnet's router what has no nearer route.
func (h *Host) defaultRoutes(s *Subnet) {
	h.lab.t.Helper()
	if s.router == nil || s.router == h {
		return
	}
	via, mine := s.router.linkTo(s), h.linkTo(s)
	var script []string
	for _, a := range []netip.Addr{via.V4, via.V6} {
		if a.IsValid() {
			script = append(script, fmt.Sprintf("route append default via %s dev %s", a, mine.Name))
		}
	}
	h.ns.ip(h.lab.t, script...)
}

// Link returns the host's link to the subnet.
func (h *Host) Link(s *Subnet) *Link {
	h.lab.t.Helper()
	k := h.linkTo(s)
	if k == nil {
		h.lab.t.Fatalf("lab: host %s has no link to subnet %s", h.Name, s.Name)
	}
	return k
}

// Addresses returns all addresses that the host sends from.
func (h *Host) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, k := range h.Links {
		for _, a := range []netip.Addr{k.V4, k.V6, k.LinkLocal()} {
			if a.IsValid() {
				all = append(all, a)
			}
		}
	}
	return all
}

// LinkLocal returns the link's IPv6 address that follows from its MAC (RFC 4291).
func (k *Link) LinkLocal() netip.Addr {
	m := k.MAC
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

func (h *Host) linkTo(s *Subnet) *Link {
	for _, k := range h.Links {
		if k.Subnet == s {
			return k
		}
	}
	return nil
}

// Do calls f inside the host. Sockets that f opens belong to the host and live
// on after it; f must not start goroutines that open some.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Kill ends every program of the host at once with SIGKILL: nobody says
// goodbye.
func (h *Host) Kill() { h.signal(syscall.SIGKILL, gone) }

// Pause stops every program of the host until Resume.
func (h *Host) Pause() { h.signal(syscall.SIGSTOP, stopped) }

// Resume lets the programs of the host go on after Pause.
func (h *Host) Resume() { h.signal(syscall.SIGCONT, goesOn) }

func (h *Host) signal(sig syscall.Signal, done func(pid int) bool) {
	h.lab.t.Helper()
	if err := signal(sig, done, h.ns); err != nil {
		h.lab.t.Fatalf("lab: host %s: %v", h.Name, err)
	}
}

// sysctl sets a network setting of the kernel, by its path under /proc/sys.
func (h *Host) sysctl(name, value string) {
	h.lab.t.Helper()
	err := h.ns.do(func() error { return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0) })
	if err != nil {
		h.lab.t.Fatalf("lab: host %s: %v", h.Name, err)
	}
}

// Masquerade makes a router hide the hosts of every subnet but outside behind its
// address there, as a home's router does: from outside nobody reaches them. It uses
// nftables of the kernel.
func (h *Host) Masquerade(outside *Subnet) {
	t := h.lab.t
	t.Helper()
	Require(t, "nft")
	out := h.Link(outside).Name
	c := h.Command("nft", "-f", "-")
	c.Stdin = fmt.Sprintf(`table ip lanfolk {
	chain leaving {
		type nat hook postrouting priority srcnat; policy accept;
		oifname %[1]q masquerade
	}
	chain through {
		type filter hook forward priority filter; policy accept;
		iifname %[1]q ct state new drop
	}
}
`, out)
	if r := c.Run(); r.Exit != 0 {
		t.Fatalf("lab: nft: exit %d: %s", r.Exit, r.Stderr)
	}
}

func (l *Lab) subnetNumber(s *Subnet) int {
	for i, o := range l.subnets {
		if o == s {
			return i + 1
		}
	}
	return 0
}

// nthAddr returns the nth address of a prefix.
func nthAddr(p netip.Prefix, n uint32) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	a, _ := netip.AddrFromSlice(b)
	return a
}
