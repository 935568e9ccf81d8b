package pcapfilter

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/internal/bpfasm"
)

// node is a part of an expression that is true or false of a frame. compile
// emits code that goes on at one of two labels.
type node interface {
	compile(c *compiler, yes, no bpfasm.Label) error
}

// compiler emits a program for frames of one link type.
type compiler struct {
	bpfasm.Program
	link packet.LinkType
}

var (
	errNoEther = errors.New("pcapfilter: ether needs frames with an Ethernet header")
	errNoVLAN  = errors.New("pcapfilter: vlan needs frames with an Ethernet header")
	errTooLong = fmt.Errorf("pcapfilter: %w", bpfasm.ErrTooLong)
)

func (c *compiler) known() bool {
	switch c.link {
	case packet.LinkEthernet, packet.LinkSLL, packet.LinkSLL2, packet.LinkRaw, packet.LinkIPv4, packet.LinkIPv6,
		packet.LinkNull, packet.LinkLoop:
		return true
	}
	return false
}

// network returns where the network header begins, in bytes.
func (c *compiler) network(vlan int) uint32 {
	switch c.link {
	case packet.LinkEthernet:
		return 14 + 4*uint32(vlan)
	case packet.LinkSLL:
		return 16
	case packet.LinkSLL2:
		return 20
	case packet.LinkNull, packet.LinkLoop:
		return 4
	}
	return 0
}

// then emits one test that goes on right behind it where it holds, else at no.
func (c *compiler) then(test bpf.JumpTest, val uint32, no bpfasm.Label) {
	next := c.NewLabel()
	c.JumpIf(test, val, next, no)
	c.Bind(next)
}

// orElse emits one test that goes to yes where it holds, else on behind it.
func (c *compiler) orElse(test bpf.JumpTest, val uint32, yes bpfasm.Label) {
	next := c.NewLabel()
	c.JumpIf(test, val, yes, next)
	c.Bind(next)
}

// etherType goes on where the frame holds the protocol, else at no.
func (c *compiler) etherType(value uint32, vlan int, no bpfasm.Label) {
	switch c.link {
	case packet.LinkEthernet:
		c.Op(bpf.LoadAbsolute{Off: 12 + 4*uint32(vlan), Size: 2})
		c.then(bpf.JumpEqual, value, no)
	case packet.LinkSLL:
		c.Op(bpf.LoadAbsolute{Off: 14, Size: 2})
		c.then(bpf.JumpEqual, value, no)
	case packet.LinkSLL2:
		c.Op(bpf.LoadAbsolute{Off: 0, Size: 2})
		c.then(bpf.JumpEqual, value, no)
	case packet.LinkRaw, packet.LinkIPv4, packet.LinkIPv6:
		version := map[uint32]uint32{0x0800: 0x40, 0x86dd: 0x60}[value]
		c.Op(bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		c.then(bpf.JumpEqual, version, no)
	case packet.LinkNull, packet.LinkLoop:
		// The address family in either byte order, as different systems number it.
		yes := c.NewLabel()
		c.Op(bpf.LoadAbsolute{Off: 0, Size: 4})
		for _, family := range map[uint32][]uint32{0x0800: {2}, 0x86dd: {10, 23, 24, 28, 30}}[value] {
			c.orElse(bpf.JumpEqual, family, yes)
			c.orElse(bpf.JumpEqual, family<<24, yes)
		}
		c.Jump(no)
		c.Bind(yes)
	}
}

type both struct {
	left, right node
	and         bool
}

func (n both) compile(c *compiler, yes, no bpfasm.Label) error {
	next := c.NewLabel()
	var err error
	if n.and {
		err = n.left.compile(c, next, no)
	} else {
		err = n.left.compile(c, yes, next)
	}
	if err != nil {
		return err
	}
	if c.Len() > bpfasm.MaxInstructions {
		return errTooLong
	}
	c.Bind(next)
	return n.right.compile(c, yes, no)
}

type not struct{ node }

func (n not) compile(c *compiler, yes, no bpfasm.Label) error { return n.node.compile(c, no, yes) }

type etherType struct {
	vlan  int
	value uint32
}

func (n etherType) compile(c *compiler, yes, no bpfasm.Label) error {
	c.etherType(n.value, n.vlan, no)
	c.Jump(yes)
	return nil
}

// ipProto is a protocol inside IPv4, IPv6 or either. In IPv6 it stands in the
// first header, or in that of a fragment.
type ipProto struct {
	vlan   int
	number uint32
	v4, v6 bool
}

func (n ipProto) compile(c *compiler, yes, no bpfasm.Label) error {
	base := c.network(n.vlan)
	if n.v4 {
		not4 := no
		if n.v6 {
			not4 = c.NewLabel()
		}
		c.etherType(0x0800, n.vlan, not4)
		c.Op(bpf.LoadAbsolute{Off: base + 9, Size: 1})
		c.JumpIf(bpf.JumpEqual, n.number, yes, no)
		if !n.v6 {
			return nil
		}
		c.Bind(not4)
	}
	c.etherType(0x86dd, n.vlan, no)
	c.Op(bpf.LoadAbsolute{Off: base + 6, Size: 1})
	c.orElse(bpf.JumpEqual, n.number, yes)
	c.then(bpf.JumpEqual, 44, no)
	c.Op(bpf.LoadAbsolute{Off: base + 40, Size: 1})
	c.JumpIf(bpf.JumpEqual, n.number, yes, no)
	return nil
}

// directions emits a test of the source and of the destination as dir asks; test
// emits one that goes on where it holds, else at no.
func (c *compiler) directions(dir string, yes, no bpfasm.Label, test func(dst bool, no bpfasm.Label)) {
	switch dir {
	case "src", "dst":
		test(dir == "dst", no)
	case "and":
		test(false, no)
		test(true, no)
	default:
		other := c.NewLabel()
		test(false, other)
		c.Jump(yes)
		c.Bind(other)
		test(true, no)
	}
	c.Jump(yes)
}

// address is an IP address or network, in IP's header or in ARP's body.
type address struct {
	vlan       int
	proto, dir string // proto "" is any that fits
	prefix     netip.Prefix
}

func (n address) compile(c *compiler, yes, no bpfasm.Label) error {
	base := c.network(n.vlan)
	at := func(src, dst uint32) func(bool, bpfasm.Label) {
		return func(isDst bool, no bpfasm.Label) {
			off := src
			if isDst {
				off = dst
			}
			c.prefix(n.prefix, base+off, no)
		}
	}
	if n.prefix.Addr().Is6() {
		c.etherType(0x86dd, n.vlan, no)
		c.directions(n.dir, yes, no, at(8, 24))
		return nil
	}
	for _, x := range []struct {
		word     string
		value    uint32
		src, dst uint32
	}{{"ip", 0x0800, 12, 16}, {"arp", 0x0806, 14, 24}, {"rarp", 0x8035, 14, 24}} {
		if n.proto != "" && n.proto != x.word {
			continue
		}
		next := c.NewLabel()
		c.etherType(x.value, n.vlan, next)
		c.directions(n.dir, yes, no, at(x.src, x.dst))
		c.Bind(next)
	}
	c.Jump(no)
	return nil
}

// prefix goes on where the address at off lies in the prefix, else at no.
func (c *compiler) prefix(p netip.Prefix, off uint32, no bpfasm.Label) {
	b := p.Addr().AsSlice()
	for bits := p.Bits(); bits > 0; bits -= 32 {
		word := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		c.Op(bpf.LoadAbsolute{Off: off, Size: 4})
		if bits < 32 {
			c.Op(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
		}
		c.then(bpf.JumpEqual, word, no)
		b, off = b[4:], off+4
	}
}

// etherAddr is a MAC as source or destination.
type etherAddr struct {
	vlan int
	mac  [6]byte
	dst  bool
}

func etherNode(mac [6]byte, dir string, vlan int) node {
	src, dst := etherAddr{vlan, mac, false}, etherAddr{vlan, mac, true}
	switch dir {
	case "src":
		return src
	case "dst":
		return dst
	}
	return both{src, dst, dir == "and"}
}

func (n etherAddr) compile(c *compiler, yes, no bpfasm.Label) error {
	if c.link != packet.LinkEthernet {
		return errNoEther
	}
	off := uint32(6)
	if n.dst {
		off = 0
	}
	m := n.mac
	c.Op(bpf.LoadAbsolute{Off: off + 2, Size: 4})
	c.then(bpf.JumpEqual, uint32(m[2])<<24|uint32(m[3])<<16|uint32(m[4])<<8|uint32(m[5]), no)
	c.Op(bpf.LoadAbsolute{Off: off, Size: 2})
	c.JumpIf(bpf.JumpEqual, uint32(m[0])<<8|uint32(m[1]), yes, no)
	return nil
}

// multicast is a group as destination: of Ethernet, IPv4 or IPv6.
type multicast struct {
	vlan  int
	proto string
}

func (n multicast) compile(c *compiler, yes, no bpfasm.Label) error {
	base := c.network(n.vlan)
	switch n.proto {
	case "ip":
		c.etherType(0x0800, n.vlan, no)
		c.Op(bpf.LoadAbsolute{Off: base + 16, Size: 1})
		c.JumpIf(bpf.JumpGreaterOrEqual, 224, yes, no)
	case "ip6":
		c.etherType(0x86dd, n.vlan, no)
		c.Op(bpf.LoadAbsolute{Off: base + 24, Size: 1})
		c.JumpIf(bpf.JumpEqual, 0xff, yes, no)
	default:
		if c.link != packet.LinkEthernet {
			return errNoEther
		}
		c.Op(bpf.LoadAbsolute{Off: 0, Size: 1})
		c.JumpIf(bpf.JumpBitsSet, 1, yes, no)
	}
	return nil
}

// vlan is a tag, behind depth others; id -1 is any.
type vlan struct {
	depth int
	id    int
}

func (n vlan) compile(c *compiler, yes, no bpfasm.Label) error {
	if c.link != packet.LinkEthernet {
		return errNoVLAN
	}
	tagged := c.NewLabel()
	off := 12 + 4*uint32(n.depth)
	c.Op(bpf.LoadAbsolute{Off: off, Size: 2})
	c.orElse(bpf.JumpEqual, 0x8100, tagged)
	c.orElse(bpf.JumpEqual, 0x88a8, tagged)
	c.JumpIf(bpf.JumpEqual, 0x9100, tagged, no)
	c.Bind(tagged)
	if n.id < 0 {
		c.Jump(yes)
		return nil
	}
	c.Op(bpf.LoadAbsolute{Off: off + 2, Size: 2}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0fff})
	c.JumpIf(bpf.JumpEqual, uint32(n.id), yes, no)
	return nil
}

// port is a range of ports. Only the first fragment of an IPv4 packet has them.
type port struct {
	vlan      int
	protos    []uint32
	dir       string
	low, high uint32
}

func (n port) compile(c *compiler, yes, no bpfasm.Label) error {
	base := c.network(n.vlan)
	oneOf := func() { // goes on where A is one of the protocols
		ok := c.NewLabel()
		for i, number := range n.protos {
			if i+1 < len(n.protos) {
				c.orElse(bpf.JumpEqual, number, ok)
			} else {
				c.JumpIf(bpf.JumpEqual, number, ok, no)
			}
		}
		c.Bind(ok)
	}
	inRange := func(no bpfasm.Label) {
		if n.low == n.high {
			c.then(bpf.JumpEqual, n.low, no)
			return
		}
		c.then(bpf.JumpGreaterOrEqual, n.low, no)
		next := c.NewLabel()
		c.JumpIf(bpf.JumpGreaterThan, n.high, no, next)
		c.Bind(next)
	}
	not4, first := c.NewLabel(), c.NewLabel()
	c.etherType(0x0800, n.vlan, not4)
	c.Op(bpf.LoadAbsolute{Off: base + 9, Size: 1})
	oneOf()
	c.Op(bpf.LoadAbsolute{Off: base + 6, Size: 2})
	c.JumpIf(bpf.JumpBitsSet, 0x1fff, no, first)
	c.Bind(first)
	c.Op(bpf.LoadMemShift{Off: base})
	c.directions(n.dir, yes, no, func(dst bool, no bpfasm.Label) {
		off := base
		if dst {
			off += 2
		}
		c.Op(bpf.LoadIndirect{Off: off, Size: 2})
		inRange(no)
	})
	c.Bind(not4)
	c.etherType(0x86dd, n.vlan, no)
	c.Op(bpf.LoadAbsolute{Off: base + 6, Size: 1})
	oneOf()
	c.directions(n.dir, yes, no, func(dst bool, no bpfasm.Label) {
		off := base + 40
		if dst {
			off += 2
		}
		c.Op(bpf.LoadAbsolute{Off: off, Size: 2})
		inRange(no)
	})
	return nil
}
