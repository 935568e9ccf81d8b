package reflector

import (
	"bytes"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// court judges names and records by the rules of one pair of links and by what
// the book of the zone that has the services knows. The book is locked.
type court struct {
	book    *book
	pair    *pair
	scratch *scratch
	now     time.Time
	mac     mac
	hasMAC  bool
}

// record says whether a record may cross. Every name in it must be allowed to:
// also those that it only points to.
func (c *court) record(r *dnswire.Record) (ok bool, by int) {
	owner := c.scratch.topic(r.Name)
	switch r.Type {
	case dnswire.TypePTR:
		target, isName := r.PTR()
		if !isName {
			return false, byDefault
		}
		return c.pointer(owner, c.scratch.topic(target))
	case dnswire.TypeSRV:
		srv, isSRV := r.SRV()
		if !isSRV {
			return false, byDefault
		}
		t := c.scratch.topic(srv.Target)
		if owner.kind != kindInstance {
			return c.both(owner, t)
		}
		c.scratch.text = hostText(c.scratch.text[:0], t.name)
		return c.instance(owner, nil, c.scratch.text)
	case dnswire.TypeNSEC:
		next, _, isNSEC := r.NSEC()
		if !isNSEC {
			return false, byDefault // unreadable, and nobody's loss (RFC 6762 §6.1)
		}
		if t := c.scratch.topic(next); t.key != owner.key {
			return c.both(owner, t)
		}
	case dnswire.TypeCNAME, dnswire.TypeDNAME, dnswire.TypeNS:
		target, isName := r.Target()
		if !isName {
			return false, byDefault
		}
		return c.both(owner, c.scratch.topic(target))
	case dnswire.TypeSVCB, dnswire.TypeHTTPS:
		data := r.RData()
		if len(data) < 3 { // RFC 9460 §2.2: a priority, an uncompressed name
			return false, byDefault
		}
		target := wireName(data[2:])
		if target == nil {
			return false, byDefault
		}
		if len(target) > 1 {
			return c.both(owner, c.scratch.topicOf(target))
		}
	case dnswire.TypeMD, dnswire.TypeMF, dnswire.TypeMB, dnswire.TypeMG, dnswire.TypeMR, dnswire.TypeMINFO,
		dnswire.TypeMX, dnswire.TypeSOA, dnswire.TypeRP, dnswire.TypeAFSDB, dnswire.TypeRT, dnswire.TypeSIG,
		dnswire.TypePX, dnswire.TypeNXT, dnswire.TypeNAPTR, dnswire.TypeKX, dnswire.TypeRRSIG:
		return false, byDefault // they name others, and nobody uses them in mDNS
	}
	if owner.kind == kindReverse {
		return false, byDefault // an address, of whom it doesn't say
	}
	return c.name(owner)
}

// pointer judges a PTR record.
func (c *court) pointer(owner, target *topic) (bool, int) {
	switch owner.kind {
	case kindReverse:
		return c.name(target)
	case kindMeta:
		if target.kind == kindType {
			return c.name(target)
		}
	case kindType, kindSubtype:
		if target.kind != kindInstance {
			break
		}
		if !bytes.Equal(owner.typ, target.typ) {
			if ok, by := c.name(owner); !ok {
				return ok, by
			}
		}
		var subtype []byte
		if owner.kind == kindSubtype {
			subtype = owner.part
		}
		return c.instance(target, subtype, nil)
	}
	return c.both(owner, target)
}

// both says whether two names may cross.
func (c *court) both(a, b *topic) (bool, int) {
	if a.kind != kindReverse {
		if ok, by := c.name(a); !ok {
			return ok, by
		}
	}
	return c.name(b)
}

// name says whether what has the name may be known on the other side.
func (c *court) name(t *topic) (bool, int) {
	switch t.kind {
	case kindInstance:
		return c.instance(t, nil, nil)
	case kindMeta:
		return c.pair.some(&subject{kind: kindType})
	case kindType:
		return c.pair.some(&subject{kind: kindType, typ: t.typ})
	case kindSubtype:
		return c.pair.some(&subject{kind: kindType, typ: t.typ, subtype: t.part})
	}
	return c.host(t)
}

// instance judges a service. subtype is one that the record at hand gives it,
// host where it is if the record says so.
func (c *court) instance(t *topic, subtype, host []byte) (bool, int) {
	s := subject{kind: kindInstance, typ: t.typ, instance: t.part, subtype: subtype, host: host, mac: c.mac, hasMAC: c.hasMAC}
	if v := c.book.lookup(c.now, t); v != nil {
		s.subtypes = v.subtypes
		if host == nil && v.host != nil {
			s.host = v.host.text
		}
	}
	return c.pair.record(&s)
}

// host judges a host by the services that it has: one that may cross takes the
// host's addresses along. A host without any is judged alone.
func (c *court) host(t *topic) (ok bool, by int) {
	s := subject{kind: kindHost, mac: c.mac, hasMAC: c.hasMAC}
	if h := c.book.hosts.find(t.key); h != nil {
		live, n := false, 0
		s.kind, s.host = kindInstance, h.text
		for v := h.first; v != nil && n < maxServicesPerHost; v, n = v.behind, n+1 {
			if !c.now.Before(v.expires) {
				continue
			}
			live = true
			s.typ, s.instance, s.subtypes = v.typ.of(v.name), v.part.of(v.name), v.subtypes
			if ok, by = c.pair.record(&s); ok {
				return ok, by
			}
		}
		if live {
			return ok, by
		}
		s = subject{kind: kindHost, host: h.text, mac: c.mac, hasMAC: c.hasMAC}
		return c.pair.record(&s)
	}
	c.scratch.text = hostText(c.scratch.text[:0], t.name)
	s.host = c.scratch.text
	return c.pair.record(&s)
}

// question says whether there can be an answer that may cross the other way.
func (c *court) question(n dnswire.NameView) (bool, int) {
	t := c.scratch.topic(n)
	switch t.kind {
	case kindInstance:
		s := subject{kind: kindInstance, vague: true, typ: t.typ, instance: t.part}
		if v := c.book.lookup(c.now, t); v != nil {
			s.subtypes = v.subtypes
		}
		return c.pair.some(&s)
	case kindHost:
		c.scratch.text = hostText(c.scratch.text[:0], t.name)
		return c.pair.some(&subject{kind: kindType, host: c.scratch.text})
	case kindReverse:
		return c.pair.some(&subject{kind: kindType})
	}
	return c.name(t)
}

// holds says whether the book knows what a known answer is about.
func (c *court) holds(r *dnswire.Record) bool {
	n := r.Name
	if target, ok := r.PTR(); ok {
		n = target
	}
	t := c.scratch.topic(n)
	switch t.kind {
	case kindInstance:
		return c.book.lookup(c.now, t) != nil
	case kindHost:
		return c.book.hosts.find(t.key) != nil
	}
	return false
}

// fold appends what src is with ASCII letters lowered.
func fold(dst, src []byte) []byte {
	for _, b := range src {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	return dst
}

// wireName returns the uncompressed name that b begins with, nil if there is none.
func wireName(b []byte) []byte {
	for off := 0; off < len(b); off += 1 + int(b[off]) {
		switch {
		case b[off] == 0:
			return b[:off+1]
		case b[off] > maxLabel:
			return nil
		}
	}
	return nil
}
