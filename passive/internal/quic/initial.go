// Package quic opens the Initial packets with which a QUIC client begins a
// connection (RFC 9000, RFC 9001), and collects the handshake's bytes in them.
// Their keys come from the packet itself: they keep out mistakes, not listeners.
//
//	1 1 type(2) reserved(2) length(2) │ version │ DCID │ SCID │ token │ length │ number │ AES-128-GCM( frames )
//
// Read are versions 1 (RFC 9000) and 2 (RFC 9369) and the drafts from 23 on. What
// a server sends is not: its keys come from its client's packet. Google's own
// versions before IETF QUIC, and the packets after the Initial ones, are neither.
package quic

import (
	"encoding/binary"
	"errors"
)

// Versions of which the Initial packets can be opened.
const (
	Version1 = 0x00000001
	Version2 = 0x6b3343cf // RFC 9369
	// FirstDraft and LastDraft are the range of the drafts.
	FirstDraft = 0xff000017
	LastDraft  = 0xff000022
)

// ErrForm says that a packet is malformed.
var ErrForm = errors.New("quic: malformed packet")

// ErrKey says that a packet can't be opened: it is a server's, it was changed on
// its way, or it belongs to a connection whose begin is not known.
var ErrKey = errors.New("quic: the packet can't be opened")

const (
	maxCID = 20 // bytes of a connection id (RFC 9000 §17.2)
	// MinFirst is the shortest connection id that a client may choose for a
	// server (RFC 9000 §7.2).
	MinFirst = 8
)

// Packet is an Initial packet, still closed. It points into the datagram.
type Packet struct {
	Version uint32
	DCID    []byte // whom it is for: at first the client's random choice
	whole   []byte // from its first byte to its end
	number  int    // where its packet number begins
}

// Opens says by its first five bytes whether a datagram begins with an Initial
// packet of a version that is read.
func Opens(b []byte) bool {
	return len(b) > 5 && isInitial(b[0], binary.BigEndian.Uint32(b[1:]))
}

// isInitial: version 2 changed the numbers of the types (RFC 9369 §3.2).
func isInitial(first byte, version uint32) bool {
	switch {
	case version == Version2:
		return first&0xf0 == 0xd0
	case version == Version1 || version >= FirstDraft && version <= LastDraft:
		return first&0xf0 == 0xc0
	}
	return false
}

// Initial says whether p is an Initial packet, which Open can open.
func (p *Packet) Initial() bool { return p.whole != nil }

// Next takes the first packet off a datagram (RFC 9000 §12.2, §17.2). The zero
// Packet stands for one of another type; where nothing tells its end there is no
// rest. The error is ErrForm.
func Next(b []byte) (p Packet, rest []byte, err error) {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 {
		return Packet{}, nil, ErrForm
	}
	v := binary.BigEndian.Uint32(b[1:])
	initial := isInitial(b[0], v)
	retry := byte(0xf0)
	if v == Version2 {
		retry = 0xc0
	}
	if b[0]&0xf0 == retry || !known(v) {
		return Packet{}, nil, nil // neither tells where it ends
	}
	r := reader{b: b[5:]}
	dcid := r.take(uint64(r.octet()))
	scid := r.take(uint64(r.octet()))
	if initial {
		r.take(r.varint())
	}
	size := r.varint()
	if r.bad || len(dcid) > maxCID || len(scid) > maxCID || size > uint64(len(r.b)) {
		return Packet{}, nil, ErrForm
	}
	number := len(b) - len(r.b)
	end := number + int(size)
	if !initial {
		return Packet{}, b[end:], nil
	}
	// The number and the sample behind it (RFC 9001 §5.4.2).
	if size < 4+sampleSize {
		return Packet{}, nil, ErrForm
	}
	return Packet{Version: v, DCID: dcid, whole: b[:end], number: number}, b[end:], nil
}

func known(version uint32) bool {
	return version == Version1 || version == Version2 || version >= FirstDraft && version <= LastDraft
}

// reader takes bytes apart; bad stays set once something is missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) octet() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// varint reads a number of variable length (RFC 9000 §16).
func (r *reader) varint() uint64 {
	first := r.octet()
	v := uint64(first & 0x3f)
	for _, c := range r.take(1<<(first>>6) - 1) {
		v = v<<8 | uint64(c)
	}
	return v
}
