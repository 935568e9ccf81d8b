package dnswire

// parser checks names and rdata while Parse walks a message.
type parser struct {
	msg   []byte
	steps int // labels and pointers read so far
	limit int // steps that the message may take
	// memo remembers names that were read lately, and where pointers led, so that
	// many names that end in one long chain cost one walk along it. An entry
	// is offset<<16 | bytes of labels<<8 | pointers; no offset is 0.
	memo [64]uint32

	// What is wrong, once something is.
	reason    Reason
	at, value int
}

func (p *parser) fail(where string, i int, part string) error {
	return &Error{Where: where, Index: i + 1, Part: part, Offset: p.at, Reason: p.reason, Value: p.value}
}

// failRecord is fail for the record with index i of all sections.
func (p *parser) failRecord(h *Header, i int, part string) error {
	s := Answer
	for _, count := range [...]uint16{h.ANCount, h.NSCount} {
		if i < int(count) {
			break
		}
		i -= int(count)
		s++
	}
	return p.fail(s.String(), i, part)
}

func (p *parser) bad(r Reason, at, value int) int {
	p.reason, p.at, p.value = r, at, value
	return -1
}

// name checks the name at off, whose own bytes must end by end, and returns the
// offset behind it, or -1.
func (p *parser) name(off, end int) int {
	if next := p.quick(off, end); next > 0 {
		return next
	}
	return p.walk(off, end)
}

// quick is name for the usual ones: any labels of their own and then the end, or a
// pointer to a name that is known or has no pointer itself. 0 means that walk has
// to see.
func (p *parser) quick(off, end int) int {
	msg := p.msg[:min(end, off+maxName)]
	i := off
	for uint(i) < uint(len(msg)) && msg[i]-1 < maxLabel {
		i += 1 + int(msg[i])
	}
	if uint(i) >= uint(len(msg)) {
		return 0
	}
	memo := uint32(off)<<16 | uint32(i-off)<<8
	next := i + 1
	if msg[i] != 0 {
		if msg[i] < 0xC0 || uint(next) >= uint(len(msg)) {
			return 0
		}
		to := uint32(msg[i]&0x3F)<<8 | uint32(msg[next])
		m := p.memo[to%uint32(len(p.memo))]
		if m>>16 != to {
			m = p.labels(int(to), off)
		}
		if m < headerLen<<16 || i-off+int(m>>8&0xFF) >= maxName || m&0xFF >= maxPointers {
			return 0
		}
		memo += m&0xFFFF + 1
		next++
	}
	if i > off {
		p.memo[off%len(p.memo)] = memo
	}
	return next
}

// labels returns the memo of a name at off, before end, that has no pointers, 0 if it isn't one.
func (p *parser) labels(off, end int) uint32 {
	msg := p.msg[:min(end, off+maxName)]
	i := off
	for uint(i) < uint(len(msg)) && msg[i]-1 < maxLabel {
		i += 1 + int(msg[i])
		p.steps++
	}
	if uint(i) >= uint(len(msg)) || msg[i] != 0 || p.steps > p.limit {
		return 0
	}
	memo := uint32(off)<<16 | uint32(i-off)<<8
	p.memo[off%len(p.memo)] = memo
	return memo
}

// walk is name for any of them. It follows pointers.
func (p *parser) walk(off, end int) int {
	if p.steps > p.limit {
		return p.bad(ReasonWork, off, p.steps)
	}
	msg := p.msg
	var (
		start         = off // of the present run of labels
		next          = -1  // behind the name's own bytes
		total         = 0   // bytes of labels
		pointers      = 0
		first, before = 0, 0 // the first pointer's target, and the total up to it
	)
	for {
		if uint(off) >= uint(end) || uint(off) >= uint(len(msg)) {
			if next < 0 && end < len(msg) {
				return p.bad(ReasonRDataShort, end, 0)
			}
			return p.bad(ReasonShort, len(msg), 0)
		}
		p.steps++
		c := int(msg[off])
		if c == 0 {
			if next < 0 {
				next = off + 1
			}
			break
		}
		if c <= maxLabel {
			if total += 1 + c; total >= maxName {
				return p.bad(ReasonNameLength, off, total)
			}
			off += 1 + c
			continue
		}
		if c < 0xC0 {
			return p.bad(ReasonLabelType, off, c)
		}
		if off+1 >= end {
			if next < 0 && end < len(msg) {
				return p.bad(ReasonRDataShort, end, 0)
			}
			return p.bad(ReasonShort, len(msg), 0)
		}
		to := (c&0x3F)<<8 | int(msg[off+1])
		// Behind the start of its own run a pointer would lead into a loop.
		if to >= start || to < headerLen {
			return p.bad(ReasonPointer, off, to)
		}
		if pointers++; pointers > maxPointers {
			return p.bad(ReasonPointers, off, pointers)
		}
		if next < 0 {
			next, end = off+2, len(msg)
			first, before = to, total
		}
		if m := p.memo[to%len(p.memo)]; m>>16 == uint32(to) {
			total += int(m >> 8 & 0xFF)
			pointers += int(m & 0xFF)
			if total >= maxName {
				return p.bad(ReasonNameLength, off, total)
			}
			if pointers > maxPointers {
				return p.bad(ReasonPointers, off, pointers)
			}
			break
		}
		off, start = to, to
	}
	if first > 0 {
		p.memo[first%len(p.memo)] = uint32(first)<<16 | uint32(total-before)<<8 | uint32(pointers-1)
	}
	return next
}

// skipName returns the offset behind the name at off in a checked message.
func skipName(msg []byte, off int) int {
	for uint(off) < uint(len(msg)) {
		c := int(msg[off])
		switch {
		case c == 0:
			return off + 1
		case c > maxLabel:
			return off + 2
		}
		off += 1 + c
	}
	return off
}
