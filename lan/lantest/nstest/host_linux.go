package nstest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/packet"
)

// Host is a network namespace.
type Host struct {
	fd     int
	handle *netlink.Handle
}

// Here returns the namespace that the test runs in.
func Here(t testing.TB) *Host {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return current(t)
}

// NewHost makes another network namespace, with the loopback up. It is gone
// at the test's end.
func NewHost(t testing.TB) *Host {
	t.Helper()
	runtime.LockOSThread()
	here := current(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	h := current(t)
	if err := unix.Setns(here.fd, unix.CLONE_NEWNET); err != nil {
		t.Fatalf("return from a network namespace: %v", err) // ends the thread, too
	}
	runtime.UnlockOSThread()
	h.SetUp(t, "lo")
	return h
}

func current(t testing.TB) *Host {
	t.Helper()
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		handle.Close()
		unix.Close(fd)
	})
	return &Host{fd, handle}
}

// Do runs f in the calling goroutine with its thread in the host's namespace. Sockets that f
// opens belong to the host, for whichever goroutine uses them later; goroutines
// that f starts run elsewhere.
func (h *Host) Do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	old, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if sameFile(old, h.fd) { // an ordinary user may not even enter where he is
		defer runtime.UnlockOSThread()
		unix.Close(old)
		f()
		return
	}
	defer func() {
		err := unix.Setns(old, unix.CLONE_NEWNET)
		unix.Close(old)
		if err != nil {
			// The thread stays locked, and ends with the goroutine.
			t.Errorf("return from a network namespace: %v", err)
			return
		}
		runtime.UnlockOSThread()
	}()
	if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
		t.Fatalf("enter a network namespace: %v", err)
	}
	f()
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// Handle returns a netlink handle of the host's namespace.
func (h *Host) Handle() *netlink.Handle { return h.handle }

// Connect joins two hosts, or one to itself, by a veth pair: two links that are down.
func Connect(t testing.TB, a *Host, aLink string, b *Host, bLink string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aLink
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: bLink}
	if a != b {
		veth.PeerNamespace = netlink.NsFd(b.fd)
	}
	if err := a.handle.LinkAdd(veth); err != nil {
		t.Fatalf("connect %s and %s: %v", aLink, bLink, err)
	}
}

// SetUp adds addresses such as "10.0.0.1/24" to a link and switches it on, without
// duplicate address detection, which would take two seconds.
func (h *Host) SetUp(t testing.TB, link string, prefixes ...string) {
	t.Helper()
	l := h.find(t, link)
	h.Do(t, func() {
		name := strings.ReplaceAll(link, ".", "/")
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0)
		if err != nil && !os.IsNotExist(err) { // a kernel without IPv6
			t.Errorf("switch off duplicate address detection: %v", err)
		}
	})
	for _, p := range prefixes {
		h.AddAddress(t, link, p)
	}
	if err := h.handle.LinkSetUp(l); err != nil {
		t.Fatalf("set up %s: %v", link, err)
	}
}

// WaitUp waits until links carry packets, which a veth link does a moment after both
// its ends are up, and until their addresses can be used.
func (h *Host) WaitUp(t testing.TB, links ...string) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	for _, link := range links {
		for !h.isUp(t, link) {
			if time.Now().After(end) {
				t.Fatalf("%s is not ready after 5 s", link)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

func (h *Host) isUp(t testing.TB, link string) bool {
	t.Helper()
	l := h.find(t, link)
	if l.Attrs().Flags&net.FlagRunning == 0 {
		return false
	}
	addrs, err := h.handle.AddrList(l, netlink.FAMILY_ALL)
	return err == nil && !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 })
}

// SetDown switches a link off.
func (h *Host) SetDown(t testing.TB, link string) {
	t.Helper()
	if err := h.handle.LinkSetDown(h.find(t, link)); err != nil {
		t.Fatalf("set down %s: %v", link, err)
	}
}

// Remove deletes a link, and with it the other end of its pair.
func (h *Host) Remove(t testing.TB, link string) {
	t.Helper()
	if err := h.handle.LinkDel(h.find(t, link)); err != nil {
		t.Fatalf("remove %s: %v", link, err)
	}
}

// AddAddress adds an address such as "10.0.0.1/24".
func (h *Host) AddAddress(t testing.TB, link, prefix string) {
	t.Helper()
	if err := h.handle.AddrAdd(h.find(t, link), address(t, prefix)); err != nil {
		t.Fatalf("add %s to %s: %v", prefix, link, err)
	}
}

// RemoveAddress takes an address away.
func (h *Host) RemoveAddress(t testing.TB, link, prefix string) {
	t.Helper()
	if err := h.handle.AddrDel(h.find(t, link), address(t, prefix)); err != nil {
		t.Fatalf("remove %s from %s: %v", prefix, link, err)
	}
}

// AddDefaultRoute makes a router the way out of the local network.
func (h *Host) AddDefaultRoute(t testing.TB, link, via string, metric int) {
	t.Helper()
	gw := net.ParseIP(via)
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if gw.To4() == nil {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	r := &netlink.Route{LinkIndex: h.find(t, link).Attrs().Index, Dst: all, Gw: gw, Priority: metric}
	if err := h.handle.RouteAdd(r); err != nil {
		t.Fatalf("add a default route by %s: %v", via, err)
	}
}

func address(t testing.TB, prefix string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func (h *Host) find(t testing.TB, link string) netlink.Link {
	t.Helper()
	l, err := h.handle.LinkByName(link)
	if err != nil {
		t.Fatalf("find %s: %v", link, err)
	}
	return l
}

// SendFrames puts frames on a link as they are, from the Ethernet header on.
func (h *Host) SendFrames(t testing.TB, link packet.Link, frames ...[]byte) {
	t.Helper()
	h.Do(t, func() {
		if err := sendFrames(link.Index, frames); err != nil {
			t.Errorf("send frames on %s: %v", link.Name, err)
		}
	})
}

func sendFrames(index int, frames [][]byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			return err
		}
	}
	return nil
}
