package leases

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// aClock is the least number of seconds since 1970 that is taken for a time: the
// year 2001. A dnsmasq that was built for a machine without a clock
// (HAVE_BROKEN_RTC) keeps lengths of leases instead.
const aClock = 1_000_000_000

// ParseDnsmasq reads a lease file of dnsmasq.
func ParseDnsmasq(data []byte) Table {
	b := newBuilder()
	b.Partial = partial(data)
	for n, line := range lines(data) {
		b.Lines++
		if len(line) > maxLine {
			b.fault("", n, fmt.Errorf("%d bytes in a line", len(line)))
			continue
		}
		if len(line) == 0 {
			continue
		}
		l, ok, err := dnsmasqLine(string(line))
		if err != nil {
			b.fault("", n, err)
		} else if ok {
			b.put(l)
		}
	}
	return b.Table
}

// dnsmasqLine reads a line; ok says whether it is a lease.
func dnsmasqLine(line string) (l Lease, ok bool, err error) {
	if duid, own := strings.CutPrefix(line, "duid "); own {
		_, err := octets(duid, maxDUID)
		return l, false, err
	}
	// A host name has no spaces: dnsmasq takes none that has.
	f := strings.Split(line, " ")
	if len(f) != 5 {
		return l, false, fmt.Errorf("%d fields, not 5", len(f))
	}
	ends, err := seconds(f[0])
	if err != nil {
		return l, false, err
	}
	switch {
	case ends == 0 || ends == 0xffffffff: // for ever
	case ends < aClock:
		l.Length = time.Duration(ends) * time.Second
	default:
		l.Ends = at(ends)
	}
	a, err := address(f[2])
	if err != nil {
		return l, false, err
	}
	l.Prefix = netip.PrefixFrom(a, a.BitLen())
	if f[3] != "*" {
		l.Host = f[3]
	}
	if len(l.Host) > maxHost {
		return l, false, fmt.Errorf("a host name of %d bytes", len(l.Host))
	}
	var id []byte
	if f[4] != "*" {
		if id, err = octets(f[4], maxID); err != nil {
			return l, false, fmt.Errorf("client id: %w", err)
		}
	}
	if a.Is4() {
		l.ClientID = id
		l.MAC, err = dnsmasqMAC(f[1])
		return l, err == nil, err
	}
	if len(id) > maxDUID {
		return l, false, fmt.Errorf("a DUID of %d bytes", len(id))
	}
	l.DUID = id
	// What identifies the interface is of no use outside its host.
	if _, err := strconv.ParseUint(strings.TrimPrefix(f[1], "T"), 10, 32); err != nil {
		return l, false, fmt.Errorf("%q is no IAID", clip(f[1]))
	}
	return l, true, nil
}

// dnsmasqMAC reads a hardware address, before which stands its type and a dash
// unless it is Ethernet's. Those of other kinds name nothing that lanfolk knows.
func dnsmasqMAC(s string) ([]byte, error) {
	kind, rest, typed := strings.Cut(s, "-")
	if !typed {
		kind, rest = "01", s
	}
	k, err := hex.DecodeString(kind)
	if err != nil || len(k) != 1 {
		return nil, fmt.Errorf("%q is no hardware address", clip(s))
	}
	mac, err := octets(rest, 16)
	if err != nil {
		return nil, fmt.Errorf("hardware address: %w", err)
	}
	if !typed && mac == nil {
		return nil, errors.New("no hardware address")
	}
	const ethernetType, ieee802Type = 1, 6 // RFC 1700
	if k[0] != ethernetType && k[0] != ieee802Type {
		return nil, nil
	}
	return ethernet(mac), nil
}
