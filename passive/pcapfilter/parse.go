package pcapfilter

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parser reads an expression. It looks at the text as it needs to: what belongs
// to a word differs between a value ("fe80::1", "67-68") and arithmetic.
type parser struct {
	text string
	pos  int
	last qualifiers // of the value before
	any  bool       // there was one
	vlan int        // "vlan" words so far
}

// qualifiers are the words before a value.
type qualifiers struct {
	proto, dir, kind string
}

func (p *parser) fail(at int, format string, args ...any) error {
	return &Error{at + 1, fmt.Sprintf(format, args...)}
}

// unexpected complains about what stands at the present place.
func (p *parser) unexpected() error {
	if p.pos >= len(p.text) {
		return p.fail(p.pos, "ends too early")
	}
	if w := p.peek(); w != "" {
		return p.fail(p.pos, "%q is out of place", w)
	}
	return p.fail(p.pos, "%q is out of place", p.text[p.pos:p.pos+1])
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// symbol takes s if it stands here, and is no part of a longer operator.
func (p *parser) symbol(s string) bool {
	rest := p.text[p.pos:]
	if !strings.HasPrefix(rest, s) {
		return false
	}
	if after := rest[len(s):]; len(s) == 1 && after != "" {
		switch s + after[:1] {
		case "&&", "||", "!=", "<<", ">>", "<=", ">=":
			return false
		}
	}
	p.pos += len(s)
	p.space()
	return true
}

func letter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// peek returns the word here: letters and digits, with a dash inside.
func (p *parser) peek() string {
	i := p.pos
	if i < len(p.text) && p.text[i] == '\\' {
		i++
	}
	for i < len(p.text) && (letter(p.text[i]) || p.text[i] == '-' && i > p.pos && i+1 < len(p.text) && 'a' <= p.text[i+1] && p.text[i+1] <= 'z') {
		i++
	}
	return p.text[p.pos:i]
}

// word takes w if it is the word here.
func (p *parser) word(w string) bool {
	if p.peek() != w {
		return false
	}
	p.pos += len(w)
	p.space()
	return true
}

// value returns what stands here up to a space or parenthesis: an address, a
// range, a name.
func (p *parser) value() string {
	i := p.pos
	for i < len(p.text) && (letter(p.text[i]) || strings.IndexByte(".:-/\\", p.text[i]) >= 0) {
		i++
	}
	return p.text[p.pos:i]
}

func (p *parser) take(s string) {
	p.pos += len(s)
	p.space()
}

// expression reads terms with "and" and "or" between them, from the left.
func (p *parser) expression(depth int) (node, error) {
	left, err := p.term(depth)
	if err != nil {
		return nil, err
	}
	for {
		var and bool
		switch {
		case p.symbol("&&") || p.word("and"):
			and = true
		case p.symbol("||") || p.word("or"):
		default:
			return left, nil
		}
		right, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		left = both{left, right, and}
	}
}

// term reads "not", parentheses or one primitive.
func (p *parser) term(depth int) (node, error) {
	if depth > maxDepth {
		return nil, p.fail(p.pos, "nested deeper than %d", maxDepth)
	}
	if p.symbol("!") || p.word("not") {
		n, err := p.term(depth + 1)
		if err != nil {
			return nil, err
		}
		return not{n}, nil
	}
	if n, err, ok := p.relation(); ok {
		return n, err
	}
	if p.symbol("(") {
		n, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		return n, nil
	}
	return p.primitive(depth)
}

// protocols are the words that name one; number is the IP protocol.
var protocols = map[string]struct {
	number uint32
	v4, v6 bool
}{
	"tcp": {6, true, true}, "udp": {17, true, true}, "sctp": {132, true, true},
	"esp": {50, true, true}, "ah": {51, true, true}, "pim": {103, true, true},
	"icmp": {1, true, false}, "igmp": {2, true, false}, "icmp6": {58, false, true},
}

// etherTypes are the words that name an EtherType.
var etherTypes = map[string]uint32{"ip": 0x0800, "ip6": 0x86dd, "arp": 0x0806, "rarp": 0x8035}

// primitive reads one primitive: qualifiers and a value, or a word of its own.
func (p *parser) primitive(depth int) (node, error) {
	start, w := p.pos, p.peek()
	switch w {
	case "":
		return p.bare(start)
	case "vlan":
		p.take(w)
		n := vlan{depth: p.vlan, id: -1}
		if id := p.peek(); id != "" {
			if v, err := strconv.ParseUint(id, 0, 32); err == nil {
				if v > 4095 {
					return nil, p.fail(p.pos, "VLAN %s is greater than 4095", id)
				}
				n.id = int(v)
				p.take(id)
			}
		}
		p.vlan++
		if p.vlan > 2 {
			return nil, p.fail(start, "more than two VLAN tags")
		}
		return n, nil
	case "less", "greater":
		p.take(w)
		v, err := p.number()
		if err != nil {
			return nil, err
		}
		op := "<="
		if w == "greater" {
			op = ">="
		}
		return relation{op: op, left: length{}, right: constant(v)}, nil
	case "broadcast":
		p.take(w)
		return etherAddr{vlan: p.vlan, mac: [6]byte{255, 255, 255, 255, 255, 255}, dst: true}, nil
	case "multicast":
		p.take(w)
		return multicast{vlan: p.vlan}, nil
	}

	var q qualifiers
	if _, ok := protocols[w]; ok || etherTypes[w] != 0 || w == "ether" {
		q.proto = w
		p.take(w)
		switch next := p.peek(); {
		case next == "broadcast" && w == "ether":
			p.take(next)
			return etherAddr{vlan: p.vlan, mac: [6]byte{255, 255, 255, 255, 255, 255}, dst: true}, nil
		case next == "broadcast" && w == "ip":
			return nil, p.fail(p.pos, "ip broadcast is not supported: the link's mask isn't known")
		case next == "multicast" && (w == "ether" || w == "ip" || w == "ip6"):
			p.take(next)
			return multicast{vlan: p.vlan, proto: w}, nil
		}
	}
	q.dir = p.direction()
	switch next := p.peek(); next {
	case "host", "net", "port", "portrange", "proto":
		q.kind = next
		p.take(next)
	}
	if q.kind == "" && q.dir == "" {
		if q.proto == "" {
			return p.bare(start)
		}
		if p.value() == "" || p.isConnective() {
			return p.protocol(q.proto, start)
		}
		return nil, p.fail(p.pos, "%q needs a word like host or port before %q", q.proto, p.value())
	}
	if q.kind == "" {
		q.kind = "host"
	}
	if err := p.fits(q, start); err != nil {
		return nil, err
	}
	p.last, p.any = q, true
	if p.symbol("(") {
		n, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, p.unexpected()
		}
		return n, nil
	}
	return p.valueNode(q)
}

// isConnective says whether the word here joins expressions.
func (p *parser) isConnective() bool {
	w := p.peek()
	return w == "and" || w == "or"
}

// bare reads a value that takes the qualifiers of the one before.
func (p *parser) bare(start int) (node, error) {
	v := p.value()
	if v == "" || p.isConnective() {
		return nil, p.unexpected()
	}
	if !p.any {
		if _, err := netip.ParseAddr(v); err != nil {
			if w := p.peek(); w == v || w == "" {
				return nil, p.fail(start, "unknown word %q", v)
			}
			return nil, p.fail(start, "%q is no address", v)
		}
		return p.valueNode(qualifiers{kind: "host"})
	}
	return p.valueNode(p.last)
}

// direction reads src, dst, "src or dst", "src and dst".
func (p *parser) direction() string {
	w := p.peek()
	if w != "src" && w != "dst" {
		return ""
	}
	p.take(w)
	other := "dst"
	if w == "dst" {
		other = "src"
	}
	at := p.pos
	for _, join := range []string{"or", "and"} {
		if p.word(join) {
			if p.word(other) {
				return join
			}
			p.pos = at
		}
	}
	return w
}

// fits says whether the qualifiers make sense together.
func (p *parser) fits(q qualifiers, start int) error {
	_, transport := protocols[q.proto]
	ok := true
	switch q.kind {
	case "host":
		ok = !transport
	case "net":
		ok = !transport && q.proto != "ether"
	case "port", "portrange":
		ok = q.proto == "" || q.proto == "tcp" || q.proto == "udp" || q.proto == "sctp"
	case "proto":
		ok = (q.proto == "" || q.proto == "ether" || q.proto == "ip" || q.proto == "ip6") && q.dir == ""
	}
	if !ok {
		words := strings.Join(strings.Fields(q.proto+" "+q.dir+" "+q.kind), " ")
		return p.fail(start, "%q makes no sense", words)
	}
	return nil
}

// protocol is a protocol's name alone.
func (p *parser) protocol(w string, start int) (node, error) {
	if w == "ether" {
		return nil, p.fail(start, "ether needs host, src, dst, proto, broadcast or multicast behind it")
	}
	if t, ok := etherTypes[w]; ok {
		return etherType{vlan: p.vlan, value: t}, nil
	}
	x := protocols[w]
	return ipProto{vlan: p.vlan, number: x.number, v4: x.v4, v6: x.v6}, nil
}

// valueNode reads a value with its qualifiers known.
func (p *parser) valueNode(q qualifiers) (node, error) {
	at, v := p.pos, p.value()
	if v == "" {
		return nil, p.unexpected()
	}
	p.take(v)
	switch {
	case q.kind == "proto":
		return p.protoNode(q, v, at)
	case q.kind == "host" && q.proto == "ether":
		mac, err := net.ParseMAC(v)
		if err != nil || len(mac) != 6 {
			return nil, p.fail(at, "%q is no MAC", v)
		}
		return etherNode([6]byte(mac), q.dir, p.vlan), nil
	case q.kind == "host":
		a, err := netip.ParseAddr(v)
		if err != nil {
			return nil, p.fail(at, "%q is no address; names are not looked up", v)
		}
		return p.addressNode(q, netip.PrefixFrom(a, a.BitLen()), at)
	case q.kind == "net":
		prefix, err := p.prefix(v, at)
		if err != nil {
			return nil, err
		}
		return p.addressNode(q, prefix, at)
	}
	low, high, err := ports(v, q.kind == "portrange")
	if err != "" {
		return nil, p.fail(at, "%s", err)
	}
	n := port{vlan: p.vlan, dir: q.dir, low: low, high: high}
	if q.proto != "" {
		n.protos = []uint32{protocols[q.proto].number}
	} else {
		n.protos = []uint32{6, 17, 132}
	}
	return n, nil
}

// protoNode reads what stands behind "proto".
func (p *parser) protoNode(q qualifiers, v string, at int) (node, error) {
	name := strings.TrimPrefix(v, `\`)
	if q.proto == "ether" {
		if t, ok := etherTypes[name]; ok {
			return etherType{vlan: p.vlan, value: t}, nil
		}
		n, err := strconv.ParseUint(name, 0, 32)
		if err != nil || n > 0xffff {
			return nil, p.fail(at, "%q is no EtherType", v)
		}
		if n < 0x600 {
			return nil, p.fail(at, "EtherTypes below 0x600 are lengths of LLC frames, which are not supported")
		}
		return etherType{vlan: p.vlan, value: uint32(n)}, nil
	}
	var number uint32
	if x, ok := protocols[name]; ok {
		number = x.number
	} else {
		n, err := strconv.ParseUint(name, 0, 32)
		if err != nil || n > 255 {
			return nil, p.fail(at, "%q is no IP protocol", v)
		}
		number = uint32(n)
	}
	return ipProto{vlan: p.vlan, number: number, v4: q.proto != "ip6", v6: q.proto != "ip"}, nil
}

// addressNode is host or net with an IP prefix.
func (p *parser) addressNode(q qualifiers, prefix netip.Prefix, at int) (node, error) {
	if prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
		return nil, p.fail(at, "%q: an address without zone, in its own form, is needed", prefix.Addr())
	}
	if v6 := prefix.Addr().Is6(); v6 && q.proto != "" && q.proto != "ip6" || !v6 && q.proto == "ip6" {
		return nil, p.fail(at, "%s has no address like %s", q.proto, prefix.Addr())
	}
	if prefix != prefix.Masked() {
		return nil, p.fail(at, "%s has bits set behind its prefix length", prefix)
	}
	return address{vlan: p.vlan, proto: q.proto, dir: q.dir, prefix: prefix}, nil
}

// prefix reads a network: "10.0.0.0/8", "10", "10.0.0.0 mask 255.0.0.0", "fe80::/10".
func (p *parser) prefix(v string, at int) (netip.Prefix, error) {
	addr, bits, slash := strings.Cut(v, "/")
	parts := strings.Count(addr, ".") + 1
	var a netip.Addr
	var err error
	if strings.Contains(addr, ":") {
		a, err = netip.ParseAddr(addr)
		parts = 16
	} else {
		a, err = netip.ParseAddr(addr + strings.Repeat(".0", max(0, 4-parts)))
	}
	if err != nil {
		return netip.Prefix{}, p.fail(at, "%q is no network; names are not looked up", v)
	}
	if slash {
		n, err := strconv.Atoi(bits)
		if err != nil || n < 0 || n > a.BitLen() {
			return netip.Prefix{}, p.fail(at, "%q is no prefix length", bits)
		}
		return netip.PrefixFrom(a, n), nil
	}
	if p.word("mask") {
		at := p.pos
		v := p.value()
		m, err := netip.ParseAddr(v)
		if err != nil || !m.Is4() || !a.Is4() {
			return netip.Prefix{}, p.fail(at, "%q is no mask", v)
		}
		b := m.As4()
		n, size := net.IPMask(b[:]).Size()
		if size == 0 {
			return netip.Prefix{}, p.fail(at, "mask %q has gaps", v)
		}
		p.take(v)
		return netip.PrefixFrom(a, n), nil
	}
	return netip.PrefixFrom(a, 8*parts), nil
}

// services are the port names that are known.
var services = map[string]uint32{
	"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "dns": 53, "bootps": 67, "bootpc": 68, "tftp": 69,
	"http": 80, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "snmp": 161, "ldap": 389, "https": 443,
	"microsoft-ds": 445, "syslog": 514, "dhcpv6-client": 546, "dhcpv6-server": 547, "mqtt": 1883, "ssdp": 1900,
	"ws-discovery": 3702, "mdns": 5353, "llmnr": 5355, "http-alt": 8080,
}

// ports reads a port or a range of them. What is wrong is returned as text.
func ports(v string, isRange bool) (low, high uint32, wrong string) {
	one := func(s string) (uint32, bool) {
		if n, ok := services[strings.TrimPrefix(s, `\`)]; ok {
			return n, true
		}
		n, err := strconv.ParseUint(s, 0, 16)
		return uint32(n), err == nil
	}
	if low, ok := one(v); ok {
		return low, low, ""
	}
	if !isRange {
		return 0, 0, fmt.Sprintf("%q is no port", v)
	}
	a, b, ok := strings.Cut(v, "-")
	low, ok1 := one(a)
	high, ok2 := one(b)
	if !ok || !ok1 || !ok2 {
		return 0, 0, fmt.Sprintf("%q is no range of ports", v)
	}
	return min(low, high), max(low, high), ""
}

// number reads a number.
func (p *parser) number() (uint32, error) {
	at, w := p.pos, p.peek()
	n, err := strconv.ParseUint(w, 0, 32)
	if err != nil {
		if w == "" {
			return 0, p.unexpected()
		}
		return 0, p.fail(at, "%q is no number", w)
	}
	p.take(w)
	return uint32(n), nil
}
