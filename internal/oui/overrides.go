package oui

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/internal/oui/internal/registry"
)

// Bounds on a person's own list.
const (
	maxLine   = 4 << 10 // bytes
	maxBlocks = 1 << 20
)

// block is a prefix of so many bits, right-aligned.
type block struct {
	bits   int
	prefix uint64
}

// overrides are the blocks of a person's own lists.
type overrides map[block]string

// lookup returns the name of the smallest block that holds mac, "" for none.
func (o overrides) lookup(mac [6]byte) string {
	if len(o) == 0 {
		return ""
	}
	addr := registry.Number(mac)
	for i := len(registry.Bits) - 1; i >= 0; i-- {
		bits := registry.Bits[i]
		if name := o[block{bits, addr >> (48 - bits)}]; name != "" {
			return name
		}
	}
	return ""
}

// read adds the lines of r.
func (o *overrides) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "\ufeff"), "#")
		begin := len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, name := text, ""
		if at := strings.IndexFunc(text, unicode.IsSpace); at >= 0 {
			prefix, name = text[:at], strings.TrimSpace(text[at:])
		}
		b, err := parsePrefix(prefix)
		switch {
		case err != nil:
			return fmt.Errorf("oui: line %d, column %d: %w", n, begin+1, err)
		case name == "":
			return fmt.Errorf("oui: line %d, column %d: no name after %s", n, begin+len(prefix)+1, prefix)
		case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
			return fmt.Errorf("oui: line %d, column %d: the name of %s holds bytes that are no text", n, begin+len(prefix)+2, prefix)
		case len(*o) >= maxBlocks:
			return fmt.Errorf("oui: line %d: more than %d prefixes", n, maxBlocks)
		}
		if *o == nil {
			*o = overrides{}
		}
		(*o)[b] = name
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("oui: line %d: longer than %d bytes", n+1, maxLine)
	} else if err != nil {
		return fmt.Errorf("oui: after line %d: %w", n, err)
	}
	return nil
}

// parsePrefix reads "00:00:5e", "0055DA1" or "70-B3-D5-00-00-00/36".
func parsePrefix(text string) (block, error) {
	digits, size, sized := strings.Cut(text, "/")
	digits = strings.Map(func(r rune) rune {
		if r == ':' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, digits)
	bits := 4 * len(digits)
	if sized {
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n > bits {
			return block{}, fmt.Errorf("%q: there are no %q bits in the prefix", text, size)
		}
		bits = n
	}
	value, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || len(digits) > 12 || strings.HasPrefix(digits, "+") {
		return block{}, fmt.Errorf("%q is no prefix of a MAC", text)
	}
	value >>= 4*len(digits) - bits
	for _, ok := range registry.Bits {
		if bits != ok {
			continue
		}
		if value>>(bits-8)&3 != 0 {
			return block{}, fmt.Errorf("%q is of locally administered or group addresses, which have no vendor", text)
		}
		return block{bits, value}, nil
	}
	return block{}, fmt.Errorf("%q has %d bits; a vendor's prefix has 24, 28 or 36", text, bits)
}
