package leases

import (
	"path/filepath"
	"strings"
)

// Place is where a server keeps its leases.
type Place struct {
	Kind Kind
	Path string
	// Interface is the link that they are of, "" if the place doesn't tell.
	Interface string
}

// networkManager is what the name of a lease file begins with that NetworkManager has
// a dnsmasq keep for a shared connection; the link's name and ".leases" follow.
const networkManager = "/var/lib/NetworkManager/dnsmasq-"

// Find returns the lease files that lie where distributions have them, below
// root. OpenWrt's in /tmp, where everybody may write, isn't looked for.
func Find(root string) []Place {
	var found []Place
	for _, p := range []Place{
		{Kind: Dnsmasq, Path: "/var/lib/misc/dnsmasq.leases"},
		{Kind: Dnsmasq, Path: "/var/lib/dnsmasq/dnsmasq.leases"},
		{Kind: Dnsmasq, Path: networkManager + "*.leases"},
		{Kind: Kea, Path: "/var/lib/kea/kea-leases4.csv"},
		{Kind: Kea, Path: "/var/lib/kea/kea-leases6.csv"},
	} {
		paths, err := filepath.Glob(filepath.Join(root, p.Path))
		if err != nil {
			continue // the pattern is our own
		}
		for _, path := range paths {
			p.Path = path
			if name, ok := strings.CutPrefix(path, filepath.Join(root, networkManager)); ok {
				p.Interface = strings.TrimSuffix(name, ".leases")
			}
			found = append(found, p)
		}
	}
	return found
}
