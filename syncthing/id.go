package syncthing

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DeviceID names a device: it is the SHA-256 of its certificate.
type DeviceID [sha256.Size]byte

// CertificateID returns the ID of the device with a certificate, in DER.
func CertificateID(der []byte) DeviceID { return sha256.Sum256(der) }

// ParseCertificate returns the ID of the device with a certificate in PEM: of the first
// CERTIFICATE block, as it stands in Syncthing's cert.pem.
func ParseCertificate(text []byte) (DeviceID, error) {
	var others []string
	for {
		var b *pem.Block
		b, text = pem.Decode(text)
		switch {
		case b == nil && len(others) > 0:
			return DeviceID{}, fmt.Errorf("syncthing: certificate: no CERTIFICATE block, only %s", strings.Join(others, ", "))
		case b == nil:
			return DeviceID{}, errors.New("syncthing: certificate: no PEM: there is no BEGIN CERTIFICATE line, or what follows it is broken")
		case b.Type != "CERTIFICATE":
			if name := strconv.Quote(b.Type); !slices.Contains(others, name) && len(others) < 4 {
				others = append(others, name)
			}
			continue
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return DeviceID{}, fmt.Errorf("syncthing: certificate: %w", err)
		}
		return CertificateID(b.Bytes), nil
	}
}

// The text form of an ID is its 52 digits of base 32, in four parts of 13. Each
// part has a check digit behind it, and the 56 digits are written in groups of seven.
const (
	digits   = 52 // of the ID alone
	parts    = 4
	part     = digits / parts
	checked  = part + 1
	group    = 7
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

// String returns the ID in Syncthing's own form, with check digits:
// "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2".
func (id DeviceID) String() string {
	b, _ := id.AppendText(nil)
	return string(b)
}

// Short returns the first seven digits, by which people call a device that has no name
// of theirs: "P56IOI7". Others may have the same.
func (id DeviceID) Short() string { return id.String()[:group] }

// Hex returns the ID as 64 hexadecimal digits, in lower case.
func (id DeviceID) Hex() string { return hex.EncodeToString(id[:]) }

// AppendText appends what String returns.
func (id DeviceID) AppendText(dst []byte) ([]byte, error) {
	var plain [digits]byte
	base32.StdEncoding.WithPadding(base32.NoPadding).Encode(plain[:], id[:])
	n := 0
	put := func(c byte) {
		if n > 0 && n%group == 0 {
			dst = append(dst, '-')
		}
		dst = append(dst, c)
		n++
	}
	for p := range parts {
		one := plain[p*part : (p+1)*part]
		for _, c := range one {
			put(c)
		}
		put(checkDigit(one))
	}
	return dst, nil
}

// MarshalText returns what String returns.
func (id DeviceID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText reads what ParseID reads.
func (id *DeviceID) UnmarshalText(b []byte) error {
	parsed, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseID reads an ID: 56 digits of base 32 with check digits, the 52 without,
// or 64 hexadecimal ones. Case, dashes and spaces don't matter, and in base 32 the
// figures that it hasn't are taken for the letters they look like: 0 for O, 1
// for I, 8 for B. The error says which check digits are wrong.
func ParseID(s string) (DeviceID, error) {
	const maxText = 128 // digits with a separator behind each
	if len(s) > maxText {
		return DeviceID{}, fmt.Errorf("syncthing: device ID: %d bytes are too many", len(s))
	}
	text := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
	switch len(text) {
	case 2 * len(DeviceID{}):
		return parseHex(text)
	case digits, digits + parts:
		return parseBase32(strings.NewReplacer("0", "O", "1", "I", "8", "B").Replace(text))
	}
	return DeviceID{}, fmt.Errorf("syncthing: device ID: %d digits; it has 56 (with check digits), 52 (without), or 64 in hexadecimal", len(text))
}

func parseHex(text string) (id DeviceID, err error) {
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		var bad hex.InvalidByteError
		if errors.As(err, &bad) {
			return DeviceID{}, fmt.Errorf("syncthing: device ID: %q is no hexadecimal digit", rune(bad))
		}
		return DeviceID{}, fmt.Errorf("syncthing: device ID: %w", err)
	}
	return id, nil
}

// parseBase32 reads 52 or 56 bytes.
func parseBase32(text string) (id DeviceID, err error) {
	for i := range len(text) {
		if strings.IndexByte(alphabet, text[i]) < 0 {
			return DeviceID{}, fmt.Errorf("syncthing: device ID: digit %d, %q, is none of A to Z and 2 to 7", i+1, text[i])
		}
	}
	plain := []byte(text)
	if len(text) > digits {
		plain = plain[:0]
		var wrong []string
		for p := range parts {
			one := text[p*checked : (p+1)*checked]
			if one[part] != checkDigit([]byte(one[:part])) {
				wrong = append(wrong, fmt.Sprintf("check digit %d of %d is wrong: a slip in %s-%s", p+1, parts, one[:group], one[group:]))
			}
			plain = append(plain, one[:part]...)
		}
		if len(wrong) > 0 {
			return DeviceID{}, fmt.Errorf("syncthing: device ID: %s", strings.Join(wrong, "; "))
		}
	}
	// 52 digits are 260 bits; the ID has 256.
	if last := plain[digits-1]; last != 'A' && last != 'Q' {
		return DeviceID{}, fmt.Errorf("syncthing: device ID: it can't end in the digit %q, only in A or Q", last)
	}
	if _, err := base32.StdEncoding.WithPadding(base32.NoPadding).Decode(id[:], plain); err != nil {
		return DeviceID{}, fmt.Errorf("syncthing: device ID: %w", err)
	}
	return id, nil
}

// checkDigit returns the check digit of a part: Luhn's, to the base 32, but counted
// from the left and with the factor 1 first, as Syncthing has it. All digits must be
// of the alphabet.
func checkDigit(part []byte) byte {
	const base = len(alphabet)
	sum := 0
	for i, c := range part {
		n := strings.IndexByte(alphabet, c) * (1 + i%2)
		sum += n/base + n%base
	}
	return alphabet[(base-sum%base)%base]
}
