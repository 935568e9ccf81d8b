// Gen packs the IEEE's public listing of MAC address blocks for package oui.
//
//	go run ./internal/oui/gen -from DIR
//
// DIR holds the four files that the IEEE publishes as comma-separated values:
// oui.csv (MA-L), mam.csv (MA-M), oui36.csv (MA-S) and iab.csv (IAB, the older
// form of MA-S). Debian's package ieee-data installs them in
// /usr/share/ieee-data. "IEEE does not assert any copyright in the OUI Public
// Listing or attempt to restrict distribution of the listing in any way", its
// Registration Authority says. The addresses of the companies are left out.
//
// go generate runs it with -check: it makes the same edition again from
// /usr/share/ieee-data, and leaves all as it is where that holds another
// edition or isn't there. So a change of this program shows, and a newer
// package on somebody's machine does not.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lanfolk/lanfolk/internal/oui/internal/registry"
)

func main() {
	from := flag.String("from", "/usr/share/ieee-data", "the `folder` with the IEEE's files")
	out := flag.String("out", "internal/oui/registry.bin", "the `file` to write")
	check := flag.Bool("check", false, "only make the same edition again")
	flag.Parse()
	said, err := run(*from, *out, *check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "gen:", said)
}

// files are what the IEEE publishes.
func files() []string { return []string{"oui.csv", "mam.csv", "oui36.csv", "iab.csv"} }

// run writes out, unless it holds the same list already, and says what it did.
func run(from, out string, check bool) (string, error) {
	blocks, edition, err := read(from)
	if check && errors.Is(err, fs.ErrNotExist) {
		return "kept as it is: no listing in " + from, nil
	}
	if err != nil {
		return "", err
	}
	packed, err := registry.Pack(edition, blocks)
	if err != nil {
		return "", err
	}
	old, err := os.ReadFile(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	have, err := registry.Unpack(old)
	if err == nil && check && have.Edition != edition {
		return "kept as it is: " + from + " holds another edition", nil
	}
	// Another version of Go may compress in another way: what counts is the content.
	if err == nil && same(old, packed) {
		return "current", nil
	}
	if err := os.WriteFile(out, packed, 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf("wrote %d bytes, edition %s", len(packed), edition), nil
}

// same says whether two packed lists hold the same.
func same(a, b []byte) bool {
	x, err := registry.Raw(a)
	if err != nil {
		return false
	}
	y, err := registry.Raw(b)
	return err == nil && bytes.Equal(x, y)
}

// read reads the IEEE's files. The edition is a hash of them.
func read(dir string) (registry.Blocks, string, error) {
	var blocks registry.Blocks
	vendors := map[int]map[uint64]string{}
	for _, bits := range registry.Bits {
		vendors[bits] = map[uint64]string{}
	}
	hash := sha256.New()
	for _, name := range files() {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return blocks, "", err
		}
		hash.Write(content)
		if err := parse(bytes.NewReader(content), vendors); err != nil {
			return blocks, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	for i, bits := range registry.Bits {
		for _, prefix := range slices.Sorted(maps.Keys(vendors[bits])) {
			blocks[i] = append(blocks[i], registry.Block{Prefix: prefix, Vendor: vendors[bits][prefix]})
		}
	}
	return blocks, fmt.Sprintf("%x", hash.Sum(nil)[:8]), nil
}

// parse adds the rows of one file: Registry, Assignment (hexadecimal digits),
// Organization Name, Organization Address.
func parse(r io.Reader, vendors map[int]map[uint64]string) error {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 4
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := rows.FieldPos(1)
		if row[1] == "Assignment" {
			continue
		}
		bits := 4 * len(row[1])
		prefix, err := strconv.ParseUint(row[1], 16, 64)
		if err != nil || vendors[bits] == nil {
			return fmt.Errorf("line %d: %q is no prefix of 24, 28 or 36 bits", line, row[1])
		}
		name := clean(row[2])
		if !useful(name) {
			continue
		}
		// A few blocks were assigned twice, long ago. Any rule will do, as long
		// as the order of the rows makes no difference.
		if have, ok := vendors[bits][prefix]; !ok || name < have {
			vendors[bits][prefix] = name
		}
	}
}

// clean returns a name with single spaces and nothing that can't be printed.
func clean(name string) string {
	name = strings.ToValidUTF8(name, "")
	name = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	return strings.Join(strings.Fields(name), " ")
}

// useful says whether a name tells who made a device. "Private" doesn't, and
// the Registration Authority stands for blocks that are cut into smaller ones.
func useful(name string) bool {
	return name != "" && name != "Private" && name != "IEEE Registration Authority"
}
