package syncthing_test

import (
	"fmt"
	"net/netip"

	"github.com/lanfolk/lanfolk/syncthing"
)

// A device says that it listens on port 22000 at the address that the
// packet comes from, and is read again.
func Example() {
	id, err := syncthing.ParseID("P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2")
	if err != nil {
		fmt.Println(err)
		return
	}
	here := netip.AddrPortFrom(netip.Addr{}, 22000)
	sent := syncthing.Announcement{Device: syncthing.Device{ID: id, Addresses: []netip.AddrPort{here}}}
	b := sent.Append(nil)
	fmt.Printf("%d bytes: %x…\n", len(b), b[:8])

	m, err := syncthing.Parse(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	if a, ok := m.(*syncthing.Announcement); ok {
		fmt.Println(a.ID, "port", a.Addresses[0].Port())
	}
	// Output:
	// 56 bytes: 9d79bc3900000020…
	// P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2 port 22000
}
