package dnssd

import (
	"net/netip"
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
func ownRecords(name dnswire.Name, l packet.Link) []mdns.Record {
	var out []mdns.Record
	for _, p := range l.Prefixes {
		a := p.Addr().Unmap().WithZone("")
		if !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() {
			out = appendAddress(out, name, a, false)
		}
	}
	return out
}

// proxyRecords returns the records of another machine, for which we speak. Its
// names are ours to give: they aren't probed for (RFC 6762 §8.1).
func proxyRecords(name dnswire.Name, addresses []netip.Addr) []mdns.Record {
	var out []mdns.Record
	for _, a := range addresses {
		out = appendAddress(out, name, a.Unmap().WithZone(""), true)
	}
	return out
}

func appendAddress(out []mdns.Record, name dnswire.Name, a netip.Addr, proxy bool) []mdns.Record {
	out = append(out, mdns.Record{RR: dnswire.NewAddr(name, a, 0), Unique: true, NoProbe: proxy})
	if reverse, err := ReverseName(a); err == nil {
		// Nobody else has the address, so the name needs no probe, either.
		out = append(out, mdns.Record{RR: dnswire.NewPTR(reverse, name, 0), Unique: true, NoProbe: true})
	}
	return out
}
