package mqtt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

const (
	// maxAhead is how much is read ahead of what is parsed.
	maxAhead = 64 << 20
	// maxPending is how much waits to be written.
	maxPending = 1 << 20
	readSize   = 64 << 10
	// maxPacket is the largest packet that is read. What is larger is skipped.
	maxPacket = 1 << 20
	// drain is how long Close lets what was written go out.
	drain = time.Second
)

// errPacket means that what came is no MQTT.
var errPacket = errors.New("mqtt: malformed packet")

// errEnded stands for net.ErrClosed, by whose words paho's older client believes that it closed the
// connection itself and needs to tell nobody.
var errEnded = errors.New("mqtt: the connection was ended")

// pipe stands between a connection and paho. One goroutine reads the connection into memory as fast as it
// can, another writes what has gathered in one piece. It knows just enough of MQTT to skip a message that is too
// large, and to hand over those at QoS 0 quickly. Deadlines do nothing: Close ends Read and Write at once.
type pipe struct {
	raw     net.Conn
	packet  sync.Mutex // held while a packet is written; paho asks for it
	skipped *atomic.Uint64

	// receive, if it is set, gets messages at QoS 0, past paho. five says that they have the properties of
	// MQTT 5. Both are set before anything is read.
	receive func(hemtjanst.Message)
	five    bool
	// answered, if it is set, gets the PUBACKs of MQTT 5, past paho, too.
	answered func(id uint16, code byte)

	// Reading. Read's goroutine owns what follows up to left.
	chunks [][]byte
	whole  []byte // a packet that came in several chunks
	head   []byte // the fixed header of a packet, not read yet
	left   int    // of the packet, behind head

	mu      sync.Mutex
	come    sync.Cond // something was read, or taken
	ahead   [][]byte
	size    int
	readErr error

	wmu      sync.Mutex
	gone     sync.Cond // something was written, or is to be
	pending  []byte
	writing  bool
	closing  bool
	writeErr error

	once sync.Once
}

// newPipe begins to read and write. What is skipped is counted in skipped.
func newPipe(raw net.Conn, skipped *atomic.Uint64) *pipe {
	p := &pipe{raw: raw, skipped: skipped}
	p.come.L, p.gone.L = &p.mu, &p.wmu
	go p.pump()
	go p.flush()
	return p
}

// pump reads the connection until it ends.
func (p *pipe) pump() {
	buf := make([]byte, readSize)
	for {
		n, err := p.raw.Read(buf)
		var chunk []byte
		if n > len(buf)/2 {
			chunk, buf = buf[:n], make([]byte, readSize)
		} else {
			chunk = bytes.Clone(buf[:n])
		}
		p.mu.Lock()
		if n > 0 {
			p.ahead = append(p.ahead, chunk)
			p.size += n
		}
		if err != nil && p.readErr == nil {
			p.readErr = err
			if errors.Is(err, net.ErrClosed) {
				p.readErr = errEnded
			}
		}
		p.come.Broadcast()
		for p.size > maxAhead && p.readErr == nil {
			p.come.Wait()
		}
		end := p.readErr != nil
		p.mu.Unlock()
		if end {
			return
		}
	}
}

// more waits until something was read.
func (p *pipe) more() error {
	for len(p.chunks) > 0 && len(p.chunks[0]) == 0 {
		p.chunks = p.chunks[1:]
	}
	if len(p.chunks) > 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ahead) == 0 {
		if p.readErr != nil {
			return p.readErr
		}
		p.come.Wait()
	}
	p.chunks, p.ahead, p.size = p.ahead, nil, 0
	p.come.Broadcast()
	return nil
}

// Read returns bytes of packets, without those that are too large.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.head) == 0 && p.left == 0 {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	if err := p.more(); err != nil {
		return 0, err
	}
	n := copy(b[:min(len(b), p.left)], p.chunks[0])
	p.chunks[0] = p.chunks[0][n:]
	p.left -= n
	return n, nil
}

// next reads the fixed header of a packet (MQTT 5, 2.1): its type and flags, and how long the rest
// is in one to four bytes.
func (p *pipe) next() error {
	head := make([]byte, 0, 5)
	for {
		if err := p.more(); err != nil {
			if len(head) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		c := p.chunks[0][0]
		p.chunks[0] = p.chunks[0][1:]
		head = append(head, c)
		if len(head) > 1 && c < 0x80 {
			break
		}
		if len(head) == 5 {
			return errPacket
		}
	}
	length := 0
	for i, c := range head[1:] {
		length |= int(c&0x7f) << (7 * i)
	}
	message := head[0]&0xf6 == 0x30 // a PUBLISH at QoS 0, which needs no answer
	switch {
	case length > maxPacket && message:
		p.skipped.Add(1)
		return p.body(length, func([]byte) {})
	case length > maxPacket:
		return errPacket
	case message && p.receive != nil:
		return p.message(length, head[0]&1 != 0)
	case head[0] == 0x40 && p.answered != nil:
		return p.answer(length)
	}
	p.head, p.left = head, length
	return nil
}

// body calls f with the next bytes of the stream, piece by piece.
func (p *pipe) body(length int, f func([]byte)) error {
	for length > 0 {
		if err := p.more(); err != nil {
			return err
		}
		n := min(length, len(p.chunks[0]))
		f(p.chunks[0][:n])
		p.chunks[0] = p.chunks[0][n:]
		length -= n
	}
	return nil
}

// message hands over the message in the rest of a PUBLISH (MQTT 5, 3.3): the topic behind its length,
// properties behind theirs, the payload. paho takes several times as long for one, and a snapshot has hundreds
// of thousands.
func (p *pipe) message(length int, retain bool) error {
	p.whole = p.whole[:0]
	var b []byte
	err := p.body(length, func(piece []byte) {
		if b = piece; len(piece) < length {
			p.whole = append(p.whole, piece...)
			b = p.whole
		}
	})
	if err != nil {
		return err
	}
	if len(b) < 2 || len(b)-2 < int(b[0])<<8+int(b[1]) {
		return errPacket
	}
	end := 2 + int(b[0])<<8 + int(b[1])
	topic := string(b[2:end])
	if b = b[end:]; p.five {
		n, size := binary.Uvarint(b)
		if size <= 0 || size > 4 || n > uint64(len(b)-size) {
			return errPacket
		}
		b = b[size+int(n):]
	}
	if !utf8.ValidString(topic) || topic == "" {
		return errPacket // there are no aliases: they weren't asked for
	}
	p.receive(hemtjanst.Message{Topic: topic, Payload: bytes.Clone(b), Retain: retain})
	return nil
}

// answer hands over a PUBACK (MQTT 5, 3.4): the message's identifier and, if it isn't 0, a reason code, before
// properties that nobody needs.
func (p *pipe) answer(length int) error {
	p.whole = p.whole[:0]
	if err := p.body(length, func(piece []byte) { p.whole = append(p.whole, piece...) }); err != nil {
		return err
	}
	if length < 2 {
		return errPacket
	}
	var code byte
	if length > 2 {
		code = p.whole[2]
	}
	p.answered(binary.BigEndian.Uint16(p.whole), code)
	return nil
}

// Write hands bytes over. It waits only when much is waiting already.
func (p *pipe) Write(b []byte) (int, error) {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	for len(p.pending) > maxPending && p.writeErr == nil && !p.closing {
		p.gone.Wait()
	}
	if p.writeErr != nil {
		return 0, p.writeErr
	}
	if p.closing {
		return 0, net.ErrClosed
	}
	p.pending = append(p.pending, b...)
	if !p.writing {
		p.gone.Broadcast()
	}
	return len(b), nil
}

// flush writes what was handed over until the connection ends.
func (p *pipe) flush() {
	var spare []byte
	p.wmu.Lock()
	defer p.wmu.Unlock()
	for {
		for len(p.pending) == 0 && !p.closing && p.writeErr == nil {
			p.gone.Wait()
		}
		if p.writeErr != nil || len(p.pending) == 0 {
			return
		}
		all := p.pending
		p.pending, p.writing = spare[:0], true
		p.wmu.Unlock()
		_, err := p.raw.Write(all)
		p.wmu.Lock()
		if p.writing = false; err != nil {
			p.writeErr = err
		}
		if spare = all; cap(spare) > readSize {
			spare = nil
		}
		p.gone.Broadcast()
	}
}

// Close lets what was written go out for a moment, and ends the connection. Read and Write return.
func (p *pipe) Close() error {
	p.once.Do(func() {
		p.wmu.Lock()
		p.closing = true
		p.gone.Broadcast()
		if len(p.pending) > 0 || p.writing {
			_ = p.raw.SetWriteDeadline(time.Now().Add(drain)) // if it can't, Close below does
			for (len(p.pending) > 0 || p.writing) && p.writeErr == nil {
				p.gone.Wait()
			}
		}
		p.wmu.Unlock()
		_ = p.raw.Close()
		p.mu.Lock()
		if p.readErr == nil {
			p.readErr = errEnded
		}
		p.come.Broadcast()
		p.mu.Unlock()
	})
	return nil
}

// Lock and Unlock hold back other packets while one is written in several pieces.
func (p *pipe) Lock()   { p.packet.Lock() }
func (p *pipe) Unlock() { p.packet.Unlock() }

// LocalAddr returns the connection's own address, RemoteAddr the broker's.
func (p *pipe) LocalAddr() net.Addr  { return p.raw.LocalAddr() }
func (p *pipe) RemoteAddr() net.Addr { return p.raw.RemoteAddr() }

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing.
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*pipe)(nil)
