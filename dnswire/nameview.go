package dnswire

// maxPointers is how many compression pointers a name may go through. One label
// between two of them is the least that makes sense, and 126 labels the most
// that a name has room for.
const maxPointers = 126

// NameView is a name inside a message, perhaps compressed. It is valid as long
// as the message's bytes are left alone; its methods allocate nothing but where
// they say so. The zero NameView is no name.
type NameView struct {
	// at is the message up to where the name begins; its capacity ends with the
	// message. Three words instead of a message and an offset let a Record, with its
	// name, pass in registers.
	at []byte
}

// view returns the name at off; the capacity of msg must end with the message.
func view(msg []byte, off int) NameView { return NameView{msg[:off]} }

func (v NameView) msg() []byte { return v.at[:cap(v.at)] }

func (v NameView) off() int { return len(v.at) }

// Offset returns where in the message the name's first label stands, behind all
// pointers. Names of one message with the same offset are the same.
func (v NameView) Offset() int {
	msg, off := v.msg(), v.off()
	for off+1 < len(msg) && msg[off] >= 0xC0 {
		to := int(msg[off]&0x3F)<<8 | int(msg[off+1])
		if to >= off {
			break // not after Parse
		}
		off = to
	}
	return off
}

// Begin returns where in the message the name stands, as it was written: where
// its question or record begins.
func (v NameView) Begin() int { return v.off() }

// rdata returns the message and where in it the rdata begins and ends of the
// record whose name this is. It isn't a method of Record, which would be copied
// to the stack for it and read again at once: the processor waits for that.
func (v NameView) rdata() (msg []byte, off, end int) {
	msg = v.msg()
	off = skipName(msg, v.off()) + 10
	if off > len(msg) {
		return nil, 0, 0
	}
	if end = off + (int(msg[off-2])<<8 | int(msg[off-1])); end > len(msg) {
		return nil, 0, 0 // not after Parse
	}
	return msg, off, end
}

// next returns the label at off and where the walk goes on. Pointers must
// lead to before start, the offset at which the present run of labels began; so
// a walk ends even if the bytes changed after Parse. ok is false at the end.
func (v NameView) next(off, start int) (l []byte, nextOff, nextStart int, ok bool) {
	msg := v.msg()
	for uint(off) < uint(len(msg)) {
		c := int(msg[off])
		switch {
		case c == 0:
			return nil, off, start, false
		case c <= maxLabel:
			end := off + 1 + c
			if end > len(msg) {
				return nil, off, start, false
			}
			return msg[off+1 : end], end, start, true
		case c < 0xC0 || off+1 >= len(msg):
			return nil, off, start, false
		}
		to := (c&0x3F)<<8 | int(msg[off+1])
		if to >= start {
			return nil, off, start, false
		}
		off, start = to, to
	}
	return nil, off, start, false
}

// AppendWire appends the uncompressed wire form.
func (v NameView) AppendWire(dst []byte) []byte {
	msg, to := v.msg(), v.off()
	limit := len(dst) + maxName
	for to >= 0 {
		var off, end int
		off, end, to = run(msg, to)
		if len(dst)+end-off > limit {
			break // not after Parse
		}
		dst = append(dst, msg[off:end]...)
	}
	return dst
}

// AppendFolded appends the uncompressed wire form in ASCII lower case: what
// Name.Fold holds, so that m[Name(buf)] and m[string(buf)] look a name up
// without allocating.
func (v NameView) AppendFolded(dst []byte) []byte {
	msg, off := v.msg(), v.off()
	start, limit := off, len(dst)+maxName
	for uint(off) < uint(len(msg)) {
		c := int(msg[off])
		if c != 0 && c <= maxLabel {
			off += 1 + c
			continue
		}
		to := -1 // where the pointer leads; nowhere at the end
		switch {
		case c == 0:
			off++
		case c >= 0xC0 && off+1 < len(msg):
			to = (c&0x3F)<<8 | int(msg[off+1])
		}
		if off > start {
			if len(dst)+off-start > limit {
				break // not after Parse
			}
			dst = appendFolded(dst, msg[start:off])
		}
		if uint(to) >= uint(start) {
			break
		}
		off, start = to, to
	}
	return dst
}

// run returns the labels that stand in a row at off, or where the pointer there
// leads, with the final 0 if there is one. Otherwise to is where the pointer behind
// them leads; it is -1 at the end of the name.
func run(msg []byte, off int) (start, end, to int) {
	start = off
	for uint(off) < uint(len(msg)) {
		c := int(msg[off])
		switch {
		case c == 0:
			return start, off + 1, -1
		case c <= maxLabel:
			off += 1 + c
			continue
		case c < 0xC0 || off+1 >= len(msg):
			return start, off, -1 // not after Parse
		}
		to = (c&0x3F)<<8 | int(msg[off+1])
		switch {
		case to >= start:
			return start, off, -1 // not after Parse
		case off > start:
			return start, off, to
		}
		off, start = to, to
	}
	return start, min(off, len(msg)), -1
}

// AppendText appends the name as Name.String would print it.
func (v NameView) AppendText(dst []byte) []byte {
	if v.at == nil {
		return dst
	}
	total, first := 1, true
	l, off, start, ok := v.next(v.off(), v.off())
	for ; ok; l, off, start, ok = v.next(off, start) {
		if total += 1 + len(l); total > maxName {
			break
		}
		if !first {
			dst = append(dst, '.')
		}
		first = false
		dst = appendLabelText(dst, l)
	}
	if first {
		return append(dst, '.')
	}
	return dst
}

// Equal compares with ASCII case folding.
func (v NameView) Equal(n Name) bool {
	msg, to, at := v.msg(), v.off(), 0
	for to >= 0 {
		var off, end int
		off, end, to = run(msg, to)
		next := at + end - off
		if next > len(n) || string(msg[off:end]) != string(n[at:next]) && !sameLetters(msg[off:end], n[at:next]) {
			return false
		}
		at = next
	}
	return at == len(n)
}

// Name returns an owned copy. It allocates.
func (v NameView) Name() Name {
	var buf [maxName]byte
	return Name(v.AppendWire(buf[:0]))
}

// String returns the name as text; see Name.String. It allocates.
func (v NameView) String() string {
	var buf [maxName]byte
	return string(v.AppendText(buf[:0]))
}
