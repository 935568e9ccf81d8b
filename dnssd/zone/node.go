package zone

import (
	"slices"

	"github.com/lanfolk/lanfolk/dnswire"
)

// node is a name that exists: it has records, or lies above one that has
// (RFC 8020 §2).
type node struct {
	name  dnswire.Name // with its case
	sets  []*rrset     // few: one for each type
	below int          // how many nodes lie right below it
}

// rrset is all records of a name and type. They have one TTL (RFC 2181 §5.2), the
// lowest of those that were asked for.
type rrset struct {
	typ   dnswire.Type
	ttl   uint32
	mixed bool // not all records were given the same TTL
	list  []entry
	at    map[string]int // where a record's rdata stands in a long list; nil in a short one
}

type entry struct {
	data string
	ttl  uint32 // the lowest that it was given
	uses int    // by how many it was published
}

// shortList is how long a list is searched from its beginning to its end.
const shortList = 16

func (n *node) set(t dnswire.Type) *rrset {
	for _, s := range n.sets {
		if s.typ == t {
			return s
		}
	}
	return nil
}

// rr returns a record of a set of the node.
func (n *node) rr(s *rrset, i int) dnswire.RR {
	return dnswire.RR{Name: n.name, Type: s.typ, Class: dnswire.ClassIN, TTL: s.ttl, Data: s.list[i].data}
}

// find returns where the rdata stands. The names in it are compared with their
// case: whoever publishes a thing twice writes it alike.
func (s *rrset) find(data string) (int, bool) {
	if s.at != nil {
		i, ok := s.at[data]
		return i, ok
	}
	i := slices.IndexFunc(s.list, func(e entry) bool { return e.data == data })
	return i, i >= 0
}

func (s *rrset) add(data string, ttl uint32) (isNew bool) {
	if len(s.list) == 0 {
		s.ttl = ttl
	}
	s.mixed = s.mixed || ttl != s.ttl
	s.ttl = min(s.ttl, ttl)
	if i, ok := s.find(data); ok {
		s.list[i].uses++
		s.list[i].ttl = min(s.list[i].ttl, ttl)
		return false
	}
	if s.at != nil {
		s.at[data] = len(s.list)
	}
	s.list = append(s.list, entry{data, ttl, 1})
	if s.at == nil && len(s.list) > shortList {
		s.at = make(map[string]int, 2*len(s.list))
		for i, e := range s.list {
			s.at[e.data] = i
		}
	}
	return true
}

func (s *rrset) remove(data string) (gone bool) {
	i, ok := s.find(data)
	if !ok {
		return false
	}
	if s.list[i].uses--; s.list[i].uses > 0 {
		return false
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.list[last] = entry{}
	s.list = s.list[:last]
	if s.at != nil {
		delete(s.at, data)
		if i < last {
			s.at[s.list[i].data] = i
		}
	}
	if s.mixed && last > 0 {
		s.ttl, s.mixed = s.list[0].ttl, false
		for _, e := range s.list {
			s.mixed = s.mixed || e.ttl != s.ttl
			s.ttl = min(s.ttl, e.ttl)
		}
	}
	return true
}

// add adds a record, or another use of it. z.mu is held.
func (z *Zone) add(rr dnswire.RR) {
	n := z.node(rr.Name)
	s := n.set(rr.Type)
	if s == nil {
		s = &rrset{typ: rr.Type}
		n.sets = append(n.sets, s)
	}
	if s.add(rr.Data, rr.TTL) {
		z.records++
	}
}

// node returns the node with the name, made with those above it as far as they
// aren't there.
func (z *Zone) node(name dnswire.Name) *node {
	folded := name.Fold()
	if n := z.names[folded]; n != nil {
		return n
	}
	n := &node{name: name}
	z.names[folded] = n
	if folded != z.domain {
		z.node(name.Parent()).below++
	}
	return n
}

// remove takes back one use of a record. z.mu is held.
func (z *Zone) remove(rr dnswire.RR) {
	n := z.names[rr.Name.Fold()]
	if n == nil {
		return
	}
	s := n.set(rr.Type)
	if s == nil || !s.remove(rr.Data) {
		return
	}
	z.records--
	if len(s.list) == 0 {
		n.sets = slices.DeleteFunc(n.sets, func(x *rrset) bool { return x == s })
	}
	z.prune(rr.Name, n)
}

// prune takes away a node that has become empty, and those above it that existed
// for it alone.
func (z *Zone) prune(name dnswire.Name, n *node) {
	for folded := name.Fold(); len(n.sets) == 0 && n.below == 0 && folded != z.domain; {
		delete(z.names, folded)
		folded = folded.Parent()
		n = z.names[folded]
		n.below--
	}
}

// all returns the zone's records but the SOA record, in no order, and that.
func (z *Zone) all() (soa dnswire.RR, records []dnswire.RR) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	records = make([]dnswire.RR, 0, z.records)
	for _, n := range z.names {
		for _, s := range n.sets {
			for i := range s.list {
				records = append(records, n.rr(s, i))
			}
		}
	}
	return z.soaNow(), records
}
