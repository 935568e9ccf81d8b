// Package invitation is the one string by which a gateway comes to its hub: where
// the hub is, a secret that lets one gateway enrol, and the pin of the hub's
// certificate authority, by which the gateway knows the hub before it says a word.
//
//	lanfolk1.<base64url, without padding>
//
//	 0        32                       n-4        n
//	┌────────┬────┬────────┬────┬──────┬──────────┐
//	│ pin    │ sl │ secret │ na │ na × │ checksum │
//	│        │    │        │    │ al,  │          │
//	│        │    │        │    │ addr.│          │
//	└────────┴────┴────────┴────┴──────┴──────────┘
//
// sl and al are lengths in bytes, na a count, one byte each. The checksum is the
// first four bytes of SHA-256 over the prefix and what is before it: it finds typos
// and what was cut, and proves nothing. Each invitation has one spelling. What is
// not supported: any other form than 1; addresses with a zone.
package invitation

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const prefix = "lanfolk1."

// Bounds of an invitation.
const (
	MaxAddresses = 8
	minSecret    = 16 // bytes
	maxSecret    = 64
	maxAddress   = 255 // bytes; the length has one
	checksumLen  = 4
	maxText      = 4096 // characters; the longest one has less
)

// A Pin is the SHA-256 of an authority's public key (SubjectPublicKeyInfo, RFC 7469
// §2.4): it stays when the authority's certificate is made anew.
type Pin [sha256.Size]byte

// PinOf returns the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String returns the pin in hexadecimal.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// An Invitation lets one gateway enrol at a hub.
type Invitation struct {
	// Addresses are the hub's, HOST:PORT, the best first; none means that the
	// gateway has to find it.
	Addresses []string
	Secret    string // 16 to 64 printable characters of ASCII
	Pin       Pin    // of the hub's authority
}

// ErrMalformed is what Parse returns for what is no invitation; the text says what
// is wrong, and never tells the secret.
var ErrMalformed = errors.New("invitation: not a join string")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Encode returns the string. It fails for what Parse would refuse.
func (i Invitation) Encode() (string, error) {
	if err := i.check(); err != nil {
		return "", err
	}
	b := append([]byte(nil), i.Pin[:]...)
	b = append(b, byte(len(i.Secret)))
	b = append(b, i.Secret...)
	b = append(b, byte(len(i.Addresses)))
	for _, a := range i.Addresses {
		b = append(b, byte(len(a)))
		b = append(b, a...)
	}
	sum := checksum(b)
	return prefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:]...)), nil
}

func checksum(b []byte) (sum [checksumLen]byte) {
	h := sha256.New()
	h.Write([]byte(prefix))
	h.Write(b)
	copy(sum[:], h.Sum(nil))
	return sum
}

func (i *Invitation) check() error {
	if i.Pin == (Pin{}) {
		return malformed("it has no pin")
	}
	if len(i.Secret) < minSecret || len(i.Secret) > maxSecret {
		return malformed("its secret has %d bytes; want %d to %d", len(i.Secret), minSecret, maxSecret)
	}
	if strings.ContainsFunc(i.Secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return malformed("its secret has a character that can't be printed")
	}
	if len(i.Addresses) > MaxAddresses {
		return malformed("it has %d addresses; at most %d", len(i.Addresses), MaxAddresses)
	}
	for _, a := range i.Addresses {
		if err := CheckAddress(a); err != nil {
			return malformed("%v", err)
		}
	}
	return nil
}

// Parse reads what Encode wrote; space around it doesn't matter. An error is
// ErrMalformed.
func Parse(text string) (Invitation, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, prefix)
	switch {
	case !ok && newer(text):
		return Invitation{}, malformed("it is of a newer lanfolk than this one")
	case !ok:
		return Invitation{}, malformed("it doesn't begin with %s; copy all that `lanfolk hub token create` printed", prefix)
	case len(text) > maxText:
		return Invitation{}, malformed("it has %d characters; at most %d", len(text), maxText)
	case strings.ContainsAny(rest, " \t\r\n"):
		return Invitation{}, malformed("there is space inside; it is one line without any")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) < checksumLen {
		return Invitation{}, malformed("a character is wrong, or it was cut; copy it again")
	}
	b, sum := b[:len(b)-checksumLen], b[len(b)-checksumLen:]
	if checksum(b) != [checksumLen]byte(sum) {
		return Invitation{}, malformed("its checksum is wrong: a character is wrong, or it was cut; copy it again")
	}
	return parse(b)
}

// newer says whether text looks like a form that isn't known yet.
func newer(text string) bool {
	rest, ok := strings.CutPrefix(text, "lanfolk")
	number, _, dot := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 16)
	return ok && dot && err == nil && n > 1
}

func parse(b []byte) (i Invitation, err error) {
	r := reader{rest: b}
	copy(i.Pin[:], r.bytes(len(i.Pin)))
	i.Secret = string(r.bytes(r.byte()))
	n := r.byte()
	if n > MaxAddresses {
		return Invitation{}, malformed("it has %d addresses; at most %d", n, MaxAddresses)
	}
	for range n {
		i.Addresses = append(i.Addresses, string(r.bytes(r.byte())))
	}
	if r.short || len(r.rest) > 0 {
		return Invitation{}, malformed("its lengths don't fit")
	}
	if err := i.check(); err != nil {
		return Invitation{}, err
	}
	return i, nil
}

// A reader takes bytes from the front. After short its results mean nothing.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() int {
	if b := r.bytes(1); b != nil {
		return int(b[0])
	}
	return 0
}

// CheckAddress returns an error unless a is HOST:PORT: a host name or an IP address
// without a zone, IPv6 in brackets, and a port from 1 on.
func CheckAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil || len(a) > maxAddress {
		return fmt.Errorf("address %q: want HOST:PORT", clip(a))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port || net.JoinHostPort(host, port) != a {
		return fmt.Errorf("address %q: want HOST:PORT, the port from 1 to 65535", clip(a))
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return fmt.Errorf("address %q: a zone means nothing on another machine", clip(a))
		}
		return nil
	}
	if !hostName(host) {
		return fmt.Errorf("address %q: neither a host name nor an IP address", clip(a))
	}
	return nil
}

// hostName says whether s has the form of a host name (RFC 1123 §2.1), '_' allowed
// as people use it.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
