package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/packet"
)

// Bounds of an expression, so that work and memory are bounded.
const (
	maxText  = 8 << 10 // bytes
	maxDepth = 64      // of parentheses and "not"
)

// snapLength is how much of a frame that matches is wanted, in bytes.
const snapLength = 256 << 10

// Error says what is wrong with an expression, and where.
type Error struct {
	Column int // from 1, in bytes
	Reason string
}

// Error returns a sentence like `pcapfilter: column 9: unknown word "prot"`.
func (e *Error) Error() string { return fmt.Sprintf("pcapfilter: column %d: %s", e.Column, e.Reason) }

// Filter is an expression that was understood. It doesn't change and may be
// used by several goroutines.
type Filter struct {
	text string
	root node // nil matches all
}

// Parse reads an expression; an empty one matches every frame. Its error is an *Error.
func Parse(text string) (*Filter, error) {
	if len(text) > maxText {
		return nil, &Error{maxText + 1, fmt.Sprintf("longer than %d bytes", maxText)}
	}
	p := parser{text: text}
	p.space()
	if p.pos == len(text) {
		return &Filter{text: text}, nil
	}
	root, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(text) {
		return nil, p.unexpected()
	}
	return &Filter{text, root}, nil
}

// String returns the expression as it was given.
func (f *Filter) String() string { return f.text }

// Program compiles the filter for frames of one link type. It returns a frame's
// length to keep, or 0.
func (f *Filter) Program(link packet.LinkType) ([]bpf.Instruction, error) {
	c := compiler{link: link}
	if !c.known() {
		return nil, fmt.Errorf("pcapfilter: filters on frames of link type %d are not supported", link)
	}
	yes, no := c.NewLabel(), c.NewLabel()
	if f.root == nil {
		c.Jump(yes)
	} else if err := f.root.compile(&c, yes, no); err != nil {
		return nil, err
	}
	c.Bind(yes)
	c.Op(bpf.RetConstant{Val: snapLength})
	c.Bind(no)
	c.Op(bpf.RetConstant{Val: 0})
	ops, err := c.Assemble()
	if err != nil {
		return nil, fmt.Errorf("pcapfilter: %w", err)
	}
	return ops, nil
}

// Raw compiles the filter to what a kernel takes.
func (f *Filter) Raw(link packet.LinkType) ([]bpf.RawInstruction, error) {
	ops, err := f.Program(link)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(ops)
	if err != nil {
		return nil, fmt.Errorf("pcapfilter: %w", err)
	}
	return raw, nil
}

// Matcher applies a filter to frames of any link type, as they stand in a
// capture file or come from a capture. It is for one goroutine.
type Matcher struct {
	filter *Filter
	vms    map[packet.LinkType]*bpf.VM
	errs   map[packet.LinkType]error
	buf    []byte
}

// Matcher returns a Matcher for the filter.
func (f *Filter) Matcher() *Matcher {
	return &Matcher{filter: f, vms: make(map[packet.LinkType]*bpf.VM), errs: make(map[packet.LinkType]error)}
}

// Match says whether a frame matches. A VLAN tag that the network card took off
// counts as if it stood in the frame. It is an error if the filter can't be
// applied to the frame's link type.
func (m *Matcher) Match(f packet.Frame) (bool, error) {
	vm, err := m.vm(f.LinkType)
	if err != nil {
		return false, err
	}
	data := f.Data
	if f.VLAN != 0 && f.LinkType == packet.LinkEthernet && len(data) >= 12 {
		m.buf = append(m.buf[:0], data[:12]...)
		m.buf = append(m.buf, 0x81, 0x00, byte(f.VLAN>>8), byte(f.VLAN))
		m.buf = append(m.buf, data[12:]...)
		data = m.buf
	}
	n, err := vm.Run(data)
	return n > 0, err
}

func (m *Matcher) vm(link packet.LinkType) (*bpf.VM, error) {
	if vm := m.vms[link]; vm != nil {
		return vm, nil
	}
	if err := m.errs[link]; err != nil {
		return nil, err
	}
	ops, err := m.filter.Program(link)
	if err == nil {
		var vm *bpf.VM
		if vm, err = bpf.NewVM(ops); err == nil {
			m.vms[link] = vm
			return vm, nil
		}
	}
	m.errs[link] = err
	return nil, err
}
