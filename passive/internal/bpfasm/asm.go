// Package bpfasm assembles classic BPF programs with labels instead of counted
// jumps.
package bpfasm

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// MaxInstructions is the longest program that Linux takes (BPF_MAXINSNS).
const MaxInstructions = 4096

// ErrTooLong says that a program has more instructions than a kernel takes.
var ErrTooLong = errors.New("the program is longer than 4096 instructions")

// Label is a place in a program. Jumps only go forward, as classic BPF has it.
type Label int

// Program is a program in the making. The zero Program is empty.
type Program struct {
	nodes  []node
	labels []int // index of the node that a label stands before, -1 before Bind
}

type node struct {
	op      bpf.Instruction // any but a jump
	jump    bool
	cond    bool // jump to yes or no, else always to yes
	withX   bool
	test    bpf.JumpTest
	val     uint32
	yes, no Label
}

// NewLabel returns a label to bind later.
func (p *Program) NewLabel() Label {
	p.labels = append(p.labels, -1)
	return Label(len(p.labels) - 1)
}

// Bind puts a label before the next instruction.
func (p *Program) Bind(l Label) { p.labels[l] = len(p.nodes) }

// Op adds an instruction that is no jump.
func (p *Program) Op(ops ...bpf.Instruction) {
	for _, op := range ops {
		p.nodes = append(p.nodes, node{op: op})
	}
}

// Jump goes to a label.
func (p *Program) Jump(to Label) { p.nodes = append(p.nodes, node{jump: true, yes: to}) }

// JumpIf compares A with a constant.
func (p *Program) JumpIf(test bpf.JumpTest, val uint32, yes, no Label) {
	p.nodes = append(p.nodes, node{jump: true, cond: true, test: test, val: val, yes: yes, no: no})
}

// JumpIfX compares A with X.
func (p *Program) JumpIfX(test bpf.JumpTest, yes, no Label) {
	p.nodes = append(p.nodes, node{jump: true, cond: true, withX: true, test: test, yes: yes, no: no})
}

// Len returns the number of steps so far.
func (p *Program) Len() int { return len(p.nodes) }

// Assemble returns the program. A conditional jump reaches 255 instructions far;
// where that isn't enough it is made of three.
func (p *Program) Assemble() ([]bpf.Instruction, error) {
	if len(p.nodes) > MaxInstructions {
		return nil, ErrTooLong
	}
	size := make([]int, len(p.nodes))
	at := make([]int, len(p.nodes)+1)
	for i := range size {
		size[i] = 1
	}
	target := func(l Label) int { return at[p.labels[l]] }
	for i, n := range p.nodes {
		if n.jump && (p.labels[n.yes] <= i || n.cond && p.labels[n.no] <= i) {
			return nil, fmt.Errorf("bpfasm: step %d jumps backward or to no place", i)
		}
	}
	// Jumps only grow, so that this ends.
	for changed := true; changed; {
		changed = false
		for i, n := range size {
			at[i+1] = at[i] + n
		}
		for i, n := range p.nodes {
			if n.cond && size[i] == 1 && max(target(n.yes), target(n.no))-at[i]-1 > 255 {
				size[i] = 3
				changed = true
			}
		}
	}
	if at[len(p.nodes)] > MaxInstructions {
		return nil, ErrTooLong
	}
	out := make([]bpf.Instruction, 0, at[len(p.nodes)])
	for i, n := range p.nodes {
		next := at[i] + 1
		switch {
		case !n.jump:
			out = append(out, n.op)
		case !n.cond:
			out = append(out, bpf.Jump{Skip: uint32(target(n.yes) - next)})
		case size[i] == 1:
			out = append(out, n.conditional(target(n.yes)-next, target(n.no)-next))
		default:
			out = append(out, n.conditional(0, 1),
				bpf.Jump{Skip: uint32(target(n.yes) - next - 1)},
				bpf.Jump{Skip: uint32(target(n.no) - next - 2)})
		}
	}
	return out, nil
}

func (n node) conditional(yes, no int) bpf.Instruction {
	if n.withX {
		return bpf.JumpIfX{Cond: n.test, SkipTrue: uint8(yes), SkipFalse: uint8(no)}
	}
	return bpf.JumpIf{Cond: n.test, Val: n.val, SkipTrue: uint8(yes), SkipFalse: uint8(no)}
}
