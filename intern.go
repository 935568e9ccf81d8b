package lanfolk

import (
	"hash/maphash"
	"net/netip"
)

// scope is what the sightings of one protocol and kind on one link share.
type scope struct {
	Protocol, Gateway, Link string
	Kind                    Kind
	num                     uint64 // seeds the hash of a fact's key
}

// source counts the sightings of one speaker.
type source struct {
	addr string
	n    int
}

// idScope is what the identifiers of one kind on one link share.
type idScope struct {
	kind          IdentifierKind
	gateway, link string
	num           uint64
}

// crowd is how many live sightings may hold a weak identifier before it is
// taken for no identifier at all. No host offers as many services; what does
// is a bug or an attack, and must not make each sighting cost a walk over all.
const crowd = 1024

// ident is an identifier that a sighting holds or a device is remembered by.
type ident struct {
	scope *idScope
	value string
	// holders are the live facts with this identifier; beyond crowd they are
	// kept in many, so that one leaves in constant time.
	holders []*fact
	many    map[*fact]struct{}
	dev     *device // the one device that all holders belong to; nil if several
	owner   *device // the device that held it last
	ties    *ties   // nil until an id is told with a MAC
	loose   int32   // holders in components without a MAC
	refs    int32   // facts, memories and separations that name it
	muted   int32   // how many devices' separations name it

	hash  uint32
	slot  uint32
	epoch uint32 // of the last recomputation that reached it
	level int32  // its step there
	lead  int32  // the component that it leads to there
	next  int32

	// There are millions, so these four fill a gap.
	kept    bool // in owner's memory
	strong  bool
	claimed bool // strong, but anybody could have said it
	void    bool // names nobody: a loopback address, "localhost"

	seeded uint64 // 1 + the number of rejoins when all holders were seeded
}

func (i *ident) n() int {
	if i.many != nil {
		return len(i.many)
	}
	return len(i.holders)
}

// joins says whether sightings that share the identifier may be joined by it.
func (i *ident) joins() bool {
	return i.muted == 0 && !i.void && (i.strong || i.n() <= crowd)
}

// anchors says whether the identifier makes its device one with a MAC.
func (i *ident) anchors() bool { return i.scope.kind == IDMAC && i.muted == 0 && !i.void }

// each calls do for all holders until it returns false.
func (i *ident) each(do func(*fact) bool) {
	for f := range i.many {
		if !do(f) {
			return
		}
	}
	for _, f := range i.holders {
		if !do(f) {
			return
		}
	}
}

// any returns one of the holders.
func (i *ident) any() (f *fact) {
	i.each(func(h *fact) bool { f = h; return false })
	return f
}

// last returns the device that held the identifier last, nil if it is
// forgotten.
func (i *ident) last() *device {
	if i.owner == nil || i.owner.forgotten {
		return nil
	}
	return i.owner.root()
}

func (i *ident) add(f *fact) {
	if i.many == nil && len(i.holders) < crowd {
		i.holders = append(i.holders, f)
		return
	}
	if i.many == nil {
		i.many = make(map[*fact]struct{}, 2*crowd)
		for _, h := range i.holders {
			i.many[h] = struct{}{}
		}
		i.holders = nil
	}
	i.many[f] = struct{}{}
}

func (i *ident) remove(f *fact) {
	if i.many != nil {
		delete(i.many, f)
		if len(i.many) <= crowd {
			for h := range i.many {
				i.holders = append(i.holders, h)
			}
			i.many = nil
		}
		return
	}
	for n, h := range i.holders {
		if h == f {
			last := len(i.holders) - 1
			i.holders[n] = i.holders[last]
			i.holders[last] = nil
			i.holders = i.holders[:last]
			break
		}
	}
	if len(i.holders) == 0 {
		i.holders = nil
	}
}

func (i *ident) is(id *Identifier) bool {
	return i.value == id.Value && i.scope.kind == id.Kind && i.scope.link == id.Link && i.scope.gateway == id.Gateway
}

func (i *ident) identifier() Identifier {
	return Identifier{Kind: i.scope.kind, Value: i.value, Gateway: i.scope.gateway, Link: i.scope.link}
}

// void says whether the identifier names nobody in particular.
func void(kind IdentifierKind, value string) bool {
	switch kind {
	case IDMAC:
		m, err := ParseMAC(value)
		return err != nil || m == (MAC{}) || m.Group()
	case IDIP:
		a, err := netip.ParseAddr(value)
		return err != nil || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case IDHost:
		return value == "localhost" || value == "localhost.local" || value == "localhost.localdomain"
	}
	return false
}

// roams says whether a MAC is one that routers pass among each other, so that
// what it says is said by one now and by another then.
func (i *ident) roams() bool {
	m, err := ParseMAC(i.value)
	return err == nil && m.Virtual()
}

// interner keeps one copy of what many facts share.
type interner struct {
	seed     maphash.Seed
	scopes   map[scope]*scope
	lastS    *scope
	idScopes map[idScope]*idScope
	lastI    *idScope
	sources  map[string]*source
	idents   table[ident]
}

func newInterner() interner {
	return interner{
		seed: maphash.MakeSeed(), scopes: map[scope]*scope{}, idScopes: map[idScope]*idScope{}, sources: map[string]*source{},
	}
}

// maxScopes bounds how many combinations of protocol, gateway, link and kind
// there may be: far more than any node has, and none comes from a packet.
const maxScopes = 1 << 16

// scope returns the shared scope of a sighting, nil when there are too many.
func (n *interner) scope(s *Sighting) *scope {
	if l := n.lastS; l != nil && l.Protocol == s.Origin.Protocol && l.Link == s.Origin.Link &&
		l.Gateway == s.Origin.Gateway && l.Kind == s.Kind {
		return l
	}
	k := scope{Protocol: s.Origin.Protocol, Gateway: s.Origin.Gateway, Link: s.Origin.Link, Kind: s.Kind}
	sc := n.scopes[k]
	if sc == nil {
		if len(n.scopes) >= maxScopes {
			return nil
		}
		sc = new(scope)
		*sc = k
		sc.num = uint64(len(n.scopes) + 1)
		n.scopes[k] = sc
	}
	n.lastS = sc
	return sc
}

func (n *interner) idScope(id *Identifier) *idScope {
	if l := n.lastI; l != nil && l.kind == id.Kind && l.link == id.Link && l.gateway == id.Gateway {
		return l
	}
	k := idScope{kind: id.Kind, gateway: id.Gateway, link: id.Link}
	sc := n.idScopes[k]
	if sc == nil {
		if len(n.idScopes) >= maxScopes {
			return nil
		}
		sc = new(idScope)
		*sc = k
		sc.num = uint64(len(n.idScopes) + 1)
		n.idScopes[k] = sc
	}
	n.lastI = sc
	return sc
}

// source returns the shared source of an address.
func (n *interner) source(addr string) *source {
	s := n.sources[addr]
	if s == nil {
		s = &source{addr: addr}
		n.sources[addr] = s
	}
	return s
}

// leaveSource counts one sighting of the speaker less, and forgets it at none.
func (n *interner) leaveSource(s *source) {
	if s.n--; s.n == 0 {
		delete(n.sources, s.addr)
	}
}

func (n *interner) hash(num uint64, s string) uint32 {
	h := maphash.String(n.seed, s) ^ num*0x9e3779b97f4a7c15
	return uint32(h ^ h>>32)
}

// lookup returns the identifier if it is in use, nil otherwise.
func (n *interner) lookup(id *Identifier) *ident {
	sc := n.idScope(id)
	if sc == nil {
		return nil
	}
	return n.idents.find(n.hash(sc.num, id.Value), func(i *ident) bool { return i.scope == sc && i.value == id.Value })
}

// ident returns the shared identifier, made if it isn't in use; nil when there
// are too many scopes.
func (n *interner) ident(id *Identifier) *ident {
	sc := n.idScope(id)
	if sc == nil {
		return nil
	}
	h := n.hash(sc.num, id.Value)
	i := n.idents.find(h, func(i *ident) bool { return i.scope == sc && i.value == id.Value })
	if i == nil {
		i = &ident{scope: sc, value: id.Value, hash: h, strong: id.Strong(), void: void(id.Kind, id.Value)}
		i.claimed = i.strong && !id.certain()
		i.slot = n.idents.put(h, i)
	}
	return i
}

// release frees an identifier that nobody holds or remembers.
func (n *interner) release(i *ident) {
	if i.n() == 0 && i.refs == 0 && n.idents.items[i.slot] == i {
		n.idents.remove(i.hash, i.slot)
	}
}
