package hello

import "encoding/binary"

// TLS records (RFC 8446 §5.1).
const (
	recordHeader    = 5
	recordHandshake = 22
	maxRecord       = 1 << 14
)

// Opens says whether bytes look like the begin of a ClientHello in a record: the
// first six of them tell.
func Opens(b []byte) bool {
	return len(b) > recordHeader && b[0] == recordHandshake && b[1] == 3 && b[2] <= 4 && b[recordHeader] == typeClientHello
}

// Stream collects a ClientHello out of a TCP stream's bytes, which may come in
// pieces, and in records of any size. The zero Stream has none of it.
type Stream struct {
	header [recordHeader]byte
	have   int // bytes of the header
	left   int // bytes of the record to come
	buf    []byte
}

// Reset empties the stream and keeps its memory.
func (s *Stream) Reset() { *s = Stream{buf: s.buf[:0]} }

// Len returns how many bytes the stream holds.
func (s *Stream) Len() int { return len(s.buf) }

// Write takes the next bytes. It returns the whole message, with its header,
// when they complete it; it is valid until the next Write or Reset. The error is
// ErrForm or ErrSize, and the stream is of no more use then.
func (s *Stream) Write(b []byte) ([]byte, error) {
	for len(b) > 0 {
		if s.left == 0 {
			n := copy(s.header[s.have:], b)
			s.have += n
			b = b[n:]
			if s.have < recordHeader {
				break
			}
			s.have, s.left = 0, int(binary.BigEndian.Uint16(s.header[3:]))
			if s.header[0] != recordHandshake || s.header[1] != 3 || s.left == 0 || s.left > maxRecord {
				return nil, ErrForm
			}
			continue
		}
		n := min(s.left, len(b))
		want := HeaderSize
		if len(s.buf) >= HeaderSize {
			want = Size(s.buf)
		}
		n = min(n, want-len(s.buf))
		s.buf = append(s.buf, b[:n]...)
		s.left -= n
		b = b[n:]
		if s.buf[0] != typeClientHello {
			return nil, ErrForm
		}
		if len(s.buf) < HeaderSize {
			continue
		}
		switch size := Size(s.buf); {
		case size > Max:
			return nil, ErrSize
		case len(s.buf) == size:
			return s.buf, nil
		}
	}
	return nil, nil
}

// Size returns a handshake message's size, from its header of four bytes.
func Size(message []byte) int {
	return HeaderSize + int(message[1])<<16 + int(binary.BigEndian.Uint16(message[2:]))
}
