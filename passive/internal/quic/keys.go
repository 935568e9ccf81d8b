package quic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
)

const (
	sampleSize = 16
	keySize    = 16
	ivSize     = 12
)

// The salts of the versions (RFC 9001 §5.2, RFC 9369 §3.3.1; the drafts').
var (
	salt1  = [...]byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a}
	salt2  = [...]byte{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9}
	salt29 = [...]byte{0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99}
	salt23 = [...]byte{0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02}
)

// saltOf returns a version's salt, and what its labels begin with.
func saltOf(version uint32) (salt []byte, label string) {
	switch {
	case version == Version2:
		return salt2[:], "quicv2 "
	case version == Version1 || version >= 0xff000021:
		return salt1[:], "quic "
	case version >= 0xff00001d:
		return salt29[:], "quic "
	}
	return salt23[:], "quic "
}

// Keys are those of the Initial packets that a connection's client sends. They
// are for one goroutine.
type Keys struct {
	iv   [ivSize]byte
	aead cipher.AEAD
	hp   cipher.Block // protects the header
	// Scratch, so that opening a packet needs no memory.
	mask  [sampleSize]byte
	nonce [ivSize]byte
}

// ClientKeys derives the keys from the version and from the id that the client
// chose for the server in its first packet (RFC 9001 §5.2).
func ClientKeys(version uint32, dcid []byte) (*Keys, error) {
	salt, label := saltOf(version)
	if len(dcid) > maxCID {
		return nil, ErrForm
	}
	initial := hmac(salt, dcid)
	secret := expand(&initial, "", "client in", sha256.Size)
	key := expand(&secret, label, "key", keySize)
	iv := expand(&secret, label, "iv", ivSize)
	hp := expand(&secret, label, "hp", keySize)
	k := &Keys{iv: [ivSize]byte(iv[:])}
	block, err := aes.NewCipher(key[:keySize])
	if err != nil {
		return nil, err
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	k.hp, err = aes.NewCipher(hp[:keySize])
	return k, err
}

// expand is HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 8446 §7.1) for
// what is no longer than a hash: then it is one HMAC (RFC 5869 §2.3).
func expand(secret *[sha256.Size]byte, prefix, label string, size int) [sha256.Size]byte {
	var buf [64]byte
	info := append(buf[:0], byte(size>>8), byte(size), byte(len("tls13 ")+len(prefix)+len(label)))
	info = append(append(append(info, "tls13 "...), prefix...), label...)
	return hmac(secret[:], append(info, 0, 1))
}

// hmac is HMAC-SHA256 (RFC 2104) of a short message with a short key. The library's
// needs memory for each of the five that a connection takes.
func hmac(key, message []byte) [sha256.Size]byte {
	var buf [2 * sha256.BlockSize]byte
	pad := func(x byte) []byte {
		for i := range sha256.BlockSize {
			buf[i] = x
		}
		for i, k := range key {
			buf[i] ^= k
		}
		return buf[:sha256.BlockSize]
	}
	inner := sha256.Sum256(append(pad(0x36), message...))
	return sha256.Sum256(append(pad(0x5c), inner[:]...))
}

// Open takes the protection off a packet and appends its frames to dst (RFC 9001
// §5.3, §5.4). The packet stays as it was. The error is ErrKey.
func (k *Keys) Open(dst []byte, p *Packet) ([]byte, error) {
	mask := k.mask[:]
	k.hp.Encrypt(mask, p.whole[p.number+4:p.number+4+sampleSize])
	first := p.whole[0] ^ mask[0]&0x0f
	n := int(first&3) + 1
	// The header is what AEAD covers besides, so it is needed in the clear. It
	// stands before the frames for that.
	at := len(dst)
	dst = append(dst, p.whole[:p.number+n]...)
	header := dst[at:]
	header[0] = first
	for i := range n {
		header[p.number+i] ^= mask[1+i]
	}
	// A client's first packets have small numbers, of which the packet holds all.
	var number [4]byte
	copy(number[4-n:], header[p.number:])
	k.nonce = k.iv
	tail := k.nonce[ivSize-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)^binary.BigEndian.Uint32(number[:]))
	out, err := k.aead.Open(dst, k.nonce[:], p.whole[p.number+n:], header)
	if err != nil {
		return dst[:at], ErrKey
	}
	return append(out[:at], out[at+len(header):]...), nil
}
