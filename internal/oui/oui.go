// Package oui says who made a device, by the block that its MAC address was
// taken from: an MA-L of 24 bits, an MA-M of 28, or an MA-S or IAB of 36.
//
// The built-in list is the IEEE's public listing, packed by the program in gen.
// A person's own files go before it. No vendor is ever named for a locally
// administered address, which software made up, or for a group address.
package oui

import (
	_ "embed"
	"io"
	"sync"

	"github.com/lanfolk/lanfolk/internal/oui/internal/registry"
)

//go:generate go run ./gen -check -out registry.bin

// packed is the built-in list.
//
//go:embed registry.bin
var packed []byte

// Table answers whose a MAC is. It may be used from any goroutine.
type Table struct {
	own      overrides
	load     sync.Once
	registry *registry.Table
}

// New returns a table in which files come before the built-in list, a later one
// before an earlier one. A line of a file is a prefix and a name:
//
//	00:00:5e          Example Networks      # 24 bits
//	0055DA1           Example Sensors       # 28 bits: seven digits
//	70-B3-D5-00-00/36 Example Controllers   # as many bits as it says
//
// Digits are hexadecimal; colons, dashes and dots between them make no
// difference. A # begins a comment. An error names the line and column.
//
// New is quick: the built-in list is unpacked by the first Vendor, or by Load.
func New(files ...io.Reader) (*Table, error) {
	t := &Table{}
	for _, f := range files {
		if err := t.own.read(f); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Load unpacks the built-in list, which takes some 20 ms once, so that the
// first Vendor need not.
func (t *Table) Load() {
	t.load.Do(func() {
		r, err := registry.Unpack(packed)
		if err != nil {
			panic(err) // it is part of the program, and a test unpacks it
		}
		t.registry = r
	})
}

// Vendor returns the maker's name, "" if it isn't known.
func (t *Table) Vendor(mac [6]byte) string {
	const local, group = 2, 1 // IEEE 802, §8.2: the U/L and I/G bits
	if mac[0]&(local|group) != 0 {
		return ""
	}
	if name := t.own.lookup(mac); name != "" {
		return name
	}
	t.Load()
	return t.registry.Lookup(mac)
}
