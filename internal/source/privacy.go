package source

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/store"
)

// Privacy keeps less of what passes by. It stands before all that is made of a
// fact: what it holds back is in no row, no sighting and no attribute. Its
// zero value holds nothing back. One goroutine at a time may use it.
type Privacy struct {
	// LocalOnly keeps only protocols by which devices of a link find each other.
	LocalOnly bool
	// Names hides the names that DNS, TLS and HTTP are asked for; nil: they are kept as they are.
	Names *Names

	fact   passive.Fact
	record passive.Record
}

// Fact returns what may be made of f, and whether anything may. It is valid as
// long as f, and until the next call.
func (p *Privacy) Fact(f *passive.Fact) (*passive.Fact, bool) {
	if p.LocalOnly && !linkLocal(f) {
		return nil, false
	}
	if p.Names == nil || !hidesNames(f.Protocol) {
		return f, true
	}
	p.fact = *f
	p.fact.Query = p.Names.Name(f.Query)
	if f.Record != nil {
		p.record = *f.Record
		// The data of a name that is hidden tells the name: an address, an alias, a text.
		if p.record.Name = p.Names.Name(f.Record.Name); p.record.Name != f.Record.Name && f.Record.Data != "" {
			p.record.Data = p.Names.Hash(f.Record.Data)
		}
		p.fact.Record = &p.record
	}
	return &p.fact, true
}

// linkLocal says whether the fact is of a protocol by which devices of one link find
// each other, or are given their addresses. The rest tells what people do: which names
// they look up and which servers they talk to.
func linkLocal(f *passive.Fact) bool {
	switch f.Protocol {
	case passive.ProtoARP, passive.ProtoNDP, passive.ProtoDHCP, passive.ProtoDHCPv6,
		passive.ProtoMDNS, passive.ProtoLLMNR, passive.ProtoNBNS, passive.ProtoSSDP, passive.ProtoWSD,
		passive.ProtoLLDP, passive.ProtoCDP, passive.ProtoIGMP, passive.ProtoMLD, passive.ProtoTGED,
		passive.ProtoPTP, passive.ProtoSAP:
		return true
	case passive.ProtoSyncthing:
		return f.DstMAC.Group() // the rest is with a server for the whole world
	}
	return false
}

// hidesNames says whether what is asked for by the protocol is hidden.
func hidesNames(protocol string) bool {
	switch protocol {
	case passive.ProtoDNS, passive.ProtoTLS, passive.ProtoQUIC, passive.ProtoHTTP:
		return true
	}
	return false
}

// Names hides names behind a hash with a key of this node's own: equal names
// stay equal and can be looked for, and nobody without the key can tell which they are, nor try
// all names that there are. Names of the local network stay readable. It may be used by any goroutine.
type Names struct {
	key      []byte
	readable []string // domains, folded, without dots at their ends
}

// HashedName begins what stands for a name that is hidden; 32 hexadecimal digits follow.
const HashedName = "hashed:"

// NewNames returns Names with a key of 32 bytes; names in the domains that are own stay
// readable, besides those of local networks: local, home.arpa, internal, and addresses that
// are private turned into names.
func NewNames(key []byte, own ...string) *Names {
	n := &Names{key: key, readable: []string{"local", "home.arpa", "internal"}}
	for _, d := range append(own, privateReverse()...) {
		if d = fold(strings.Trim(d, ".")); d != "" {
			n.readable = append(n.readable, d)
		}
	}
	return n
}

// privateReverse lists the domains in which private addresses are looked up (RFC 6303 §4).
func privateReverse() []string {
	list := []string{"10.in-addr.arpa", "168.192.in-addr.arpa", "254.169.in-addr.arpa", "127.in-addr.arpa", "c.f.ip6.arpa", "d.f.ip6.arpa",
		"8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa"}
	for _, n := range []string{"16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31"} {
		list = append(list, n+".172.in-addr.arpa")
	}
	return list
}

// NamesSecret names the secret of the database whose value is the key.
const NamesSecret = "names"

// NamedRows finds rows of the database by names that may be hidden there.
type NamedRows struct {
	Rows
	Names *Names // nil: none is
}

// Latest implements Rows.
func (x NamedRows) Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	return x.Rows.Latest(ctx, x.Names.Filter(f))
}

// ObservationPage implements Rows.
func (x NamedRows) ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	return x.Rows.ObservationPage(ctx, x.Names.Filter(f))
}

// Filter returns f so that it also asks for what stands for its name where that
// is hidden. Of a nil Names it is f.
func (n *Names) Filter(f store.ObservationFilter) store.ObservationFilter {
	if n == nil || strings.Contains(f.Query, "*") {
		return f
	}
	if hidden := n.Name(f.Query); hidden != f.Query {
		f.Alias = hidden
	}
	return f
}

// Name returns a name as it is kept: itself if it may be read, else its hash.
func (n *Names) Name(name string) string {
	if n.readableName(name) {
		return name
	}
	return n.Hash(name)
}

// Hash returns what stands for a name. The case of ASCII letters and a last dot make no difference.
func (n *Names) Hash(name string) string {
	h := hmac.New(sha256.New, n.key)
	h.Write([]byte(strings.TrimSuffix(fold(name), ".")))
	return HashedName + hex.EncodeToString(h.Sum(nil)[:16])
}

func (n *Names) readableName(name string) bool {
	if name == "" || name == "." {
		return true
	}
	host := name
	if ap, err := netip.ParseAddrPort(host); err == nil {
		host = ap.Addr().String()
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		a = a.Unmap()
		return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback()
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		host = host[:i] // an HTTP host with its port
	}
	host = strings.TrimSuffix(fold(host), ".")
	for _, d := range n.readable {
		if rest, ok := strings.CutSuffix(host, d); ok && (rest == "" || rest[len(rest)-1] == '.' && !strings.HasSuffix(rest, `\.`)) {
			return true
		}
	}
	return false
}
