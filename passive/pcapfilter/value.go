package pcapfilter

import (
	"errors"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/internal/bpfasm"
)

// value is a part of an expression that is a number.
type value interface {
	// guard emits tests that the frame has what the value reads; where not they
	// go to no.
	guard(c *compiler, no bpfasm.Label) error
	// compute emits code that leaves the number in A. It may use scratch memory
	// from slot on.
	compute(c *compiler, slot int) error
}

// scratch is how many numbers a program can put aside.
const scratch = 16

var errTooComplex = errors.New("pcapfilter: arithmetic is nested too deeply")

// relation compares two numbers.
type relation struct {
	op          string
	left, right value
}

func (n relation) compile(c *compiler, yes, no bpfasm.Label) error {
	if err := n.left.guard(c, no); err != nil {
		return err
	}
	if err := n.right.guard(c, no); err != nil {
		return err
	}
	// Classic BPF compares for =, > and >=.
	var test bpf.JumpTest
	switch n.op {
	case "=":
		test = bpf.JumpEqual
	case "!=":
		test, yes, no = bpf.JumpEqual, no, yes
	case ">":
		test = bpf.JumpGreaterThan
	case ">=":
		test = bpf.JumpGreaterOrEqual
	case "<":
		test, yes, no = bpf.JumpGreaterOrEqual, no, yes
	case "<=":
		test, yes, no = bpf.JumpGreaterThan, no, yes
	}
	if k, ok := n.right.(constant); ok {
		if err := n.left.compute(c, 0); err != nil {
			return err
		}
		c.JumpIf(test, uint32(k), yes, no)
		return nil
	}
	if err := c.operands(n.left, n.right, 0); err != nil {
		return err
	}
	c.JumpIfX(test, yes, no)
	return nil
}

// operands leaves one number in A and the other in X.
func (c *compiler) operands(left, right value, slot int) error {
	if slot >= scratch {
		return errTooComplex
	}
	if err := left.compute(c, slot); err != nil {
		return err
	}
	c.Op(bpf.StoreScratch{Src: bpf.RegA, N: slot})
	if err := right.compute(c, slot+1); err != nil {
		return err
	}
	c.Op(bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: slot})
	return nil
}

type constant uint32

func (constant) guard(*compiler, bpfasm.Label) error { return nil }

func (n constant) compute(c *compiler, _ int) error {
	c.Op(bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(n)})
	return nil
}

// length is the frame's length.
type length struct{}

func (length) guard(*compiler, bpfasm.Label) error { return nil }

func (length) compute(c *compiler, _ int) error {
	c.Op(bpf.LoadExtension{Num: bpf.ExtLen})
	return nil
}

type binary struct {
	op          string
	left, right value
}

func (n binary) guard(c *compiler, no bpfasm.Label) error {
	if err := n.left.guard(c, no); err != nil {
		return err
	}
	return n.right.guard(c, no)
}

var operations = map[string]bpf.ALUOp{
	"+": bpf.ALUOpAdd, "-": bpf.ALUOpSub, "*": bpf.ALUOpMul, "/": bpf.ALUOpDiv, "%": bpf.ALUOpMod,
	"&": bpf.ALUOpAnd, "|": bpf.ALUOpOr, "^": bpf.ALUOpXor, "<<": bpf.ALUOpShiftLeft, ">>": bpf.ALUOpShiftRight,
}

func (n binary) compute(c *compiler, slot int) error {
	op := operations[n.op]
	if k, ok := n.right.(constant); ok {
		if err := n.left.compute(c, slot); err != nil {
			return err
		}
		if (n.op == "<<" || n.op == ">>") && k > 31 { // a kernel takes no such shift
			c.Op(bpf.LoadConstant{Dst: bpf.RegA})
			return nil
		}
		c.Op(bpf.ALUOpConstant{Op: op, Val: uint32(k)})
		return nil
	}
	if err := c.operands(n.left, n.right, slot); err != nil {
		return err
	}
	c.Op(bpf.ALUOpX{Op: op})
	return nil
}

// layer is a header whose bytes can be read.
type layer struct {
	etherType uint32 // 0: the frame itself
	number    uint32 // IP protocol, 0: the network header
}

var layers = map[string]layer{
	"ether": {}, "ip": {0x0800, 0}, "ip6": {0x86dd, 0}, "arp": {0x0806, 0}, "rarp": {0x8035, 0},
	"tcp": {0x0800, 6}, "udp": {0x0800, 17}, "sctp": {0x0800, 132}, "icmp": {0x0800, 1}, "igmp": {0x0800, 2},
	"icmp6": {0x86dd, 58},
}

// load is some bytes of a header. Those of a protocol inside IPv4 are only read
// from a first fragment, and never inside IPv6, but for icmp6.
type load struct {
	vlan   int
	layer  layer
	offset value
	size   int
}

func (n load) guard(c *compiler, no bpfasm.Label) error {
	if n.layer.etherType == 0 {
		if c.link != packet.LinkEthernet {
			return errNoEther
		}
		return n.offset.guard(c, no)
	}
	base := c.network(n.vlan)
	c.etherType(n.layer.etherType, n.vlan, no)
	switch {
	case n.layer.number == 0:
	case n.layer.etherType == 0x86dd:
		c.Op(bpf.LoadAbsolute{Off: base + 6, Size: 1})
		c.then(bpf.JumpEqual, n.layer.number, no)
	default:
		c.Op(bpf.LoadAbsolute{Off: base + 9, Size: 1})
		c.then(bpf.JumpEqual, n.layer.number, no)
		first := c.NewLabel()
		c.Op(bpf.LoadAbsolute{Off: base + 6, Size: 2})
		c.JumpIf(bpf.JumpBitsSet, 0x1fff, no, first)
		c.Bind(first)
	}
	return n.offset.guard(c, no)
}

func (n load) compute(c *compiler, slot int) error {
	base := uint32(0)
	if n.layer.etherType != 0 {
		base = c.network(n.vlan)
	}
	behindIPv4 := n.layer.number != 0 && n.layer.etherType == 0x0800
	if n.layer.number != 0 && !behindIPv4 {
		base += 40
	}
	if k, ok := n.offset.(constant); ok && k <= 0xffff {
		if behindIPv4 {
			c.Op(bpf.LoadMemShift{Off: base}, bpf.LoadIndirect{Off: base + uint32(k), Size: n.size})
		} else {
			c.Op(bpf.LoadAbsolute{Off: base + uint32(k), Size: n.size})
		}
		return nil
	}
	if err := n.offset.compute(c, slot); err != nil {
		return err
	}
	if behindIPv4 {
		c.Op(bpf.LoadMemShift{Off: base}, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	}
	c.Op(bpf.TAX{}, bpf.LoadIndirect{Off: base, Size: n.size})
	return nil
}
