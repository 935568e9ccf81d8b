package reflector

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// mirror is what the engine's cache holds of one zone, as its events tell.
type mirror struct {
	names map[dnswire.Name][]*known // by the name, folded
	count int
}

// known is a record in a mirror.
type known struct {
	key     dnswire.RR // folded, without TTL and flush bit: what makes two the same
	rr      dnswire.RR
	source  netip.Addr
	first   uint64    // counts the records of all mirrors in the order in which they came
	seen    time.Time // when an event last said so
	expires time.Time
	asked   time.Time             // when the proxy last asked for it to live on
	told    map[mdns.Zone]telling // where it was passed on
}

// telling is what the hosts of a zone were told of a record.
type telling struct{ at, expires time.Time }

// maxMirrored bounds the records of each zone; the engine's own cache has a
// limit, too, which is this one unless somebody changed it.
const maxMirrored = mdns.DefaultMaxRecords

func keyOf(rr dnswire.RR) dnswire.RR {
	rr = rr.Fold()
	rr.TTL, rr.Flush = 0, false
	return rr
}

func (m *mirror) find(key dnswire.RR) *known {
	for _, k := range m.names[key.Name] {
		if k.key == key {
			return k
		}
	}
	return nil
}

// put takes over a record that was added or heard again, nil if there is no
// room. seq is the number of the event.
func (m *mirror) put(ev mdns.Event, seq uint64) *known {
	key := keyOf(ev.RR)
	k := m.find(key)
	if k == nil {
		if m.count >= maxMirrored {
			return nil
		}
		if m.names == nil {
			m.names = map[dnswire.Name][]*known{}
		}
		k = &known{key: key, first: seq}
		m.names[key.Name] = append(m.names[key.Name], k)
		m.count++
	}
	k.rr, k.source, k.seen, k.expires = ev.RR, ev.Source, ev.Time, ev.Expires
	return k
}

func (m *mirror) remove(rr dnswire.RR) *known {
	key := keyOf(rr)
	list := m.names[key.Name]
	for i, k := range list {
		if k.key != key {
			continue
		}
		if m.count--; len(list) == 1 {
			delete(m.names, key.Name)
		} else {
			m.names[key.Name] = append(list[:i:i], list[i+1:]...)
		}
		return k
	}
	return nil
}

// answering returns the records that answer a question, or else the one that says that
// there is none (RFC 6762 §6.1).
func (m *mirror) answering(now time.Time, q interestKey) []*known {
	var out []*known
	var denial *known
	for _, k := range m.names[q.name] {
		switch {
		case !k.lives(now):
		case k.rr.Type == q.typ || q.typ == dnswire.TypeANY:
			out = append(out, k)
		case k.rr.Type == dnswire.TypeNSEC:
			if _, types, ok := k.rr.NSEC(); ok && !types.Has(q.typ) {
				denial = k
			}
		}
	}
	if out == nil && denial != nil {
		out = append(out, denial)
	}
	return out
}

// additionals returns what somebody who gets the record will ask for next
// (RFC 6763 §12).
func (m *mirror) additionals(now time.Time, k *known) []*known {
	var out []*known
	add := func(name dnswire.Name, types ...dnswire.Type) {
		for _, x := range m.names[name.Fold()] {
			for _, t := range types {
				if x.rr.Type == t && x.lives(now) {
					out = append(out, x)
				}
			}
		}
	}
	switch k.rr.Type {
	case dnswire.TypePTR:
		if in, ok := k.rr.PTR(); ok {
			add(in, dnswire.TypeSRV, dnswire.TypeTXT)
			for _, x := range out {
				if srv, ok := x.rr.SRV(); ok {
					add(srv.Target, dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeNSEC)
				}
			}
		}
	case dnswire.TypeSRV:
		if srv, ok := k.rr.SRV(); ok {
			add(srv.Target, dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeNSEC)
		}
	case dnswire.TypeA:
		add(k.rr.Name, dnswire.TypeAAAA, dnswire.TypeNSEC)
	case dnswire.TypeAAAA:
		add(k.rr.Name, dnswire.TypeA, dnswire.TypeNSEC)
	}
	return out
}

// lives says whether the record has at least a second left, the least that a
// TTL can say.
func (k *known) lives(now time.Time) bool { return k.expires.Sub(now) >= time.Second }

// left returns the record with the TTL that it has left, which isn't the one it
// came with. Parts of a second don't count: so a record that two proxies hand to
// each other and back runs out.
func (k *known) left(now time.Time) dnswire.RR {
	rr := k.rr
	rr.TTL = uint32(k.expires.Sub(now) / time.Second)
	return rr
}

// toldTo returns what a zone was told of the record that still holds there.
func (k *known) toldTo(now time.Time, z mdns.Zone) (telling, bool) {
	t, ok := k.told[z]
	return t, ok && now.Before(t.expires)
}
