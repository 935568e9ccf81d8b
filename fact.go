package lanfolk

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of what one sighting may bring. They are generous for every protocol
// and keep what a hostile speaker can make us store small.
const (
	maxKey         = 512 // bytes; a longer key is refused, for cut keys could meet
	maxText        = 256 // bytes of a name, type, host, or attribute's key
	maxWhat        = 256 // bytes
	maxValue       = 1024
	maxAttributes  = 64
	maxAttrBytes   = 4096 // all keys and values together
	maxAddresses   = 32
	maxIdentifiers = 16
	maxLifetime    = 30 * 24 * time.Hour
)

// fact is a sighting as the core keeps it, in a form that a million of them
// fit in memory: what rarely matters is packed into one string, what is the
// same for many is kept once.
type fact struct {
	scope *scope
	src   *source
	blob  string // packed content, key first; see pack
	ids   []*ident
	dev   *device // nil until it is placed
	view  *Service
	// signals are what it tells about what its device is, nil if it tells nothing.
	signals *[]Signal

	first, heard, ends int64 // times in ns since 1970
	due                int64 // when its timer runs out; never after ends

	hash  uint32
	slot  uint32 // index in table
	dpos  uint32 // index in dev.facts
	epoch uint32 // of the last recomputation that reached it
	comp  int32  // component in that recomputation

	state   uint8 // index into states
	ended   bool  // ran out; kept only to be shown as unreachable
	gone    bool  // taken back; kept for a moment so that no late packet revives it
	dead    bool  // no longer in the table
	loose   bool  // placed, and in a component without a MAC
	pending bool  // in core.pending, not attached yet
	shaken  bool  // in core.seeds
	replies bool  // a sighting of TypeAnswer
	turned  bool  // pending for another time, and counted already; see reveal
	veiled  uint8 // identifiers behind those in ids that don't count; see veil
	unsaved bool  // in core.unsavedFacts
}

var states = [...]State{Unknown, Reachable, Unreachable, Lost}

func stateIndex(s State) uint8 {
	switch s {
	case Reachable:
		return 1
	case Unreachable:
		return 2
	case Lost:
		return 3
	}
	return 0
}

// live says whether the fact holds, and so takes part in joining.
func (f *fact) live() bool { return !f.ended && !f.gone && !f.dead }

// service says whether the fact is about a service.
func (f *fact) service() bool { return f.scope.Kind == KindService }

// content is what a fact's blob holds.
type content struct {
	key, name, typ, host, what string
	port                       uint16
	addresses                  int // how many
	attributes                 int // how many
	rest                       string
}

// pack appends the sighting's content in a canonical form: strings with their
// lengths, port, addresses in order, attributes sorted by key.
func pack(dst []byte, s *Sighting) []byte {
	dst = appendString(dst, s.Key)
	dst = appendString(dst, s.Name)
	dst = appendString(dst, s.Type)
	dst = appendString(dst, s.Host)
	dst = appendString(dst, s.What)
	dst = binary.BigEndian.AppendUint16(dst, s.Port)
	dst = append(dst, byte(len(s.Addresses)), byte(len(s.Attributes)))
	for _, a := range s.Addresses {
		b := a.AsSlice()
		dst = append(append(dst, byte(len(b))), b...)
	}
	if len(s.Attributes) == 0 {
		return dst
	}
	var few [16]string
	keys := few[:0]
	for k := range s.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		dst = appendString(appendString(dst, k), s.Attributes[k])
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cut takes a string that appendString wrote off the front of b.
func cut(b string) (s, rest string) {
	n, w := int(b[0]), 1
	if n >= 0x80 { // our own lengths stay below 1<<14
		n, w = n&0x7f|int(b[1])<<7, 2
	}
	return b[w : w+n], b[w+n:]
}

// key returns the key that the blob begins with.
func (f *fact) key() string {
	k, _ := cut(f.blob)
	return k
}

// content unpacks the blob but for addresses and attributes.
func (f *fact) content() content {
	var c content
	b := f.blob
	c.key, b = cut(b)
	c.name, b = cut(b)
	c.typ, b = cut(b)
	c.host, b = cut(b)
	c.what, b = cut(b)
	c.port = uint16(b[0])<<8 | uint16(b[1])
	c.addresses, c.attributes = int(b[2]), int(b[3])
	c.rest = b[4:]
	return c
}

// nextAddr takes one address off the front of c.rest.
func (c *content) nextAddr() netip.Addr {
	n := int(c.rest[0])
	var a netip.Addr
	if n == 4 {
		a = netip.AddrFrom4([4]byte([]byte(c.rest[1:5])))
	} else if n == 16 {
		a = netip.AddrFrom16([16]byte([]byte(c.rest[1:17])))
	}
	c.rest = c.rest[1+n:]
	return a
}

// addrs unpacks all addresses; the attributes come after them.
func (c *content) addrs() []netip.Addr {
	as := make([]netip.Addr, 0, c.addresses)
	for range c.addresses {
		as = append(as, c.nextAddr())
	}
	return as
}

// attrs unpacks all attributes, after addrs. It is never nil.
func (c *content) attrs() map[string]string {
	m := make(map[string]string, c.attributes)
	for range c.attributes {
		var k, v string
		k, c.rest = cut(c.rest)
		v, c.rest = cut(c.rest)
		m[k] = v
	}
	return m
}

// same says whether the fact already holds the sighting's content and
// identifiers, in any order of the identifiers that was used before. It
// allocates nothing: this is the way of nearly every packet.
func (f *fact) same(s *Sighting) bool {
	c := f.content()
	if c.name != s.Name || c.typ != s.Type || c.host != s.Host || c.what != s.What || c.port != s.Port ||
		c.addresses != len(s.Addresses) || c.attributes != len(s.Attributes) ||
		len(f.ids)+int(f.veiled) != len(s.Identifiers) || f.src.addr != s.Origin.Source {
		return false
	}
	ids := f.all()
	for i := range s.Identifiers {
		if !ids[i].is(&s.Identifiers[i]) {
			return false
		}
	}
	for i := range s.Addresses {
		if c.nextAddr() != s.Addresses[i] {
			return false
		}
	}
	for range c.attributes {
		var k, v string
		k, c.rest = cut(c.rest)
		v, c.rest = cut(c.rest)
		if got, ok := s.Attributes[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// sighting unpacks the whole fact.
func (f *fact) sighting() Sighting {
	c := f.content()
	s := Sighting{
		Origin: Origin{Protocol: f.scope.Protocol, Gateway: f.scope.Gateway, Link: f.scope.Link, Source: f.src.addr},
		Key:    c.key, Kind: f.scope.Kind, Name: c.name, Type: c.typ, Host: c.host, What: c.what, Port: c.port,
		State: states[f.state], Time: timeOf(f.heard), Lifetime: time.Duration(f.ends - f.heard), Gone: f.gone,
		Identifiers: f.identifiers(),
	}
	s.Addresses = c.addrs()
	s.Attributes = c.attrs()
	return s
}

func (f *fact) identifiers() []Identifier {
	all := f.all()
	ids := make([]Identifier, len(all))
	for i, id := range all {
		ids[i] = id.identifier()
	}
	return ids
}

// newer says whether the fact comes after a sighting of the same time: of two
// that were heard at once the same one must win in every order.
func (f *fact) newer(s *Sighting, scratch []byte) bool {
	if n := strings.Compare(f.blob, string(pack(scratch[:0], s))); n != 0 {
		return n > 0
	}
	if n := strings.Compare(f.src.addr, s.Origin.Source); n != 0 {
		return n > 0
	}
	if n := slices.CompareFunc(f.identifiers(), s.Identifiers, compareIdentifiers); n != 0 {
		return n > 0
	}
	if st := stateIndex(s.State); st != f.state {
		return f.state > st
	}
	return false
}

func compareIdentifiers(a, b Identifier) int {
	for _, n := range [...]int{
		strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Value, b.Value),
		strings.Compare(a.Link, b.Link), strings.Compare(a.Gateway, b.Gateway),
	} {
		if n != 0 {
			return n
		}
	}
	return 0
}

// fits says whether the sighting keeps all bounds as it is.
func fits(s *Sighting) bool {
	if len(s.Name) > maxText || len(s.Type) > maxText || len(s.Host) > maxText || len(s.What) > maxWhat ||
		len(s.Addresses) > maxAddresses || len(s.Attributes) > maxAttributes || len(s.Identifiers) > maxIdentifiers {
		return false
	}
	n := 0
	for k, v := range s.Attributes {
		n += len(k) + len(v)
		if len(k) > maxText || len(v) > maxValue {
			return false
		}
	}
	if n > maxAttrBytes {
		return false
	}
	for i := range s.Identifiers {
		id := &s.Identifiers[i]
		if id.Value == "" || len(id.Value) > maxText {
			return false
		}
		for j := range i {
			if s.Identifiers[j] == *id {
				return false
			}
		}
	}
	for _, a := range s.Addresses {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			return false
		}
	}
	return true
}

// clip returns the sighting cut down to the bounds, the same for the same
// sighting whatever the order of its map.
func clip(s Sighting) Sighting {
	s.Name, s.Type, s.Host = clipText(s.Name, maxText), clipText(s.Type, maxText), clipText(s.Host, maxText)
	s.What = clipText(s.What, maxWhat)
	var ids []Identifier
	for _, id := range s.Identifiers {
		if id.Value != "" && len(id.Value) <= maxText && len(ids) < maxIdentifiers && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	s.Identifiers = ids
	var addrs []netip.Addr
	for _, a := range s.Addresses {
		if a = a.Unmap().WithZone(""); a.IsValid() && len(addrs) < maxAddresses && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	s.Addresses = addrs
	keys := make([]string, 0, len(s.Attributes))
	for k := range s.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	attrs := make(map[string]string)
	n := 0
	for _, k := range keys {
		v := clipText(s.Attributes[k], maxValue)
		if len(k) > maxText || n+len(k)+len(v) > maxAttrBytes || len(attrs) == maxAttributes {
			continue
		}
		n += len(k) + len(v)
		attrs[k] = v
	}
	s.Attributes = attrs
	return s
}

// clipText cuts a string to at most n bytes, at a rune's start.
func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// timeOf turns the core's clock back into a time; 0 is no time.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// nanos is the inverse of timeOf.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
