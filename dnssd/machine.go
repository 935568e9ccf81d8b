package dnssd

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// namelessHost is what a machine is called that has no name of its own.
const namelessHost = "lanfolk"

// HostLabel returns the label by which a machine that calls itself name is known
// in .local: its first label, with a hyphen for what host names don't hold.
func HostLabel(name string) string {
	first, _, _ := strings.Cut(name, ".")
	var b strings.Builder
	for _, r := range first {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == maxLabel {
			break
		}
	}
	label := strings.Trim(b.String(), "-")
	if label == "" || strings.EqualFold(label, "localhost") {
		return namelessHost
	}
	return label
}

// ownRecords returns the addresses of this machine on one link, and the names
// that lead back from them (RFC 6762 §6.2): those of both families, in each.
//
// Where another program of the machine publishes the same, both must say the
// same, or it takes us for another host and renames. So it is said as avahi does
// it, without link-local addresses beside others of their family; and the names
// of addresses, for which no other name can be taken, are left to it.
func ownRecords(name dnswire.Name, l packet.Link, shared bool) []mdns.Record {
	var out []mdns.Record
	for _, p := range l.Prefixes {
		a := p.Addr().Unmap().WithZone("")
		switch {
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		case !shared:
			out = appendReverse(append(out, address(name, a, false)), name, a)
		case !a.IsLinkLocalUnicast() || !slices.ContainsFunc(l.Prefixes, func(o netip.Prefix) bool {
			return o.Addr().Is4() == a.Is4() && o.Addr().IsGlobalUnicast()
		}):
			out = append(out, address(name, a, false))
		}
	}
	return out
}

// proxyRecords returns the records of another machine, for which we speak. Its
// names are ours to give: they aren't probed for (RFC 6762 §8.1). Another name of
// this machine is probed for like its own.
func proxyRecords(name dnswire.Name, l packet.Link, addresses []netip.Addr, shared bool) []mdns.Record {
	var out []mdns.Record
	for _, a := range addresses {
		a = a.Unmap().WithZone("")
		out = append(out, address(name, a, !l.Has(a)))
		// An address of this machine leads back to the machine's own name.
		if !shared || !l.Has(a) {
			out = appendReverse(out, name, a)
		}
	}
	return out
}

func address(name dnswire.Name, a netip.Addr, proxy bool) mdns.Record {
	return mdns.Record{RR: dnswire.NewAddr(name, a, 0), Unique: true, NoProbe: proxy}
}

func appendReverse(out []mdns.Record, name dnswire.Name, a netip.Addr) []mdns.Record {
	reverse, err := ReverseName(a)
	if err != nil {
		return out
	}
	// Nobody else has the address, so the name needs no probe.
	return append(out, mdns.Record{RR: dnswire.NewPTR(reverse, name, 0), Unique: true, NoProbe: true})
}
