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

// The states of a lease in Kea's files. Registered, of an address that the
// client made itself (RFC 9686), is since 2.7.
const (
	keaAssigned   = 0
	keaDeclined   = 1 // somebody else has the address
	keaReclaimed  = 2 // run out
	keaReleased   = 3
	keaRegistered = 4
)

// The sources of a hardware address in a lease of IPv6 that tell the one of the
// link on which the client is. One that was taken out of the DUID may be of
// another card, or of one that was thrown away.
const (
	keaFromRaw       = 1
	keaFromLinkLocal = 4 // EUI-64
	keaFromRelay     = 8 // RFC 6939
)

const (
	keaForever  = 0xffffffff // as a lifetime
	keaPrefixes = 2          // the type of a lease
	maxColumns  = 64
)

// Part is one file of those that make up Kea's leases.
type Part struct {
	Name string // for faults
	Data []byte
}

// ParseKea reads the files of one Kea server, the oldest first. A file without a
// header that can be understood is an error: it is none of Kea's.
func ParseKea(parts ...Part) (Table, error) {
	b := newBuilder()
	for _, p := range parts {
		var r *keaRows
		for n, line := range lines(p.Data) {
			b.Lines++
			if r == nil {
				var err error
				if r, err = keaHeader(string(line)); err != nil {
					return Table{}, fmt.Errorf("leases: %s: line %d: %w", p.Name, n, err)
				}
				continue
			}
			if len(line) > maxLine {
				b.fault(p.Name, n, fmt.Errorf("%d bytes in a line", len(line)))
				continue
			}
			if len(line) == 0 {
				continue
			}
			l, ok, err := r.lease(string(line))
			if err != nil {
				b.fault(p.Name, n, err)
			} else if ok {
				b.put(l)
			}
		}
		b.Partial = b.Partial || partial(p.Data)
	}
	return b.Table, nil
}

// keaRows reads the rows below one header.
type keaRows struct {
	columns map[string]int
	row     []string
}

func keaHeader(line string) (*keaRows, error) {
	names := strings.Split(line, ",")
	if len(line) > maxLine || len(names) > maxColumns {
		return nil, fmt.Errorf("%d columns", len(names))
	}
	r := &keaRows{columns: make(map[string]int, len(names))}
	for i, name := range names {
		if _, twice := r.columns[name]; twice {
			return nil, fmt.Errorf("column %q is there twice", clip(name))
		}
		r.columns[name] = i
	}
	for _, name := range []string{"address", "valid_lifetime", "expire"} {
		if _, ok := r.columns[name]; !ok {
			return nil, fmt.Errorf("this is no file of Kea: no column %q in its first line", name)
		}
	}
	return r, nil
}

// column returns a value of the row, "" for a column that isn't there: rows that
// older versions wrote are shorter.
func (r *keaRows) column(name string) string {
	if i, ok := r.columns[name]; ok && i < len(r.row) {
		return r.row[i]
	}
	return ""
}

// number reads a column; one that is empty or isn't there is 0.
func (r *keaRows) number(name string, most uint64) (uint64, error) {
	s := r.column(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most {
		return 0, fmt.Errorf("%s: %q isn't a number up to %d", name, clip(s), most)
	}
	return n, nil
}

// lease reads a row; ok is false for one that says nothing of a client.
func (r *keaRows) lease(line string) (l Lease, ok bool, err error) {
	if r.row = strings.Split(line, ","); len(r.row) > len(r.columns) {
		return l, false, fmt.Errorf("%d columns, the header has %d", len(r.row), len(r.columns))
	}
	if r.column("valid_lifetime") == "" || r.column("expire") == "" {
		return l, false, errors.New("the row ends early")
	}
	a, err := address(r.column("address"))
	if err != nil {
		return l, false, err
	}
	if l.Prefix, err = r.prefix(a); err != nil {
		return l, false, err
	}
	lifetime, err := r.number("valid_lifetime", keaForever)
	if err != nil {
		return l, false, err
	}
	ends, err := seconds(r.column("expire"))
	if err != nil {
		return l, false, fmt.Errorf("expire: %w", err)
	}
	if lifetime != keaForever {
		l.Length, l.Ends = time.Duration(lifetime)*time.Second, at(ends)
	}
	if l.MAC, err = r.mac(a); err != nil {
		return l, false, err
	}
	if l.ClientID, err = octets(r.column("client_id"), maxID); err != nil {
		return l, false, fmt.Errorf("client_id: %w", err)
	}
	if l.DUID, err = octets(r.column("duid"), maxDUID); err != nil {
		return l, false, fmt.Errorf("duid: %w", err)
	}
	if l.Host = unescape(r.column("hostname")); len(l.Host) > maxHost {
		return l, false, fmt.Errorf("a host name of %d bytes", len(l.Host))
	}
	state, err := r.number("state", 1<<32-1)
	if err != nil {
		return l, false, err
	}
	switch state {
	case keaAssigned, keaRegistered:
		l.Free = lifetime == 0 // how Kea removes a lease
	default: // declined, reclaimed, released, or one that came later
		l.Free = true
	}
	return l, true, nil
}

// prefix returns what the row is about.
func (r *keaRows) prefix(a netip.Addr) (netip.Prefix, error) {
	kind, err := r.number("lease_type", 255)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits := uint64(a.BitLen())
	if kind == keaPrefixes {
		if bits, err = r.number("prefix_len", bits); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(a, int(bits)).Masked(), nil
}

// mac returns the client's hardware address on the link where it is, nil if it isn't known.
func (r *keaRows) mac(a netip.Addr) ([]byte, error) {
	b, err := octets(r.column("hwaddr"), 20)
	if err != nil {
		return nil, fmt.Errorf("hwaddr: %w", err)
	}
	if a.Is4() {
		return ethernet(b), nil
	}
	kind, err := r.number("hwtype", 1<<16-1)
	if err != nil {
		return nil, err
	}
	from, err := r.number("hwaddr_source", 1<<32-1)
	if err != nil {
		return nil, err
	}
	if kind != 1 || from != keaFromRaw && from != keaFromLinkLocal && from != keaFromRelay {
		return nil, nil
	}
	return ethernet(b), nil
}

// unescape undoes how Kea writes what would break a row: "&#x2c" is a comma.
func unescape(s string) string {
	const mark = "&#x"
	if !strings.Contains(s, mark) {
		return s
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, mark)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if len(after) >= 2 {
			if x, err := hex.DecodeString(after[:2]); err == nil {
				b.WriteByte(x[0])
				s = after[2:]
				continue
			}
		}
		b.WriteString(mark)
		s = after
	}
}
