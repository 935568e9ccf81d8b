package dnswire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// RR is an owned resource record. It is comparable and so fit for a map key; ==
// compares names with their case, the TTL and the cache-flush bit, too: see
// SameData and Fold.
type RR struct {
	Name  Name
	Type  Type
	Class Class
	Flush bool   // the cache-flush bit, RFC 6762 §10.2
	TTL   uint32 // seconds
	Data  string // rdata, names in it uncompressed
}

// SRV is the rdata of an SRV record, RFC 2782.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 Name
}

// NewPTR returns a PTR record of class IN.
func NewPTR(name, target Name, ttl uint32) RR {
	return RR{Name: name, Type: TypePTR, Class: ClassIN, TTL: ttl, Data: string(target)}
}

// NewSRV returns an SRV record of class IN.
func NewSRV(name Name, srv SRV, ttl uint32) RR {
	b := make([]byte, 0, 6+len(srv.Target))
	b = binary.BigEndian.AppendUint16(b, srv.Priority)
	b = binary.BigEndian.AppendUint16(b, srv.Weight)
	b = binary.BigEndian.AppendUint16(b, srv.Port)
	return RR{Name: name, Type: TypeSRV, Class: ClassIN, TTL: ttl, Data: string(append(b, srv.Target...))}
}

// NewTXT returns a TXT record of class IN. Without strings it holds one empty
// string, since a TXT record is never without data (RFC 6763 §6.1). A string of more
// than 255 bytes is an error, and so are more than 65535 bytes together.
func NewTXT(name Name, ttl uint32, strings ...string) (RR, error) {
	if len(strings) == 0 {
		strings = []string{""}
	}
	var b []byte
	for i, s := range strings {
		if len(s) > 255 {
			return RR{}, fmt.Errorf("dnswire: TXT of %s: string %d has %d bytes, more than 255", name, i+1, len(s))
		}
		b = append(append(b, byte(len(s))), s...)
	}
	if len(b) > maxLen {
		return RR{}, fmt.Errorf("dnswire: TXT of %s: has %d bytes, more than %d", name, len(b), maxLen)
	}
	return RR{Name: name, Type: TypeTXT, Class: ClassIN, TTL: ttl, Data: string(b)}, nil
}

// NewAddr returns an A record for an IPv4 address (also in IPv6 form) and an
// AAAA record for any other. The address's zone is left out.
func NewAddr(name Name, a netip.Addr, ttl uint32) RR {
	t := TypeAAAA
	if a = a.Unmap().WithZone(""); a.Is4() {
		t = TypeA
	}
	return RR{Name: name, Type: t, Class: ClassIN, TTL: ttl, Data: string(a.AsSlice())}
}

// NewNSEC returns an NSEC record of class IN that lists the types. In mDNS next is
// the name itself, and types above 255 and NSEC itself aren't listed (RFC 6762 §6.1).
func NewNSEC(name, next Name, ttl uint32, types ...Type) RR {
	types = slices.Clone(types)
	slices.Sort(types)
	b := []byte(next)
	for i := 0; i < len(types); {
		window := types[i] >> 8
		var bits [32]byte
		n := 0
		for ; i < len(types) && types[i]>>8 == window; i++ {
			low := int(types[i] & 0xFF)
			bits[low/8] |= 0x80 >> (low % 8)
			n = low/8 + 1
		}
		b = append(append(b, byte(window), byte(n)), bits[:n]...)
	}
	return RR{Name: name, Type: TypeNSEC, Class: ClassIN, TTL: ttl, Data: string(b)}
}

// PTR returns the name that a PTR record points to.
func (r RR) PTR() (Name, bool) {
	if r.Type != TypePTR {
		return "", false
	}
	return r.Target()
}

// Target returns the one name that is all the rdata of a record: NS, CNAME, PTR,
// DNAME and the like.
func (r RR) Target() (Name, bool) {
	l := layoutOf(r.Type)
	if l.names != 1 || l.fixed+l.strings+l.tail > 0 || !Name(r.Data).Valid() {
		return "", false
	}
	return Name(r.Data), true
}

// SRV returns what an SRV record says.
func (r RR) SRV() (SRV, bool) {
	if r.Type != TypeSRV || len(r.Data) < 7 || !Name(r.Data[6:]).Valid() {
		return SRV{}, false
	}
	return SRV{
		Priority: be16(r.Data),
		Weight:   be16(r.Data[2:]),
		Port:     be16(r.Data[4:]),
		Target:   Name(r.Data[6:]),
	}, true
}

func be16(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

// Addr returns the address of an A or AAAA record.
func (r RR) Addr() (netip.Addr, bool) {
	if r.Type == TypeA && len(r.Data) == 4 || r.Type == TypeAAAA && len(r.Data) == 16 {
		return netip.AddrFromSlice([]byte(r.Data))
	}
	return netip.Addr{}, false
}

// TXT returns the strings of a TXT record.
func (r RR) TXT() ([]string, bool) {
	l := layoutOf(r.Type)
	if l.strings != anyStrings || head(l, r.Data, 0, len(r.Data)) < 0 {
		return nil, false
	}
	var out []string
	for s := r.Data; s != ""; s = s[1+int(s[0]):] {
		out = append(out, s[1:1+int(s[0])])
	}
	return out, true
}

// NSEC returns what an NSEC record says; see Record.NSEC.
func (r RR) NSEC() (next Name, types Bitmap, ok bool) {
	if r.Type != TypeNSEC || !validData(TypeNSEC, r.Data) {
		return "", Bitmap{}, false
	}
	n := wireNameLen(r.Data)
	return Name(r.Data[:n]), Bitmap{[]byte(r.Data[n:])}, true
}

// Fold returns the record with its name and the names in its rdata in ASCII lower case.
func (r RR) Fold() RR {
	r.Name = r.Name.Fold()
	if at, end := r.names(); at < end {
		if f := foldString(r.Data[at:end]); f != r.Data[at:end] {
			r.Data = r.Data[:at] + f + r.Data[end:]
		}
	}
	return r
}

// names returns where the names in the rdata begin and end; at == end if there are none.
func (r RR) names() (at, end int) {
	l := layoutOf(r.Type)
	if l.names == 0 {
		return 0, 0
	}
	if at = head(l, r.Data, 0, len(r.Data)); at < 0 {
		return 0, 0
	}
	end = at
	for range l.names {
		n := wireNameLen(r.Data[end:])
		if n == 0 {
			return 0, 0
		}
		end += n
	}
	return at, end
}

// SameData says whether two records are the same but for their TTL and
// cache-flush bit: name, type, class and rdata, names compared with ASCII case folding.
func (r RR) SameData(o RR) bool {
	if r.Type != o.Type || r.Class != o.Class || len(r.Data) != len(o.Data) || !r.Name.Equal(o.Name) {
		return false
	}
	if r.Data == o.Data {
		return true
	}
	at, end := r.names()
	oat, oend := o.names()
	return at < end && at == oat && end == oend && r.Data[:at] == o.Data[:at] && r.Data[end:] == o.Data[end:] &&
		equalFold(r.Data[at:end], o.Data[at:end])
}
