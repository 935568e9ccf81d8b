package pcapfilter

import "strconv"

// names of offsets and values that arithmetic knows.
var constants = map[string]uint32{
	"tcpflags": 13, "tcp-fin": 1, "tcp-syn": 2, "tcp-rst": 4, "tcp-push": 8, "tcp-ack": 16, "tcp-urg": 32, "tcp-ece": 64, "tcp-cwr": 128,
	"icmptype": 0, "icmpcode": 1, "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-redirect": 5, "icmp-echo": 8, "icmp-timxceed": 11,
	"icmp6type": 0, "icmp6code": 1, "icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134,
	"icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136,
}

// relation reads a comparison of two arithmetic expressions. ok is false, and
// nothing is taken, if none stands here: then it is a primitive.
func (p *parser) relation() (n node, err error, ok bool) {
	start := p.pos
	if !p.maybeArithmetic() {
		return nil, nil, false
	}
	left, err := p.arithmetic(0, 0)
	op := ""
	if err == nil {
		op = p.operator("==", "=", "!=", "<=", ">=", "<", ">")
	}
	if err != nil || op == "" {
		// A broken one, or the parentheses of a logical expression.
		if p.text[start] == '(' || op == "" && err == nil {
			p.pos = start
			return nil, nil, false
		}
		return nil, err, true
	}
	right, err := p.arithmetic(0, 0)
	if err != nil {
		return nil, err, true
	}
	if op == "==" {
		op = "="
	}
	return relation{op, left, right}, nil, true
}

// maybeArithmetic says whether arithmetic may begin here: "(", a number that is
// no address, len, or a word with a bracket behind it.
func (p *parser) maybeArithmetic() bool {
	if p.pos >= len(p.text) {
		return false
	}
	if p.text[p.pos] == '(' || p.text[p.pos] == '-' {
		return true
	}
	w := p.peek()
	if w == "" {
		return false
	}
	end := p.pos + len(w)
	if w == "len" {
		return true
	}
	if _, ok := constants[w]; ok {
		return true
	}
	for end < len(p.text) && p.text[end] == ' ' {
		end++
	}
	if '0' <= w[0] && w[0] <= '9' {
		_, err := strconv.ParseUint(w, 0, 32)
		return err == nil && end < len(p.text) && p.text[end] != '.' && p.text[end] != ':'
	}
	return end < len(p.text) && p.text[end] == '['
}

// operator takes one of the operators, the first that stands here.
func (p *parser) operator(ops ...string) string {
	for _, op := range ops {
		if p.symbol(op) {
			return op
		}
	}
	return ""
}

// levels are the binary operators, weakest first.
var levels = [][]string{{"|", "^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}}

// arithmetic reads an expression of operators that bind at least as tightly as
// those of a level.
func (p *parser) arithmetic(level, depth int) (value, error) {
	if depth > maxDepth {
		return nil, p.fail(p.pos, "nested deeper than %d", maxDepth)
	}
	if level == len(levels) {
		return p.operand(depth)
	}
	left, err := p.arithmetic(level+1, depth)
	if err != nil {
		return nil, err
	}
	for {
		at := p.pos
		op := p.operator(levels[level]...)
		if op == "" {
			return left, nil
		}
		right, err := p.arithmetic(level+1, depth)
		if err != nil {
			return nil, err
		}
		if c, ok := right.(constant); ok && c == 0 && (op == "/" || op == "%") {
			return nil, p.fail(at, "division by zero")
		}
		left = fold(binary{op, left, right})
	}
}

func (p *parser) operand(depth int) (value, error) {
	at := p.pos
	switch {
	case p.symbol("("):
		v, err := p.arithmetic(0, depth+1)
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		return v, nil
	case p.symbol("-"):
		v, err := p.operand(depth + 1)
		if err != nil {
			return nil, err
		}
		return fold(binary{"-", constant(0), v}), nil
	}
	if depth > maxDepth {
		return nil, p.fail(p.pos, "nested deeper than %d", maxDepth)
	}
	w := p.peek()
	if w == "" {
		return nil, p.unexpected()
	}
	if w == "len" {
		p.take(w)
		return length{}, nil
	}
	if c, ok := constants[w]; ok {
		p.take(w)
		return constant(c), nil
	}
	if '0' <= w[0] && w[0] <= '9' {
		n, err := p.number()
		return constant(n), err
	}
	layer, ok := layers[w]
	if !ok {
		return nil, p.fail(at, "%q has no bytes to look at", w)
	}
	p.take(w)
	if !p.symbol("[") {
		return nil, p.unexpected()
	}
	offset, err := p.arithmetic(0, depth+1)
	if err != nil {
		return nil, err
	}
	size := 1
	if p.symbol(":") {
		at := p.pos
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		if n != 1 && n != 2 && n != 4 {
			return nil, p.fail(at, "%d bytes can't be read at once: 1, 2 or 4", n)
		}
		size = int(n)
	}
	if !p.symbol("]") {
		return nil, p.unexpected()
	}
	return load{vlan: p.vlan, layer: layer, offset: offset, size: size}, nil
}

// fold computes what is constant.
func fold(b binary) value {
	l, ok1 := b.left.(constant)
	r, ok2 := b.right.(constant)
	if !ok1 || !ok2 {
		return b
	}
	switch b.op {
	case "+":
		return l + r
	case "-":
		return l - r
	case "*":
		return l * r
	case "/":
		return l / r
	case "%":
		return l % r
	case "&":
		return l & r
	case "|":
		return l | r
	case "^":
		return l ^ r
	case "<<":
		return l << min(r, 32)
	}
	return l >> min(r, 32)
}
