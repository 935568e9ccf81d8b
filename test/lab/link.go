package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Down takes the host's end of the link down, as `ip link set down` does. The
// host loses the link's IPv6 addresses with that.
func (k *Link) Down() {
	k.host.lab.t.Helper()
	k.host.ns.ip(k.host.lab.t, fmt.Sprintf("link set %s down", k.Name))
}

// Up brings the link up again, with the IPv6 addresses that it had.
func (k *Link) Up() {
	k.host.lab.t.Helper()
	script := []string{fmt.Sprintf("link set %s up", k.Name)}
	if k.V6.IsValid() {
		for _, p := range k.Subnet.Prefixes {
			if p.Contains(k.V6) {
				script = append(script, fmt.Sprintf("addr replace %s/%d dev %s nodad", k.V6, p.Bits(), k.Name))
			}
		}
	}
	k.host.ns.ip(k.host.lab.t, script...)
	k.waitCarrier()
}

// Unplug pulls the cable: the link keeps its addresses and loses its carrier.
func (k *Link) Unplug() {
	k.host.lab.t.Helper()
	k.Subnet.ns.ip(k.host.lab.t, fmt.Sprintf("link set %s down", k.port))
}

// Plug puts the cable back.
func (k *Link) Plug() {
	k.host.lab.t.Helper()
	k.Subnet.ns.ip(k.host.lab.t, fmt.Sprintf("link set %s up", k.port))
	k.waitCarrier()
}

// SetMTU sets the MTU of both ends, in bytes.
func (k *Link) SetMTU(mtu int) {
	k.host.lab.t.Helper()
	k.host.ns.ip(k.host.lab.t, fmt.Sprintf("link set %s mtu %d", k.Name, mtu))
	k.Subnet.ns.ip(k.host.lab.t, fmt.Sprintf("link set %s mtu %d", k.port, mtu))
}

// AddAddresses gives the link more IPv4 addresses, each by itself: nothing else
// is reached directly because of them.
func (k *Link) AddAddresses(addrs ...netip.Addr) {
	k.host.lab.t.Helper()
	var script []string
	for _, a := range addrs {
		script = append(script, fmt.Sprintf("addr add %s/32 dev %s", a, k.Name))
	}
	k.host.ns.ip(k.host.lab.t, script...)
}

// Remove takes the link away altogether.
func (k *Link) Remove() {
	k.host.lab.t.Helper()
	k.host.ns.ip(k.host.lab.t, fmt.Sprintf("link del %s", k.Name))
	links := k.host.Links[:0:0]
	for _, o := range k.host.Links {
		if o != k {
			links = append(links, o)
		}
	}
	k.host.Links = links
}

// waitCarrier waits until the link carries packets, for until then a question for
// a neighbour is lost and asked again only a second later; and until it has its
// link-local address, which the kernel gives it when it comes to it.
func (k *Link) waitCarrier() {
	t := k.host.lab.t
	t.Helper()
	Eventually(t, 20*time.Second, "carrier of "+k.Name+" on "+k.host.Name, func() error {
		out, err := command("", "ip", "-n", k.Subnet.ns.name, "-details", "-oneline", "link", "show", k.port)
		if err == nil && !strings.Contains(out, " state forwarding ") {
			err = fmt.Errorf("the bridge's port: %s", out)
		}
		if err != nil {
			return err
		}
		return k.host.ns.do(func() error {
			ifi, err := net.InterfaceByName(k.Name)
			if err == nil && ifi.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning {
				err = fmt.Errorf("flags %v", ifi.Flags)
			}
			if err != nil {
				return err
			}
			addrs, err := ifi.Addrs()
			if err == nil && !slices.ContainsFunc(addrs, func(a net.Addr) bool { return strings.HasPrefix(a.String(), "fe80:") }) {
				err = fmt.Errorf("addresses %v", addrs)
			}
			return err
		})
	})
}

// Lose drops that share of the packets, 0 to 100 per cent, that come to the
// host by this link and of those that leave it. It does so with a filter
// program of its own in the kernel (traffic control's clsact), because the
// netem queue that is made for this is missing from many kernels.
func (k *Link) Lose(percent int) {
	t := k.host.lab.t
	t.Helper()
	if percent < 0 || percent > 100 {
		t.Fatalf("lab: %d %% of packets lost", percent)
	}
	if err := k.host.ns.do(func() error { return lose(k.Index, uint32(percent)) }); err != nil {
		t.Fatalf("lab: lose packets on %s: %v", k.Name, err)
	}
}

// lose puts the dropping filter in front of and behind a link of this
// thread's namespace.
func lose(index int, percent uint32) error {
	fd, err := loadDropper(percent)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	if err := h.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("clsact: %w", err)
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filter := &netlink.BpfFilter{
			FilterAttrs:  netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:           fd,
			Name:         "lose",
			DirectAction: true,
		}
		if err := h.FilterReplace(filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	return nil
}

// loadDropper loads a filter program that drops that many packets in a hundred.
func loadDropper(percent uint32) (int, error) {
	// One instruction: opcode, dst and src register, offset, immediate.
	insn := func(op, regs byte, off int16, imm uint32) []byte {
		b := []byte{op, regs}
		b = binary.NativeEndian.AppendUint16(b, uint16(off))
		return binary.NativeEndian.AppendUint32(b, imm)
	}
	const (
		call, exit          = 0x85, 0x95
		mod32, mov64, jlt32 = 0x94, 0xb7, 0xa6
		getRandom           = 7 // bpf_get_prandom_u32
		tcOK, tcDrop        = 0, 2
	)
	var prog []byte
	for _, i := range [][]byte{
		insn(call, 0, 0, getRandom),
		insn(mod32, 0, 0, 100),     // r0 %= 100
		insn(jlt32, 0, 2, percent), // if r0 < percent goto drop
		insn(mov64, 0, 0, tcOK),    // r0 = ok
		insn(exit, 0, 0, 0),        //
		insn(mov64, 0, 0, tcDrop),  // drop: r0 = drop
		insn(exit, 0, 0, 0),        //
	} {
		prog = append(prog, i...)
	}
	return bpfLoad(prog)
}

// String is how a link is named in failures.
func (k *Link) String() string {
	return fmt.Sprintf("%s %s (%s %v %v on %s)", k.host.Name, k.Name, k.MAC, k.V4, k.V6, k.Subnet.Name)
}
