// Package hello reads the first message of a TLS client, the ClientHello
// (RFC 8446 §4.1.2), and writes its JA4 fingerprint.
//
//	TCP:  record(22, 3.x, length) ─ piece of the handshake ─┐
//	      record …                ─ next piece             ─┴─ 1, length:3, ClientHello
//	QUIC: CRYPTO frames ─────────────────────────────────────  the same, without records
//
// What tells a client's software is kept, in the client's order. Keys, random
// values and session tickets are passed over.
package hello

import (
	"encoding/binary"
	"errors"
)

// Max is the longest ClientHello that is read, with its header, in bytes.
// Those with keys for post-quantum exchange have about 2,000.
const Max = 1 << 14

// HeaderSize is that of a handshake message, in bytes: type and length.
const HeaderSize = 4

// typeClientHello is the handshake type (RFC 8446 §4).
const typeClientHello = 1

// Bounds of what is kept of each list; JA4 counts to 99.
const (
	maxCodes = 512
	maxALPN  = 8
	maxName  = 255 // bytes of a server name, which is one of the DNS
)

// Errors of Parse and Stream.
var (
	ErrForm = errors.New("hello: malformed ClientHello")
	ErrSize = errors.New("hello: ClientHello is too long")
)

// Extensions (RFC 8446 §4.2, RFC 6066, RFC 7301, RFC 9849).
const (
	extServerName = 0x0000
	extSignatures = 0x000d
	extALPN       = 0x0010
	extVersions   = 0x002b
	extECH        = 0xfe0d
)

// Hello is what a ClientHello says. Its slices are used again by the next Parse,
// and its texts are parts of the message. It remembers hashes of lists, so it is
// best used again and again.
type Hello struct {
	Legacy     uint16   // the version in the message itself
	Version    uint16   // the highest one offered, GREASE apart
	Ciphers    []uint16 // GREASE left out, as in all lists
	Extensions []uint16
	Signatures []uint16
	ServerName []byte   // the host name asked for, nil if there is none
	Named      bool     // there is a server_name extension, if only an empty one
	ALPN       [][]byte // at most 8 protocols
	Encrypted  bool     // the client's true hello is encrypted: ServerName is the front's

	lists   lists
	scratch []byte
	sorted  []uint16
}

// grease says whether a value has no meaning (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// reader takes a message apart; bad stays set once something is missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

// number reads a number of n bytes.
func (r *reader) number(n int) int {
	v := 0
	for _, c := range r.take(n) {
		v = v<<8 | int(c)
	}
	return v
}

// vector reads a vector whose length has n bytes.
func (r *reader) vector(n int) []byte { return r.take(r.number(n)) }

// Parse reads a whole handshake message with its header. The error is ErrForm.
func (h *Hello) Parse(message []byte) error {
	if len(message) < HeaderSize || message[0] != typeClientHello {
		return ErrForm
	}
	r := reader{b: message[1:]}
	r = reader{b: r.vector(3), bad: r.bad}
	h.ServerName, h.Named, h.Encrypted = nil, false, false
	h.ALPN, h.Extensions, h.Signatures = h.ALPN[:0], h.Extensions[:0], h.Signatures[:0]
	h.Legacy = uint16(r.number(2))
	h.Version = h.Legacy
	r.take(32) // random
	if len(r.vector(1)) > 32 {
		return ErrForm
	}
	ciphers := r.vector(2)
	r.vector(1) // compression
	if r.bad || len(ciphers)%2 != 0 || len(ciphers) == 0 {
		return ErrForm
	}
	h.Ciphers = codes(h.Ciphers[:0], ciphers)
	if len(r.b) == 0 {
		return nil // before TLS 1.2 extensions may be missing as a whole
	}
	r = reader{b: r.vector(2), bad: r.bad}
	b := r.b
	for len(b) >= 4 {
		kind, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[4:]; size > len(b) || !h.extension(kind, b[:size]) {
			return ErrForm
		}
		b = b[size:]
	}
	if r.bad || len(b) > 0 {
		return ErrForm
	}
	return nil
}

// extension reads one extension and says whether it is well-formed.
func (h *Hello) extension(kind uint16, body []byte) bool {
	if grease(kind) {
		return true
	}
	if len(h.Extensions) < maxCodes {
		h.Extensions = append(h.Extensions, kind)
	}
	r := reader{b: body}
	switch kind {
	case extServerName: // RFC 6066 §3
		h.Named = true
		list := reader{b: r.vector(2)}
		for len(list.b) > 0 && h.ServerName == nil {
			kind := list.number(1)
			name := list.vector(2)
			if kind == 0 && len(name) > 0 && len(name) <= maxName {
				h.ServerName = name
			}
		}
		return !list.bad && (!r.bad || len(body) == 0)
	case extALPN: // RFC 7301 §3.1
		list := reader{b: r.vector(2)}
		for len(list.b) > 0 && len(h.ALPN) < maxALPN {
			h.ALPN = append(h.ALPN, list.vector(1))
		}
		return !list.bad && !r.bad
	case extSignatures:
		list := r.vector(2)
		h.Signatures = codes(h.Signatures[:0], list)
		return !r.bad && len(list)%2 == 0
	case extVersions:
		list := r.vector(1)
		best := uint16(0)
		for i := 0; i+1 < len(list); i += 2 {
			if v := binary.BigEndian.Uint16(list[i:]); !grease(v) {
				best = max(best, v)
			}
		}
		if best != 0 {
			h.Version = best
		}
		return !r.bad && len(list)%2 == 0
	case extECH:
		h.Encrypted = true
	}
	return true
}

// codes appends the numbers in a list, GREASE left out.
func codes(dst []uint16, b []byte) []uint16 {
	for ; len(b) >= 2 && len(dst) < maxCodes; b = b[2:] {
		if v := binary.BigEndian.Uint16(b); !grease(v) {
			dst = append(dst, v)
		}
	}
	return dst
}
