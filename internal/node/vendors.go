package node

import (
	"fmt"
	"io"
	"os"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/oui"
)

// openVendors returns what names the maker behind a MAC. The person's own
// file, if there is one, comes before the built-in list, which is unpacked
// beside the start: it takes longer than the rest of it.
func openVendors(file string) (func(lanfolk.MAC) string, error) {
	var own []io.Reader
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("node: vendors: %w", err)
		}
		defer f.Close()
		own = append(own, f)
	}
	table, err := oui.New(own...)
	if err != nil {
		return nil, fmt.Errorf("node: vendors: %s: %w", file, err)
	}
	go table.Load()
	return func(m lanfolk.MAC) string { return table.Vendor(m) }, nil
}
