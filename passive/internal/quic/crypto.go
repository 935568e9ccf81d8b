package quic

import "bytes"

// MaxCrypto bounds the bytes of a handshake that are collected.
const MaxCrypto = 1 << 14

// maxFrames bounds the frames of one packet. Clients scatter their bytes over
// dozens on purpose, between PING and PADDING frames.
const maxFrames = 2048

// Frame types (RFC 9000 §19).
const (
	framePadding = 0x00
	framePing    = 0x01
	frameACK     = 0x02
	frameACKECN  = 0x03
	frameCrypto  = 0x06
	frameClose   = 0x1c
)

// Crypto collects the bytes of CRYPTO frames, which come in any order and may be
// said again. The zero Crypto has none.
type Crypto struct {
	buf  []byte
	have []uint64 // a bit for each byte of buf
	next int      // the first byte that is missing
	any  bool
}

// Reset empties c and keeps its memory.
func (c *Crypto) Reset() {
	clear(c.have)
	*c = Crypto{buf: c.buf[:0], have: c.have[:0]}
}

// Bytes returns what has come without a gap from the begin on.
func (c *Crypto) Bytes() []byte { return c.buf[:c.next] }

// Size returns about how much memory c holds, in bytes.
func (c *Crypto) Size() int { return cap(c.buf) + 8*cap(c.have) }

// Some says whether any bytes have come.
func (c *Crypto) Some() bool { return c.any }

// Frames takes the frames of a packet that was opened (RFC 9000 §12.4). What
// Initial packets may not hold is ErrForm, and so are bytes beyond MaxCrypto.
func (c *Crypto) Frames(b []byte) error {
	r := reader{b: b}
	for n := 0; len(r.b) > 0; n++ {
		kind := r.octet()
		if kind == framePadding {
			r.b = bytes.TrimLeft(r.b, "\x00")
			n--
			continue
		}
		if n == maxFrames {
			return ErrForm
		}
		switch kind {
		case framePing:
		case frameACK, frameACKECN:
			r.varint() // largest
			r.varint() // delay
			ranges := r.varint()
			r.varint() // first range
			for ; ranges > 0 && !r.bad; ranges-- {
				r.varint()
				r.varint()
			}
			if kind == frameACKECN {
				r.varint()
				r.varint()
				r.varint()
			}
		case frameCrypto:
			offset := r.varint()
			data := r.take(r.varint())
			if r.bad || offset > MaxCrypto || offset+uint64(len(data)) > MaxCrypto {
				return ErrForm
			}
			c.put(int(offset), data)
		case frameClose:
			return nil // nothing of interest follows
		default:
			return ErrForm
		}
		if r.bad {
			return ErrForm
		}
	}
	return nil
}

// put keeps bytes. The first that came for a place stay.
func (c *Crypto) put(offset int, data []byte) {
	if len(data) == 0 {
		return
	}
	c.any = true
	end := offset + len(data)
	if offset == c.next && c.next == len(c.buf) { // the usual case: all in order
		c.buf = append(c.buf, data...)
		for len(c.have)*64 < end {
			c.have = append(c.have, 0)
		}
		for i := offset; i < end; {
			n := min(64-i%64, end-i)
			c.have[i/64] |= (1<<n - 1) << (i % 64)
			i += n
		}
		c.next = end
		return
	}
	if end > len(c.buf) {
		c.buf = append(c.buf, make([]byte, end-len(c.buf))...)
		for len(c.have)*64 < end {
			c.have = append(c.have, 0)
		}
	}
	for i, x := range data {
		at := offset + i
		if bit := uint64(1) << (at % 64); c.have[at/64]&bit == 0 {
			c.have[at/64] |= bit
			c.buf[at] = x
		}
	}
	for c.next < len(c.buf) && c.have[c.next/64]&(1<<(c.next%64)) != 0 {
		c.next++
	}
}
